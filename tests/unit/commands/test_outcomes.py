"""What a device does with a write, and what is then said of it: it was read, or nobody knows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from connectors.commands.envelope import RunCommand
from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from connectors.ports.device import Value
from tests.unit.commands.played_line import Line, running
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_device_that_refuses_has_failed_and_is_not_asked_again(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.refuses = True
        report = await line.done(line.send(line.envelope()).id)
    assert (report.state, report.before, report.after) == (CommandState.FAILED, 5, None)
    assert report.detail == "the device has refused it: exception 2, illegal data address"
    assert line.press.writes == []


@virtual_time
async def test_a_device_that_holds_another_value_has_failed_after_the_time_in_the_file(
    tmp_path: Path,
) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.keeps = True
        begun_s = line.clock.monotonic_s()
        report = await line.done(line.send(line.envelope("speed", 7)).id)
        assert 2.0 <= line.clock.monotonic_s() - begun_s < 2.5
    assert (report.state, report.after) == (CommandState.FAILED, 5)
    assert line.press.writes == [("speed", 7)]


@virtual_time
async def test_a_device_that_takes_its_time_to_hold_the_value_has_succeeded(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.keeps = True
        envelope = line.send(line.envelope("speed", 7))
        await asyncio.sleep(1.5)
        line.press.holds["speed"] = 7
        assert (await line.done(envelope.id)).state is CommandState.SUCCEEDED


@pytest.mark.parametrize(
    ("before", "arrives", "state"),
    [
        (5, True, CommandState.SUCCEEDED),  # it has changed to the value, so it was done
        (5, False, CommandState.UNKNOWN),
        (7, True, CommandState.UNKNOWN),  # it held the value before: nobody can say
        (7, False, CommandState.UNKNOWN),
    ],
)
def test_a_write_that_nobody_answers_is_never_repeated(
    tmp_path: Path, before: Value, arrives: bool, state: CommandState
) -> None:
    @virtual_time
    async def scene() -> None:
        async with running(Line(tmp_path)) as line:
            line.press.holds["speed"] = before
            line.press.answers, line.press.is_lost_before = False, not arrives
            report = await line.done(line.send(line.envelope("speed", 7)).id)
            await asyncio.sleep(60.0)
        assert report.state is state
        assert report.after == (7 if arrives else before)
        assert line.press.writes == ([("speed", 7)] if arrives else [])

    scene()


@virtual_time
async def test_what_is_written_and_cannot_be_read_back_is_unknown(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:

        def lose() -> None:
            line.press.is_away = True

        line.press.when_written = lose
        report = await line.done(line.send(line.envelope("speed", 7)).id)
    assert report.state is CommandState.UNKNOWN
    assert line.press.writes == [("speed", 7)]


@virtual_time
async def test_a_value_within_the_tolerance_of_the_file_is_the_value(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.keeps = True
        line.press.holds["level"] = 2.05
        assert (await line.done(line.send(line.envelope("level", 2.0)).id)).state is CommandState.SUCCEEDED
        line.press.holds["level"] = 2.2
        assert (await line.done(line.send(line.envelope("level", 2.0)).id)).state is CommandState.FAILED


@virtual_time
async def test_a_pulse_goes_and_comes_back_once(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        report = await line.done(line.send(line.envelope("go", True)).id)
    assert (report.state, report.after) == (CommandState.SUCCEEDED, False)
    assert line.press.writes == [("go", True), ("go", False)]


@virtual_time
async def test_a_pulse_that_has_begun_is_ended_when_the_agent_stops(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.send(line.envelope("go", True))
        await asyncio.sleep(0.3)
        assert line.press.writes == [("go", True)]
    assert line.press.writes == [("go", True), ("go", False)]


@virtual_time
async def test_a_pulse_that_is_not_answered_is_not_repeated_but_ended(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.answers, line.press.is_lost_before = False, True
        report = await line.done(line.send(line.envelope("go", True)).id)
    assert report.state is CommandState.UNKNOWN
    assert line.press.writes == []


STEPS_OF_OTHER_TAGS = {
    "commands": {
        "kick": {"steps": ({"write": "go", "value": True}, {"write": "lamp", "value": True})},
        "share": {"steps": ({"write": "shared", "value": 7},)},
        "aim": {"steps": ({"write": "armed", "value": 7},)},
    }
}


@virtual_time
async def test_a_pulse_in_a_named_command_comes_back_before_the_next_step(tmp_path: Path) -> None:
    async with running(Line(tmp_path, device=STEPS_OF_OTHER_TAGS)) as line:
        kick = RunCommand(device="press", command="kick")
        report = await line.done(line.send(line.envelope(action=kick)).id)
    assert report.state is CommandState.SUCCEEDED
    assert line.press.writes == [("go", True), ("go", False), ("lamp", True)]


@virtual_time
async def test_a_named_command_needs_what_the_tags_need_that_it_writes(tmp_path: Path) -> None:
    async with running(Line(tmp_path, device=STEPS_OF_OTHER_TAGS)) as line:
        aimed = await line.done(line.send(line.envelope(action=RunCommand(device="press", command="aim"))).id)
        assert aimed.code is Refusal.NOT_ARMED
        shared = line.send(line.envelope(action=RunCommand(device="press", command="share")))
        await asyncio.sleep(5.0)
        assert line.states(shared.id) == ["received", "received"], "it waits for a second person"
        await line.commands.operators.approve(shared.id, "dora")
        assert (await line.done(shared.id)).state is CommandState.SUCCEEDED
    assert line.press.writes == [("shared", 7)]


@virtual_time
async def test_a_lock_holds_also_for_what_has_passed_its_checks_and_reads_the_tag_before_it_writes(
    tmp_path: Path,
) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.read_s = 5.0
        envelope = line.send(line.envelope("speed", 7))
        await asyncio.sleep(2.0)
        await line.commands.operators.lock("press", "the door is open", "carla")
        report = await line.done(envelope.id)
    assert (report.state, report.code) == (CommandState.REFUSED, Refusal.LOCKED)
    assert line.press.writes == []


@virtual_time
async def test_a_command_whose_time_is_up_while_the_tag_is_read_is_not_done(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.read_s = 5.0
        report = await line.done(line.send(line.envelope("speed", 7, expires_ms=line.now_ms() + 3_000)).id)
    assert report.state is CommandState.EXPIRED
    assert line.press.writes == []


@virtual_time
async def test_a_lock_stops_a_named_command_before_its_next_step(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        envelope = line.send(line.start(3))
        await asyncio.sleep(2.0)
        assert line.press.writes == [("speed", 3)], "it waits"
        await line.commands.operators.lock("press", "the door is open", "carla")
        line.press.holds["state"] = 2
        report = await line.done(envelope.id)
    assert report.state is CommandState.FAILED
    assert "carla has locked press: the door is open; 'otherwise' is not done either" in report.detail
    assert line.press.writes == [("speed", 3)]


@virtual_time
async def test_a_named_command_does_its_steps_in_their_order(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        envelope = line.send(line.start(3))
        await asyncio.sleep(2.0)
        assert line.press.writes == [("speed", 3)], "it waits"
        line.press.holds["state"] = 2
        report = await line.done(envelope.id)
    assert report.state is CommandState.SUCCEEDED, report
    assert line.press.writes == [("speed", 3), ("lamp", True)]
    assert line.press.calls == [("ns=2;s=Begin", (3,))]
    details = [step["detail"] for step in line_steps(line, envelope.id) if step["step"] == 0]
    assert details == ["speed := 3", "lamp := True", "call ns=2;s=Begin with [3]"], "each was journalled"


@virtual_time
async def test_a_step_that_fails_is_followed_by_what_the_file_says_for_that(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        report = await line.done(line.send(line.start(3)).id)
    assert report.state is CommandState.FAILED
    assert report.detail.startswith("step 2 of 4: waited 5 s")
    assert report.detail.endswith("'otherwise' is done")
    assert line.press.writes == [("speed", 3), ("speed", 0)]


@virtual_time
async def test_a_named_command_that_an_interlock_keeps_from_beginning_writes_nothing(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.press.holds["state"] = 1
        assert (await line.done(line.send(line.start(3)).id)).code == "interlocked"
    assert (line.press.writes, line.press.calls) == ([], [])


def line_steps(line: Line, id_: str) -> list[dict[str, object]]:
    from edge_agent.commands.journal import Journal

    journal = Journal(line.journal.journal.path, start="f" * 16, now_ms=0)
    try:
        command = journal.command(id_)
        assert command is not None
        return journal.steps(command.number)
    finally:
        journal.close()
