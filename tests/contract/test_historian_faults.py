"""The historian when something fails at any moment: what is stored is as if nothing had."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from cloud_ingest.historian.partitions import Partitions
from cloud_ingest.historian.projector import Projector, Stores
from connectors.model.back_off import BackOff
from connectors.model.datatypes import DataType
from connectors.model.errors import DatabaseUnavailable, OffsetMoved
from connectors.ports.database import Database, HeldLock
from tests.contract.historian_steps import (
    RETENTION_DAYS,
    Plant,
    RawLog,
    RawLogOnPostgres,
    expected_rows,
    in_order,
    plant,
)
from tests.patience import WAIT_S_MAX
from tests.played_agent import PlayedAgent, Sample, Wire

NOW_NS = time.time_ns()
STEPS_MAX = 200


class Killed(BaseException):
    """The process ends here, as by kill -9: nothing of it goes on."""


class FailingDatabase:
    """A database of which the operation number ``fails_at`` fails: before it is done, or (``done``) after it.

    A transaction whose end fails afterwards has been committed, and its user does not know.
    """

    def __init__(self, real: Database, error: type[BaseException], fails_at: int, *, done: bool) -> None:
        self._real, self._error, self._fails_at, self._done = real, error, fails_at, done
        self._begun = 0
        self.has_failed = False

    def _before(self) -> int:
        number = self._begun
        self._begun += 1
        if not self._done:
            self._fail(number)
        return number

    def _after(self, number: int) -> None:
        if self._done:
            self._fail(number)

    def _fail(self, number: int) -> None:
        if number == self._fails_at:
            self.has_failed = True
            raise self._error("the test has it so")

    @asynccontextmanager
    async def session(self, tenant_id: int | None = None) -> AsyncIterator[FailingSession]:
        async with self._real.session(tenant_id) as session:
            yield FailingSession(session, self)

    @asynccontextmanager
    async def transaction(self, tenant_id: int | None = None) -> AsyncIterator[FailingSession]:
        async with self._real.transaction(tenant_id) as session:
            yield FailingSession(session, self)
            number = self._before()
        self._after(number)

    def held_lock(self, name: str) -> Any:
        lock: HeldLock | Any = self._real.held_lock(name)
        return lock

    async def close(self) -> None:
        await self._real.close()


class FailingSession:
    def __init__(self, real: Any, database: FailingDatabase) -> None:
        self._real, self._database = real, database

    async def _run(self, call: str, *arguments: Any) -> Any:
        number = self._database._before()
        found = await getattr(self._real, call)(*arguments)
        self._database._after(number)
        return found

    async def execute(self, sql: str, *args: Any) -> Any:
        return await self._run("execute", sql, *args)

    async def fetch(self, sql: str, *args: Any) -> Any:
        return await self._run("fetch", sql, *args)

    async def copy(self, table: str, columns: Any, data: bytes) -> Any:
        return await self._run("copy", table, columns, data)


async def until_caught_up(made: Plant, database: FailingDatabase) -> None:
    """Project with ``database``; a process that is killed is replaced by one whose database works."""
    while True:
        partitions = Partitions(database, made.clock, RETENTION_DAYS)
        stores = Stores(database, made.log, partitions, None, made.clock)
        try:
            await partitions.prepare()
        except (DatabaseUnavailable, Killed):
            continue
        projectors = [Projector(stores, made.identity, number) for number in range(2)]
        running = [asyncio.create_task(one.run(BackOff(0.001, 0.01))) for one in projectors]
        caught_up = asyncio.create_task(made.caught_up())
        await asyncio.wait([*running, caught_up], return_when=asyncio.FIRST_COMPLETED)
        done = caught_up.done()
        for task in (*running, caught_up):
            task.cancel()
            with suppress(asyncio.CancelledError, Killed):
                await task
        if done:
            return


def something_of_everything(agent: PlayedAgent, others: PlayedAgent) -> list[Wire]:
    """Wires that use every statement of the historian."""
    start = agent.start([others])
    definition = agent.define("press", {"force": DataType.DOUBLE, "state": DataType.STRING})
    early = agent.samples("press", [Sample("force", NOW_NS + 1_000 * n, float(n)) for n in range(3)])
    late = agent.samples("press", [Sample("force", NOW_NS - 1_000 * n, -float(n), 0x8000) for n in range(4)])
    texts = agent.samples("press", [Sample("state", NOW_NS + n, f"{n}") for n in range(2)])
    gap = agent.gap("press", "device_unavailable", NOW_NS, NOW_NS + 1)
    broken = agent.raw("press", b"", 3)
    return [agent.born(3), start, early, definition, agent.device_born("press"), late, late, texts, gap, broken,
            agent.died(3)]  # fmt: skip


async def assert_as_if_nothing_had_failed(made: Plant, agent: PlayedAgent, where: str) -> None:
    assert in_order(await made.rows(agent)) == in_order(expected_rows([agent])), where
    epoch = await made.epoch(agent)
    assert (epoch["arrived"], epoch["missing"]) == ([(1, agent.last - 1)], [(agent.last, agent.last)]), where
    assert (epoch["duplicates"], epoch["samples"]) == (1, len(expected_rows([agent]))), where
    counts = await made.fetch(
        "SELECT (SELECT count(*) FROM gap JOIN agent USING (agent_id) WHERE name = $1) AS gaps, "
        "(SELECT count(*) FROM dead_letter JOIN agent USING (agent_id) WHERE name = $1) AS letters, "
        "(SELECT count(*) FROM parked_batch) AS parked, "
        "(SELECT online FROM agent WHERE name = $1) AS online",
        agent.name.name,
    )
    assert tuple(counts[0].values()) == (1, 1, 0, False), where


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [DatabaseUnavailable, Killed])
async def test_a_failure_at_any_step_changes_nothing(database_dsn: str, error: type[BaseException], done: bool) -> None:
    others = PlayedAgent("others")
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        for step in range(STEPS_MAX):
            agent = PlayedAgent(f"line-{step}")
            wires = something_of_everything(agent, others)
            await made.append(*wires[:4])
            await made.append(*wires[4:])
            database = FailingDatabase(made.database, error, step, done=done)
            await until_caught_up(made, database)
            await assert_as_if_nothing_had_failed(made, agent, f"step {step}")
            if not database.has_failed:
                break
    assert 15 < step < STEPS_MAX, "every step failed once"


async def test_a_zombie_that_wakes_up_stores_nothing(
    raw_log: RawLog, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read and decoded its records when it stalls; meanwhile another process stores them, and more."""
    agent = PlayedAgent()
    stalled, wakes = asyncio.Event(), asyncio.Event()
    real_ensure = Partitions.ensure

    async def stall(partitions: Partitions, parts: Any) -> None:
        await real_ensure(partitions, parts)
        if parts and not stalled.is_set():
            stalled.set()
            await wakes.wait()

    def batch() -> Wire:
        return agent.samples("press", [Sample("force", NOW_NS + agent.next * 1_000, float(agent.next))])

    async with plant(raw_log, database_dsn) as made:
        await made.project(agent.define("press", {"force": DataType.DOUBLE}))
        monkeypatch.setattr(Partitions, "ensure", stall)
        await made.append(batch(), batch())
        partitions = Partitions(made.database, made.clock, RETENTION_DAYS)
        await partitions.prepare()
        stores = Stores(made.database, made.log, partitions, None, made.clock)
        number = made.log.partition_of("lineside.raw.v1", b"plant/line-1")
        zombie = asyncio.create_task(Projector(stores, made.identity, number).run(BackOff(0.01, 0.1)))
        await asyncio.wait_for(stalled.wait(), WAIT_S_MAX)
        await made.project(batch())
        wakes.set()
        with pytest.raises(OffsetMoved, match="taken over"):
            await asyncio.wait_for(zombie, WAIT_S_MAX)
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        epoch = await made.epoch(agent)
    assert (epoch["arrived"], epoch["samples"], epoch["duplicates"]) == ([(1, 4)], 3, 0)


