"""Nodes of other makers, which do not acknowledge: read by their births, gaps in seq recorded, births asked for."""

from __future__ import annotations

import time
from typing import Any

from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.topics import Topic, Verb
from tests.contract.historian_steps import Plant, RawLog, plant
from tests.played_agent import Wire

NOW_MS = time.time_ns() // 1_000_000


class Node:
    """A node that numbers its messages and knows nothing of Lineside."""

    name = AgentName("plant", "stranger")

    def __init__(self) -> None:
        self.seq = 0
        self.bd_seq = 0

    def message(self, verb: Verb, device: str = "", *metrics: dict[str, Any], at_ms: int = NOW_MS) -> Wire:
        payload = pb.Payload(timestamp=at_ms)
        if verb is Verb.NBIRTH:
            self.seq = 0
        if verb is not Verb.NDEATH:
            payload.seq = self.seq
            self.seq = (self.seq + 1) % 256
        if verb in (Verb.NBIRTH, Verb.NDEATH):
            payload.metrics.add(name="bdSeq", datatype=DataType.INT64, long_value=self.bd_seq)
        for metric in metrics:
            payload.metrics.add(**metric)
        return Wire(str(Topic(self.name, verb, device)), payload.SerializeToString())

    def births(self) -> list[Wire]:
        return [
            self.message(Verb.NBIRTH, "", {"name": "Uptime", "alias": 1, "datatype": DataType.INT64, "long_value": 5}),
            self.message(
                Verb.DBIRTH, "press", {"name": "Force", "alias": 2, "datatype": DataType.DOUBLE, "double_value": 1.5},
                {"name": "Mode", "datatype": DataType.STRING, "string_value": "auto"},
            ),
        ]  # fmt: skip

    def force(self, value: float, at_ms: int = NOW_MS) -> Wire:
        return self.message(Verb.DDATA, "press", {"alias": 2, "double_value": value, "timestamp": at_ms})


async def values(made: Plant) -> list[tuple[str, str, Any]]:
    return [(row.device, row.tag, row.value) for row in sorted(await made.rows("plant/stranger"), key=repr)]


async def state(made: Plant) -> tuple[bool, bool, dict[str, bool]]:
    (agent,) = await made.fetch("SELECT online, rebirth_wanted IS NOT NULL AS wanted FROM agent")
    devices = await made.fetch("SELECT name, online FROM device")
    return agent["online"], agent["wanted"], {row["name"]: row["online"] for row in devices}


BORN = [("", "Uptime", 5), ("press", "Force", 1.5), ("press", "Mode", "auto")]


async def test_a_node_is_read_by_its_births_also_after_a_restart(raw_log: RawLog, database_dsn: str) -> None:
    node = Node()
    async with plant(raw_log, database_dsn) as made:
        await made.project(*node.births(), node.force(2.5))
        assert await values(made) == sorted([*BORN, ("press", "Force", 2.5)], key=repr)
        assert await state(made) == (True, False, {"press": True})
        await made.project(
            node.force(3.5), node.message(Verb.DDATA, "press", {"name": "Mode", "string_value": "manual"})
        )
        found = [("press", "Force", 2.5), ("press", "Force", 3.5), ("press", "Mode", "manual")]
        assert await values(made) == sorted([*BORN, *found], key=repr)
        assert await made.reasons() == []
        assert await made.fetch("SELECT 1 FROM ledger") == [], "there is no ledger of what is not numbered"


async def test_what_came_before_a_birth_is_set_aside_and_the_birth_asked_for(
    raw_log: RawLog, database_dsn: str
) -> None:
    node = Node()
    async with plant(raw_log, database_dsn) as made:
        await made.project(node.force(9.5))
        assert await state(made) == (False, True, {})
        assert await made.reasons() == ["a DDATA before the NBIRTH of the node"]
        await made.project(*node.births(), node.message(Verb.DDATA, "press", {"alias": 77, "double_value": 1.0}))
        assert await values(made) == BORN
        assert (await made.reasons())[1:] == ["unknown alias 77"]


async def test_a_gap_in_seq_is_recorded(raw_log: RawLog, database_dsn: str) -> None:
    node = Node()
    async with plant(raw_log, database_dsn) as made:
        await made.project(*node.births())
        lost = [node.force(3.0) for _ in range(4)]
        await made.project(node.force(4.0), lost[0], node.force(5.0))
        gaps = await made.fetch("SELECT device, reason, sample_count, detail FROM gap")
        assert [(row["reason"], row["sample_count"]) for row in gaps] == [("sequence_gap", None)] * len(gaps)
        assert "messages were lost before this one" in gaps[0]["detail"]
        assert (await state(made))[1], "its births are asked for"


async def test_what_was_lost_while_no_historian_ran_is_recorded(raw_log: RawLog, database_dsn: str) -> None:
    node = Node()
    async with plant(raw_log, database_dsn) as made:
        await made.project(*node.births(), node.force(1.0))
        await made.project(node.force(2.0))
        assert await made.fetch("SELECT 1 FROM gap") == [], "seq goes on across a restart"
        (before,) = await made.fetch("SELECT last_seen FROM agent")
        for _ in range(200):
            node.force(3.0)
        await made.project(node.force(4.0))
        (gap,) = await made.fetch("SELECT device, reason, first_time, last_time, detail FROM gap")
        assert (gap["reason"], gap["detail"]) == ("sequence_gap", "200 messages were lost before this one")
        assert abs((gap["first_time"] - before["last_seen"]).total_seconds()) < 0.002
        assert gap["last_time"] >= gap["first_time"]
        assert (await state(made))[1], "its births are asked for"
        await made.project(*node.births(), node.force(5.0))
        assert len(await made.fetch("SELECT 1 FROM gap")) == 1, "a birth begins a new count"


async def test_an_append_that_came_twice_is_stored_once(raw_log: RawLog, database_dsn: str) -> None:
    node = Node()
    async with plant(raw_log, database_dsn) as made:
        wires = [*node.births(), node.force(2.5, NOW_MS + 1), node.force(3.5, NOW_MS + 2)]
        await made.project(*wires, *wires, node.force(4.5, NOW_MS + 3))
        found = [("press", "Force", value) for value in (2.5, 3.5, 4.5)]
        assert await values(made) == sorted([*BORN, *found], key=repr)
        assert await made.fetch("SELECT 1 FROM gap") == []
        assert await state(made) == (True, False, {"press": True})


async def test_a_node_and_its_devices_come_and_go(raw_log: RawLog, database_dsn: str) -> None:
    node = Node()
    async with plant(raw_log, database_dsn) as made:
        await made.project(*node.births(), node.message(Verb.DDEATH, "press"))
        assert await state(made) == (True, False, {"press": False})
        node.bd_seq = 1
        await made.project(*node.births())
        node.bd_seq = 0
        late = node.message(Verb.NDEATH)
        await made.project(late)
        assert await state(made) == (True, False, {"press": True}), "the will of an earlier connection"
        node.bd_seq = 1
        await made.project(node.message(Verb.NDEATH))
        assert await state(made) == (False, False, {"press": False})
        node.bd_seq = 2
        await made.project(node.births()[0])
        assert await state(made) == (True, False, {"press": False})
        await made.project(node.force(4.5))
        assert await made.reasons() == ["unknown alias 2"], "the births of the session before are forgotten"
