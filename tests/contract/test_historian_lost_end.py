"""A log that has lost its end, or its beginning, or was made anew: the historian goes on, and says so."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from cloud_ingest.event_log.place import Place
from cloud_ingest.event_log.topics import RAW
from cloud_ingest.observability.metrics import PLACES_SET_BACK, RECORDS_EXPIRED
from connectors.model.datatypes import DataType
from connectors.model.errors import EventLogUnavailable
from tests.contract.historian_steps import (
    Counted,
    Plant,
    RawLogOnKafka,
    RawLogOnPostgres,
    eventually,
    expected_rows,
    in_order,
    plant,
)
from tests.played_agent import NOW_MS, PlayedAgent, Sample, Wire
from tests.servers.kafka import KafkaServer

_times_ms = count(time.time_ns() // 1_000_000 - 60_000)


def batch(agent: PlayedAgent) -> Wire:
    return agent.samples("press", [Sample("force", NOW_MS * 10**6 + agent.next * 1_000, 1.0)])


async def take(made: Plant, *wires: Wire) -> None:
    """Append ``wires``, each taken a millisecond after the one before."""
    for wire in wires:
        await made.append(wire, received_ms=next(_times_ms))


async def begun(made: Plant, agent: PlayedAgent) -> int:
    """Ten messages of ``agent`` are stored; the partition that they are in."""
    wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE}), *(batch(agent) for _ in range(8))]
    await take(made, *wires)
    async with made.projecting():
        await made.caught_up()
    ((partition, place),) = (await made.places()).items()
    assert place == 10
    return partition


async def raw_table(made: Plant) -> tuple[int, str]:
    (row,) = await made.fetch("SELECT topic_id FROM event_log.topic WHERE name = $1", RAW)
    return row["topic_id"], f"event_log.records_{row['topic_id']}"


async def lose_end(made: Plant, partition: int, offset: int) -> None:
    """What comes after ``offset`` was not on the disk when the power went."""
    topic_id, table = await raw_table(made)
    await made.fetch(f'DELETE FROM {table} WHERE partition = $1 AND "offset" >= $2 RETURNING 1', partition, offset)
    await made.fetch(
        "UPDATE event_log.partition_end SET next_offset = $3 WHERE topic_id = $1 AND partition = $2 RETURNING 1",
        topic_id,
        partition,
        offset,
    )


async def test_what_a_log_takes_after_it_has_lost_its_end_is_stored(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        partition = await begun(made, agent)
        await lose_end(made, partition, 5)
        counted = Counted(PLACES_SET_BACK)
        async with made.projecting():
            await eventually(lambda: counted.are([1]))
            await take(made, batch(agent), batch(agent))
            await made.caught_up()
        assert (await made.places()) == {partition: 7}
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        epoch = await made.epoch(agent)
    assert (epoch["arrived"], epoch["missing"], epoch["duplicates"]) == ([(1, 12)], [], 0)


@pytest.mark.parametrize("taken", [3, 5, 12])
async def test_what_came_before_the_historian_noticed_is_read_too(database_dsn: str, taken: int) -> None:
    """The log ends before the place again, at it, or far beyond, when the historian looks."""
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        partition = await begun(made, agent)
        await lose_end(made, partition, 5)
        await take(made, *(batch(agent) for _ in range(taken)))
        counted = Counted(PLACES_SET_BACK)
        async with made.projecting():
            await eventually(lambda: counted.are([1]))
            await made.caught_up()
        assert counted.grown() == [1]
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        epoch = await made.epoch(agent)
    assert (epoch["arrived"], epoch["duplicates"]) == ([(1, 10 + taken)], 0), "nothing else was read again"


async def test_a_place_that_another_process_moved_in_the_meantime_is_not_set_back(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        partition = await begun(made, agent)
        await lose_end(made, partition, 5)
        set_back = Place.set_back

        async def moved_before(place: Place, expected: int, offset: int) -> None:
            await made.fetch("UPDATE projection SET next_offset = 4, last_ms = NULL WHERE next_offset = 10 RETURNING 1")
            await set_back(place, expected, offset)

        monkeypatch.setattr(Place, "set_back", moved_before)
        counted = Counted(PLACES_SET_BACK)
        async with made.projecting() as taken_over:
            await made.caught_up()
        assert taken_over == [partition]
        assert counted.grown() == [0]


def cut_short(folder: Path, partition: int) -> None:
    """The last batch of a partition was not on the disk as a whole: Kafka drops it, and all after it."""
    (segment,) = folder.glob(f"data/{RAW}-{partition}/*.log")
    os.truncate(segment, segment.stat().st_size - 1)


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker of its own, whose files are cut off: no other test finds them so, or has been there before."""
    server = KafkaServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.mark.kafka
async def test_after_a_power_loss_of_a_single_kafka_broker_new_records_are_stored(
    database_dsn: str, own_kafka: KafkaServer
) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnKafka(own_kafka), database_dsn) as made:
        partition = await begun(made, agent)
        async with made.projecting():
            own_kafka.kill()
            cut_short(own_kafka._folder, partition)
            await asyncio.to_thread(own_kafka.start)
            ends = await made.log.end_offsets(RAW)
            assert ends[partition] < 10
            with pytest.raises(EventLogUnavailable, match="out of order sequence number"):
                await take(made, lost := batch(agent))
            await take(made, lost, batch(agent))
            await eventually(lambda: stored(made, agent, 10))
        epoch = await made.epoch(agent)
    assert (epoch["arrived"], epoch["missing"]) == ([(1, 12)], [])


async def stored(made: Plant, agent: PlayedAgent, count: int) -> bool:
    return len(await made.rows(agent)) == count


async def test_records_that_expired_before_they_were_read_are_counted(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        partition = await begun(made, agent)
        await made.append(*(batch(agent) for _ in range(5)))
        _, table = await raw_table(made)
        await made.fetch(f'DELETE FROM {table} WHERE partition = $1 AND "offset" < 13 RETURNING 1', partition)
        counted = Counted(RECORDS_EXPIRED)
        async with made.projecting():
            await made.caught_up()
        assert counted.grown() == [3]
        assert (await made.epoch(agent))["missing"] == [(11, 13)]


async def test_a_topic_that_is_made_anew_is_read_from_its_beginning(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await begun(made, agent)
        async with made.historian():
            topic_id, table = await raw_table(made)
            await made.fetch("DELETE FROM event_log.topic WHERE topic_id = $1 RETURNING 1", topic_id)
            await made.fetch(f"DROP TABLE {table}")
            made.identity = (await made.log.ensure(made.topics[RAW])).identity
            await made.append(batch(agent))
            await eventually(lambda: stored(made, agent, 9))
        assert (await made.epoch(agent))["arrived"] == [(1, 11)]
