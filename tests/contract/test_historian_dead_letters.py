"""What cannot be read or stored is set aside with its reason, counts as missing, and stops nothing."""

from __future__ import annotations

import json
import random
import time

import pytest

from cloud_ingest.gateway.ledger import ledger as ledger_of
from cloud_ingest.observability.metrics import DEAD_LETTERS, SAMPLES_STORED
from connectors.model.datatypes import DataType
from connectors.model.delivery import Epoch
from connectors.sparkplug.delivery import EPOCH_START, format_epoch, read_delivery
from connectors.sparkplug.topics import Verb
from tests.contract.historian_steps import (
    Counted,
    Plant,
    RawLog,
    RawLogOnPostgres,
    eventually,
    expected_rows,
    in_order,
    plant,
)
from tests.played_agent import PlayedAgent, Sample, Wire

NOW_NS = time.time_ns()
NOISE = random.Random(7).randbytes(1_000_000)


def good(agent: PlayedAgent) -> Wire:
    return agent.samples("press", [Sample("force", NOW_NS + agent.next * 1_000, float(agent.next))])


async def assert_good_ones_are_stored(made: Plant, agent: PlayedAgent) -> None:
    assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))


async def test_a_batch_that_is_sent_again_and_again_is_set_aside_once(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(agent.start(), agent.define("press", {"force": DataType.DOUBLE}))
        broken = agent.raw("press", b"\x12\x02\x10\x01", 1)
        for _ in range(3):
            await made.project(broken)
        assert len(await made.reasons()) == 1
        await made.fetch("UPDATE dead_letter SET closed = now(), closed_reason = 'tried'")
        await made.project(broken)
        assert len(await made.reasons()) == 2, "what comes after a closing is news"


async def test_noise_is_set_aside_and_the_stream_goes_on(raw_log: RawLog, database_dsn: str) -> None:
    agent = PlayedAgent()
    counted = Counted(DEAD_LETTERS, SAMPLES_STORED)
    device = agent.topic(Verb.DDATA, "press")
    noise = [
        Wire(device, NOISE),
        Wire(device, b"\x12\xff\xff\xff\xff\x7f"),
        Wire(agent.topic(Verb.NBIRTH), NOISE),
        Wire("spBv1.0", NOISE),
        Wire("spBv1.0/plant/NOWHERE/line-1", NOISE),
        Wire("spBv1.0/" + "x" * 3_000, NOISE),
        Wire(agent.topic(Verb.NDEATH), NOISE),
    ]
    async with plant(raw_log, database_dsn) as made:
        await made.append(agent.start(), agent.define("press", {"force": DataType.DOUBLE}))
        for wire in noise:
            await made.append(good(agent))
            await made.append(wire)
        async with made.projecting():
            await made.caught_up()
            await eventually(lambda: counted.are([len(noise), len(expected_rows([agent]))]))
        await assert_good_ones_are_stored(made, agent)
        letters = await made.fetch("SELECT topic, payload, reason FROM dead_letter ORDER BY dead_letter_id")
        assert sorted((row["topic"], bytes(row["payload"])) for row in letters) == sorted(
            (wire.topic[:2000], wire.payload) for wire in noise
        )
        assert all(row["reason"] for row in letters)
        epoch = await made.epoch(agent)
        assert (epoch["arrived"], epoch["missing"]) == ([(1, agent.last)], [])


def body_of(wire: Wire) -> bytes:
    """The metrics of the tags in a batch."""
    delivery = read_delivery(wire.payload)
    assert delivery is not None
    return wire.payload[delivery.body_at :]


def unreadable(agent: PlayedAgent) -> list[tuple[Wire, str]]:
    """Batches of the agent that cannot be used, with a part of the reason for each."""
    force = agent.samples("press", [Sample("force", NOW_NS, 1.0)])
    agent.rows.pop(agent.last)
    body = body_of(force)
    other = PlayedAgent(epoch=agent.epoch)
    other.define("press", {"force": DataType.DOUBLE, "speed": DataType.DOUBLE})
    strange = body_of(other.samples("press", [Sample("speed", NOW_NS, 1.0)]))
    agent.next -= 1
    return [
        (agent.raw("press", strange, 1), "unknown alias 16385"),
        (agent.raw("press", body, 2), "1 samples where 2 were announced"),
        (agent.raw("press", b"\x12\x05\x00", 1), ""),
        (agent.raw("press", NOISE, 1), ""),
        (agent.record({"Lineside/Gap": "no JSON"}), "not a gap record"),
        (agent.record({"Lineside/Gap": "[]"}), "not a gap record"),
        (agent.record({"Lineside/Definition Body": b"\xff\xff"}), ""),
        (agent.record({EPOCH_START: "{}"}), "not an epoch start"),
    ]


async def test_a_batch_that_cannot_be_read_counts_as_missing(raw_log: RawLog, database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(raw_log, database_dsn) as made:
        await made.append(agent.start(), agent.define("press", {"force": DataType.DOUBLE}))
        first = agent.next
        bad = unreadable(agent)
        wires = [wire for wire, _ in bad]
        last = agent.last
        await made.project(*wires, *(good(agent) for _ in range(3)))
        await assert_good_ones_are_stored(made, agent)
        epoch = await made.epoch(agent)
        assert epoch["missing"] == [(first, last)]
        letters = await made.fetch("SELECT epoch, batch, reason, name FROM dead_letter JOIN agent USING (agent_id)")
        assert [(row["epoch"], row["batch"]) for row in sorted(letters, key=lambda row: row["batch"])] == [
            (agent.epoch, number) for number in range(first, last + 1)
        ]
        reasons = {row["batch"]: row["reason"] for row in letters}
        for number, (_, reason) in zip(range(first, last + 1), bad, strict=True):
            assert reason in reasons[number]
        (entry,) = await ledger_of(made.database)
        assert (entry["missing"], entry["dead_letters"]) == (len(bad), len(bad))


async def test_what_the_database_refuses_is_found_and_set_aside_alone(raw_log: RawLog, database_dsn: str) -> None:
    agent = PlayedAgent()
    limit = (1 << 63) - 1
    async with plant(raw_log, database_dsn) as made:
        await made.append(agent.start(), agent.define("press", {"force": DataType.DOUBLE}))
        wires = [good(agent) for _ in range(20)]
        following, agent.next = agent.next, limit
        wires.insert(7, agent.samples("press", [Sample("force", NOW_NS, 1.0)]))
        agent.rows.pop(limit)
        agent.next = following
        wires.insert(13, agent.define("oven", {"bad\0name": DataType.DOUBLE}))
        wires += [good(agent) for _ in range(20)]
        wires.insert(3, wires[2])
        await made.project(*wires)
        await assert_good_ones_are_stored(made, agent)
        epoch = await made.epoch(agent)
        assert (epoch["missing"], epoch["duplicates"]) == ([(following, following)], 1)
        letters = await made.fetch(
            "SELECT batch, reason, name FROM dead_letter LEFT JOIN agent USING (agent_id) ORDER BY batch"
        )
    assert [(row["batch"], row["name"]) for row in letters] == [(following, "line-1"), (limit, "line-1")]


LIMIT = (1 << 63) - 1
NONSENSE = {
    "a first batch of 0": {"first": 0},
    "a first batch beyond bigint": {"first": 1 << 63},
    "the largest first batch": {"first": LIMIT},
    "a start before 1970": {"started_ms": -1},
    "a start in the year 292 million": {"started_ms": 1 << 62},
    "an earlier epoch that ends before it begins": {"earlier": [{"epoch": "5", "first": 10, "last": 3}]},
    "an earlier epoch that ends with the largest number": {"earlier": [{"epoch": "5", "first": 1, "last": LIMIT}]},
    "an earlier epoch that ends beyond bigint": {"earlier": [{"epoch": "5", "first": 1, "last": 1 << 70}]},
    "an earlier epoch of 0": {"earlier": [{"epoch": "0", "first": 1, "last": 2}]},
    "an earlier epoch without a number": {"earlier": [{"epoch": "xyz", "first": 1, "last": 2}]},
    "an infinite number": {"first": float("inf")},
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
async def test_an_epoch_start_of_nonsense_breaks_no_ledger(database_dsn: str, nonsense: dict[str, object]) -> None:
    agent, other = PlayedAgent(), PlayedAgent("line-2", epoch=Epoch(9))
    document = {"epoch": format_epoch(agent.epoch), "first": 1, "started_ms": 1_795_400_000_000, "earlier": []}
    wires = [agent.record({EPOCH_START: json.dumps({**document, **nonsense})}), other.start(),
             agent.define("press", {"force": DataType.DOUBLE}), good(agent)]  # fmt: skip
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(*wires)
        assert [reason.partition(":")[0] for reason in await made.reasons()] == ["not an epoch start"]
        ledger = {entry["agent"]: entry for entry in await ledger_of(made.database)}
        await assert_good_ones_are_stored(made, agent)
    assert ledger["plant/line-1"]["epochs"][0]["arrived"] == [(2, 3)]
    assert ledger["plant/line-2"]["missing"] == 0


async def test_a_message_of_an_agent_with_batch_number_0_that_is_no_birth(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(agent.born(1), agent.died(1), agent.start())
        agent.next = 0
        await made.project(agent.record({"Lineside/Gap": "{}"}))
        (row,) = await made.fetch("SELECT online FROM agent")
        assert row["online"] is False
        assert await made.reasons() == ["a NDATA with batch number 0, which only births have"]


async def test_a_good_batch_is_stored_though_a_damaged_one_of_its_number_came_just_before(
    raw_log: RawLog, database_dsn: str
) -> None:
    agent = PlayedAgent()
    async with plant(raw_log, database_dsn) as made:
        definition = agent.define("press", {"force": DataType.DOUBLE})
        damaged = agent.raw("press", b"", 1)
        agent.next -= 1
        batch = good(agent)
        await made.project(definition, damaged, batch, batch)
        await assert_good_ones_are_stored(made, agent)
        epoch = await made.epoch(agent)
        assert (epoch["arrived"], epoch["missing"], epoch["duplicates"]) == ([(1, 2)], [], 1)
        assert len(await made.reasons()) == 1
