"""One command from its envelope to the device and back: what is written, journalled, and told to the cloud."""

from __future__ import annotations

import asyncio
from pathlib import Path

from connectors.commands.states import CommandState
from edge_agent.commands.checks import Authority
from tests.unit.commands.played_line import Line, running
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_write_is_journalled_written_once_read_back_and_reported(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        envelope = line.send(line.envelope("speed", 7))
        report = await line.done(envelope.id)
    assert line.states(envelope.id) == ["received", "executing", "succeeded"]
    assert (report.before, report.after, report.number, report.actor) == (5, 7, 1, "agent")
    assert line.press.writes == [("speed", 7)]
    assert [each.step for each in line.reports] == [1, 2, 3]


@virtual_time
async def test_the_write_is_in_the_journal_before_the_device_has_it(tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []
    async with running(Line(tmp_path)) as line:
        envelope = line.envelope("speed", 7)

        def look() -> None:
            command = line.journal.journal.command(envelope.id)
            assert command is not None
            seen.append((command.writes, command.state.value))

        line.press.when_written = look
        line.send(envelope)
        await line.done(envelope.id)
    assert seen == [(1, "executing")]


@virtual_time
async def test_what_comes_again_is_told_again_and_not_done_again(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        envelope = line.send(line.envelope("speed", 7))
        for _ in range(5):
            line.send(envelope)
        await line.done(envelope.id)
        before = len(line.reports)
        line.send(envelope)
        await asyncio.sleep(1.0)
        assert [each.state for each in line.reports[before:]] == [CommandState.SUCCEEDED]
        assert line.reports[-1].step == 3, "by the same step, so that the cloud knows it again"
    assert line.press.writes == [("speed", 7)]


@virtual_time
async def test_commands_to_one_device_are_done_in_their_order_and_never_two_at_once(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.write_s = 1.0
        envelopes = [line.send(line.envelope("speed", value)) for value in range(10)]
        for envelope in envelopes:
            await line.done(envelope.id)
    assert line.press.writes == [("speed", value) for value in range(10)]


@virtual_time
async def test_a_command_that_waits_can_be_taken_back_and_one_that_has_begun_cannot(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.write_s = 1.0
        first, second = line.send(line.envelope("speed", 7)), line.send(line.envelope("speed", 8))
        await asyncio.sleep(0.5)
        line.cancel(first.id)
        line.cancel(second.id)
        assert (await line.done(first.id)).state is CommandState.SUCCEEDED
        cancelled = await line.done(second.id)
        await asyncio.sleep(3.0)
    assert (cancelled.state, cancelled.actor, cancelled.detail) == (CommandState.CANCELLED, "berta", "not now")
    assert line.press.writes == [("speed", 7)]


@virtual_time
async def test_the_number_of_the_newest_command_is_known_to_the_next(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        for value in (1, 2, 3):
            await line.done(line.send(line.envelope("speed", value, number=value - 1)).id)
        assert line.commands._authority == Authority("plant/line", line.hellos[0].journal, 3)
    assert len(line.press.writes) == 3
