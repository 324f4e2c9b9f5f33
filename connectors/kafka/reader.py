"""Reading one partition of a topic on Kafka."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.errors import CorruptRecordException, KafkaError, NoError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords

from connectors.kafka.connection import KafkaConnection
from connectors.kafka.offsets import EARLIEST, partition_offsets
from connectors.model.errors import EventLogUnavailable
from connectors.ports.event_log import LogRecord

FETCH_WAIT_S: Final = 1.0
"""How long the broker keeps a request that it has nothing for. A cancelled read leaves one behind for as long."""
FETCH_BYTES_MIN: Final = 65_536
_READ_UNCOMMITTED: Final = 0


class KafkaReader:
    """See ``PartitionReader``. It holds what the last fetch brought and ``read`` has not returned yet, and no more.

    An interruption is never passed over: what was read before and what comes then may not belong together.
    """

    def __init__(self, connection: KafkaConnection, topic: str, partition: int, offset: int) -> None:
        self._connection = connection
        self._topic = topic
        self._partition = partition
        self._fetch_offset = offset
        self._fetched: deque[LogRecord] = deque()

    async def read(self, wait_s: float, bytes_max: int) -> Sequence[LogRecord]:
        """See ``PartitionReader``."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + wait_s
        while not self._fetched:
            left_s = deadline_s - loop.time()
            await self._fetch(max(0.0, min(left_s, FETCH_WAIT_S)), max(bytes_max, FETCH_BYTES_MIN))
            if left_s <= 0:
                break
        return self._take(bytes_max)

    def _take(self, bytes_max: int) -> list[LogRecord]:
        taken: list[LogRecord] = []
        while self._fetched:
            bytes_max -= len(self._fetched[0].value)
            if taken and bytes_max < 0:
                break
            taken.append(self._fetched.popleft())
        return taken

    async def _fetch(self, wait_s: float, bytes_max: int) -> None:
        attempts = 0

        async def attempt() -> bytes:
            nonlocal attempts
            attempts += 1
            request = FetchRequest(
                round(wait_s * 1000),
                1,
                bytes_max,
                _READ_UNCOMMITTED,
                [(self._topic, [(self._partition, self._fetch_offset, bytes_max)])],
            )
            answer = await self._connection.to_leader(self._topic, self._partition, request)
            ((_topic, ((_partition, code, *_rest, data),)),) = answer.topics
            error: type[KafkaError] = for_code(code)
            if error is OffsetOutOfRangeError:
                await self._skip_to_oldest()
            elif error is not NoError:
                raise error
            return data or b""

        data = await self._connection.until_served(f"read from {self._topic}", attempt)
        if attempts > 1:  # a broker that was started again may have lost the end of the log: the caller looks
            raise EventLogUnavailable(f"the reading of {self._topic}-{self._partition} was interrupted")
        self._decode(data)

    async def _skip_to_oldest(self) -> None:
        oldest = (await partition_offsets(self._connection, self._topic, [self._partition], EARLIEST))[self._partition]
        if self._fetch_offset >= oldest:
            raise EventLogUnavailable(
                f"{self._topic}-{self._partition} ends before offset {self._fetch_offset}: it is another topic now, or "
                "has lost its end"
            )
        self._fetch_offset = oldest

    def _decode(self, data: bytes) -> None:
        """Take the records out of whole batches; a batch that was cut off at the end is fetched again."""
        records: list[LogRecord] = []
        next_offset = self._fetch_offset
        batches = MemoryRecords(data)
        while batches.has_next():
            try:
                batch: Any = batches.next_batch()
                records += _records(batch, self._fetch_offset)
            except KafkaError as exc:
                if records:
                    break  # they come first; the next fetch finds the damage again
                raise EventLogUnavailable(
                    f"{self._topic}-{self._partition} cannot be read at offset {next_offset}: {exc!r}"
                ) from exc
            next_offset = batch.next_offset  # and not that of the last record: compaction removes some at the end, too
        self._fetched.extend(records)
        self._fetch_offset = max(self._fetch_offset, next_offset)


def _records(batch: Any, from_offset: int) -> list[LogRecord]:
    if not batch.validate_crc():
        raise CorruptRecordException("the checksum does not fit")
    if batch.is_control_batch:
        return []
    return [
        LogRecord(
            record.offset,
            record.key or b"",
            record.value or b"",
            record.timestamp,
            tuple((name, value or b"") for name, value in record.headers),
        )
        for record in batch
        if record.offset >= from_offset
    ]
