"""A device file's trial on a disk that fails for a while, and on a file that somebody edits meanwhile."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from edge_agent.config import file_store
from tests.unit.commands.files_box import NAME, PRESS, Box, living, sha
from tests.unit.commands.played_line import until
from tests.unit.commands.test_apply_file import FASTER, ask_and_restart
from tests.virtual_time import virtual_time


@contextmanager
def refusing(what: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The disk takes nothing for ``what``; how often it was asked to."""
    asked = [0]
    real = file_store.replace_file

    def refuse(beside: Path, path: Path, content: bytes, *, mode: int) -> None:
        if path == what:
            asked[0] += 1
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(beside, path, content, mode=mode)

    with monkeypatch.context() as patched:
        patched.setattr(file_store, "replace_file", refuse)
        yield asked


@virtual_time
async def test_a_file_that_the_disk_does_not_let_be_put_back_is_put_back_when_it_does_and_not_reported_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(tmp_path)
    box.reads_with[FASTER] = set()
    id_ = await ask_and_restart(box, FASTER, replaces=sha(PRESS))
    async with living(box.start()) as start:
        with refusing(box.file, monkeypatch) as asked:
            await until(lambda: asked[0] >= 5)
            assert (start.restarts, box.content) == ([], FASTER)
            assert not {"failed", "succeeded"} & set(start.states(id_)), "it is in use still"
        await until(lambda: start.restarts)
        assert box.content == PRESS
    async with living(box.start()) as start:
        report = await start.done(id_)
        assert report.state is CommandState.FAILED
        assert report.detail == f"{NAME} version 1 was rolled back: not read within 60 s, and was before: press"
        await asyncio.sleep(100.0)
        assert start.restarts == []


@virtual_time
async def test_what_a_start_could_not_put_back_is_put_back_while_it_runs_and_it_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(tmp_path)
    id_ = await ask_and_restart(box, FASTER, replaces=sha(PRESS))
    async with living(box.start(), dies=True):
        await asyncio.sleep(10.0)
    with refusing(box.file, monkeypatch):
        start = box.start()
        assert "cannot be looked after" in start.notes[0]
    async with living(start):
        await until(lambda: start.restarts)
        assert box.content == PRESS
        assert not {"failed", "succeeded"} & set(start.states(id_))
    async with living(box.start()) as start:
        assert "without having been asked to" in (await start.done(id_)).detail
        await asyncio.sleep(100.0)
        assert (start.restarts, box.content) == ([], PRESS)


@virtual_time
async def test_a_version_that_proved_good_is_kept_when_the_disk_takes_note_of_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(tmp_path)
    id_ = await ask_and_restart(box, FASTER, replaces=sha(PRESS))
    async with living(box.start()) as start:
        with refusing(start.files.store.folder / "state.json", monkeypatch) as asked:
            await until(lambda: asked[0] >= 5)
        assert (await start.done(id_)).state is CommandState.SUCCEEDED
        assert start.restarts == []
    assert box.content == FASTER


@pytest.mark.parametrize("steps", range(4))
def test_an_end_that_was_asked_for_before_the_trial_is_watched_is_no_crash(steps: int, tmp_path: Path) -> None:
    @virtual_time
    async def scenario() -> None:
        box = Box(tmp_path)
        id_ = await ask_and_restart(box, FASTER, replaces=sha(PRESS))
        start = box.start()
        start.journal.journal.close()
        watching = asyncio.create_task(start.work.run())
        for _ in range(1 + steps):
            await asyncio.sleep(0)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        async with living(box.start()) as start:
            assert (await start.done(id_)).state is CommandState.SUCCEEDED
        assert box.content == FASTER

    scenario()


@virtual_time
async def test_an_edit_between_the_check_and_the_write_is_not_written_over(tmp_path: Path) -> None:
    box = Box(tmp_path)
    by_hand = PRESS.replace("max: 250", "max: 100")
    async with living(box.start()) as start:
        start.press.write_s = 3.0
        start.send(start.envelope("speed", 1))
        await asyncio.sleep(0.5)
        id_ = start.ask(box.version(FASTER, replaces=sha(PRESS)))
        await asyncio.sleep(0.5)
        assert start.states(id_) == ["received"], "it is checked, and waits for what is being done"
        box.file.write_text(by_hand)
        report = await start.done(id_)
        assert report.state is CommandState.FAILED
        assert "was changed since" in report.detail
        assert (start.restarts, box.content) == ([], by_hand)
        await asyncio.sleep(30.0)
        report = await start.done(start.ask(box.version(FASTER, 2, replaces=sha(by_hand))))
        assert report.code is Refusal.FILE_TOO_WIDE, "compared with what is there now"
