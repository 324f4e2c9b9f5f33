"""The event log of a process for a part of it that opens and closes one: they share its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from connectors.ports.event_log import EventLog, PartitionReader, Position, Record, TopicSpec, TopicState


class LentLog:
    """See ``EventLog``: ``log``, which its owner closes."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def ensure(self, topic: TopicSpec) -> TopicState:
        """See ``EventLog``."""
        return await self._log.ensure(topic)

    async def append(self, topic: str, records: Sequence[Record]) -> Sequence[Position]:
        """See ``EventLog``."""
        return await self._log.append(topic, records)

    def partition_of(self, topic: str, key: bytes) -> int:
        """See ``EventLog``."""
        return self._log.partition_of(topic, key)

    def assigned(self, topic: str, group: str) -> AbstractAsyncContextManager[AsyncIterator[frozenset[int]]]:
        """See ``EventLog``."""
        return self._log.assigned(topic, group)

    def reader(self, topic: str, partition: int, offset: int) -> AbstractAsyncContextManager[PartitionReader]:
        """See ``EventLog``."""
        return self._log.reader(topic, partition, offset)

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """See ``EventLog``."""
        return await self._log.end_offsets(topic)

    async def close(self) -> None:
        """Nothing: others use it."""


class Lending:
    """A log that is lent as soon as its owner has it."""

    def __init__(self) -> None:
        self._log: asyncio.Future[EventLog] = asyncio.get_running_loop().create_future()

    def has(self, log: EventLog) -> None:
        """The owner has opened it."""
        self._log.set_result(log)

    async def open(self) -> EventLog:
        """Wait until it is there."""
        return LentLog(await asyncio.shield(self._log))
