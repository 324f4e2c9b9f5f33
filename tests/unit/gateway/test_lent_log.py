"""A log that a process has is lent to a part of it, which waits for it and does not close it."""

from __future__ import annotations

import asyncio

from cloud_ingest.event_log.lent_log import Lending
from connectors.ports.event_log import Record, TopicSpec
from connectors.ports.memory_event_log import MemoryEventLog, MemoryLogServer


async def test_a_log_is_lent_when_it_is_there_and_stays_open_when_it_is_given_back() -> None:
    lending, own = Lending(), MemoryEventLog(MemoryLogServer())
    impatient, opening = asyncio.create_task(lending.open()), asyncio.create_task(lending.open())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    assert not opening.done()
    lending.has(own)
    lent = await opening
    await own.ensure(TopicSpec("t", 1))
    await lent.append("t", [Record(b"k", b"v", 1)])
    await lent.close()
    assert await own.end_offsets("t") == await (await lending.open()).end_offsets("t") == {0: 1}
