"""Steps that the tests of the event log's contract share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

import pytest

from connectors.model.errors import EventLogUnavailable
from connectors.ports.event_log import EventLog, LogRecord, Record, TopicSpec
from tests.contract.logs_under_test import LogUnderTest
from tests.patience import WAIT_S_MAX

MEBIBYTE: Final = 1 << 20
_topic_numbers: Final = count(1)


@asynccontextmanager
async def opened(server: LogUnderTest) -> AsyncIterator[EventLog]:
    log = await server.open()
    try:
        yield log
    finally:
        await log.close()


def new_topic_name() -> str:
    return f"contract.{next(_topic_numbers)}"


async def new_topic(log: EventLog, partitions: int = 1) -> str:
    topic = new_topic_name()
    await log.ensure(TopicSpec(topic, partitions))
    return topic


def record(text: str, key: bytes = b"key") -> Record:
    return Record(key, text.encode(), time_ms=1_700_000_000_000)


async def read_all(
    log: EventLog, topic: str, partition: int = 0, offset: int = 0, *, until: int | None = None
) -> list[LogRecord]:
    """The records of a partition up to its end now, or up to the offset ``until``."""
    end = (await log.end_offsets(topic))[partition] if until is None else until
    found: list[LogRecord] = []
    async with log.reader(topic, partition, offset) as reader:
        while (found[-1].offset + 1 if found else offset) < end:
            found += await reader.read(1.0, MEBIBYTE)
    return found


async def unavailable(call: Callable[[], Awaitable[object]], within_s: float) -> None:
    began_s = time.monotonic()
    with pytest.raises(EventLogUnavailable):
        await asyncio.wait_for(call(), within_s)
    assert time.monotonic() - began_s < within_s


async def recovered(call: Callable[[], Awaitable[object]], within_s: float = WAIT_S_MAX) -> None:
    """Repeat ``call`` until it works again, as every caller does."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                await call()
            except EventLogUnavailable:
                await asyncio.sleep(0.1)
            else:
                return
