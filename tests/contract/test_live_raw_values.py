"""Values from the raw log: sooner than the tables have them, and the same."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloud_ingest.gateway.live import feeds, hub
from cloud_ingest.gateway.live.client import Client, Subscription
from cloud_ingest.gateway.live.newest import NewestValues
from cloud_ingest.gateway.live.raw_values import RawValues
from cloud_ingest.gateway.live.sending import Sending
from cloud_ingest.gateway.live.subscription import Subscribe, value_text, wanted_by
from connectors.model.datatypes import DataType
from connectors.ports.event_log import EventLog
from tests.contract.historian_steps import Plant, RawLog, eventually, plant, tasks_of
from tests.contract.live_steps import stage
from tests.played_agent import PlayedAgent, Sample
from tests.played_outlet import VIEWER, PlayedOutlet

VALUES: dict[DataType, list[Any]] = {
    DataType.DOUBLE: [1.5, float("nan"), float("inf"), 1e300],
    DataType.FLOAT: [0.1],
    DataType.INT32: [-7],
    DataType.UINT64: [(1 << 64) - 1, 5],
    DataType.BOOLEAN: [True],
    DataType.STRING: ['°C "quoted"\n', "with \x00 in it"],
    DataType.BYTES: [b"\x00\xff"],
}
TAGS = {f"{datatype.name} {number}": (datatype, value)
        for datatype, values in VALUES.items() for number, value in enumerate(values)}  # fmt: skip


async def tags_of(here: Plant, agent: PlayedAgent) -> list[feeds.KnownTag]:
    found = await here.fetch(
        "SELECT tag_id, device, tag.name FROM tag JOIN agent USING (agent_id) WHERE agent.name = $1", agent.name.name
    )
    return [feeds.KnownTag(row["tag_id"], str(agent.name), row["device"], row["name"], True) for row in found]


async def test_what_the_log_has_is_told_before_it_is_stored_and_as_the_tables_have_it_later(
    raw_log: RawLog, database_dsn: str
) -> None:
    async with plant(raw_log, database_dsn) as here:
        agent, other = PlayedAgent(), PlayedAgent("line-2")
        types = {name: datatype for name, (datatype, _) in TAGS.items()}
        types |= {"none": DataType.INT32, "odd": DataType.INT32}
        wires = [one for each in (agent, other) for one in (each.start(), each.define("press", types))]
        await here.project(*wires)
        client, newest = Client(PlayedOutlet()), NewestValues(Sending())
        client.subscription = Subscription(wanted_by(VIEWER, Subscribe()))
        tags = await tags_of(here, agent)
        newest.want(client, tags)
        raw = RawValues(here.database, newest)
        async with tasks_of([raw.run(raw_log.open)]):
            await eventually(lambda: says(raw.is_reading))
            now_ns = time.time_ns() // 1000 * 1000
            samples = [Sample(name, now_ns + at * 1000, value) for at, (name, (_, value)) in enumerate(TAGS.items())]
            samples += [Sample("none", now_ns, None, 0x8005), Sample("odd", now_ns + 10 * 86_400 * 10**9, 5)]
            late = [Sample(sample.tag, sample.time_ns - 10**9, sample.value, sample.quality) for sample in samples]
            news, old = agent.samples("press", samples), agent.samples("press", late)
            await here.append(other.samples("press", late), news, old)
            pending = client.subscription.pending
            await eventually(lambda: says(len(pending.tags) == len(TAGS) + 1))
        told = dict(pending.tags)
        assert await here.fetch("SELECT FROM sample") == [], "nothing was stored yet"
        async with here.projecting():
            await here.caught_up()
        first = datetime.now(UTC) - timedelta(hours=1)
        stored = await feeds.newest(here.database, {tag.tag_id: first for tag in tags})
        assert told == {
            one.tag_id: value_text(one.tag_id, one.time.isoformat(), one.value, one.quality) for one in stored
        }


async def test_a_log_that_cannot_be_read_leaves_the_tables(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "RETRY_S", 1000.0)
    monkeypatch.setattr(hub, "RETRY_LONGEST_S", 1000.0)
    asked: list[str] = []

    async def broken() -> EventLog:
        asked.append("")
        raise ValueError("a defect")

    async with stage(database_dsn) as here:
        live, outlet = hub.LiveHub(here.here.database, broken), PlayedOutlet()
        client, tag = Client(outlet), feeds.KnownTag(1, "plant/line-1", "press", "setpoint", True)
        await live.enter(client)
        try:
            await live.subscribe(client, wanted_by(VIEWER, Subscribe(tags=(1,))), [tag], {})
            await eventually(lambda: says(bool(asked)))
            await here.value(1.5)
            await eventually(lambda: says(outlet.values() == [(1, 1.5)]))
        finally:
            live.leave(client)


async def says(holds: bool) -> bool:
    return holds
