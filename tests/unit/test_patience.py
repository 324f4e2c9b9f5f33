"""What one process at a time does, and what waits for stores that are away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from cloud_ingest.event_log.patience import STAND_BY_S, alone, patiently
from connectors.model.back_off import BackOff
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from tests.virtual_time import virtual_time

CLOSES_S = 1.0


class Lock:
    """The lock of a database that closes its connections slowly."""

    def __init__(self) -> None:
        self.is_free = True
        self.has_lost = asyncio.Event()
        self.holders = 0

    @property
    def held(self) -> bool:
        return self.holders > 0

    async def lost(self) -> None:
        await self.has_lost.wait()

    @asynccontextmanager
    async def held_lock(self, _name: str) -> AsyncIterator[Lock]:
        self.holders += self.is_free
        try:
            yield self
        finally:
            await asyncio.sleep(CLOSES_S)
            self.holders = 0


def work_with(lock: Lock, told: list[str]) -> Any:
    async def work() -> None:
        told.append("begins")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(CLOSES_S)
            told.append("ends" if lock.held else "ends without the lock")

    return work


@virtual_time
async def test_all_of_it_has_ended_before_the_lock_is_given_back() -> None:
    lock, told = Lock(), []
    running = asyncio.create_task(alone(lock, "lock", "the work", work_with(lock, told)))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    lock.has_lost.set()
    with pytest.raises(DatabaseUnavailable, match="the lock of the work in the database was lost"):
        await running
    assert told == ["begins", "ends"]


@virtual_time
async def test_who_stands_by_looks_again_and_takes_over() -> None:
    lock, told, stood_by = Lock(), [], []
    lock.is_free = False
    work = alone(lock, "lock", "the work", work_with(lock, told), lambda: stood_by.append(1))  # type: ignore[arg-type]
    running = asyncio.create_task(work)
    await asyncio.sleep(2 * (STAND_BY_S + CLOSES_S) + 0.1)
    assert (told, len(stood_by)) == ([], 2)
    lock.is_free = True
    await asyncio.sleep(STAND_BY_S + CLOSES_S)
    assert told == ["begins"]
    running.cancel()
    await asyncio.wait([running])
    assert told == ["begins", "ends"]


@virtual_time
@pytest.mark.parametrize("after_s", [0.05, 0.5, 1.5, 2.5, 10.0])
async def test_a_stop_ends_it_while_what_has_failed_closes_and_while_it_waits(after_s: float) -> None:
    lock = Lock()
    tries: list[float] = []

    async def work() -> None:
        tries.append(asyncio.get_running_loop().time())
        try:
            await asyncio.sleep(0.1)
            raise StatementRefused("no", sqlstate="42501")
        finally:
            await asyncio.sleep(CLOSES_S)

    once = partial(alone, lock, "lock", "the work", work)
    running = asyncio.create_task(patiently("a part", BackOff(0.5, 2.0), once))  # type: ignore[arg-type]
    await asyncio.sleep(after_s)
    stopped_s = asyncio.get_running_loop().time()
    running.cancel()
    await asyncio.wait([running], timeout=10.0)
    assert running.cancelled()
    assert tries[-1] <= stopped_s


@virtual_time
async def test_the_waits_grow_while_it_is_refused_at_once() -> None:
    tries: list[float] = []

    async def work() -> None:
        tries.append(asyncio.get_running_loop().time())
        raise DatabaseUnavailable("away")

    running = asyncio.create_task(patiently("a part", BackOff(0.5, 15.0), work))
    await asyncio.sleep(120.0)
    running.cancel()
    await asyncio.wait([running])
    assert 8 <= len(tries) <= 24


@virtual_time
async def test_a_defect_is_not_waited_for() -> None:
    async def work() -> None:
        raise ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError):
        await patiently("a part", BackOff(0.5, 15.0), work)
