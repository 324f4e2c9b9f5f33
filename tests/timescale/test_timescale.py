"""Where TimescaleDB keeps the samples: the same answers, with chunks that are compressed and dropped.

On the real extension, in a PostgreSQL that takes one connection at a time: no event log is beside it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from lineside.servers.child_process import ProgramMissing, ServerNotStarted

from cloud_ingest.event_log.topics import RAW, raw_record, topic_specs
from cloud_ingest.gateway.queries import samples
from cloud_ingest.historian.intervals import buckets
from cloud_ingest.historian.partitions import Partitions
from cloud_ingest.historian.projector import Projector, Stores
from cloud_ingest.historian.upkeep.packing import days_to_pack, pack_day
from cloud_ingest.historian.upkeep.retention import Retention, expire, move_odd
from cloud_ingest.historian.upkeep.rollups import roll_up
from cloud_ingest.store.migrate import migrate
from cloud_ingest.store.timescale import Timescale, use_timescaledb
from connectors.model.back_off import BackOff
from connectors.model.datatypes import DataType
from connectors.ports.clock import SystemClock
from connectors.ports.memory_event_log import MemoryEventLog, MemoryLogServer
from connectors.postgres.database import PostgresDatabase, open_database
from tests.contract.historian_steps import tasks_of
from tests.played_agent import PlayedAgent, Sample, Wire
from tests.servers.timescale import TimescaleServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # PostgreSQL in WebAssembly takes its time on a busy machine

DAY_NS: Final = 86_400 * 10**9
TODAY: Final = time.time_ns() // DAY_NS
FOREVER: Final = timedelta(days=100_000)


@pytest.fixture
def timescale_dsn() -> Iterator[str]:
    """A fresh PostgreSQL that has the extension."""
    try:
        server = TimescaleServer()
    except (ProgramMissing, ServerNotStarted) as exc:
        pytest.fail(str(exc), pytrace=False)
    yield server.dsn
    server.stop()


class Store:
    """A database, and a historian that is started for what it is given."""

    def __init__(self, database: PostgresDatabase, log: MemoryEventLog, identity: str) -> None:
        self.database, self._log, self._identity = database, log, identity

    async def project(self, *wires: Wire) -> None:
        records = [raw_record("plant/line-1", topic, payload, time.time_ns() // 10**6) for topic, payload in wires]
        await self._log.append(RAW, records)
        partitions = Partitions(self.database, SystemClock(), 400)
        await partitions.prepare()
        stores = Stores(self.database, self._log, partitions, None, SystemClock())
        end = (await self._log.end_offsets(RAW))[0]
        projector = Projector(stores, self._identity, 0)
        async with tasks_of([projector.run(BackOff(0.05, 0.2))]), asyncio.timeout(100):
            while projector.next_offset < end:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        async with self.database.session() as session:
            return list(await session.fetch(sql, *args))

    async def values(self) -> list[float]:
        (row,) = await self.fetch("SELECT tag_id FROM tag WHERE name = 'force'")
        begin, end = datetime(1960, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
        rows, following = await samples(self.database, row["tag_id"], begin, end, 10_000)
        assert following is None
        return sorted(row["value"] for row in rows)

    async def days(self) -> list[int]:
        (row,) = await self.fetch("SELECT tag_id FROM tag WHERE name = 'force'")
        begin, end = datetime(1960, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
        rows, _ = await buckets(self.database, row["tag_id"], begin, end, 86_400.0, 100)
        return [row["count"] for row in rows]


@asynccontextmanager
async def store(dsn: str) -> AsyncIterator[Store]:
    database = await open_database(dsn, connections_max=1, application_name="tests")
    log = MemoryEventLog(MemoryLogServer())
    try:
        await migrate(database)
        state = await log.ensure(topic_specs(1, 7 * 86_400.0)[RAW])
        yield Store(database, log, state.identity)
    finally:
        await log.close()
        await database.close()


async def test_samples_in_a_hypertable_are_stored_compressed_rolled_up_and_dropped(timescale_dsn: str) -> None:
    agent = PlayedAgent()
    days = [TODAY - 30, TODAY - 10, TODAY - 1]
    found = [Sample("force", day * DAY_NS + n * 10**9, float(day * 100 + n)) for day in days for n in range(100)]
    odd = [Sample("force", ns, 1.0) for ns in (5 * DAY_NS, (TODAY + 40_000) * DAY_NS)]
    async with store(timescale_dsn) as made:
        assert await use_timescaledb(made.database) == Timescale(is_used=True)
        assert await use_timescaledb(made.database) == Timescale(is_used=True), "again"
        await made.project(agent.define("press", {"force": DataType.DOUBLE}), agent.samples("press", [*found, *odd]))
        wanted = sorted(sample.value for sample in [*found, *odd])
        assert await made.values() == wanted
        chunks = "SELECT count(*) AS n FROM timescaledb_information.chunks"
        assert (await made.fetch(chunks))[0]["n"] == 3, "odd times make no chunk"

        assert await move_odd(made.database, datetime.now(UTC)) == 2
        ready = await days_to_pack(made.database, datetime.now(UTC) - timedelta(days=5))
        assert len(ready) == 2
        done = [await pack_day(made.database, chunk) for chunk in ready]
        assert [one.samples for one in done] == [100, 100]
        assert await days_to_pack(made.database, datetime.now(UTC) - timedelta(days=5)) == []
        await roll_up(made.database, everything=True)
        assert (await made.values(), await made.days()) == (wanted, [1, 100, 100, 100, 1])

        late = [Sample("force", (TODAY - 10) * DAY_NS + 5, 7.0)]
        await made.project(agent.samples("press", late))
        assert await made.days() == [1, 100, 101, 100, 1], "the compressed day has taken it"
        assert await days_to_pack(made.database, datetime.now(UTC) - timedelta(days=5)) == ready[1:]
        assert (await pack_day(made.database, ready[1])).samples == 101

        kept = Retention(timedelta(days=20), FOREVER, FOREVER, FOREVER, FOREVER)
        assert [one.table for one in await expire(made.database, kept, datetime.now(UTC))] == ["sample"]
        assert (await made.fetch(chunks))[0]["n"] == 2
        assert await made.days() == [1, 100, 101, 100, 1], "the rollups outlast the samples"
        assert len(await made.values()) == 203
        await made.project(agent.samples("press", [Sample("force", (TODAY - 30) * DAY_NS + 7, 7.0)]))
        assert (await made.fetch(chunks))[0]["n"] == 2, "a day that was dropped is not made anew"
        assert await made.days() == [1, 101, 101, 100, 1]


async def test_samples_that_are_kept_without_it_stay_as_they_are(timescale_dsn: str) -> None:
    agent = PlayedAgent()
    async with store(timescale_dsn) as made:
        await made.project(
            agent.define("press", {"force": DataType.DOUBLE}),
            agent.samples("press", [Sample("force", TODAY * DAY_NS, 1.0)]),
        )
        found = await use_timescaledb(made.database)
        assert not found.is_used
        assert "begin with an empty database" in found.reason
        assert await made.values() == [1.0]


async def test_a_database_without_the_extension_is_left_alone(database_dsn: str) -> None:
    async with store(database_dsn) as made:
        assert await use_timescaledb(made.database) == Timescale(is_used=False)
        (row,) = await made.fetch("SELECT relkind::text AS kind FROM pg_class WHERE relname = 'sample'")
        assert row["kind"] == "p"
