"""What the historian has not stored is not dropped from the log on PostgreSQL, and that it waits for that is said."""

from __future__ import annotations

from cloud_ingest.event_log.topics import DEFINITIONS, RAW, SAMPLES
from cloud_ingest.historian.raw_readers import RawReaders
from cloud_ingest.observability.obstacles import LOG_RETENTION, OBSTACLES
from connectors.model.datatypes import DataType
from tests.contract.historian_steps import RawLogOnPostgres, plant
from tests.played_agent import PlayedAgent


async def test_the_log_learns_up_to_where_it_is_stored(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        readers = RawReaders(made.database)
        assert await readers.places(RAW, made.identity) == {}, "nobody has read anything: nothing may go"
        await made.project(agent.start(), agent.define("press", {"force": DataType.DOUBLE}))
        ends = await made.log.end_offsets(RAW)
        assert await readers.places(RAW, made.identity) == ends
        assert await readers.places(RAW, "an earlier topic of this name") == {}
        assert [await readers.places(topic, made.identity) for topic in (SAMPLES, DEFINITIONS)] == [None, None]


async def test_what_is_kept_beyond_the_retention_is_an_obstacle_until_it_is_stored(database_dsn: str) -> None:
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        readers = RawReaders(made.database)
        readers.kept(RAW, 3)
        assert "3 pieces of lineside.raw.v1" in OBSTACLES.reason(LOG_RETENTION)
        readers.kept(RAW, 0)
        assert not OBSTACLES.reason(LOG_RETENTION)
