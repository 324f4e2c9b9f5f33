"""A version of a device file: tried by the next start, kept or put back, and reported by whichever start knows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from edge_agent.config import file_store
from tests.unit.commands.files_box import NAME, PRESS, Box, living, sha
from tests.unit.commands.played_line import end_here, until
from tests.virtual_time import virtual_time

FASTER = PRESS.replace("endpoint: tcp://127.0.0.1:502\n", "endpoint: tcp://127.0.0.1:502\n  poll: 100ms\n")
assert FASTER != PRESS


async def ask_and_restart(box: Box, content: str, version: int = 1, replaces: str | None = None) -> str:
    """The cloud sends a version, and the agent ends for it; the id of the command."""
    async with living(box.start()) as start:
        id_ = start.ask(box.version(content, version, replaces=replaces))
        await until(lambda: start.restarts or start.states(id_)[-1:] == ["refused"])
        assert start.restarts, start.reports
        assert "succeeded" not in start.states(id_)
        return id_


@virtual_time
async def test_a_version_is_in_use_when_what_was_read_before_is_read_with_it(tmp_path: Path) -> None:
    box = Box(tmp_path)
    id_ = await ask_and_restart(box, FASTER, replaces=sha(PRESS))
    assert box.content == FASTER
    async with living(box.start()) as start:
        await until(lambda: start.work.now and start.work.now[0].state == "trial")
        report = await start.done(id_)
        assert (report.state, report.detail) == (CommandState.SUCCEEDED, f"{NAME} version 1 is in use")
        assert start.clock.monotonic_s() >= 60.0, "not before the health time is over"
        assert start.restarts == []
        await until(lambda: start.hellos[-1].files and start.hellos[-1].files[0].state == "in_use")
        (file,) = start.hellos[-1].files or ()
        assert (file.name, file.version, file.sha256, file.loaded) == (NAME, 1, sha(FASTER), True)
    async with living(box.start()) as start:
        await asyncio.sleep(100.0)
        assert (start.restarts, box.content) == ([], FASTER)
        assert set(start.states(id_)) <= {"succeeded"}, "told once more at most, and the same"


@virtual_time
async def test_a_version_with_which_a_device_is_not_read_any_more_is_put_back_by_itself(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.reads_with[FASTER] = set()
    id_ = await ask_and_restart(box, FASTER, replaces=sha(PRESS))
    async with living(box.start()) as start:
        await until(lambda: start.restarts)
        assert start.clock.monotonic_s() >= 60.0
        assert "failed" not in start.states(id_), "the file before is not in use yet"
    assert box.content == PRESS
    async with living(box.start()) as start:
        report = await start.done(id_)
        assert report.state is CommandState.FAILED
        assert report.detail == (f"{NAME} version 1 was rolled back: not read within 60 s, and was before: press")
        await until(lambda: start.hellos[-1].files and start.hellos[-1].files[0].state == "failed")
        (file,) = start.hellos[-1].files or ()
        assert (file.version, file.sha256) == (0, sha(PRESS))
        assert "press" in file.message
        await asyncio.sleep(100.0)
        assert start.restarts == []


@virtual_time
async def test_a_device_that_was_not_read_before_does_not_count(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.reads = set()
    id_ = await ask_and_restart(box, FASTER, replaces=sha(PRESS))
    async with living(box.start()) as start:
        assert (await start.done(id_)).state is CommandState.SUCCEEDED


@virtual_time
async def test_a_crash_in_the_health_time_puts_it_back(tmp_path: Path) -> None:
    box = Box(tmp_path)
    id_ = await ask_and_restart(box, FASTER, replaces=sha(PRESS))
    async with living(box.start(), dies=True):
        await asyncio.sleep(30.0)
    assert box.content == FASTER
    async with living(box.start()) as start:
        assert box.content == PRESS, "before the configuration was read"
        report = await start.done(id_)
        assert report.state is CommandState.FAILED
        assert "the agent ended in the trial without having been asked to" in report.detail


@virtual_time
async def test_an_end_in_the_health_time_that_was_asked_for_begins_it_again(tmp_path: Path) -> None:
    box = Box(tmp_path)
    id_ = await ask_and_restart(box, FASTER, replaces=sha(PRESS))
    async with living(box.start()):
        await asyncio.sleep(30.0)
    async with living(box.start()) as start:
        assert (await start.done(id_)).state is CommandState.SUCCEEDED
        assert start.clock.monotonic_s() >= 60.0
    assert box.content == FASTER


@virtual_time
async def test_a_version_with_which_the_agent_cannot_start_is_put_back_and_it_starts(tmp_path: Path) -> None:
    box = Box(tmp_path)
    id_ = await ask_and_restart(box, FASTER, replaces=sha(PRESS))
    (tmp_path / "devices" / "other.yaml").write_text(PRESS)  # meanwhile: the press is there twice
    with pytest.raises(Exception, match="a second device is called"):
        box.start()
    (tmp_path / "devices" / "other.yaml").unlink()
    async with living(box.start()) as start:
        assert box.content == PRESS
        assert "the configuration was not valid with it" in (await start.done(id_)).detail


@virtual_time
async def test_the_same_content_again_needs_no_start(tmp_path: Path) -> None:
    box = Box(tmp_path)
    async with living(box.start()) as start:
        report = await start.done(start.ask(box.version(PRESS, 7)))
        assert (report.state, start.restarts) == (CommandState.SUCCEEDED, [])
        await until(lambda: start.work.now[0].version == 7)


@virtual_time
async def test_a_version_after_a_version_needs_no_name_of_what_it_replaces(tmp_path: Path) -> None:
    box = Box(tmp_path)
    first = await ask_and_restart(box, FASTER, replaces=sha(PRESS))
    async with living(box.start()) as start:
        await start.done(first)
        second = start.ask(box.version(PRESS, 2))
        await until(lambda: start.restarts)
    async with living(box.start()) as start:
        assert (await start.done(second)).state is CommandState.SUCCEEDED
    assert box.content == PRESS


@virtual_time
async def test_a_folder_that_cannot_be_written_is_said_and_nothing_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(tmp_path)

    def refuse(beside: Path, path: Path, content: bytes, *, mode: int) -> None:
        if path == box.file:
            raise PermissionError(13, "Permission denied", str(path))
        real(beside, path, content, mode=mode)

    real = file_store.replace_file
    monkeypatch.setattr(file_store, "replace_file", refuse)
    async with living(box.start()) as start:
        report = await start.done(start.ask(box.version(FASTER, replaces=sha(PRESS))))
        assert report.state is CommandState.FAILED
        assert "Permission denied" in report.detail
        assert (start.restarts, box.content) == ([], PRESS)


@pytest.mark.parametrize("count", range(1, 5))
def test_killed_at_any_write_of_the_beginning_it_is_failed_and_the_file_is_as_it_was(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @virtual_time
    async def scenario() -> None:
        box = Box(tmp_path)
        real, done = file_store.replace_file, 0

        def cut(beside: Path, path: Path, content: bytes, *, mode: int) -> None:
            nonlocal done
            done += 1
            if done == count:
                end_here()  # kill -9: nothing after it happens
            real(beside, path, content, mode=mode)

        async with living(box.start(), dies=True) as start:
            await until(lambda: start.work.now)
            monkeypatch.setattr(file_store, "replace_file", cut)
            id_ = start.ask(box.version(FASTER, replaces=sha(PRESS)))
            await until(lambda: done >= count)
            await asyncio.sleep(1.0)
            assert (start.restarts, box.content) == ([], PRESS)
        monkeypatch.undo()
        async with living(box.start()) as start:
            report = await start.done(id_)
            assert report.state is CommandState.FAILED
            assert (start.restarts, box.content) == ([], PRESS)
            await asyncio.sleep(5.0)
            again = start.ask(box.version(FASTER, 2, replaces=sha(PRESS)))
            await until(lambda: start.restarts)
        async with living(box.start()) as start:
            assert (await start.done(again)).state is CommandState.SUCCEEDED

    scenario()


@virtual_time
async def test_a_file_that_is_changed_at_the_box_is_told_and_protected(tmp_path: Path) -> None:
    box = Box(tmp_path)
    first = await ask_and_restart(box, FASTER, replaces=sha(PRESS))
    async with living(box.start()) as start:
        await start.done(first)
        by_hand = FASTER + "# by hand\n"
        box.file.write_text(by_hand)
        await until(lambda: start.hellos[-1].files and start.hellos[-1].files[0].state == "changed")
        (file,) = start.hellos[-1].files or ()
        assert (file.sha256, file.version, file.loaded) == (sha(by_hand), 0, False)
        report = await start.done(start.ask(box.version(PRESS, 2)))
        assert (report.state, report.code) == (CommandState.REFUSED, Refusal.FILE_DIFFERS)
        assert sha(by_hand) in report.detail
        assert "was changed at the box" in report.detail
        await asyncio.sleep(5.0)
        start.ask(box.version(PRESS, 3, replaces=sha(by_hand)))
        await until(lambda: start.restarts)
    assert box.content == PRESS


@virtual_time
async def test_after_a_reload_no_file_is_said_to_need_one(tmp_path: Path) -> None:
    box = Box(tmp_path)
    async with living(box.start()) as start:
        by_hand = PRESS + "# by hand\n"
        box.file.write_text(by_hand)
        await until(lambda: start.work.now and not start.work.now[0].loaded)
        start.files.adopt(("devices/*.yaml",), {box.file.resolve(): sha(by_hand)})
        start.work.look_soon()
        start.work.look_soon()
        await asyncio.sleep(0.5)
        assert [(file.name, file.loaded) for file in start.work.now] == [(NAME, True)]
