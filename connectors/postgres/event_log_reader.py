"""Reading one partition of the event log on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from connectors.ports.event_log import LogRecord
from connectors.postgres.copy_stream import unpack_headers
from connectors.postgres.database import PostgresDatabase
from connectors.postgres.event_log_errors import as_log_errors
from connectors.postgres.event_log_schema import select_records
from connectors.postgres.notifications import Notifications

POLL_S: Final = 2.0
"""How often a waiting reader looks without having been notified: a dead connection can swallow notifications."""
ROWS_MAX: Final = 10_000
_VALUE_BYTES_GUESS: Final = 4_096


class PostgresReader:
    """See ``PartitionReader``."""

    def __init__(
        self,
        database: PostgresDatabase,
        notifications: Notifications,
        grown: asyncio.Event,
        *,
        topic_id: int,
        partition: int,
        offset: int,
    ) -> None:
        self._database = database
        self._notifications = notifications
        self._grown = grown
        self._sql = select_records(topic_id)
        self._partition = partition
        self._offset = offset
        self._value_bytes = float(_VALUE_BYTES_GUESS)

    async def read(self, wait_s: float, bytes_max: int) -> Sequence[LogRecord]:
        """See ``PartitionReader``."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + wait_s
        with as_log_errors():
            while True:
                await self._notifications.listen()
                self._grown.clear()  # before looking, so that no append between looking and waiting is slept over
                records = await self._next(bytes_max)
                left_s = deadline_s - loop.time()
                if records or left_s <= 0:
                    return records
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left_s, POLL_S)):
                        await self._grown.wait()

    async def _next(self, bytes_max: int) -> Sequence[LogRecord]:
        # The server adds up the sizes of all rows within the limit, so the limit follows the sizes that come.
        rows_max = max(1, min(ROWS_MAX, 2 + int(1.25 * bytes_max / self._value_bytes)))
        async with self._database.session() as session:
            rows = await session.fetch(self._sql, self._partition, self._offset, rows_max, bytes_max)
        records = [
            LogRecord(offset, key, value, time_ms, unpack_headers(headers))
            for offset, time_ms, key, headers, value in (row.values() for row in rows)
        ]
        if records:
            self._offset = records[-1].offset + 1
            self._value_bytes = max(1.0, sum(len(record.value) for record in records) / len(records))
        return records
