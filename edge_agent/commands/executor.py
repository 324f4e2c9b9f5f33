"""Does commands: one at a time a device, in the order in which they came, at most ``HELD_MAX`` at once in all.

Overflow policy: ``room`` says how many more may be handed over; whoever has more refuses them (``too_many``). What is
held is in the journal already. A command passes its checks when it has its turn, not when it came.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Final

from connectors.commands.envelope import Action, AgentAction, Envelope
from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.device import Value
from connectors.stopping import Tasks
from edge_agent.commands.agent_actions import AgentWork
from edge_agent.commands.checks import Armed, Situation, conditions_needed, refuse, refuse_conditions, refuse_now
from edge_agent.commands.cloud_time import CloudNow
from edge_agent.commands.gate import Gate
from edge_agent.commands.journal import AGENT
from edge_agent.commands.journal_file import JournalUnavailable
from edge_agent.commands.journal_reading import StateGoesBack
from edge_agent.commands.journal_rows import Command, Lock, ended_with, target_of
from edge_agent.commands.journal_thread import JournalAccess
from edge_agent.commands.plant import Plant, read_anew
from edge_agent.commands.targets import Refused, Targets
from edge_agent.commands.turns import FOR_AGENT, Turns
from edge_agent.commands.work import Work
from edge_agent.commands.writing import Outcome
from edge_agent.observability.agent_events import Fault
from edge_agent.observability.command_events import CommandEnded, JournalBlocked, JournalRecovered
from edge_agent.observability.metrics import COMMANDS_WAITING

HELD_MAX: Final = 64
UNAPPROVED_MAX: Final = 32
"""So many may wait for the approval of somebody; they must not take the place of all others."""
ARMED_MAX: Final = 256
SETTLE_S: Final = 1.0
"""How often an end that the journal has not taken is offered to it again, and what waits for approval looked at."""


@dataclass(frozen=True, slots=True)
class Switches:
    """What the agent's file says of commands."""

    remote_commands: bool = True
    commissioning: bool = False


@dataclass(frozen=True, slots=True)
class _End:
    command: Command
    state: CommandState
    code: Refusal | None
    detail: str
    after: Value | None
    actor: str


