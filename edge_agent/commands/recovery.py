"""After a start: what becomes of commands that an earlier start has left without an end.

One of which no write was begun is checked anew when it has its turn, once the cloud has told its time. One of which a
write was begun is never written again: the tag is read, and says what can be said. Only a pulse that still holds is
ended, as it would have been.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from connectors.commands.envelope import AgentAction, WriteTag
from connectors.commands.states import CommandState
from connectors.model.tags import TagName
from connectors.ports.clock import Clock
from connectors.ports.device import Reading, Value
from connectors.stopping import Tasks
from edge_agent.commands.executor import Executor
from edge_agent.commands.journal_file import JournalUnavailable
from edge_agent.commands.journal_reading import StateGoesBack
from edge_agent.commands.journal_rows import Command
from edge_agent.commands.journal_thread import JournalAccess
from edge_agent.commands.plant import Plant
from edge_agent.commands.targets import Refused, Targets
from edge_agent.commands.turns import FOR_AGENT, NOWHERE
from edge_agent.commands.writing import Holds, Outcome, read_now, resolved

DEVICE_S_MAX: Final = 120.0
"""For so long a device is waited for; then nobody can say what it holds."""
RETRY_S: Final = 1.0


def outcome_of(command: Command, seen: Reading | str, holds: Holds, *, is_pulse: bool) -> Outcome:
    """What can be said of a command of which a write was begun. Pure.

    A sequence or a pulse has more than one moment at which it could have been cut off: it is never called done.
    """
    action = command.envelope.action
    if isinstance(action, WriteTag) and not is_pulse:
        return resolved(command.before, seen, holds)
    what = "a pulse" if is_pulse else f"{command.writes} of the steps that write or call"
    said = "" if isinstance(seen, str) else f"; the tag holds {seen.value!r}"
    after = None if isinstance(seen, str) else seen.value
    return Outcome(CommandState.UNKNOWN, f"the agent ended after it had begun {what}{said}", after)


class Recovery:
    """Brings what an earlier start left open to its end."""

    def __init__(
        self, journal: JournalAccess, executor: Executor, plant: Plant, targets: Targets, clock: Clock
    ) -> None:
        self._journal = journal
        self._executor = executor
        self._plant = plant
        self._targets = targets
        self._clock = clock

    async def run(self, clock_known: asyncio.Event, open_commands: list[Command]) -> None:
        """Settle ``open_commands``; returns when each has ended or was handed over.

        ``clock_known`` is set when the cloud has told its time: what it has sent waits for that, so that it is not
        refused for want of a clock alone.
        """
        begun: dict[str, list[Command]] = {}
        for command in open_commands:
            if command.writes:
                begun.setdefault(command.envelope.action.device, []).append(command)
        self._executor.free(*[device for device in (*self._targets.devices, FOR_AGENT, NOWHERE) if device not in begun])
        async with Tasks() as tasks:
            for device, commands in begun.items():
                tasks.create_task(self._look_all(device, commands), name=f"recovery of {device}")
            for command in open_commands:
                if not command.writes:
                    await self._hand_over(command, clock_known)

    async def _hand_over(self, command: Command, clock_known: asyncio.Event) -> None:
        if command.source == "cloud":
            await clock_known.wait()
        while self._executor.room == 0:  # noqa: ASYNC110  it is seldom, and nobody waits for it
            await asyncio.sleep(RETRY_S)
        approvers = await self._approvers(command)
        now = await self._again(command)
        if now.state in (CommandState.RECEIVED, CommandState.EXECUTING):
            self._executor.submit(now, approvers)

    async def _look_all(self, device: str, commands: list[Command]) -> None:
        """No other command to the device is done before: what it then held would say nothing."""
        for command in commands:
            if not await self._look(command):
                return  # the agent ends, or somebody has to come: nothing else is done before
        self._executor.free(device)

    async def _look(self, command: Command) -> bool:
        """Settle a command; false when that is left to a later start."""
        action = command.envelope.action
        if isinstance(action, AgentAction):
            work = self._executor.work.actions.get(action.do)
            unknown = Outcome(CommandState.UNKNOWN, f"this agent cannot do {action.do!r}, and an earlier one had begun")
            outcome = unknown if work is None else await work.recovered(command)
            if outcome is not None:
                await self._executor.settle(command, outcome)
            return outcome is not None
        is_pulse = False
        holds: Holds = _nothing_holds
        reading: Reading | str = "it is a sequence"
        if isinstance(action, WriteTag):
            settings = self._targets.tag(action.device, action.tag)
            is_pulse = settings is not None and settings.writable is not None and settings.writable.pulse is not None
            reading = await self._read(action.device, action.tag)
            if settings is not None:
                holds = self._executor.work.holds(action.device, action.tag, action.value)
            else:
                reading = "the device file has it no more"
        found = outcome_of(command, reading, holds, is_pulse=is_pulse)
        if isinstance(action, WriteTag) and is_pulse and not isinstance(reading, str) and holds(reading.value):
            found = await self._end_pulse(command, action, found, holds)
        await self._executor.settle(command, found)
        return True

    async def _end_pulse(self, command: Command, action: WriteTag, found: Outcome, holds: Holds) -> Outcome:
        """A button must not stay pressed: what the pulse has set is written back, once, and by no later start."""
        if command.before is None or holds(command.before):
            return replace(found, detail=f"{found.detail}, as it may have done before; it is not written back")
        if command.writes > 1:
            return replace(found, detail=f"{found.detail}; it was written back before, or that was begun")
        try:
            back = await self._executor.work.end_pulse(
                command, action, found.after, lambda: self._executor.refused_to_end(command)
            )
        except JournalUnavailable as exc:
            return replace(found, detail=f"{found.detail}; it is not written back: {exc}")
        except StateGoesBack:
            return found  # a new journal was begun meanwhile, in which it has ended: nothing is written beside it
        if isinstance(back, Refused):
            return replace(found, detail=f"{found.detail}; it is not written back: {back.detail}")
        said = "it is written back" if back.is_done else f"it was written back, which is {back.state}: {back.detail}"
        return replace(found, detail=f"{found.detail}; {said}", after=back.after)

    async def _read(self, device: str, tag: str) -> Reading | str:
        end_s = self._clock.monotonic_s() + DEVICE_S_MAX
        while True:
            writer = self._plant.writer(device)
            seen = f"{device} cannot be read" if writer is None else await read_now(writer, TagName(tag))
            if not isinstance(seen, str) or self._clock.monotonic_s() >= end_s:
                return seen
            await asyncio.sleep(RETRY_S)

    async def _approvers(self, command: Command) -> tuple[str, ...]:
        while True:
            try:
                return await self._journal.call(lambda journal: journal.approvers(command.number))
            except JournalUnavailable:
                await asyncio.sleep(RETRY_S)

    async def _again(self, command: Command) -> Command:
        """As the journal has it now: meanwhile it may have been begun anew."""
        while True:
            try:
                return await self._journal.call(lambda journal: journal.command(command.id) or command)
            except JournalUnavailable:
                await asyncio.sleep(RETRY_S)


def _nothing_holds(_value: Value | None) -> bool:
    return False
