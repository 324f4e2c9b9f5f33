"""A version of a device file is tried without a restart where a reload is possible; whatever happens, one report."""

from __future__ import annotations

import asyncio
from pathlib import Path

from connectors.commands.states import CommandState
from tests.unit.commands.files_box import NAME, PRESS, Box, Start, living, sha
from tests.unit.commands.played_line import until
from tests.virtual_time import virtual_time

FASTER = PRESS.replace("endpoint: tcp://127.0.0.1:502\n", "endpoint: tcp://127.0.0.1:502\n  poll: 100ms\n")
assert FASTER != PRESS


def reloading(box: Box) -> Start:
    start = box.start()
    start.reloads_in_place()
    return start


def starts_of_trial(start: Start) -> int | None:
    trial = start.files.store.records().running
    return None if trial is None else trial.starts


@virtual_time
async def test_a_version_is_in_use_without_a_restart_when_what_was_read_is_read_with_it(tmp_path: Path) -> None:
    box = Box(tmp_path)
    async with living(reloading(box)) as start:
        id_ = start.ask(box.version(FASTER, 7, replaces=sha(PRESS)))
        await until(lambda: start.reloads)
        assert (start.content, starts_of_trial(start)) == (FASTER, 1)
        report = await start.done(id_)
        assert (report.state, report.detail) == (CommandState.SUCCEEDED, f"{NAME} version 7 is in use")
        assert start.clock.monotonic_s() >= 60.0, "not before the health time is over"
        assert (start.restarts, start.reloads) == ([], 1)
        again = start.ask(box.version(PRESS, 8))
        assert (await start.done(again)).state is CommandState.SUCCEEDED
        assert (start.restarts, start.reloads, box.content) == ([], 2, PRESS)
    async with living(box.start()) as start:
        await asyncio.sleep(100.0)
        assert (start.restarts, box.content) == ([], PRESS)


@virtual_time
async def test_while_a_version_is_tried_commands_to_the_machines_are_done(tmp_path: Path) -> None:
    box = Box(tmp_path)
    async with living(reloading(box)) as start:
        id_ = start.ask(box.version(FASTER, replaces=sha(PRESS)))
        await until(lambda: start.reloads)
        async with asyncio.timeout(10.0):
            await start.commands.executor.gate.passed()
        assert start.clock.monotonic_s() < 60.0
        await start.done(id_)


@virtual_time
async def test_a_version_with_which_a_device_is_not_read_any_more_is_put_back_without_a_restart(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.reads_with[FASTER] = set()
    async with living(reloading(box)) as start:
        report = await start.done(start.ask(box.version(FASTER, replaces=sha(PRESS))))
        assert report.state is CommandState.FAILED
        assert report.detail == f"{NAME} version 1 was rolled back: not read within 60 s, and was before: press"
        assert (box.content, start.content) == (PRESS, PRESS)
        assert (start.restarts, start.reloads) == ([], 2)


@virtual_time
async def test_killed_in_the_trial_the_file_is_put_back_before_it_is_read(tmp_path: Path) -> None:
    box = Box(tmp_path)
    async with living(reloading(box), dies=True) as start:
        id_ = start.ask(box.version(FASTER, replaces=sha(PRESS)))
        await until(lambda: start.reloads)
    assert box.content == FASTER
    async with living(reloading(box)) as start:
        assert (box.content, start.content) == (PRESS, PRESS)
        report = await start.done(id_)
        assert report.state is CommandState.FAILED
        assert "the agent ended in the trial without having been asked to" in report.detail


@virtual_time
async def test_an_end_that_was_asked_for_in_the_trial_has_the_next_start_try_it(tmp_path: Path) -> None:
    box = Box(tmp_path)
    async with living(reloading(box)) as start:
        id_ = start.ask(box.version(FASTER, replaces=sha(PRESS)))
        await until(lambda: start.reloads)
        start.files.store.stopped()  # what the program does at its end
    async with living(reloading(box)) as start:
        assert start.content == FASTER
        assert (await start.done(id_)).state is CommandState.SUCCEEDED
        assert start.restarts == []


@virtual_time
async def test_where_a_reload_is_not_possible_a_start_tries_the_version(tmp_path: Path) -> None:
    box = Box(tmp_path)
    async with living(reloading(box)) as start:
        start.not_reloaded = "a defect of the agent"
        id_ = start.ask(box.version(FASTER, replaces=sha(PRESS)))
        await until(lambda: start.restarts)
        assert start.restarts == [f"{NAME} is tried by a start, as a reload was not possible: a defect of the agent"]
        start.files.store.stopped()
    async with living(reloading(box)) as start:
        report = await start.done(id_)
        assert (report.state, report.detail) == (CommandState.SUCCEEDED, f"{NAME} version 1 is in use")


@virtual_time
async def test_what_is_put_back_and_cannot_be_reloaded_is_used_by_a_start(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.reads_with[FASTER] = set()
    async with living(reloading(box)) as start:
        id_ = start.ask(box.version(FASTER, replaces=sha(PRESS)))
        await until(lambda: start.reloads)
        start.not_reloaded = "busy"
        await until(lambda: start.restarts)
        assert "failed" not in start.states(id_), "the file before is not in use yet"
    assert box.content == PRESS
    async with living(reloading(box)) as start:
        assert (await start.done(id_)).state is CommandState.FAILED
