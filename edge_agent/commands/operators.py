"""What people do at the box: lock and unlock lines, approve commands, write; who they are says the Unix socket.

A local write is a command like any other: the same checks (but for signature and time), the same journal.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from connectors.commands.envelope import ULID_PATTERN, Action, AgentAction, Envelope, RunCommand, WriteTag
from connectors.commands.refusals import MEANING, Refusal
from connectors.commands.reports import Approval
from connectors.commands.states import ENDED, CommandState
from connectors.commands.ulid import new_ulid
from connectors.model.datatypes import DataType
from connectors.model.errors import LinesideError
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.device import Value
from edge_agent.commands.executor import Executor
from edge_agent.commands.journal_rows import AGENT_LINE, Command, Intake, Lock
from edge_agent.commands.journal_thread import JournalAccess
from edge_agent.commands.plant import Plant
from edge_agent.commands.targets import ARGUMENT_TYPES, Targets, value_of_text
from edge_agent.commands.telling import Telling
from edge_agent.observability.command_events import CommandNotTaken, LineLocked, LineUnlocked, LocksCounted

LOCAL_S: Final = 300.0
"""So long a local command may wait for approval, or for its turn."""
LISTED_MAX: Final = 1000
BEGIN_S_MAX: Final = 20.0
REASON_CHARS_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Staged:
    """Whether a command only arms, and which one has armed it."""

    stage: Literal["execute", "arm"] = "execute"
    armed: str | None = None


NOT_STAGED: Final = Staged()


class NotPossible(LinesideError):
    """What was asked for cannot be done; a sentence for the person who asked."""


class Operators:
    """See the module. Actors are names of Unix users."""

    def __init__(
        self,
        journal: JournalAccess,
        executor: Executor,
        telling: Telling,
        targets: Targets,
        plant: Plant,
        *,
        agent: str,
        said: Callable[[], None],
        taken: Callable[[int], None],
        clock: Clock,
    ) -> None:
        """``said`` is called when the cloud is to hear of a change, ``taken`` with each number of the journal."""
        self._taken = taken
        self._journal = journal
        self._executor = executor
        self._telling = telling
        self._targets = targets
        self._plant = plant
        self._agent = agent
        self._said = said
        self._clock = clock
        self.locks: Mapping[str, Lock] = {}

    async def resume(self) -> None:
        """Learn the locks of earlier starts. Raises ``JournalUnavailable``."""
        found = await self._journal.call(lambda journal: journal.locks())
        self.locks = {lock.line: lock for lock in found}
        emit(LocksCounted(len(self.locks)))

    async def lock(self, line: str, reason: str, actor: str) -> Lock:
        """Lock a line: a device, or ``agent`` for all of them. It holds at once, and over restarts.

        Raises ``NotPossible``, ``JournalUnavailable``: then it is not locked.
        """
        self._check_line(line)
        if not reason.strip() or len(reason) > REASON_CHARS_MAX:
            raise NotPossible(f"a lock needs a reason of at most {REASON_CHARS_MAX} characters, for whoever finds it")
        now_ms = self._now_ms()
        before, lock = self.locks, Lock(line, reason, actor, now_ms)
        self.locks = {**before, line: lock}  # it holds before the disk has it
        try:
            await self._journal.call(lambda journal: journal.lock(line, reason, actor, now_ms))
        except LinesideError:
            self.locks = before
            raise
        emit(LineLocked(line, reason, actor))
        emit(LocksCounted(len(self.locks)))
        self._said()
        return lock

    async def unlock(self, line: str, actor: str) -> None:
        """Unlock a line. Raises ``NotPossible``, ``JournalUnavailable``: then it stays locked."""
        self._check_line(line)
        now_ms = self._now_ms()
        if not await self._journal.call(lambda journal: journal.unlock(line, actor, now_ms)):
            raise NotPossible(f"{line} is not locked")
        self.locks = {name: lock for name, lock in self.locks.items() if name != line}
        emit(LineUnlocked(line, actor))
        emit(LocksCounted(len(self.locks)))
        self._said()

    async def list(self, count_max: int) -> list[dict[str, Any]]:
        """The newest commands, newest first. Raises ``JournalUnavailable``."""
        count = max(1, min(count_max, LISTED_MAX))
        return [command.to_json() for command in await self._journal.call(lambda journal: journal.commands(count))]

    async def show(self, id_: str) -> dict[str, Any]:
        """A command with all of its steps. Raises ``NotPossible``, ``JournalUnavailable``."""
        command = await self._known(id_)
        steps = await self._journal.call(lambda journal: journal.steps(command.number))
        approvers = await self._journal.call(lambda journal: journal.approvers(command.number))
        meaning = "" if command.code is None else MEANING[command.code]
        return {**command.to_json(), "meaning": meaning, "approvers": list(approvers), "steps": steps}

    async def approve(self, id_: str, actor: str) -> dict[str, Any]:
        """Agree to a command that waits for that. Raises ``NotPossible``, ``JournalUnavailable``."""
        command = await self._known(id_)
        if actor in (command.actor, command.envelope.issuer):
            raise NotPossible(f"{actor} has asked for it: somebody else has to agree")
        if command.state in ENDED:
            raise NotPossible(f"it is {command.state.value} already")
        if not self._executor.waits_for_approval(command.id):
            raise NotPossible("it does not wait for an approval")
        now_ms = self._now_ms()
        await self._journal.call(lambda journal: journal.approve(command.number, actor, now_ms))
        if not self._executor.approved(command.id, actor):
            raise NotPossible("it has ended in the meantime")
        return command.to_json()

    async def agreed(self, approval: Approval, topic: str) -> None:
        """The cloud says that somebody there agrees to a command of it. Raises ``JournalUnavailable``.

        It is known to be signed by the cloud. What came before, is for another agent, or is the issuer's own changes
        nothing.
        """
        command = await self._journal.call(lambda journal: journal.command(approval.id))
        problem = _approval_problem(approval, command, self._agent)
        if problem or command is None:
            emit(CommandNotTaken(topic, Refusal.NOT_APPROVED.value, f"the approval of {approval.id}: {problem}"))
            return
        if command.state is not CommandState.RECEIVED:
            return  # it is sent until the cloud hears of that
        details = {"by": "cloud", "reason": approval.reason}
        now_ms = self._now_ms()
        await self._journal.call(lambda journal: journal.approve(command.number, approval.approver, now_ms, details))
        self._executor.approved(command.id, approval.approver)

    async def write(
        self, device: str, tag: str, value: Value, reason: str, actor: str, stage: Staged = NOT_STAGED
    ) -> Any:
        """Write a tag; what came of it. Raises ``NotPossible``, ``JournalUnavailable``."""
        return await self._do(WriteTag(device=device, tag=tag, value=value), reason, actor, stage)

    async def write_text(
        self, device: str, tag: str, text: str, reason: str, actor: str, stage: Staged = NOT_STAGED
    ) -> Any:
        """Write what somebody has typed, by the type of the tag: nothing is guessed. Raises as ``write``."""
        self._check_tag(device, tag)
        datatype = self._plant.datatypes(device).get(tag)
        if datatype is None:
            raise NotPossible(f"the type of {device}/{tag} is not known: the device has not been connected yet")
        return await self.write(device, tag, _typed(text, datatype), reason, actor, stage)

    async def run_texts(
        self,
        device: str,
        command: str,
        arguments: Mapping[str, str],
        reason: str,
        actor: str,
        stage: Staged = NOT_STAGED,
    ) -> Any:
        """Run a named command with arguments that somebody has typed. Raises as ``run``."""
        named = self._targets.named(device, command)
        wanted = {} if named is None else named.arguments
        values: dict[str, Value] = {
            name: _typed(text, ARGUMENT_TYPES[wanted[name].type]) if name in wanted else text
            for name, text in arguments.items()
        }
        return await self.run(device, command, values, reason, actor, stage)

    async def run(
        self,
        device: str,
        command: str,
        arguments: dict[str, Value],
        reason: str,
        actor: str,
        stage: Staged = NOT_STAGED,
    ) -> Any:
        """Run a named command; what came of it. Raises ``NotPossible``, ``JournalUnavailable``."""
        return await self._do(RunCommand(device=device, command=command, arguments=arguments), reason, actor, stage)

    async def begin(self, action: AgentAction, reason: str, actor: str) -> dict[str, Any]:
        """Ask for what may end the agent: how it stands once it was begun, or has ended. Raises as ``write``."""
        command = await self._take(action, reason, actor, NOT_STAGED)
        if command.state is CommandState.RECEIVED:
            command = await self._begun(command)
        return {**self._answer(command), "waits_for_approval": False}

    async def _begun(self, command: Command) -> Command:
        """As it stands when it was begun: the agent may end a moment later, and answers nobody then."""
        with self._executor.work.beginning(command) as begins:
            begun = asyncio.create_task(begins.wait(), name=f"{command.id} begins")
            ended = asyncio.create_task(self._executor.ended(command), name=f"{command.id} ends")
            try:
                await asyncio.wait([begun, ended], timeout=BEGIN_S_MAX, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    return await ended
                return replace(command, state=CommandState.EXECUTING) if begun.done() else command
            finally:
                begun.cancel()
                ended.cancel()

    async def _do(self, action: Action, reason: str, actor: str, stage: Staged) -> Any:
        command = await self._take(action, reason, actor, stage)
        if command.state is CommandState.RECEIVED:
            command = await self._executor.ended(command)
        return self._answer(command)

    async def _take(self, action: Action, reason: str, actor: str, stage: Staged) -> Command:
        if not reason.strip() or len(reason) > REASON_CHARS_MAX:
            raise NotPossible(f"it needs a reason of at most {REASON_CHARS_MAX} characters, for the journal")
        if stage.armed is not None and re.fullmatch(ULID_PATTERN, stage.armed) is None:
            raise NotPossible(f"{stage.armed!r} is not the id of a command that has armed anything")
        now_ms = self._now_ms()
        envelope = Envelope(
            id=new_ulid(now_ms), agent=self._agent, action=action, issuer=actor, reason=reason, issued_ms=now_ms,
            expires_ms=now_ms + round(LOCAL_S * 1000), stage=stage.stage, armed=stage.armed,
        )  # fmt: skip
        full = Refusal.TOO_MANY if self._executor.room <= 0 else None
        intake = Intake(envelope, "local", actor, full, "" if full is None else MEANING[full])
        taken = await self._journal.call(lambda journal: journal.take([intake], now_ms))
        command = taken[0].command
        self._taken(command.number)
        self._telling.wake()
        return command

    def _answer(self, command: Command) -> dict[str, Any]:
        waits = command.state not in ENDED
        meaning = "" if command.code is None else MEANING[command.code]
        is_armed = command.envelope.stage == "arm" and command.state is CommandState.SUCCEEDED
        return {
            **command.to_json(),
            "meaning": meaning,
            "waits_for_approval": waits,
            "stage": command.envelope.stage,
            "arm_s": self._targets.conditions(command.envelope.action).arm_s if is_armed else None,
        }

    async def _known(self, id_: str) -> Command:
        command = await self._journal.call(lambda journal: journal.command(id_))
        if command is None:
            raise NotPossible(f"the journal has no command {id_!r}; 'edge-agent commands list' shows what it has")
        return command

    def _check_tag(self, device: str, tag: str) -> None:
        if self._targets.tag(device, tag) is None:
            if device in self._targets.devices:
                if self._targets.is_derived(device, tag):
                    raise NotPossible(f"{device}/{tag} is calculated from other tags: write those")
                raise NotPossible(f"{device} has no tag {tag!r}")
            raise NotPossible(f"there is no device {device!r}; there are {', '.join(self._targets.devices)}")

    def _check_line(self, line: str) -> None:
        if line != AGENT_LINE and line not in self._targets.devices and line not in self.locks:
            known = ", ".join([AGENT_LINE, *self._targets.devices])
            raise NotPossible(f"there is no line {line!r}; lines are {known}")

    def _now_ms(self) -> int:
        return self._clock.now_ns() // 1_000_000


def _approval_problem(approval: Approval, command: Command | None, agent: str) -> str:
    """Why an approval of the cloud counts for nothing; empty when it does. Pure."""
    if approval.agent != agent:
        return f"it is for {approval.agent}"
    if command is None:
        return "the journal has no such command"
    if command.source != "cloud":
        return "it was not asked for in the cloud: who is at the box has to agree"
    if approval.approver in (command.envelope.issuer, command.actor):
        return f"{approval.approver} has asked for it"
    return ""


def _typed(text: str, datatype: DataType) -> Value:
    try:
        value = value_of_text(text, datatype)
    except ValueError as exc:
        raise NotPossible(str(exc)) from exc
    if isinstance(value, float) and not math.isfinite(value):
        raise NotPossible(f"{text!r} is no number that can be written")
    return value