class Executor:
    """See the module. ``told`` is called when there is something new to tell the cloud."""

    def __init__(
        self,
        journal: JournalAccess,
        plant: Plant,
        targets: Targets,
        *,
        switches: Switches,
        cloud_now: Callable[[], CloudNow | None],
        locks: Callable[[], Mapping[str, Lock]],
        told: Callable[[], None],
        clock: Clock,
        actions: Mapping[str, AgentWork] | None = None,
    ) -> None:
        self._journal = journal
        self._plant = plant
        self._targets = targets
        self.switches = switches
        self._cloud_now = cloud_now
        self._locks = locks
        self._told = told
        self._clock = clock
        self.work = Work(journal, plant, targets, clock, actions)
        self._turns = Turns(targets.devices, self._serve)
        self._held: dict[str, Command] = {}
        self._unapproved: dict[str, Command] = {}
        self._begun: set[str] = set()
        self._approvers: dict[str, tuple[str, ...]] = {}
        self._armed: OrderedDict[str, tuple[Action, float]] = OrderedDict()
        self._written_s: dict[str, float] = {}
        self._unsettled: deque[_End] = deque(maxlen=HELD_MAX)
        self._ended: dict[str, asyncio.Future[None]] = {}
        self.gate = Gate()
        self.blocked_reason = ""

    @property
    def room(self) -> int:
        """How many more commands may be handed over."""
        return max(0, HELD_MAX - len(self._held) - len(self._unsettled))

    @property
    def held(self) -> int:
        """How many wait or are being done."""
        return len(self._held)

    def being_done(self, but: str) -> list[str]:
        """The targets of commands that have begun, but for the one with the id ``but``."""
        return [self._held[id_].target for id_ in sorted(self._begun) if id_ != but and id_ in self._held]

    def holds(self, id_: str) -> bool:
        """Whether a command is waiting or being done."""
        return id_ in self._held

    def free(self, *devices: str) -> None:
        """What an earlier start has left open of these devices is settled: from now on commands to them are done."""
        self._turns.free(*devices)

    def reset(self) -> None:
        """Let go of everything, before a start or after a defect: the journal has it, and the recovery finds it."""
        self.gate.reset()
        for id_ in list(self._held):
            self._forget(id_)
        self._turns.clear()

    async def resume(self) -> None:
        """Learn from the journal when targets were written last. Raises ``JournalUnavailable``."""
        now_ms = self._clock.now_ns() // 1_000_000
        for target, time_ms in (await self._journal.call(lambda journal: journal.last_writes_ms())).items():
            self._written_s[target] = self._clock.monotonic_s() - max(0, now_ms - time_ms) / 1000

    def submit(self, command: Command, approvers: tuple[str, ...] = ()) -> None:
        """Do a command that the journal has received, when it is its turn; one that is held already is not taken."""
        if command.id in self._held:
            return
        device = command.envelope.action.device
        self._held[command.id] = command
        self._approvers[command.id] = approvers
        self._turns.put(device, command)
        COMMANDS_WAITING.set(len(self._held))

    async def ended(self, command: Command) -> Command:
        """Hand over a command, and wait until it has ended, or waits for the approval of somebody else."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended[command.id] = future
        try:
            self.submit(command)
            await future
        finally:
            self._ended.pop(command.id, None)
        return await self._journal.call(lambda journal: journal.command(command.id) or command)

    def waits_for_approval(self, id_: str) -> bool:
        """Whether nothing but the approval of somebody keeps a command from its turn."""
        return id_ in self._unapproved

    def approved(self, id_: str, approver: str) -> bool:
        """Somebody has agreed to a command; false when it does not wait for that."""
        command = self._unapproved.pop(id_, None)
        if command is None:
            if id_ in self._approvers:  # it has not come to that yet
                self._approvers[id_] = (*self._approvers[id_], approver)
            return False
        self._held.pop(id_)
        self.submit(command, (*self._approvers.pop(id_, ()), approver))
        return True

    async def cancel(self, id_: str, actor: str, reason: str) -> bool:
        """Take a command back that has not begun; whether it was."""
        command = self._held.get(id_)
        if command is None or id_ in self._begun:
            return False
        self._unapproved.pop(id_, None)
        await self._end(command, CommandState.CANCELLED, None, reason, None, actor)
        return True

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with Tasks() as tasks:
                tasks.create_task(self._settle_forever(), name="commands settle")
                self._turns.serve_all(tasks)
        finally:
            self._turns.serve_none()

    def busy(self, devices: Container[str]) -> list[str]:
        """The targets of commands that are being done on one of these devices."""
        held = [self._held[id_] for id_ in sorted(self._begun) if id_ in self._held]
        return [command.target for command in held if command.envelope.action.device in devices]

    def follow_targets(self) -> None:
        """The devices are others from now on; none that is gone is ``busy``."""
        self._turns.follow(self._targets.devices)

    # -- one command ------------------------------------------------------------------------------------------------

    async def _serve(self, device: str) -> None:
        while True:
            await self._turns.wait_for_one(device)
            if device != FOR_AGENT:
                await self.gate.passed()
            command = self._turns.take(device)
            if command.id not in self._held or command.id in self._unapproved:
                continue  # cancelled meanwhile
            try:
                await self._do(command)
            except StateGoesBack:
                self._forget(command.id)  # it has ended meanwhile: a journal that was begun anew gave it up
            except Exception as exc:  # a defect must not end the others: the journal says how far it came
                emit(Fault("commands", f"{type(exc).__name__}: {exc}", traceback.format_exc()))
                await self._end_badly(command, exc)
            self.gate.open(command.id)  # it is here, so the agent does not end for it

    async def _do(self, command: Command) -> None:
        self._begun.add(command.id)
        envelope = command.envelope
        refused = await self._refused(command)
        if refused is not None and refused.code is Refusal.NOT_APPROVED and len(self._unapproved) < UNAPPROVED_MAX:
            self._begun.discard(command.id)
            self._unapproved[command.id] = command
            await self._note_waiting(command, refused.detail)
            self._answer(command.id)
            return
        if refused is None and envelope.stage == "arm":
            self._armed[command.id] = (envelope.action, self._clock.monotonic_s())
            while len(self._armed) > ARMED_MAX:
                self._armed.popitem(last=False)
            await self._end(command, CommandState.SUCCEEDED, None, "it is armed")
            return
        if refused is None:
            self._armed.pop(envelope.armed or "", None)  # it arms once
            begun_s = self._clock.monotonic_s()
            found = await self._worked(command)
            if isinstance(found, Outcome):
                self._written_s[target_of(envelope)] = begun_s
                await self._end(command, found.state, None, found.detail, found.after)
                return
            refused = found
        await self._end(command, ended_with(refused.code), refused.code, refused.detail)

    async def _note_waiting(self, command: Command, detail: str) -> None:
        """The cloud is told what it waits for, so that somebody can agree there, too."""
        now_ms = self._clock.now_ns() // 1_000_000
        try:
            await self._journal.call(lambda journal: journal.waits(command.number, now_ms, detail))
        except JournalUnavailable as exc:
            self._blocked(str(exc))  # it waits all the same, for somebody at the box
        self._told()

    async def _worked(self, command: Command) -> Outcome | Refused:
        """Do it; what is begun is in the journal, and what is not in the journal is not begun."""
        try:
            return await self.work.do(command, lambda has_begun: self._refused_now(command, has_begun=has_begun))
        except JournalUnavailable as exc:
            self._blocked(str(exc))
            if self.work.begun(command):
                return Outcome(CommandState.FAILED, f"it was left in the middle: {exc}")
            return Refused(Refusal.JOURNAL_UNAVAILABLE, str(exc))
        finally:
            self.work.forget(command)

    async def _refused(self, command: Command) -> Refused | None:
        envelope = command.envelope
        if (refused := refuse(envelope, command.source, self._situation(command), self._targets)) is not None:
            return refused
        needed = conditions_needed(envelope, self._targets)
        if isinstance(needed, Refused):
            return needed
        places = [(place, each.age_s_max) for each in needed for place in sorted(each.expression.tags)]
        refused = refuse_conditions(needed, await read_anew(self._plant, places))
        is_slow = bool(needed)
        if refused is None and isinstance(envelope.action, AgentAction):
            refused, is_slow = await self.work.refused(command), True
        if refused is None and is_slow:  # that took its time, in which somebody may have locked the line
            return refuse(envelope, command.source, self._situation(command), self._targets)
        return refused

    def _refused_now(self, command: Command, *, has_begun: bool) -> Refused | None:
        """Whether it may not be written any more: reading what is there before has taken its time."""
        return refuse_now(command.envelope, command.source, self._situation(command), has_begun=has_begun)

    def refused_to_end(self, command: Command) -> Refused | None:
        """Whether not even what ends a pulse may be written: somebody has locked the line or switched commands off."""
        return self._refused_now(command, has_begun=True)

    def _situation(self, command: Command) -> Situation:
        envelope, now_s = command.envelope, self._clock.monotonic_s()
        written_s = self._written_s.get(target_of(envelope))
        return Situation(
            cloud_now=self._cloud_now(),
            remote_commands=self.switches.remote_commands,
            commissioning=self.switches.commissioning,
            locks=self._locks(),
            datatypes=self._plant.datatypes(envelope.action.device),
            since_write_s=None if written_s is None else now_s - written_s,
            approvers=self._approvers.get(command.id, ()),
            armed=self._armed_by(envelope, now_s),
        )

    def _armed_by(self, envelope: Envelope, now_s: float) -> Armed | None:
        found = self._armed.get(envelope.armed or "")
        return None if found is None else Armed(found[0], now_s - found[1])

    # -- its end ----------------------------------------------------------------------------------------------------

    async def settle(self, command: Command, outcome: Outcome) -> None:
        """Bring a command to the end that a recovery has found."""
        await self._end(command, outcome.state, None, outcome.detail, outcome.after)

    async def _end(
        self,
        command: Command,
        state: CommandState,
        code: Refusal | None,
        detail: str,
        after: Value | None = None,
        actor: str = AGENT,
    ) -> None:
        end = _End(command, state, code, detail, after, actor)
        if not await self._journal_end(end):
            self._unsettled.append(end)
        self._forget(command.id)

    async def _end_badly(self, command: Command, error: Exception) -> None:
        """After a defect: what the journal has of it decides whether anything may have been written."""
        try:
            now = await self._journal.call(lambda journal: journal.command(command.id))
        except JournalUnavailable:
            now = command
        state = CommandState.FAILED if now is not None and now.writes == 0 else CommandState.UNKNOWN
        await self._end(command, state, None, f"a defect of the agent: {type(error).__name__}: {error}")

    async def _journal_end(self, end: _End) -> bool:
        number, now_ms = end.command.number, self._clock.now_ns() // 1_000_000
        try:
            await self._journal.call(
                lambda journal: journal.step(
                    number, end.state, now_ms, actor=end.actor, code=end.code, detail=end.detail, after=end.after
                )
            )
        except StateGoesBack:
            return True  # it has ended: a disk that failed had taken it after all
        except JournalUnavailable as exc:
            self._blocked(str(exc))
            return False
        if self.blocked_reason:
            self.blocked_reason = ""
            emit(JournalRecovered())
        code = "" if end.code is None else end.code.value
        emit(CommandEnded(end.command.id, end.command.target, end.state.value, code, end.detail, end.actor))
        self._told()
        return True

    def _forget(self, id_: str) -> None:
        self._held.pop(id_, None)
        self._unapproved.pop(id_, None)
        self._begun.discard(id_)
        self._approvers.pop(id_, None)
        self._answer(id_)
        COMMANDS_WAITING.set(len(self._held))

    def _answer(self, id_: str) -> None:
        future = self._ended.get(id_)
        if future is not None and not future.done():
            future.set_result(None)

    def _blocked(self, reason: str) -> None:
        if not self.blocked_reason:
            emit(JournalBlocked(reason))
        self.blocked_reason = reason

    async def _settle_forever(self) -> None:
        while True:
            await asyncio.sleep(SETTLE_S)
            while self._unsettled and await self._journal_end(self._unsettled[0]):
                self._unsettled.popleft()
            for command in list(self._unapproved.values()):
                if self._is_late(command):
                    said = "nobody else has agreed before its time was up"
                    await self._end(command, CommandState.REFUSED, Refusal.NOT_APPROVED, said)

    def _is_late(self, command: Command) -> bool:
        now = self._cloud_now()
        if command.source == "cloud" and now is not None:
            return now.latest_ms >= command.envelope.expires_ms
        return self._clock.now_ns() // 1_000_000 >= command.envelope.expires_ms
