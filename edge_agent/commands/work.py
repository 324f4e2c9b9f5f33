"""What a command does once its checks have passed: one write, a pulse, or the steps of a named command.

Each write and each call is in the journal before it begins, and begins once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from connectors.commands.envelope import AgentAction, RunCommand, WriteTag
from connectors.commands.expression import parse_expression
from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from connectors.model.tags import TagName
from connectors.ports.clock import Clock
from connectors.ports.command_settings import StepSettings, WritableSettings
from connectors.ports.device import DeviceWriter, Value
from edge_agent.commands.agent_actions import AgentWork
from edge_agent.commands.checks import condition_problem, with_arguments
from edge_agent.commands.journal_rows import Command
from edge_agent.commands.journal_thread import JournalAccess
from edge_agent.commands.plant import Plant, read_anew
from edge_agent.commands.targets import Refused, Targets
from edge_agent.commands.writing import Holds, Outcome, call_once, read_now, write_once

RefusedNow = Callable[[bool], Refused | None]
WAIT_LOOK_S: Final = 0.1
DEVICE_AWAY: Final = "it is not connected, or its driver cannot write"


class Work:
    """Does commands, one at a time a device; the caller sees to that.

    ``actions``: who does what is for the agent itself, by the action's ``do``.
    """

    def __init__(
        self,
        journal: JournalAccess,
        plant: Plant,
        targets: Targets,
        clock: Clock,
        actions: Mapping[str, AgentWork] | None = None,
    ) -> None:
        self.actions: Mapping[str, AgentWork] = actions or {}
        self._journal = journal
        self._plant = plant
        self._targets = targets
        self._clock = clock
        self._begun: dict[str, int] = {}
        self._waits: dict[str, asyncio.Event] = {}

    @contextlib.contextmanager
    def beginning(self, command: Command) -> Iterator[asyncio.Event]:
        """An event that is set in the moment in which the command was begun, before it does anything."""
        begins = self._waits[command.id] = asyncio.Event()
        try:
            yield begins
        finally:
            del self._waits[command.id]

    def begun(self, command: Command) -> int:
        """How many writes and calls of a command were begun, since it was handed over."""
        return self._begun.get(command.id, 0)

    def forget(self, command: Command) -> None:
        """The command has ended."""
        self._begun.pop(command.id, None)

    async def do(self, command: Command, refused_now: RefusedNow) -> Outcome | Refused:
        """Do it. ``Refused``: nothing was written. Raises ``JournalUnavailable``.

        ``refused_now`` is asked directly before each write, with whether anything was written before: reading what a
        tag holds takes its time, in which a line may be locked and a command's own time be up.
        When the journal takes no more in the middle of a sequence, what was not begun is not done.
        """
        action = command.envelope.action
        if isinstance(action, AgentAction):
            return await self._do_for_agent(command, action, refused_now)
        writer = self._plant.writer(action.device)
        if writer is None:
            return Refused(Refusal.DEVICE_UNAVAILABLE, f"{action.device}: {DEVICE_AWAY}")
        if isinstance(action, RunCommand):
            return await self._run(command, writer, action, refused_now)
        return await self._write(command, writer, action, refused_now)

    async def refused(self, command: Command) -> Refused | None:
        """What a command for the agent itself finds that is in its way; of others, nothing is asked here."""
        action = command.envelope.action
        if not isinstance(action, AgentAction):
            return None
        if (work := self.actions.get(action.do)) is None:
            return Refused(Refusal.UNKNOWN_TARGET, f"this agent cannot do {action.do!r}")
        return await work.refused(command)

    async def _do_for_agent(self, command: Command, action: AgentAction, refused_now: RefusedNow) -> Outcome | Refused:
        async def begin(detail: str) -> Refused | None:
            has_begun = self.begun(command) > 0
            if (refused := refused_now(has_begun)) is not None and not has_begun:
                return refused
            await self._begin(command, None, detail)
            return None

        return await self.actions[action.do].do(command, begin)

    def holds(self, device: str, tag: str, wanted: Value) -> Holds:
        """Whether a value that was read of a tag is the one that was asked for."""
        datatype = self._plant.datatypes(device).get(tag)
        return lambda seen: self._targets.is_held(device, tag, wanted, seen, datatype)

    async def _write(
        self, command: Command, writer: DeviceWriter, action: WriteTag, refused_now: RefusedNow
    ) -> Outcome | Refused:
        device, tag, pulse = action.device, action.tag, self._writable(action.device, action.tag).pulse
        before = await self._before(writer, tag)
        if isinstance(before, str):
            return Refused(Refusal.DEVICE_UNAVAILABLE, f"{device}/{tag} cannot be read: {before}")
        said = "" if pulse is None else f", for {pulse.after_s:g} s, then {pulse.back_to!r}"
        if (refused := refused_now(False)) is not None:
            return refused
        await self._begin(command, before[0], f"{tag} := {action.value!r}{said}")
        if (refused := refused_now(False)) is not None:  # the journal took its time, too
            return refused
        return await self._written(writer, device, tag, action.value, before[0])

    async def _written(
        self, writer: DeviceWriter, device: str, tag: str, value: Value, before: Value | None
    ) -> Outcome:
        """Write once, and what is a pulse back again after its time."""
        pulse = self._writable(device, tag).pulse
        outcome = await self._once(writer, device, tag, value, before)
        if pulse is None or value != pulse.value or outcome.state is CommandState.FAILED:
            return outcome
        try:
            await asyncio.sleep(pulse.after_s)
        finally:  # also when the agent stops: a button must not stay pressed
            back = await self._once(writer, device, tag, pulse.back_to, value)
        if not outcome.is_done:
            return Outcome(outcome.state, f"{outcome.detail}; then back to {pulse.back_to!r}: {back.state}", back.after)
        said = f"a pulse of {pulse.after_s:g} s" if back.is_done else f"not back to {pulse.back_to!r}: {back.detail}"
        return Outcome(back.state, said, back.after)

    async def end_pulse(
        self, command: Command, action: WriteTag, held: Value | None, refused_now: Callable[[], Refused | None]
    ) -> Outcome | Refused:
        """Write back once what is a pulse, whose agent ended before it did. Raises ``JournalUnavailable``."""
        writer, pulse = self._plant.writer(action.device), self._writable(action.device, action.tag).pulse
        if writer is None or pulse is None:
            return Refused(Refusal.DEVICE_UNAVAILABLE, DEVICE_AWAY)
        if (refused := refused_now()) is not None:
            return refused
        await self._begin(command, held, f"{action.tag} := {pulse.back_to!r}, the end of the pulse")
        self.forget(command)
        if (refused := refused_now()) is not None:  # the journal took its time
            return refused
        return await self._once(writer, action.device, action.tag, pulse.back_to, held)

    async def _run(
        self, command: Command, writer: DeviceWriter, action: RunCommand, refused_now: RefusedNow
    ) -> Outcome | Refused:
        named = self._targets.devices[action.device].commands[action.command]
        for step in named.steps:
            if step.write is not None and isinstance(before := await self._before(writer, step.write), str):
                return Refused(Refusal.DEVICE_UNAVAILABLE, f"{action.device}/{step.write} cannot be read: {before}")
        begun = False
        for number, step in enumerate(named.steps, 1):
            outcome = await self._step(command, writer, action, step, partial(refused_now, begun))
            if isinstance(outcome, Refused):
                if not begun:
                    return outcome
                # nor is 'otherwise' done: who locks a line stands beside it
                said = f"before step {number} of {len(named.steps)}: {outcome.detail}; 'otherwise' is not done either"
                return Outcome(CommandState.FAILED, said)
            begun = begun or step.wait is None
            if outcome.is_done:
                continue
            said = f"step {number} of {len(named.steps)}: {outcome.detail}"
            if begun and named.otherwise:
                said += f"; {await self._compensate(command, writer, action, named.otherwise)}"
            return Outcome(outcome.state, said, outcome.after)
        return Outcome(CommandState.SUCCEEDED, f"{len(named.steps)} steps are done")

    async def _compensate(
        self, command: Command, writer: DeviceWriter, action: RunCommand, steps: Sequence[StepSettings]
    ) -> str:
        """Do the steps that are for the case of a failure; each is tried, also when one before it has failed."""
        problems = []
        for number, step in enumerate(steps, 1):
            outcome = await self._step(command, writer, action, step, None)
            if isinstance(outcome, Refused) or not outcome.is_done:
                problems.append(f"step {number}: {outcome.detail}")
        return f"'otherwise' has failed, {'; '.join(problems)}" if problems else "'otherwise' is done"

    async def _step(
        self,
        command: Command,
        writer: DeviceWriter,
        action: RunCommand,
        step: StepSettings,
        refused_now: Callable[[], Refused | None] | None,
    ) -> Outcome | Refused:
        """One step. ``refused_now`` is ``None`` for one that is for the case of a failure: nothing keeps it back."""
        if step.wait is not None:
            return await self._wait(step.wait, step.within_s)
        if step.call is not None:
            arguments = [with_arguments(value, action.arguments) for value in step.arguments]
            if refused_now is not None and (refused := refused_now()) is not None:
                return refused
            await self._begin(command, None, f"call {step.call} with {arguments!r}")
            return await call_once(writer, step.call, arguments)
        tag = step.write or ""
        settings = self._writable(action.device, tag)
        if refused_now is not None and settings.interlock is not None:
            problem = await self._condition_problem(settings.interlock, settings.interlock_age_s)
            if problem is not None:
                return Outcome(CommandState.FAILED, f"the interlock of {tag}: {problem}")
        before = await self._before(writer, tag)
        if isinstance(before, str):
            return Outcome(CommandState.FAILED, f"{tag} cannot be read, and was not written: {before}")
        value = with_arguments(step.value, action.arguments)
        if refused_now is not None and (refused := refused_now()) is not None:
            return refused
        await self._begin(command, before[0], f"{tag} := {value!r}")
        return await self._written(writer, action.device, tag, value, before[0])

    async def _wait(self, condition: str, within_s: float) -> Outcome:
        end_s = self._clock.monotonic_s() + within_s
        while True:
            problem = await self._condition_problem(condition, WAIT_LOOK_S)
            if problem is None:
                return Outcome(CommandState.SUCCEEDED, "")
            left_s = end_s - self._clock.monotonic_s()
            if left_s <= 0:
                return Outcome(CommandState.FAILED, f"waited {within_s:g} s: {problem}")
            await asyncio.sleep(min(WAIT_LOOK_S, left_s))

    async def _condition_problem(self, condition: str, age_s_max: float) -> str | None:
        expression = parse_expression(condition)
        values = await read_anew(self._plant, ((place, age_s_max) for place in expression.tags))
        return condition_problem(expression, values)

    async def _before(self, writer: DeviceWriter, tag: str) -> tuple[Value | None] | str:
        """What a tag holds before it is written; a text says why its device does not tell.

        A value that is not good does not keep it from being written: it may be what the command is to mend.
        """
        seen = await read_now(writer, TagName(tag))
        if not isinstance(seen, str):
            return (seen.value,)
        return (None,) if seen.startswith("it has quality ") else seen

    async def _once(self, writer: DeviceWriter, device: str, tag: str, value: Value, before: Value | None) -> Outcome:
        return await write_once(
            writer,
            TagName(tag),
            value,
            before=before,
            holds=self.holds(device, tag, value),
            within_s=self._writable(device, tag).readback_within_s,
            clock=self._clock,
        )

    async def _begin(self, command: Command, before: Value | None, detail: str) -> None:
        now_ms = self._clock.now_ns() // 1_000_000
        await self._journal.call(lambda journal: journal.writing(command.number, now_ms, before=before, detail=detail))
        self._begun[command.id] = self.begun(command) + 1
        if (begins := self._waits.get(command.id)) is not None:
            begins.set()

    def _writable(self, device: str, tag: str) -> WritableSettings:
        settings = self._targets.tag(device, tag)
        return WritableSettings() if settings is None or settings.writable is None else settings.writable
