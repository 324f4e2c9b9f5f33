"""The historian on a real PostgreSQL, behind each of the two event logs: what is stored, once, and what is told."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloud_ingest.event_log.topics import SAMPLES
from cloud_ingest.historian import historian, projector, samples_pb2
from cloud_ingest.historian.storing import store
from cloud_ingest.observability.metrics import DUPLICATES, GAPS, LAG, PARKED, SAMPLES_STORED
from connectors.model.datatypes import DataType, ValueFamily, family_of
from connectors.model.delivery import Epoch
from connectors.model.errors import DatabaseUnavailable
from connectors.sparkplug.topics import Verb
from tests.contract.historian_steps import Counted, Plant, RawLog, eventually, expected_rows, in_order, plant
from tests.patience import WAIT_S_MAX
from tests.played_agent import NOW_MS, PlayedAgent, Sample, Wire

NOW_NS = time.time_ns()
US = 1000
VALUES = {
    ValueFamily.FLOAT: [0.0, -1.5, float("inf"), float("-inf"), float("nan"), 1e-40],
    ValueFamily.INT: [0, -1, 100, -128],
    ValueFamily.UINT: [0, 1, 255],
    ValueFamily.BOOL: [True, False],
    ValueFamily.TEXT: ["", "Grüße °C 日本 \U0001f527", "x" * 5000],
    ValueFamily.BYTES: [b"", b"\0\xff", bytes(5000)],
}
EXTREMES = {
    DataType.INT16: [-(1 << 15)],
    DataType.INT32: [-(1 << 31)],
    DataType.INT64: [(1 << 63) - 1, -(1 << 63)],
    DataType.UINT16: [(1 << 16) - 1],
    DataType.UINT32: [(1 << 32) - 1],
    DataType.UINT64: [(1 << 63) - 1, 1 << 63, (1 << 64) - 1],
    DataType.DOUBLE: [1.7976931348623157e308, 5e-324],
    DataType.DATETIME: [NOW_MS, -62_135_596_800_000],
}


def every_value(agent: PlayedAgent) -> list[Wire]:
    """A definition with a tag of every type, and batches with values and qualities of every kind."""
    wires = [agent.define("press", {datatype.label: datatype for datatype in DataType}, unit="kN")]
    at = NOW_NS
    for datatype in DataType:
        samples = []
        for value in [*VALUES[family_of(datatype)], *EXTREMES.get(datatype, [])]:
            at += 12_345_600
            exact = value if datatype is not DataType.FLOAT or value != 1e-40 else 0.5
            samples += [Sample(datatype.label, at, exact), Sample(datatype.label, at + US, exact, 0x4090)]
        samples.append(Sample(datatype.label, at + 100, None, 0x8000))
        wires.append(agent.samples("press", samples))
    mixed = [Sample(datatype.label, at + 7 * US, VALUES[family_of(datatype)][0], 0x80AB) for datatype in DataType]
    return [*wires, agent.samples("press", mixed)]


def doubles(agent: PlayedAgent, count: int, *, device: str = "press", at_ns: int = NOW_NS) -> Wire:
    """A batch that differs from every other one of the test."""
    first = agent.next * 1_000
    return agent.samples(device, [Sample("force", at_ns + (first + n) * US, float(first + n)) for n in range(count)])


async def test_every_sample_is_stored_once_as_it_was(raw_log: RawLog, database_dsn: str) -> None:
    agents = [PlayedAgent(name) for name in ("line-1", "line-2", "line-3")]
    counted = Counted(SAMPLES_STORED, DUPLICATES)
    async with plant(raw_log, database_dsn) as made:
        await made.project(*(wire for agent in agents for wire in every_value(agent)))
        for agent in agents:
            assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
            epoch = await made.epoch(agent)
            assert epoch["arrived"] == [(1, agent.last)]
            assert epoch["samples"] == len(expected_rows([agent]))
        tags = await made.fetch("SELECT name, datatype, unit, device FROM tag ORDER BY tag_id")
        assert await made.reasons() == []
    assert len(tags) == 3 * len(DataType)
    assert {(row["name"], row["datatype"]) for row in tags} == {(d.label, int(d)) for d in DataType}
    assert {(row["unit"], row["device"]) for row in tags} == {("kN", "press")}
    assert counted.grown() == [len(expected_rows(agents)), 0]


async def test_a_batch_that_comes_again_is_refused_and_counted_also_after_a_restart(
    raw_log: RawLog, database_dsn: str
) -> None:
    agent = PlayedAgent()
    definition = agent.define("press", {"force": DataType.DOUBLE})
    batches = [doubles(agent, 5) for _ in range(4)]
    counted = Counted(DUPLICATES)
    async with plant(raw_log, database_dsn) as made:
        await made.project(definition, batches[0], batches[0], *batches[1:], definition)
        await made.project(*batches, definition)
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        epoch = await made.epoch(agent)
    assert (epoch["arrived"], epoch["duplicates"], epoch["samples"]) == ([(1, 5)], 7, 20)
    assert counted.grown() == [7]


async def test_a_new_epoch_with_the_same_numbers_is_no_duplicate(raw_log: RawLog, database_dsn: str) -> None:
    first, second = PlayedAgent(epoch=Epoch(5)), PlayedAgent(epoch=Epoch((1 << 63) - 1))
    async with plant(raw_log, database_dsn) as made:
        for agent in (first, second):
            await made.project(agent.define("press", {"force": DataType.DOUBLE}), doubles(agent, 3))
        assert in_order(await made.rows(first)) == in_order(expected_rows([first, second]))
        assert [(await made.epoch(agent))["duplicates"] for agent in (first, second)] == [0, 0]


async def test_the_whole_role_shares_the_partitions_and_hands_them_over(raw_log: RawLog, database_dsn: str) -> None:
    agents = [PlayedAgent(f"line-{number}") for number in range(6)]
    async with plant(raw_log, database_dsn) as made:
        for agent in agents:
            await made.append(agent.define("press", {"force": DataType.DOUBLE}))
        async with made.historian():
            await made.append(*(doubles(agent, 3) for agent in agents))
            await made.caught_up()
            async with made.historian():
                for _ in range(5):
                    await made.append(*(doubles(agent, 3) for agent in agents))
                await made.caught_up()
            await made.append(*(doubles(agent, 3) for agent in agents))
            await made.caught_up()
        assert in_order([row for a in agents for row in await made.rows(a)]) == in_order(expected_rows(agents))
        for agent in agents:
            epoch = await made.epoch(agent)
            assert (epoch["arrived"], epoch["duplicates"]) == ([(1, agent.last)], 0)


async def test_the_loser_of_a_partition_stores_nothing(raw_log: RawLog, database_dsn: str) -> None:
    """A process that was thought dead goes on with what it has read: its place in the log is not where it was."""
    agent = PlayedAgent()
    async with plant(raw_log, database_dsn) as made:
        await made.project(agent.define("press", {"force": DataType.DOUBLE}))
        async with made.projecting(own_connections=True) as first, made.projecting(own_connections=True) as second:
            for _ in range(20):
                await made.append(doubles(agent, 3))
                await made.caught_up()
        assert first + second, "no race was lost"
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        epoch = await made.epoch(agent)
    assert (epoch["arrived"], epoch["duplicates"], epoch["samples"]) == ([(1, 21)], 0, 60)


async def test_batches_wait_for_their_definition_also_across_a_restart(raw_log: RawLog, database_dsn: str) -> None:
    agent, other = PlayedAgent(), PlayedAgent("line-2")
    definition = agent.define("press", {"force": DataType.DOUBLE})
    early = [doubles(agent, 3), doubles(agent, 4)]
    counted = Counted(PARKED, SAMPLES_STORED)
    async with plant(raw_log, database_dsn) as made:
        await made.project(other.define("oven", {"force": DataType.DOUBLE}), *early)
        assert await made.rows(agent) == []
        assert (await made.epoch(agent))["arrived"] == [(2, 3)]
        assert len(await made.fetch("SELECT 1 FROM parked_batch")) == 2
        await made.project(early[0], doubles(agent, 2), definition, doubles(agent, 1), early[1])
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        assert await made.fetch("SELECT 1 FROM parked_batch") == []
        epoch = await made.epoch(agent)
    assert (epoch["arrived"], epoch["missing"], epoch["samples"], epoch["duplicates"]) == ([(1, 5)], [], 10, 2)
    assert counted.grown() == [2, 10]


async def test_gaps_are_stored_as_they_were_declared(raw_log: RawLog, database_dsn: str) -> None:
    agent = PlayedAgent()
    counted = Counted(GAPS)
    async with plant(raw_log, database_dsn) as made:
        await made.project(
            agent.gap("press", "device_unavailable", NOW_NS, NOW_NS + 5_000_000_999, detail="switched\0off"),
            agent.gap("", "agent_not_running", 0, 1_000, count=7, tags=["force", "speed"]),
        )
        rows = await made.fetch("SELECT * FROM gap ORDER BY gap_id")
    assert [(row["device"], row["reason"], row["sample_count"], row["tags"], row["detail"]) for row in rows] == [
        ("press", "device_unavailable", None, None, "switched\N{REPLACEMENT CHARACTER}off"),
        ("", "agent_not_running", 7, ["force", "speed"], ""),
    ]
    moment = datetime(1970, 1, 1, tzinfo=UTC)
    assert rows[0]["first_time"] == moment + timedelta(microseconds=NOW_NS // 1000)
    assert rows[0]["last_time"] - rows[0]["first_time"] == timedelta(
        microseconds=(NOW_NS + 5_000_000_999) // 1000 - NOW_NS // 1000
    )
    assert (rows[1]["first_time"], rows[1]["last_time"]) == (moment, moment + timedelta(microseconds=1))
    assert counted.grown() == [2]


async def online_of(made: Plant) -> tuple[bool, dict[str, bool]]:
    """Whether line-1 is online, and which of its devices are."""
    (agent,) = await made.fetch("SELECT online FROM agent WHERE name = 'line-1'")
    devices = await made.fetch("SELECT name, online FROM device ORDER BY name")
    return agent["online"], {row["name"]: row["online"] for row in devices}


async def test_agents_and_devices_come_and_go(raw_log: RawLog, database_dsn: str) -> None:
    agent = PlayedAgent()
    define = [agent.define(device, {"force": DataType.DOUBLE}) for device in ("oven", "press")]
    born = [agent.device_born("oven"), agent.device_born("press")]
    async with plant(raw_log, database_dsn) as made:
        await made.project(*define, agent.born(7, version="1.2.3"), *born)
        assert await online_of(made) == (True, {"oven": True, "press": True})
        (row,) = await made.fetch("SELECT acknowledges, bd_seq, version, online_changed FROM agent")
        assert (row["acknowledges"], row["bd_seq"], row["version"]) == (True, 7, "1.2.3")
        await made.project(agent.device_died("oven"))
        assert await online_of(made) == (True, {"oven": False, "press": True})
        await made.project(agent.died(6))
        assert await online_of(made) == (True, {"oven": False, "press": True}), "the will of an earlier connection"
        await made.project(agent.died(7))
        assert await online_of(made) == (False, {"oven": False, "press": False})
        await made.project(agent.born(8), agent.died(7), born[0])
        assert await online_of(made) == (True, {"oven": True, "press": False}), "a late will in the same transaction"
        await made.project(Wire(agent.topic(Verb.NDEATH), b"\x08\x01"))
        assert await online_of(made) == (False, {"oven": False, "press": False}), "a death without a bdSeq"
        await made.project(agent.died(8), agent.born(9), born[1])
        assert await online_of(made) == (True, {"oven": False, "press": True})
        await made.project(agent.born(10))
        assert await online_of(made) == (True, {"oven": False, "press": False}), "not born again yet"
        assert await made.reasons() == []


async def test_an_agent_that_delivers_and_was_never_seen_born_is_asked_for_its_births(
    raw_log: RawLog, database_dsn: str
) -> None:
    agent = PlayedAgent()
    define = agent.define("press", {"force": DataType.DOUBLE})
    async with plant(raw_log, database_dsn) as made:
        await made.project(define, doubles(agent, 3, device="press"))
        (row,) = await made.fetch("SELECT online, rebirth_wanted FROM agent")
        assert not row["online"]
        assert row["rebirth_wanted"] is not None
        await made.fetch("UPDATE agent SET rebirth_wanted = NULL, rebirth_asked = now() RETURNING 1")
        await made.project(doubles(agent, 3, device="press"))
        (row,) = await made.fetch("SELECT rebirth_wanted FROM agent")
        assert row["rebirth_wanted"] is None, "not again before it could answer"
        await made.project(agent.born(1), agent.device_born("press"), doubles(agent, 3, device="press"))
        (row,) = await made.fetch("SELECT online, rebirth_wanted FROM agent")
        assert (row["online"], row["rebirth_wanted"]) == (True, None)


async def test_published_samples_are_those_that_are_stored(raw_log: RawLog, database_dsn: str) -> None:
    agents = [PlayedAgent("line-1"), PlayedAgent("line-2")]
    async with plant(raw_log, database_dsn) as made:
        await made.project(*(wire for agent in agents for wire in every_value(agent)), publish_samples=True)
        late = agents[0]
        unknown = late.define("oven", {"force": DataType.DOUBLE})
        await made.project(doubles(late, 3, device="oven"), publish_samples=True)
        await made.project(unknown, publish_samples=True)
        found = await published(made)
        stored = {str(agent.name): in_order(await made.rows(agent)) for agent in agents}
    by_batch = {(batch.agent, batch.epoch, batch.batch): batch for batch in found}
    assert len(by_batch) == len(found), "published once, as nothing failed"
    assert set(by_batch) == {(a.name.name, a.epoch, number) for a in agents for number in a.rows}
    for agent in agents:
        read = [row for batch in found if batch.agent == agent.name.name for row in rows_of(batch)]
        assert sorted(read) == sorted(
            (row.device, row.tag, row.time_us, row.value, row.quality) for row in stored[str(agent.name)]
        )


async def test_samples_are_published_at_least_once_when_storing_fails(
    raw_log: RawLog, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = PlayedAgent()
    failed = []

    async def fail_once(*arguments: Any) -> None:
        if not failed:
            failed.append(True)
            raise DatabaseUnavailable("it went away after the samples were published")
        await store(*arguments)

    async with plant(raw_log, database_dsn) as made:
        await made.project(agent.define("press", {"force": DataType.DOUBLE}))
        monkeypatch.setattr(projector, "store", fail_once)
        await made.project(doubles(agent, 3), publish_samples=True)
        assert [batch.batch for batch in await published(made)] == [2, 2]
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))


async def published(made: Plant) -> list[samples_pb2.SampleBatch]:
    """Everything in the samples topic."""
    found: list[samples_pb2.SampleBatch] = []
    for number, end in (await made.log.end_offsets(SAMPLES)).items():
        async with made.log.reader(SAMPLES, number, 0) as reader:
            at = 0
            while at < end:
                records = await reader.read(WAIT_S_MAX, 1_000_000)
                found += [samples_pb2.SampleBatch.FromString(record.value) for record in records]
                at = records[-1].offset + 1
    return found


def rows_of(batch: samples_pb2.SampleBatch) -> list[tuple[str, str, int, str, int]]:
    """The samples of a published batch, as stored ones look in a comparison."""
    rows = []
    for column in batch.columns:
        values = next(
            (values for field in samples_pb2.Column.DESCRIPTOR.fields
             if field.name.endswith("_values") and (values := list(getattr(column, field.name)))),
            [],
        )  # fmt: skip
        qualities, missing = list(column.quality) or [0] * len(values), list(column.missing) or [False] * len(values)
        for tag, time_ns, value, quality, gone in zip(
            column.tag, column.time_ns, values, qualities, missing, strict=True
        ):
            rows.append(
                (batch.device, column.tag_names[tag], time_ns // 1000, "None" if gone else repr(value), quality)
            )
    return rows


async def test_lag_is_measured_of_the_partitions_that_this_process_has(
    raw_log: RawLog, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(historian, "LAG_S", 0.02)
    agent = PlayedAgent()

    def lag() -> dict[str, float]:
        return {sample.labels["partition"]: sample.value for metric in LAG.collect() for sample in metric.samples}

    async with plant(raw_log, database_dsn) as made:
        await made.append(agent.define("press", {"force": DataType.DOUBLE}), doubles(agent, 3))
        async with made.historian():

            async def measured() -> bool:
                return lag() == {"0": 0.0, "1": 0.0}

            await made.caught_up()
            await eventually(measured)
        assert lag() == {}
