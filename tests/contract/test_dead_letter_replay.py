"""Dead letters are stored after all, once, or closed with a reason; and the ledger says so."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cloud_ingest.event_log.topics import SAMPLES
from cloud_ingest.gateway.ledger import is_settled, unassigned_dead_letters
from cloud_ingest.gateway.ledger import ledger as ledger_of
from cloud_ingest.historian.dead_letters import LetterUnknown, close_letter, exported, letter, letters
from cloud_ingest.historian.partitions import Partitions
from cloud_ingest.historian.replaying import Replayed, Replaying
from cloud_ingest.historian.samples_topic import SamplesTopic
from connectors.model.datatypes import DataType
from connectors.sparkplug.topics import Verb
from tests.contract.historian_steps import Plant, RawLogOnPostgres, expected_rows, in_order, plant
from tests.played_agent import PlayedAgent, Sample, Wire

NOW_NS = time.time_ns()
RULE = "ALTER TABLE sample ADD CONSTRAINT sensible CHECK (value_double < 100)"


def batch(agent: PlayedAgent, number: float) -> Wire:
    return agent.samples("press", [Sample("force", NOW_NS + agent.next * 1000, number)])


@asynccontextmanager
async def with_letter(dsn: str, agent: PlayedAgent) -> AsyncIterator[tuple[Plant, int]]:
    """A plant with batches, of which one is in the dead letters for a rule that is gone now."""
    async with plant(RawLogOnPostgres(dsn), dsn) as made:
        await made.project(agent.start(), agent.define("press", {"force": DataType.DOUBLE}))
        await made.fetch(RULE)
        await made.project(batch(agent, 1.0), batch(agent, 200.0), batch(agent, 3.0))
        (found,) = await letters(made.database)
        yield made, found.number


async def replay(made: Plant, number: int, *, samples: SamplesTopic | None = None) -> Replayed:
    partitions = Partitions(made.database, made.clock, 400)
    await partitions.prepare()
    return await Replaying(made.database, partitions, samples).replay(number, "anna")


async def missing(made: Plant) -> int:
    (entry,) = await ledger_of(made.database)
    assert is_settled([entry], 0) == (entry["missing"] == 0)
    found: int = entry["missing"]
    return found


async def test_a_letter_that_can_be_stored_now_is_stored_once(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with with_letter(database_dsn, agent) as (made, number):
        assert await missing(made) == 1
        again = await replay(made, number)
        assert (again.outcome, "sensible" in again.reason) == ("failed", True)
        assert (await letter(made.database, number)).replays == 1
        await made.fetch("ALTER TABLE sample DROP CONSTRAINT sensible")
        assert await replay(made, number, samples=SamplesTopic(made.log)) == Replayed(number, "stored", 1)
        assert (await replay(made, number)).outcome == "closed"
        assert await missing(made) == 0
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        epoch = await made.epoch(agent)
        assert (epoch["arrived"], epoch["samples"], epoch["duplicates"]) == ([(1, 5)], 3, 0)
        assert sum((await made.log.end_offsets(SAMPLES)).values()) == 1, "published as by the historian"
        (closed,) = await letters(made.database, with_closed=True)
        assert (closed.closed_by, closed.closed_reason) == ("anna", "replayed")
        assert await letters(made.database) == []


async def test_a_historian_that_runs_goes_on_after_a_replay_and_knows_of_it(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with with_letter(database_dsn, agent) as (made, number):
        await made.fetch("ALTER TABLE sample DROP CONSTRAINT sensible")
        async with made.projecting(own_connections=True):
            await made.append(batch(agent, 4.0))
            await made.caught_up()
            assert (await replay(made, number)).outcome == "stored"
            lost = Wire(agent.topic(Verb.DDATA, "press"), (await letter(made.database, number)).payload)
            await made.append(lost, batch(agent, 5.0), batch(agent, 6.0))
            await made.caught_up()
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        epoch = await made.epoch(agent)
        assert (epoch["arrived"], epoch["duplicates"]) == ([(1, 8)], 1)


async def test_a_letter_whose_batch_has_arrived_in_the_meantime_is_closed_and_not_stored_again(
    database_dsn: str,
) -> None:
    agent = PlayedAgent()
    async with with_letter(database_dsn, agent) as (made, number):
        await made.fetch("ALTER TABLE sample DROP CONSTRAINT sensible")
        await made.project(Wire(agent.topic(Verb.DDATA, "press"), (await letter(made.database, number)).payload))
        assert (await replay(made, number)).outcome == "arrived"
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))


async def test_a_definition_that_is_replayed_stores_the_batches_that_wait_for_it(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        start, definition = agent.start(), agent.define("press", {"force": DataType.DOUBLE})
        await made.project(start)
        await made.fetch("ALTER TABLE definition ADD CONSTRAINT none CHECK (device <> 'press')")
        await made.project(definition, batch(agent, 1.0), batch(agent, 2.0))
        (found,) = await letters(made.database)
        (entry,) = await ledger_of(made.database)
        assert (entry["parked"], entry["oldest_parked"]["batch"], entry["stuck"]) == (2, 3, 2)
        assert entry["missing"] == 3, "what waits for a definition in the dead letters is missing with it"
        await made.fetch("ALTER TABLE definition DROP CONSTRAINT none")
        assert (await replay(made, found.number)).outcome == "stored"
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        (entry,) = await ledger_of(made.database)
        assert (entry["parked"], entry["missing"], entry["samples"]) == (0, 0, 2)


async def test_what_has_no_number_is_not_replayed_but_closed(database_dsn: str) -> None:
    agent = PlayedAgent()
    noise = Wire(agent.topic(Verb.DDATA, "press"), b"\x12\xff\xff\xff\xff\x7f")
    node = Wire("spBv1.0/plant/DDATA/stranger/press", b"\x08\x01\xff")
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(agent.start(), noise, node)
        found = {one.topic: one.number for one in await letters(made.database)}
        assert set(found) == {noise.topic, node.topic}
        unassigned = await unassigned_dead_letters(made.database)
        entries = await ledger_of(made.database)
        assert not is_settled(entries, unassigned), "nobody knows what they were"
        assert (await replay(made, found[noise.topic])).outcome == "failed"
        for number in found.values():
            assert await close_letter(made.database, number, reason="a test of the network", by="anna")
            assert not await close_letter(made.database, number, reason="again", by="berta")
        assert is_settled(await ledger_of(made.database), await unassigned_dead_letters(made.database))
        kept = [one async for one in exported(made.database, with_closed=True)]
        assert [(one.payload, one.closed_by, one.closed_reason) for one in kept] == [
            (wire.payload, "anna", "a test of the network")
            for wire in sorted([noise, node], key=lambda w: found[w.topic])
        ]
        with pytest.raises(LetterUnknown, match="there is no dead letter 99"):
            await close_letter(made.database, 99, reason="x", by="anna")
