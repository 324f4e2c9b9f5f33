"""The agent ends at any step of a command, and starts again: nothing is written twice, and what is said is so."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from connectors.ports.device import Value
from edge_agent.commands.journal_rows import Intake
from tests.unit.commands.played_line import Line, PlayedPress, running, until
from tests.virtual_time import virtual_time


def journalled(
    line: Line, *, writes: int = 0, tag: str = "speed", before: Value | None = 5, expires_s: float = 60.0
) -> str:
    """A command that the journal has, as an agent left it that ended there; its id."""
    envelope = line.envelope(tag, True if tag == "go" else 7, expires_ms=line.now_ms() + round(expires_s * 1000))
    journal = line.journal.journal
    (taken,) = journal.take([Intake(envelope, "cloud", "anna")], line.now_ms())
    for _ in range(writes):
        journal.writing(taken.command.number, line.now_ms(), before=before, detail="speed := 7")
    journal.close()
    return envelope.id


def files(folder: Path) -> list[Path]:
    """Those of the journal."""
    return list(folder.glob("commands.db*"))


@virtual_time
async def test_what_was_received_and_not_begun_is_checked_anew_and_done(tmp_path: Path) -> None:
    id_ = journalled(Line(tmp_path))
    async with running(Line(tmp_path, start=2)) as line:
        assert (await line.done(id_)).state is CommandState.SUCCEEDED
        assert line.states(id_) == ["received", "executing", "succeeded"], "also what the earlier start did not tell"
    assert line.press.writes == [("speed", 7)]


@virtual_time
async def test_what_was_not_begun_and_has_expired_is_expired(tmp_path: Path) -> None:
    id_ = journalled(Line(tmp_path), expires_s=-1.0)
    async with running(Line(tmp_path, start=2)) as line:
        assert (await line.done(id_)).state is CommandState.EXPIRED
    assert line.press.writes == []


@virtual_time
async def test_what_was_not_begun_waits_for_the_clouds_time_however_long_that_takes(tmp_path: Path) -> None:
    id_ = journalled(Line(tmp_path), expires_s=7200.0)
    async with running(Line(tmp_path, start=2), knows_time=False) as line:
        await asyncio.sleep(3600.0)
        assert line.states(id_) == ["received"]
        await until(lambda: line.hellos)
        line.commands.connected()
        count = len(line.hellos)
        await until(lambda: len(line.hellos) > count)
        line.tell_time()
        assert (await line.done(id_)).state is CommandState.SUCCEEDED


@pytest.mark.parametrize(
    ("before", "held", "state"),
    [
        (5, 7, CommandState.SUCCEEDED),
        (5, 5, CommandState.UNKNOWN),
        (5, 6, CommandState.UNKNOWN),
        (7, 7, CommandState.UNKNOWN),
        (None, 7, CommandState.UNKNOWN),
    ],
)
def test_what_was_begun_is_never_written_again_and_told_by_what_the_tag_holds(
    tmp_path: Path, before: Value | None, held: Value, state: CommandState
) -> None:
    @virtual_time
    async def scene() -> None:
        id_ = journalled(Line(tmp_path), writes=1, before=before)
        press = PlayedPress()
        press.holds["speed"] = held
        async with running(Line(tmp_path, press, start=2), knows_time=False) as line:
            report = await line.done(id_)
            line.send(line.envelope(id=id_))
            await asyncio.sleep(60.0)
        assert (report.state, report.after) == (state, held)
        assert press.writes == []

    scene()


@virtual_time
async def test_a_device_that_comes_late_is_waited_for_and_commands_to_it_wait_too(tmp_path: Path) -> None:
    id_ = journalled(Line(tmp_path), writes=1)
    press = PlayedPress()
    press.is_away = True
    press.holds["speed"] = 7
    async with running(Line(tmp_path, press, start=2)) as line:
        later = line.send(line.envelope("speed", 9))
        await asyncio.sleep(30.0)
        press.is_away = False
        assert (await line.done(id_)).state is CommandState.SUCCEEDED
        assert (await line.done(later.id)).state is CommandState.SUCCEEDED
    assert press.writes == [("speed", 9)]


@virtual_time
async def test_a_device_that_does_not_come_leaves_it_unknown(tmp_path: Path) -> None:
    id_ = journalled(Line(tmp_path), writes=1)
    press = PlayedPress()
    press.is_away = True
    async with running(Line(tmp_path, press, start=2)) as line:
        report = await line.done(id_)
    assert (report.state, report.after) == (CommandState.UNKNOWN, None)
    assert "cannot be read" in report.detail


@virtual_time
async def test_a_pulse_that_was_cut_off_is_unknown_not_repeated_and_ended(tmp_path: Path) -> None:
    id_ = journalled(Line(tmp_path), writes=1, tag="go", before=False)
    press = PlayedPress()
    press.holds["go"] = True
    async with running(Line(tmp_path, press, start=2)) as line:
        report = await line.done(id_)
    assert (report.state, report.after) == (CommandState.UNKNOWN, False)
    assert "it is written back" in report.detail
    assert press.writes == [("go", False)]


@virtual_time
@pytest.mark.parametrize(
    ("writes", "before", "held", "said"),
    [
        (1, False, False, "the tag holds False"),
        (1, True, True, "as it may have done before"),
        (1, None, True, "as it may have done before"),
        (2, False, True, "it was written back before, or that was begun"),
    ],
    ids=["it has come back", "it was pressed before", "nobody knows what it was", "its end was begun"],
)
async def test_a_pulse_that_was_cut_off_is_left_as_it_is_where_its_end_is_not_owed(
    tmp_path: Path, writes: int, before: bool | None, held: bool, said: str
) -> None:
    id_ = journalled(Line(tmp_path), writes=writes, tag="go", before=before)
    press = PlayedPress()
    press.holds["go"] = held
    async with running(Line(tmp_path, press, start=2)) as line:
        report = await line.done(id_)
    assert (report.state, report.after, press.writes) == (CommandState.UNKNOWN, held, [])
    assert said in report.detail


@virtual_time
async def test_a_pulse_that_was_cut_off_on_a_line_that_is_locked_is_left_as_it_is(tmp_path: Path) -> None:
    earlier = Line(tmp_path)
    earlier.journal.journal.lock("press", "the door is open", "carl", earlier.now_ms())
    id_ = journalled(earlier, writes=1, tag="go", before=False)
    press = PlayedPress()
    press.holds["go"] = True
    async with running(Line(tmp_path, press, start=2)) as line:
        report = await line.done(id_)
    assert (report.state, report.after, press.writes) == (CommandState.UNKNOWN, True, [])
    assert "carl has locked press" in report.detail


@virtual_time
async def test_the_end_of_a_pulse_is_in_the_journal_before_it_is_written(tmp_path: Path) -> None:
    id_ = journalled(Line(tmp_path), writes=1, tag="go", before=False)
    press = PlayedPress()
    press.holds["go"] = True
    line = Line(tmp_path, press, start=2)
    begun: list[int] = []
    press.when_written = lambda: begun.append(line.journal.journal.unfinished()[0].writes)
    async with running(line):
        await line.done(id_)
    assert begun == [2]


@virtual_time
async def test_a_pulse_whose_journal_is_begun_anew_before_its_end_is_left_as_it_is_and_others_go_on(
    tmp_path: Path,
) -> None:
    id_ = journalled(Line(tmp_path), writes=1, tag="go", before=False)
    press = PlayedPress()
    press.holds["go"], press.read_s = True, 5.0
    async with running(Line(tmp_path, press, start=2), knows_time=False) as line:
        await until(lambda: line.hellos)
        line.tell_time(restored=True)
        report = await line.done(id_)
        await asyncio.sleep(30.0)
        line.tell_time()
        await until(lambda: line.commands.is_clock_known)
        answer = await line.commands.operators.write("press", "speed", 9, "on with it", "carla")
        assert (await line.done(answer["id"])).state is CommandState.SUCCEEDED
    assert (report.state, press.writes) == (CommandState.UNKNOWN, [("speed", 9)])


@virtual_time
async def test_a_sequence_that_was_cut_off_is_unknown_and_not_gone_on_with(tmp_path: Path) -> None:
    line = Line(tmp_path)
    async with running(line):
        envelope = line.send(line.start(3))
        await asyncio.sleep(1.0)
        assert line.press.writes == [("speed", 3)]
    async with running(Line(tmp_path, line.press, start=2)) as again:
        report = await again.done(envelope.id)
        await asyncio.sleep(60.0)
    assert report.state is CommandState.UNKNOWN
    assert line.press.writes == [("speed", 3)]


@virtual_time
async def test_an_image_of_the_disk_that_was_restored_makes_unknown_what_had_not_ended(tmp_path: Path) -> None:
    line = Line(tmp_path)
    id_ = journalled(line)
    image = tmp_path / "image"
    image.mkdir()
    for file in files(tmp_path):
        shutil.copy(file, image)
    async with running(Line(tmp_path, line.press, start=2)) as first:
        await first.done(id_)
        known = first.hellos[-1].journal
    assert line.press.writes == [("speed", 7)]
    for file in files(image):
        shutil.copy(file, tmp_path)
    async with running(Line(tmp_path, line.press, start=3), knows_time=False) as restored:
        await until(lambda: restored.hellos)
        assert restored.hellos[0].journal == known
        assert restored.hellos[0].open == (id_,)
        assert restored.hellos[0].previous != f"{2:016x}", "the cloud sees that a start is missing"
        restored.tell_time(restored=True)
        report = await restored.done(id_)
        assert report.state is CommandState.UNKNOWN
        await until(lambda: restored.hellos[-1].journal != known)
        assert report.journal == restored.hellos[-1].journal
        old = restored.send(restored.envelope(journal=known))
        assert (await restored.done(old.id)).code is Refusal.JOURNAL_MISMATCH
        new = restored.send(restored.envelope("speed", 8, journal=restored.hellos[-1].journal))
        assert (await restored.done(new.id)).state is CommandState.SUCCEEDED
    assert line.press.writes == [("speed", 7), ("speed", 8)], "what the image had open was not done a second time"


@virtual_time
async def test_locks_survive_a_restart_and_are_told_to_the_cloud(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        count = len(line.hellos)
        await line.commands.operators.lock("press", "hands in the press", "carla")
        await until(lambda: len(line.hellos) > count)
        assert line.hellos[-1].locks == ("press",)
    async with running(Line(tmp_path, start=2)) as again:
        assert (await again.done(again.send(again.envelope()).id)).code is Refusal.LOCKED
        assert again.hellos[0].locks == ("press",)
    assert again.press.writes == []


@virtual_time
async def test_reports_that_the_outbox_does_not_take_are_told_when_it_does(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.records.failures = 5
        envelope = line.send(line.envelope())
        assert (await line.done(envelope.id)).state is CommandState.SUCCEEDED
        assert line.clock.monotonic_s() >= 5.0
        assert line.states(envelope.id) == ["received", "executing", "succeeded"]


@virtual_time
async def test_an_end_that_the_journal_does_not_take_is_kept_until_it_does(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:

        def fill() -> None:
            line.journal.is_full = True

        line.press.when_written = fill
        envelope = line.send(line.envelope())
        await asyncio.sleep(20.0)
        assert line.commands.executor.blocked_reason
        assert line.states(envelope.id) in (["received", "executing"], ["received"])
        line.journal.is_full = False
        assert (await line.done(envelope.id)).state is CommandState.SUCCEEDED
        assert not line.commands.executor.blocked_reason
    assert line.press.writes == [("speed", 7)]


@virtual_time
async def test_a_damaged_journal_is_set_aside_and_a_new_one_has_another_id(tmp_path: Path) -> None:
    line = Line(tmp_path)
    async with running(line):
        await line.done(line.send(line.envelope()).id)
        known = line.hellos[-1].journal
    (tmp_path / "commands.db").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    async with running(Line(tmp_path, line.press, start=2)) as again:
        assert again.hellos[-1].journal != known
        assert again.hellos[-1].previous == ""
        assert (await again.done(again.send(again.envelope(journal=known)).id)).code is Refusal.JOURNAL_MISMATCH
    assert [path for path in files(tmp_path) if ".damaged-" in path.name]
    assert line.press.writes == [("speed", 7)]
