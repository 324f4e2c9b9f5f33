"""Batches that wait for their definition are stored in parts of a bounded size, each once, and none is passed over."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cloud_ingest.event_log.topics import raw_record
from cloud_ingest.historian import unparking
from cloud_ingest.historian.partitions import Partitions
from cloud_ingest.historian.projector import Projector, Stores
from cloud_ingest.historian.work import ParkedBatch, Work
from connectors.model.datatypes import DataType
from connectors.model.errors import OffsetMoved
from connectors.ports.event_log import LogRecord
from tests.contract.historian_steps import RETENTION_DAYS, Plant, RawLogOnPostgres, expected_rows, in_order, plant
from tests.played_agent import PlayedAgent, Sample, Wire

NOW_NS = time.time_ns()


def waiting(agent: PlayedAgent, count: int) -> tuple[Wire, list[Wire]]:
    """A definition, and batches that come before it."""
    definition = agent.define("press", {"force": DataType.DOUBLE})
    return definition, [
        agent.samples("press", [Sample("force", NOW_NS + 1000 * number, float(number))]) for number in range(count)
    ]


async def parked(made: Plant) -> list[int]:
    return [row["batch"] for row in await made.fetch("SELECT batch FROM parked_batch ORDER BY epoch, batch")]


class Parts:
    """How many batches each transaction of unparking takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        write = unparking.write

        async def counted(session: Any, work: Work, tables: Any) -> None:
            self.sizes.append(len(work.unparked))
            await write(session, work, tables)

        monkeypatch.setattr(unparking, "write", counted)


@pytest.mark.parametrize(("name", "bound"), [("BATCHES_MAX", 3), ("BYTES_MAX", 3 * 190)])
async def test_many_are_stored_in_parts(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch, name: str, bound: int
) -> None:
    monkeypatch.setattr(unparking, name, bound)
    parts, agent = Parts(monkeypatch), PlayedAgent()
    definition, batches = waiting(agent, 8)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(*batches)
        assert len(await parked(made)) == 8
        await made.project(definition)
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        epoch = await made.epoch(agent)
        assert (epoch["arrived"], epoch["samples"], epoch["duplicates"]) == ([(1, 9)], 8, 0)
        assert await parked(made) == []
    assert sum(parts.sizes) == 8
    assert 1 < max(parts.sizes) <= 3


async def test_what_can_no_longer_be_read_is_set_aside_and_missing(database_dsn: str) -> None:
    agent = PlayedAgent()
    definition, batches = waiting(agent, 4)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(*batches)
        other = PlayedAgent("other").start().payload
        await made.fetch("UPDATE parked_batch SET payload = $1 WHERE batch = 3", b"\x12\x80")
        await made.fetch("UPDATE parked_batch SET payload = $1 WHERE batch = 4", other)
        await made.project(definition)
        epoch = await made.epoch(agent)
        assert (epoch["arrived"], epoch["missing"]) == ([(1, 2), (5, 5)], [(3, 4)])
        letters = await made.fetch("SELECT epoch, batch, reason FROM dead_letter ORDER BY batch")
        assert [(letter["epoch"], letter["batch"]) for letter in letters] == [(agent.epoch, 3), (agent.epoch, 4)]
        assert "breaks off" in letters[0]["reason"]
        assert letters[1]["reason"] == "it is not batch 4 any more"
        assert await parked(made) == []


async def test_one_that_the_database_refuses_is_set_aside_alone_and_its_definition_is_not(database_dsn: str) -> None:
    agent = PlayedAgent()
    definition, batches = waiting(agent, 5)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(*batches)
        await made.fetch("ALTER TABLE sample ADD CONSTRAINT sensible CHECK (value_double <> 2)")
        await made.project(definition)
        epoch = await made.epoch(agent)
        assert (epoch["arrived"], epoch["missing"], epoch["samples"]) == ([(1, 3), (5, 6)], [(4, 4)], 4)
        assert len(await made.reasons()) == 1


async def test_what_is_parked_while_others_are_stored_is_not_forgotten(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second partition may have records of the agent, after partitions were added to the topic."""
    agent = PlayedAgent()
    definition, batches = waiting(agent, 2)
    late = batches.pop()
    read = unparking.read_parked
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:

        async def read_and_overtaken(*args: Any) -> list[ParkedBatch]:
            found = await read(*args)
            if late not in done:
                done.append(late)
                await made.fetch(
                    "INSERT INTO parked_batch "
                    "(agent_id, tenant_id, epoch, batch, definition, topic, payload, received) "
                    "SELECT agent_id, tenant_id, epoch, 3, definition, topic, $1, received FROM parked_batch",
                    late.payload,
                )
            return found

        done: list[Wire] = []
        await made.project(*batches)
        monkeypatch.setattr(unparking, "read_parked", read_and_overtaken)
        await made.project(definition)
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))


async def test_what_another_process_has_stored_in_the_meantime_is_not_stored_again(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = PlayedAgent()
    definition, batches = waiting(agent, 3)
    read = unparking.read_parked
    overtaken: list[int] = []
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:

        async def read_and_overtaken(*args: Any) -> list[ParkedBatch]:
            found = await read(*args)
            if not overtaken:
                overtaken.append(len(found))
                await made.fetch("DELETE FROM parked_batch WHERE batch = 3")
            return found

        await made.project(*batches)
        monkeypatch.setattr(unparking, "read_parked", read_and_overtaken)
        await made.append(definition)
        async with made.projecting() as taken_over:
            await made.caught_up()
        assert len(taken_over) == 1, "it begins anew with what is there"
        assert sorted(row.value for row in await made.rows(agent)) == [0.0, 2.0]


async def test_one_that_cannot_be_read_and_comes_again_with_its_definition_is_set_aside_once_and_is_no_duplicate(
    database_dsn: str,
) -> None:
    """What waits is settled before the transaction that the definition comes with: then it has not arrived."""
    agent = PlayedAgent()
    start, definition, unreadable = agent.start(), waiting(agent, 0)[0], agent.raw("press", b"", 5)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(start, unreadable)
        assert await parked(made) == [3]
        await made.project(unreadable, definition)
        epoch = await made.epoch(agent)
        assert (epoch["arrived"], epoch["missing"], epoch["duplicates"]) == ([(1, 2)], [(3, 3)], 0)
        assert (await parked(made), len(await made.reasons())) == ([], 1)


async def test_a_historian_that_is_behind_may_store_what_waits_and_then_it_is_stored_once(database_dsn: str) -> None:
    """It learns the definition before it finds that its place was taken; whoever has the place stores the rest."""
    agent = PlayedAgent()
    start, (definition, batches) = agent.start(), waiting(agent, 2)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(start, *batches)
        partitions = Partitions(made.database, made.clock, RETENTION_DAYS)
        await partitions.prepare()
        behind = Projector(Stores(made.database, made.log, partitions, None, made.clock), made.identity, 0)
        record = raw_record("plant/line-1", definition.topic, definition.payload, NOW_NS // 1_000_000)
        with pytest.raises(OffsetMoved):
            await behind._project([LogRecord(0, record.key, record.value, record.time_ms, record.headers)])
        assert (await parked(made), (await made.epoch(agent))["samples"]) == ([], 2)
        assert (await made.epoch(agent))["missing"] == [(2, 2)], "the definition itself has not been stored"
        await made.project(definition)
        epoch = await made.epoch(agent)
        assert (epoch["arrived"], epoch["samples"], epoch["duplicates"]) == ([(1, 4)], 2, 0)
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
