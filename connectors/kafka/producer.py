"""Appending to Kafka: batches of an idempotent producer, acknowledged by all copies that are in sync.

A producer numbers the batches of each partition. The broker takes a number once, so that a batch whose answer was lost
is sent again without harm. When it stays unknown whether a batch arrived, the numbers are of no use any more: the next
append begins with a new identity, as it does when the broker does not know the old one (any more).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka.errors import KafkaError, MessageSizeTooLargeError, NoError, RecordListTooLargeError, for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from connectors.kafka.connection import KafkaConnection
from connectors.model.errors import EventLogUnavailable, RecordRefused
from connectors.ports.event_log import Record

BATCH_BYTES_TARGET: Final = 900_000
"""Several records go into one batch up to this size: below the limit that every topic has unless someone lowers it."""
BATCH_OVERHEAD_BYTES: Final = 61
RECORD_OVERHEAD_BYTES: Final = 48
_HEADER_OVERHEAD_BYTES: Final = 10
_ALL_IN_SYNC: Final = -1
_SEQUENCES: Final = 1 << 31
_NO_LIMIT: Final = (1 << 31) - 1
_INVALID_TIMESTAMP: Final = 32
_INVALID_RECORD: Final = 87


@dataclass(slots=True)
class _Identity:
    """A producer as the broker knows it, and the next number of each (topic, partition)."""

    producer_id: int
    epoch: int
    sequences: dict[tuple[str, int], int] = field(default_factory=dict)


class IdempotentProducer:
    """Appends batches, one at a time to each partition."""

    def __init__(self, connection: KafkaConnection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_ms = round(timeout_s * 1000)
        self._identity: _Identity | None = None
        self._identifying = asyncio.Lock()
        self._turns: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def append(self, topic: str, partition: int, records: Sequence[Record], batch_bytes_max: int) -> list[int]:
        """Append ``records`` in their order; the offset of the next record after each of them.

        No batch of several is larger than ``batch_bytes_max``. Raises ``RecordRefused`` and ``EventLogUnavailable``.
        """
        next_offsets: list[int] = []
        async with self._turns[topic, partition]:
            for batch in split(records, batch_bytes_max):
                first = await self._append_batch(topic, partition, batch)
                next_offsets.extend(range(first + 1, first + 1 + len(batch)))
        return next_offsets

    async def _append_batch(self, topic: str, partition: int, batch: Sequence[Record]) -> int:
        identity = await self._identify()
        sequence = identity.sequences.get((topic, partition), 0)
        builder = DefaultRecordBatchBuilder(2, 0, 0, identity.producer_id, identity.epoch, sequence, _NO_LIMIT)
        for number, record in enumerate(batch):
            builder.append(number, record.time_ms, record.key, record.value, list(record.headers))
        data: Any = builder.build()
        request = ProduceRequest(None, _ALL_IN_SYNC, self._timeout_ms, [(topic, [(partition, data)])])

        async def attempt() -> int:
            return _first_offset(await self._connection.to_leader(topic, partition, request))

        try:
            first = await self._connection.until_served(f"append to {topic}", attempt)
        except RecordRefused:
            raise  # the broker has not counted it: the number stays the next one
        except BaseException:
            if self._identity is identity:
                self._identity = None
            raise
        identity.sequences[topic, partition] = (sequence + len(batch)) % _SEQUENCES
        return first

    async def _identify(self) -> _Identity:
        async with self._identifying:
            if self._identity is None:
                self._identity = await self._connection.until_served("name a producer", self._new_identity)
            return self._identity

    async def _new_identity(self) -> _Identity:
        not_transactional: Any = None
        answer = await self._connection.to_any(InitProducerIdRequest(not_transactional, self._timeout_ms))
        _check(answer.error_code)
        return _Identity(answer.producer_id, answer.producer_epoch)


def split(records: Sequence[Record], batch_bytes_max: int) -> Iterator[Sequence[Record]]:
    """``records`` in batches of at most ``batch_bytes_max`` and ``BATCH_BYTES_TARGET``; a larger record goes alone."""
    limit = min(BATCH_BYTES_TARGET, batch_bytes_max) - BATCH_OVERHEAD_BYTES
    start, batch_bytes = 0, 0
    for at, record in enumerate(records):
        size = _record_bytes(record)
        if at > start and batch_bytes + size > limit:
            yield records[start:at]
            start, batch_bytes = at, 0
        batch_bytes += size
    if start < len(records):
        yield records[start:]


def refuse_too_large(records: Sequence[Record], batch_bytes_max: int) -> None:
    """Raise ``RecordRefused`` when one of ``records`` does not even fit into a batch alone."""
    largest = max(map(_record_bytes, records), default=0) + BATCH_OVERHEAD_BYTES
    if largest > batch_bytes_max:
        raise RecordRefused(f"a record takes {largest} bytes; the topic allows {batch_bytes_max}")


def _record_bytes(record: Record) -> int:
    """The most that ``record`` takes up in a batch."""
    headers = sum(_HEADER_OVERHEAD_BYTES + 4 * len(name) + len(value) for name, value in record.headers)
    return RECORD_OVERHEAD_BYTES + len(record.key) + len(record.value) + headers


def _first_offset(answer: Any) -> int:
    ((_topic, ((_partition, code, offset, *_rest),)),) = answer.topics
    if code in (_INVALID_TIMESTAMP, _INVALID_RECORD):
        raise RecordRefused(f"Kafka refuses the record (error {code}): its time or its form is not allowed here")
    try:
        _check(code)
    except (MessageSizeTooLargeError, RecordListTooLargeError) as exc:
        raise RecordRefused("Kafka refuses the record: it is larger than the topic allows") from exc
    if offset < 0:
        raise EventLogUnavailable("Kafka has the records, but has forgotten at which offset")
    return int(offset)


def _check(code: int) -> None:
    error: type[KafkaError] = for_code(code)
    if error is not NoError:
        raise error
