"""What was lost is told of, and handed to the uplink, whatever comes after it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pytest
from filling_outbox import NOW_NS, PRESS, SAMPLES, TAGS, Filling

from connectors.model.datatypes import DataType
from connectors.model.errors import OutboxUnavailable
from connectors.model.samples import SampleBatch
from edge_agent.acquisition.collector import Collector, CollectorSettings
from edge_agent.buffer.bounds import OutboxBounds, WhenFull
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.outbox import Commit
from edge_agent.buffer.rows import Kind, Lane, StoredBatch
from edge_agent.buffer.writer import OutboxReader, OutboxWriter
from tests.inline_outbox import InlineReader, InlineWriter
from tests.virtual_time import VirtualClock, virtual_time

DROP_NEWEST: Final = {Lane.ALARMS: WhenFull.DROP_OLDEST, Lane.SAMPLES: WhenFull.DROP_NEWEST}


class CountingWriter(InlineWriter):
    """Knows how many commits were asked of it."""

    commits = 0

    async def commit(self, work: Commit) -> list[StoredBatch]:
        self.commits += 1
        return await super().commit(work)


class Agent:
    """A device, whose samples are committed and wait for an uplink."""

    def __init__(self, folder: Path) -> None:
        self.writer = CountingWriter(folder, bounds=OutboxBounds(policies=DROP_NEWEST))
        self.feed = Feed(cast(OutboxReader, InlineReader(self.writer)), monotonic_s=asyncio.get_running_loop().time)
        self.definition, rows = self.writer.outbox.define(PRESS, TAGS, 0)
        self.feed.push(rows)
        settings = CollectorSettings(0.1, 100_000, 1 << 30, 1 << 20)
        self.collector = Collector(cast(OutboxWriter, self.writer), self.feed, settings, VirtualClock())

    def disk_has_room(self, pages: int) -> None:
        connection = self.writer.outbox._connection
        (used,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={used + pages}")

    async def put(self) -> None:
        aliases = np.resize(np.array([metric.alias for metric in self.definition.metrics[:3]], np.int32), SAMPLES)
        values = np.random.default_rng(1).random(SAMPLES)
        part = SampleBatch(DataType.DOUBLE, aliases, NOW_NS + np.arange(SAMPLES), values)
        await self.collector.put(PRESS, self.definition.hash, part, None)

    def stored_samples(self) -> int:
        return int(self.writer.outbox._connection.execute("SELECT total(sample_count) FROM outbox").fetchone()[0])

    async def told(self) -> list[dict[str, Any]]:
        """The gap records that the uplink gets to see."""
        rows = await self.feed.take(1000, 1 << 30, urgent=True)
        return [json.loads(row.record) for row in rows if row.kind is Kind.GAP]


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Agent]:
    agent = Agent(folder)
    task = asyncio.create_task(agent.collector.run())
    try:
        yield agent
    finally:
        agent.collector.stop()
        await task
        agent.writer.outbox.close()


@virtual_time
async def test_samples_that_were_not_taken_are_told_of_though_nothing_more_comes(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        agent.disk_has_room(1)
        await agent.put()
        await asyncio.sleep(10.0)
        assert [(gap["reason"], gap["count"]) for gap in await agent.told()] == [("disk_full", SAMPLES)]
        commits = agent.writer.commits
        await asyncio.sleep(100.0)
        assert agent.writer.commits == commits, "and then nothing is committed any more"


@virtual_time
async def test_of_a_device_whose_first_samples_were_not_taken_a_start_knows_that_it_was_heard(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        agent.disk_has_room(1)
        await agent.put()
        await asyncio.sleep(1.0)
        assert agent.stored_samples() == 0
        ((_, newest_ns, stored_ns),) = agent.writer.outbox.device_states().values()
        assert newest_ns == NOW_NS, "else the time without the agent is no gap"
        assert stored_ns is not None


def test_what_making_room_adds_is_returned_though_the_commit_after_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = {Lane.ALARMS: WhenFull.DROP_OLDEST, Lane.SAMPLES: WhenFull.DROP_OLDEST}
    full = Filling(tmp_path / "outbox.db", OutboxBounds(policies=policies))
    rows = [row for _ in range(5) for row in full.commit()]
    full.outbox._connection.execute("UPDATE outbox SET sample_count=7 WHERE batch=?", (rows[0].number,))
    with monkeypatch.context() as patched:
        patched.setattr(full.outbox, "_apply", no_room)
        with pytest.raises(OutboxUnavailable):
            full.commit()
    told = full.commit()
    assert [(row.kind, row.number) for row in told[:1]] == [(Kind.GAP, rows[-1].number + 1)]
    assert json.loads(told[0].record)["reason"] == "outbox_damaged"
    assert full.commit()[0].number == told[-1].number + 1, "and once"
    full.outbox.close()


def no_room(work: Commit, rows: list[StoredBatch]) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error
