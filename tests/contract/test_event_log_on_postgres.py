"""What only the event log on PostgreSQL has: pieces, compaction, out-of-line values, and what it says of its server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from lineside.servers.postgres import PostgresServer

from connectors.model.errors import EventLogUnavailable
from connectors.ports.event_log import Cleanup, Record, RequiredReaders, TopicSpec
from connectors.postgres import event_log_pieces
from connectors.postgres.copy_stream import pack_headers, unpack_headers
from connectors.postgres.database import open_database
from connectors.postgres.event_log import PostgresEventLog, open_event_log
from connectors.postgres.event_log_pieces import PIECE_S_MAX, PIECE_S_MIN, piece_length_s
from tests.contract.logs_under_test import PostgresUnderTest
from tests.patience import WAIT_S_MAX

TOPIC = "pieces"
ONE_MINUTE_S = 60


@asynccontextmanager
async def opened(dsn: str, readers: RequiredReaders | None = None) -> AsyncIterator[PostgresEventLog]:
    log = await open_event_log(dsn, connections_max=3, application_name="tests", readers=readers)
    try:
        yield log
    finally:
        await log.close()


@pytest.fixture
def server(postgres_server: PostgresServer, empty_database_dsn: str) -> PostgresUnderTest:
    return PostgresUnderTest(postgres_server, empty_database_dsn)


async def pieces(server: PostgresUnderTest) -> list[int]:
    rows = await server.rows("SELECT inhrelid::regclass::text AS name FROM pg_inherits JOIN pg_class ON oid = inhrelid "
                             "WHERE relkind = 'r'")  # fmt: skip
    return sorted(int(row["name"].rpartition("_")[2]) for row in rows)


async def values(log: PostgresEventLog) -> list[bytes]:
    async with log.reader(TOPIC, 0, 0) as reader:
        return [record.value for record in await reader.read(WAIT_S_MAX, 1 << 20)]


def test_a_piece_is_an_eighth_of_the_retention_within_bounds() -> None:
    assert piece_length_s(7 * 86_400) == 75_600
    assert piece_length_s(365 * 86_400) == PIECE_S_MAX
    assert piece_length_s(10) == PIECE_S_MIN


async def test_retention_drops_whole_pieces_and_offsets_go_on(
    empty_database_dsn: str, server: PostgresUnderTest
) -> None:
    async with opened(empty_database_dsn) as log:
        await log.ensure(TopicSpec(TOPIC, 1, retention_s=2 * ONE_MINUTE_S))
        current = await pieces(server)
        assert [start - current[0] for start in current] == [0, 60, 120], "this minute and two ahead"
        table = await server.table(TOPIC)
        expired, kept = current[0] - 4 * ONE_MINUTE_S, current[0] - 1 * ONE_MINUTE_S
        for start in (expired, kept):
            await server.sql(
                f"CREATE TABLE {table}_{start} PARTITION OF {table} "
                f"FOR VALUES FROM (to_timestamp({start})) TO (to_timestamp({start + ONE_MINUTE_S}))"
            )
        await log.append(TOPIC, [Record(b"k", text, 1) for text in (b"old", b"recent", b"new")])
        await server.sql(
            f'UPDATE {table} SET stored = to_timestamp({expired}) WHERE "offset" = 0',
            f'UPDATE {table} SET stored = to_timestamp({kept}) WHERE "offset" = 1',
        )
        assert await values(log) == [b"old", b"recent", b"new"], "read across the pieces in order"
        await log.maintain(compacting=False)
        assert expired not in await pieces(server)
        assert await values(log) == [b"recent", b"new"]
        (position,) = await log.append(TOPIC, [Record(b"k", b"next", 1)])
        assert position.next_offset == 4
        assert await log.end_offsets(TOPIC) == {0: 4}


class Readers:
    """Who has to have read, and how many pieces were kept for that."""

    def __init__(self) -> None:
        self.offsets: dict[int, int] = {}
        self.pieces_kept: list[int] = []

    async def places(self, topic: str, identity: str) -> dict[int, int] | None:
        await asyncio.sleep(0)
        return self.offsets if topic == TOPIC else None

    def kept(self, topic: str, pieces: int) -> None:
        if topic == TOPIC:
            self.pieces_kept.append(pieces)


async def test_a_piece_that_somebody_has_still_to_read_is_kept_beyond_the_retention(
    empty_database_dsn: str, server: PostgresUnderTest
) -> None:
    readers = Readers()
    async with opened(empty_database_dsn, readers) as log:
        await log.ensure(TopicSpec(TOPIC, 2, retention_s=2 * ONE_MINUTE_S))
        table = await server.table(TOPIC)
        expired = (await pieces(server))[0] - 4 * ONE_MINUTE_S
        await server.sql(
            f"CREATE TABLE {table}_{expired} PARTITION OF {table} "
            f"FOR VALUES FROM (to_timestamp({expired})) TO (to_timestamp({expired + ONE_MINUTE_S}))"
        )
        key = next(key for n in range(100) if log.partition_of(TOPIC, key := str(n).encode()) == 1)
        await log.append(TOPIC, [Record(key, text, 1) for text in (b"old", b"old too", b"new")])
        await server.sql(f'UPDATE {table} SET stored = to_timestamp({expired}) WHERE "offset" < 2')
        for readers.offsets in ({}, {0: 5}, {0: 5, 1: 1}):
            await log.maintain(compacting=False)
            assert expired in await pieces(server), readers.offsets
            assert readers.pieces_kept[-1] == 1
        readers.offsets = {1: 2}
        await log.maintain(compacting=False)
        assert expired not in await pieces(server)
        assert readers.pieces_kept[-1] == 0


async def test_offsets_go_on_after_everything_was_dropped(empty_database_dsn: str, server: PostgresUnderTest) -> None:
    async with opened(empty_database_dsn) as log:
        await log.ensure(TopicSpec(TOPIC, 1))
        await log.append(TOPIC, [Record(b"k", b"old", 1)] * 5)
        table = await server.table(TOPIC)
        await server.sql(*(f"DROP TABLE {table}_{start}" for start in await pieces(server)))
        (position,) = await log.append(TOPIC, [Record(b"k", b"new", 1)])  # and makes the piece that it needs
        assert position.next_offset == 6
        assert await values(log) == [b"new"]


async def test_a_piece_that_cannot_be_dropped_now_does_not_stop_the_log(
    empty_database_dsn: str, server: PostgresUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log_pieces, "_LOCK_TIMEOUT", "SET LOCAL lock_timeout = '200ms'")
    async with opened(empty_database_dsn) as log:
        await log.ensure(TopicSpec(TOPIC, 1, retention_s=1))
        table = await server.table(TOPIC)
        start = (await pieces(server))[0] - 600
        await server.sql(
            f"CREATE TABLE {table}_{start} PARTITION OF {table} "
            f"FOR VALUES FROM (to_timestamp({start})) TO (to_timestamp({start + ONE_MINUTE_S}))"
        )
        database = await open_database(empty_database_dsn, connections_max=1, application_name="tests")
        async with database.transaction() as session:
            await session.fetch(f"SELECT count(*) FROM {table}_{start}")
            with pytest.raises(Exception, match="lock timeout"):
                await log.maintain(compacting=False)
            await log.append(TOPIC, [Record(b"k", b"goes on", 1)])
        await database.close()
        await log.maintain(compacting=False)
        assert start not in await pieces(server)


async def test_one_process_at_a_time_keeps_the_pieces(empty_database_dsn: str, server: PostgresUnderTest) -> None:
    async with opened(empty_database_dsn) as one, opened(empty_database_dsn) as other:
        await one.ensure(TopicSpec(TOPIC, 1))
        await asyncio.gather(*(log.maintain(compacting=True) for log in (one, other, one, other)))
        assert len(await pieces(server)) == 3


async def test_compaction_keeps_the_newest_of_each_key(empty_database_dsn: str) -> None:
    async with opened(empty_database_dsn) as log:
        await log.ensure(TopicSpec(TOPIC, 1, Cleanup.COMPACT))
        await log.append(TOPIC, [Record(key, value, 1) for key, value in ((b"a", b"1"), (b"b", b"2"), (b"a", b"3"))])
        await log.maintain(compacting=True)
        async with log.reader(TOPIC, 0, 0) as reader:
            found = await reader.read(WAIT_S_MAX, 1 << 20)
        assert [(record.offset, record.key, record.value) for record in found] == [(1, b"b", b"2"), (2, b"a", b"3")]
        (position,) = await log.append(TOPIC, [Record(b"a", b"4", 1)])
        assert position.next_offset == 4


async def test_values_are_kept_outside_of_the_row_and_not_compressed(
    empty_database_dsn: str, server: PostgresUnderTest
) -> None:
    async with opened(empty_database_dsn) as log:
        await log.ensure(TopicSpec(TOPIC, 1))
        await log.append(TOPIC, [Record(b"k", bytes(12_000), 1)])
    (row,) = await server.rows(f"SELECT pg_column_size(value) AS n FROM {await server.table(TOPIC)}")
    assert row["n"] >= 12_000
    (row,) = await server.rows(
        "SELECT min(attstorage) AS least, max(attstorage) AS most FROM pg_attribute JOIN pg_inherits "
        "ON inhrelid = attrelid WHERE attname = 'value'"
    )
    assert (row["least"], row["most"]) == ("e", "e")


async def test_reading_follows_the_index_however_long_the_backlog(
    empty_database_dsn: str, server: PostgresUnderTest
) -> None:
    async def scans() -> tuple[int, int]:
        (row,) = await server.rows(
            "SELECT sum(idx_scan) AS by_index, sum(seq_scan) AS by_walk FROM pg_stat_user_tables "
            "WHERE relname ~ '^records_.*_'"
        )
        return int(row["by_index"]), int(row["by_walk"])

    async with opened(empty_database_dsn) as log:
        await log.ensure(TopicSpec(TOPIC, 1))
        for _ in range(5):
            await log.append(TOPIC, [Record(b"k", b"x", 1)] * 4_000)
    by_index, by_walk = await scans()  # what a session did is counted when it ends
    async with opened(empty_database_dsn) as log, log.reader(TOPIC, 0, 19_990) as reader:
        assert len(await reader.read(WAIT_S_MAX, 1 << 20)) == 10
    after_by_index, after_by_walk = await scans()
    assert after_by_walk == by_walk
    assert after_by_index > by_index


@pytest.mark.parametrize(
    ("settings", "survives"),
    [({}, True), ({"synchronous_commit": "off"}, False), ({"fsync": "off"}, False)],
    ids=["as installed", "commits are not waited for", "nothing is flushed"],
)
async def test_the_promise_follows_the_settings_of_the_server(
    tmp_path: Path, settings: dict[str, str], survives: bool
) -> None:
    own = PostgresServer(tmp_path / "postgres", settings=settings)
    own.start()
    try:
        own.create_database("log")
        async with opened(own.dsn("log")) as log:
            state = await log.ensure(TopicSpec(TOPIC, 1))
        assert state.survives_power_loss is survives
    finally:
        own.stop()


async def test_a_database_that_cannot_be_written_is_said(server: PostgresUnderTest, empty_database_dsn: str) -> None:
    async with opened(empty_database_dsn) as log:
        await log.ensure(TopicSpec(TOPIC, 1))
        await server.sql("DROP SCHEMA event_log CASCADE")
        with pytest.raises(EventLogUnavailable, match="event_log"):
            await log.append(TOPIC, [Record(b"k", b"v", 1)])
        await log.ensure(TopicSpec(TOPIC, 1))
        await log.append(TOPIC, [Record(b"k", b"v", 1)])


@pytest.mark.parametrize(
    "headers",
    [(), (("a", b""),), (("größe", os.urandom(70_000)), ("", b"x"), ("a", b"1"), ("a", b"2"))],
    ids=["none", "empty", "several"],
)
def test_headers_are_packed_and_unpacked(headers: tuple[tuple[str, bytes], ...]) -> None:
    assert unpack_headers(pack_headers(headers)) == headers
