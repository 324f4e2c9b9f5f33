"""A stop ends whoever is to end, whatever else happens at that moment; and nothing ends that nobody has stopped."""

from __future__ import annotations

import ast
import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors import stopping
from connectors.model.errors import DatabaseUnavailable
from connectors.stopping import CancelledByNobody, Tasks, not_silently
from tests.virtual_time import virtual_time

ROOT = Path(__file__).parents[2]
CLOSES_S = 1.0


async def _fail(error: Exception) -> None:
    raise error


async def _close_slowly() -> None:
    """Works until it is cancelled, and then closes something."""
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(CLOSES_S)


async def _until_stopped(error: Exception, tries: list[int]) -> None:
    """As the roles do it: what is away is waited for, and tried again."""
    while True:
        tries.append(len(tries))
        try:
            async with Tasks() as tasks:
                tasks.create_task(_close_slowly())
                tasks.create_task(_fail(error))
        except ExceptionGroup:
            await asyncio.sleep(CLOSES_S)


@virtual_time
@pytest.mark.parametrize("after_s", [0.0, 0.5, 1.5, 2.0, 2.5])
async def test_a_stop_while_a_failure_is_closed_is_a_stop(after_s: float) -> None:
    tries: list[int] = []
    working = asyncio.create_task(_until_stopped(DatabaseUnavailable("away"), tries))
    await asyncio.sleep(after_s)
    begun = len(tries)
    working.cancel()
    await asyncio.wait([working], timeout=10 * CLOSES_S)
    assert working.done(), "it goes on as if nobody had stopped it"
    assert working.cancelled()
    assert len(tries) <= begun + 1


@virtual_time
async def test_a_failure_within_the_body_and_a_stop_is_a_stop() -> None:
    async def work() -> None:
        async with Tasks() as tasks:
            tasks.create_task(_close_slowly())
            await asyncio.sleep(0)
            raise DatabaseUnavailable("away")

    working = asyncio.create_task(work())
    await asyncio.sleep(CLOSES_S / 2)
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()


@virtual_time
async def test_a_time_that_is_up_while_a_failure_is_closed_is_one() -> None:
    async def work() -> None:
        async with asyncio.timeout(CLOSES_S / 2), Tasks() as tasks:
            tasks.create_task(_close_slowly())
            tasks.create_task(_fail(DatabaseUnavailable("away")))

    with pytest.raises(TimeoutError):
        await work()


@virtual_time
async def test_a_defect_beside_a_stop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "asyncio")
    tries: list[int] = []
    working = asyncio.create_task(_until_stopped(ZeroDivisionError("a defect"), tries))
    await asyncio.sleep(CLOSES_S / 2)
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()
    assert "a defect" in caplog.text


@virtual_time
async def test_without_a_stop_a_group_fails_as_ever() -> None:
    async def work() -> None:
        async with Tasks() as tasks:
            tasks.create_task(_close_slowly())
            tasks.create_task(_fail(DatabaseUnavailable("away")))

    with pytest.raises(ExceptionGroup) as told:
        await work()
    assert [type(one) for one in told.value.exceptions] == [DatabaseUnavailable]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_task_that_a_library_cancels_is_missed() -> None:
    given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ask() -> None:
        await given_up

    async def work() -> None:
        async with Tasks() as tasks:
            tasks.create_task(ask())
            await asyncio.sleep(0)
            given_up.cancel()

    with pytest.raises(ExceptionGroup) as told:
        await work()
    assert [type(one) for one in told.value.exceptions] == [CancelledByNobody]


async def test_a_task_that_is_cancelled_is_none_that_is_missed() -> None:
    async with Tasks() as tasks:
        waiting = tasks.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        waiting.cancel()
    assert waiting.cancelled()
    with pytest.raises(ValueError, match="its own"):
        await not_silently(_fail(ValueError("its own")))


def _groups_of_asyncio() -> Iterator[str]:
    for package in ("edge_agent", "cloud_ingest", "connectors"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and node.attr == "TaskGroup" and path.name != "stopping.py":
                    yield f"{path.relative_to(ROOT)}:{node.lineno}"


def test_every_group_of_tasks_passes_a_stop_on() -> None:
    assert list(_groups_of_asyncio()) == []


def test_courtesies_have_their_own_time_until_the_process_is_to_end_and_one_together_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 100.0
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now_s)
    grace = stopping.Grace()
    assert grace.at_most(2.0) == 2.0
    grace.begin(3.0)
    assert grace.at_most(2.0) == 2.0
    now_s += 2.0
    assert grace.at_most(2.0) == 1.0
    now_s += 60.0
    assert grace.at_most(2.0) == stopping.COURTESY_S_MIN, "a server that answers is still left in an orderly way"
    assert grace.at_most(0.05) == 0.05
