"""A defect in one place ends neither the other commands nor what is known of this one."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from connectors.commands.states import CommandState
from edge_agent.commands.journal_file import JournalUnavailable
from edge_agent.commands.journal_rows import Taken
from tests.unit.commands.played_line import Line, running, until
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_defect_before_the_write_has_failed_and_the_next_command_is_done(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        read = line.press.read

        async def defect(tag: Any) -> Any:
            line.press.read = read  # type: ignore[method-assign]
            raise ZeroDivisionError("a defect")

        line.press.read = defect  # type: ignore[method-assign]
        first, second = line.send(line.envelope("speed", 1)), line.send(line.envelope("speed", 2))
        report = await line.done(first.id)
        assert (report.state, report.detail) == (
            CommandState.FAILED,
            "a defect of the agent: ZeroDivisionError: a defect",
        )
        assert (await line.done(second.id)).state is CommandState.SUCCEEDED
    assert line.press.writes == [("speed", 2)]


@virtual_time
async def test_a_defect_after_a_write_was_begun_is_unknown(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:

        def defect() -> None:
            line.press.when_written = lambda: None
            raise ZeroDivisionError("a defect")

        line.press.when_written = defect
        assert (await line.done(line.send(line.envelope("speed", 1)).id)).state is CommandState.UNKNOWN
    assert line.press.writes == [("speed", 1)]


@virtual_time
async def test_when_the_whole_part_is_started_again_what_it_held_is_taken_from_the_journal(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.press.write_s = 1.0
    task = asyncio.create_task(line.commands.run())
    await until(lambda: line.hellos)
    line.tell_time()
    await until(lambda: line.commands.is_clock_known)
    sent = [line.send(line.envelope("speed", value)) for value in range(5)]
    await asyncio.sleep(1.5)
    assert line.press.writes == [("speed", 0)]
    task.cancel()  # as if a defect had ended it
    with contextlib.suppress(asyncio.CancelledError):
        await task
    async with running(line):
        ends = [await line.done(envelope.id) for envelope in sent]
    assert [end.state.value for end in ends] == ["succeeded", "unknown", "succeeded", "succeeded", "succeeded"]
    assert line.press.writes == [("speed", 0), ("speed", 2), ("speed", 3), ("speed", 4)]


@virtual_time
async def test_a_command_to_a_device_that_there_is_not_does_not_wait_for_any(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.write_s = 20.0
        line.send(line.envelope("speed", 1))
        await asyncio.sleep(1.0)
        begun_s = line.clock.monotonic_s()
        other = line.envelope("speed", 1)
        action = other.action.model_copy(update={"device": "oven"})
        nowhere = line.send(line.envelope(action=action), device="oven")
        assert (await line.done(nowhere.id)).code == "unknown_target"
        assert line.clock.monotonic_s() - begun_s < 1.0


@virtual_time
async def test_keys_that_enrolment_writes_while_the_agent_runs_are_trusted_soon(tmp_path: Path) -> None:
    line = Line(tmp_path)
    content = (tmp_path / "trusted-keys.json").read_text()
    (tmp_path / "trusted-keys.json").unlink()
    async with running(line, knows_time=False):
        await until(lambda: line.hellos)
        assert line.commands.key_count == 0
        (tmp_path / "trusted-keys.json").write_text(content)
        await until(lambda: line.commands.key_count == 1)
        count = len(line.hellos)
        await until(lambda: len(line.hellos) > count)
        line.tell_time()
        await until(lambda: line.commands.is_clock_known)
        assert (await line.done(line.send(line.envelope()).id)).state is CommandState.SUCCEEDED


@virtual_time
async def test_a_command_that_a_failing_disk_has_taken_after_all_is_done_though_nobody_sends_it_again(
    tmp_path: Path,
) -> None:
    """The cloud hears that it was received, and sends it no more."""
    line = Line(tmp_path)
    async with running(line):
        journal = line.journal.journal
        take = journal.take

        def taken_after_all(*args: Any) -> list[Taken]:
            journal.take = take  # type: ignore[method-assign]
            take(*args)
            raise JournalUnavailable("disk I/O error")

        journal.take = taken_after_all  # type: ignore[method-assign]
        sent = line.send(line.envelope("speed", 7))
        assert (await line.done(sent.id, 10.0)).state is CommandState.SUCCEEDED
        assert line.states(sent.id) == ["received", "executing", "succeeded"]
        assert line.press.writes == [("speed", 7)]
