"""From the table of states to the topic ``lineside.commands.v1``: in order, at least once.

A state is written in the transaction that it belongs to; so the topic has each that holds, and none that does not.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final

from cloud_ingest.commands.audit import TENANT
from cloud_ingest.commands.book import CHANNEL
from cloud_ingest.commands.questions import state_document, states_after
from cloud_ingest.event_log.topics import COMMANDS
from cloud_ingest.observability.command_events import StateNotPublished
from connectors.model.errors import RecordRefused
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row
from connectors.ports.event_log import EventLog, Record

AT_ONCE_MAX: Final = 500
LOOK_S: Final = 5.0
GATHER_S: Final = 0.05
"""A command changes several times within this: one append has it all, and the command itself is not held up."""


class Relay:
    """Publishes states; one process at a time does."""

    def __init__(self, database: Database, log: EventLog, clock: Clock) -> None:
        self._database = database
        self._log = log
        self._clock = clock

    async def run(self) -> None:
        """Publish until cancelled. Raises ``DatabaseUnavailable`` and ``EventLogUnavailable``."""
        async with self._database.notified(CHANNEL) as woken:
            while True:
                while await self.publish() == AT_ONCE_MAX:
                    pass
                await woken.wait(LOOK_S)
                await asyncio.sleep(GATHER_S)

    async def publish(self) -> int:
        """Publish the next states; how many there were."""
        async with self._database.session() as session:
            (place,) = await session.fetch("SELECT state_id FROM command_relay WHERE tenant_id = $1", TENANT)
            rows = await states_after(session, int(place["state_id"]), AT_ONCE_MAX)
        if not rows:
            return 0
        now_ms = self._clock.now_ns() // 1_000_000  # an agent's clock may be anywhere, and logs delete by time
        records = [
            Record(str(row["agent"]).encode(), json.dumps(state_document(row), ensure_ascii=False).encode(), now_ms)
            for row in rows
        ]
        try:
            await self._log.append(COMMANDS, records)
        except RecordRefused:
            for row, record in zip(rows, records, strict=True):
                await self._append_alone(row, record)
        async with self._database.session() as session:
            await session.execute(
                "UPDATE command_relay SET state_id = $2 WHERE tenant_id = $1 AND state_id < $2",
                TENANT,
                rows[-1]["state_id"],
            )
        return len(rows)

    async def _append_alone(self, row: Row, record: Record) -> None:
        """Publish one state; one that the log will never take keeps no other from being published."""
        try:
            await self._log.append(COMMANDS, [record])
        except RecordRefused as exc:
            emit(StateNotPublished(str(row["command_id"]), str(row["state"]), str(exc)))
