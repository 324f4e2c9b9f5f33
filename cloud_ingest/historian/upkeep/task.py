"""The upkeep of what is stored: one process of all historians does it, round after round.

Nothing that arrives depends on it: while nobody does it, questions count the samples themselves, and tables grow.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cloud_ingest.event_log.failures import reason_of
from cloud_ingest.historian.upkeep.packing import days_to_pack, empty_day, pack_day, packed_days
from cloud_ingest.historian.upkeep.retention import Retention, expire, move_odd
from cloud_ingest.historian.upkeep.rollups import roll_up
from cloud_ingest.observability.events import (
    DayPacked,
    RetentionApplied,
    RolledUp,
    StoreReached,
    StoreWaiting,
)
from cloud_ingest.observability.metrics import ROLLUPS_BEHIND
from cloud_ingest.observability.obstacles import OBSTACLES, UPKEEP
from connectors.model.back_off import BackOff
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database, HeldLock

LOCK: Final = "lineside upkeep"
STAND_BY_S: Final = 15.0
ROUND_S: Final = 10.0
LONG_ROUND_S: Final = 3600.0
LONG_RETRY_S: Final = 600.0
RETRY_FIRST_S: Final = 5.0
RETRY_LONGEST_S: Final = 300.0
Step = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class UpkeepOptions:
    """What is kept, and for how long; ``pack_after`` counts from the end of a day."""

    retention: Retention
    pack_after: timedelta


class Upkeep:
    """Rollups every ten seconds; packing and retention every hour."""

    def __init__(self, database: Database, clock: Clock, options: UpkeepOptions) -> None:
        self._database = database
        self._clock = clock
        self._options = options
        self._long_round_s = float("-inf")

    async def run(self) -> None:
        """Work whenever no other process does, until cancelled; a database that is down is waited for."""
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        while True:
            try:
                async with self._database.held_lock(LOCK) as lock:
                    while lock.held:
                        await self._round(lock)
                        back_off.reset()
                        if OBSTACLES.reason(UPKEEP):
                            emit(StoreReached(UPKEEP))
                        await asyncio.sleep(ROUND_S)
                await asyncio.sleep(STAND_BY_S)
            except (DatabaseUnavailable, StatementRefused) as exc:
                wait_s = back_off.next_s()
                emit(StoreWaiting(UPKEEP, reason_of(exc), round(wait_s, 1)))
                await asyncio.sleep(wait_s)

    async def _round(self, lock: HeldLock) -> None:
        """One round. What cannot be done keeps nothing else from it; the first reason is raised at the end."""
        failed = await self._all([self._measure, self._move_odd, self._roll_up], lock)
        if self._clock.monotonic_s() >= self._long_round_s:
            in_long = await self._all([self._expire, self._empty, functools.partial(self._pack_days, lock)], lock)
            self._long_round_s = self._clock.monotonic_s() + (LONG_ROUND_S if in_long is None else LONG_RETRY_S)
            failed = failed or in_long
        if failed is not None:
            raise failed

    async def _all(self, steps: Sequence[Step], lock: HeldLock) -> Exception | None:
        """Take each of ``steps``, whatever becomes of the others; the first reason why one could not be taken."""
        failed: Exception | None = None
        for step in steps:
            if not lock.held:
                break
            try:
                await step()
            except (DatabaseUnavailable, StatementRefused) as exc:
                failed = failed or exc
        return failed

    async def _pack_days(self, lock: HeldLock) -> None:
        days = await days_to_pack(self._database, self._packed_before())
        if failed := await self._all([functools.partial(self._pack, day) for day in days], lock):
            raise failed

    async def _move_odd(self) -> None:
        await move_odd(self._database, self._now())

    async def _roll_up(self) -> None:
        begun_s = self._clock.monotonic_s()
        if written := await roll_up(self._database):
            emit(RolledUp(written, self._clock.monotonic_s() - begun_s))

    async def _pack(self, partition: str) -> None:
        begun_s = self._clock.monotonic_s()
        done = await pack_day(self._database, partition)
        took_s = round(self._clock.monotonic_s() - begun_s, 1)
        emit(DayPacked(partition, done.samples, done.bytes_before, done.bytes_after, took_s))

    async def _empty(self) -> None:
        for partition in await packed_days(self._database, self._packed_before()):
            await empty_day(self._database, partition)

    async def _expire(self) -> None:
        async with self._database.session() as session:
            (row,) = await session.fetch("SELECT now() AS now")
        # A clock that is ahead would delete for good: that of this machine and the server's have to agree.
        for expired in await expire(self._database, self._options.retention, min(self._now(), row["now"])):
            emit(RetentionApplied(expired.table, expired.what))

    def _packed_before(self) -> datetime:
        return self._now() - self._options.pack_after

    async def _measure(self) -> None:
        async with self._database.session() as session:
            (row,) = await session.fetch(
                "SELECT coalesce(extract(epoch FROM now() - min(recorded)), 0)::float8 AS s FROM rollup_minute_due"
            )
        ROLLUPS_BEHIND.set(row["s"])

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
