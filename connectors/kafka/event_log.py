"""The event log on Kafka: the distributed engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache, partial
from typing import Any, Final

from aiokafka.partitioner import murmur2

from connectors.kafka.connection import KafkaConnection
from connectors.kafka.members import membership
from connectors.kafka.offsets import LATEST, partition_offsets
from connectors.kafka.producer import IdempotentProducer, refuse_too_large
from connectors.kafka.reader import KafkaReader
from connectors.kafka.refusals import to_be_kept
from connectors.kafka.settings import KafkaLog
from connectors.kafka.topics import KafkaTopic, ensure_topic, find_topic
from connectors.model.errors import EventLogUnavailable
from connectors.ports.event_log import Position, Record, TopicSpec, TopicState

_DURABLE_COPIES: Final = 2
_KEYS_REMEMBERED: Final = 65_536

_murmur2: Final[Any] = murmur2  # it has no annotations


class KafkaEventLog:
    """See ``EventLog``; made by ``open_event_log``.

    After an outage, however long, it goes on by itself. The number of a topic's partitions is read once: whoever adds
    some, restarts the programs that append. Keys go to partitions as Kafka's own clients put them.
    """

    def __init__(self, settings: KafkaLog, name: str) -> None:
        self._settings = settings
        self._name = name
        self._connection = KafkaConnection(settings, name)
        self._producer = IdempotentProducer(self._connection, settings.timeout_s)
        self._topics: dict[str, KafkaTopic] = {}

    async def connect(self) -> None:
        """Reach the cluster. Raises ``EventLogUnavailable`` with a sentence that names the brokers."""
        await self._connection.until_served("be reached", self._connection.reach)

    async def ensure(self, topic: TopicSpec) -> TopicState:
        """See ``EventLog``."""
        attempt = partial(ensure_topic, self._connection, topic, self._settings)
        known = await self._connection.until_served(f"give the topic {topic.name}", attempt)
        self._topics[topic.name] = known
        durable = known.replication >= _DURABLE_COPIES and known.in_sync_min >= _DURABLE_COPIES
        return TopicState(
            known.identity,
            known.partitions,
            survives_power_loss=durable,
            retention_s=known.retention_s,
            bytes_max=known.bytes_max,
            advice=to_be_kept(topic, self._settings),
        )

    async def append(self, topic: str, records: Sequence[Record]) -> Sequence[Position]:
        """See ``EventLog``. Cancelled, it leaves open what of ``records`` is in the log, or will be."""
        known = await self._known(topic)
        refuse_too_large(records, known.batch_bytes_max)
        by_partition: dict[int, list[int]] = {}
        for index, record in enumerate(records):
            by_partition.setdefault(_partition(record.key, known.partitions), []).append(index)
        chosen = [(number, [records[index] for index in indices]) for number, indices in by_partition.items()]
        appended = await asyncio.gather(
            *(self._producer.append(topic, number, some, known.batch_bytes_max) for number, some in chosen),
            return_exceptions=True,
        )
        positions: dict[int, Position] = {}
        for (number, indices), next_offsets in zip(by_partition.items(), appended, strict=True):
            if isinstance(next_offsets, BaseException):
                raise next_offsets
            positions |= zip(indices, (Position(number, offset) for offset in next_offsets), strict=True)
        return [positions[index] for index in range(len(records))]

    def partition_of(self, topic: str, key: bytes) -> int:
        """See ``EventLog``."""
        return _partition(key, self._topics[topic].partitions)

    def assigned(self, topic: str, group: str) -> AbstractAsyncContextManager[AsyncIterator[frozenset[int]]]:
        """See ``EventLog``. A member that dies is replaced after ``session_timeout_s`` of the settings."""
        return membership(self._settings, self._name, topic, group)

    @asynccontextmanager
    async def reader(self, topic: str, partition: int, offset: int) -> AsyncIterator[KafkaReader]:
        """See ``EventLog``. Each reader has a connection of its own."""
        connection = KafkaConnection(self._settings, self._name)
        try:
            yield KafkaReader(connection, topic, partition, offset)
        finally:
            await connection.close()

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """See ``EventLog``."""
        known = await self._known(topic)
        attempt = partial(partition_offsets, self._connection, topic, range(known.partitions), LATEST)
        return await self._connection.until_served(f"say where {topic} ends", attempt)

    async def close(self) -> None:
        """See ``EventLog``."""
        await self._connection.close()

    async def _known(self, topic: str) -> KafkaTopic:
        known = self._topics.get(topic)
        if known is None:
            attempt = partial(find_topic, self._connection, topic)
            known = await self._connection.until_served(f"find the topic {topic}", attempt)
            if known is None:
                raise EventLogUnavailable(f"Kafka has no topic {topic}")
            self._topics[topic] = known
        return known


async def open_event_log(settings: KafkaLog, *, name: str) -> KafkaEventLog:
    """The event log on a Kafka cluster, which knows its clients as ``name``. Raises ``EventLogUnavailable``."""
    log = KafkaEventLog(settings, name)
    try:
        await log.connect()
    except BaseException:
        await log.close()
        raise
    return log


@lru_cache(maxsize=_KEYS_REMEMBERED)
def _partition(key: bytes, partitions: int) -> int:
    """As Kafka's own clients choose it: murmur2 in its positive half (here with a memory, as it runs in Python)."""
    return int((_murmur2(key) & 0x7FFFFFFF) % partitions)