async def test_who_has_read_an_older_ledger_writes_nothing(raw_log: RawLog, database_dsn: str) -> None:
    """Partitions were added to the topic: two processes have records of one agent, each at its own place."""
    agent = PlayedAgent()
    async with plant(raw_log, database_dsn) as made:
        await made.append(agent.start(), agent.define("press", {"force": DataType.DOUBLE}))
        async with made.projecting() as taken_over:
            await made.caught_up()
            await made.append(agent.gap("press", "device_unavailable", 0, 1))
            await made.caught_up()
            assert not taken_over, "it knows what it has written itself"
            await made.fetch("UPDATE ledger SET arrived = '{[1,4),[7,8)}', revision = revision + 1")
            await made.append(*(agent.samples("press", [Sample("force", NOW_NS, 1.0)]) for _ in range(2)))
            await made.caught_up()
            assert taken_over
        epoch = await made.epoch(agent)
    assert epoch["arrived"] == [(1, 5), (7, 7)]


async def test_the_historian_waits_for_a_database_that_is_away(database_dsn: str, postgres_server: Any) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.append(agent.start(), agent.define("press", {"force": DataType.DOUBLE}))
        async with made.historian():
            await made.caught_up()
            for kill in (postgres_server.kill, postgres_server.stop):
                kill()
                await asyncio.sleep(0.3)
                postgres_server.start()
                wire = agent.samples("press", [Sample("force", NOW_NS + agent.next * 1_000, 1.0)])
                await made.append(wire)
                await made.caught_up()
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        epoch = await made.epoch(agent)
    assert (epoch["arrived"], epoch["duplicates"]) == ([(1, agent.last)], 0)
