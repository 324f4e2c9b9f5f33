"""What the event log asks before it drops old records of the raw topic: whether they are stored."""

from __future__ import annotations

from collections.abc import Mapping

from cloud_ingest.event_log.topics import RAW, REPORTS
from cloud_ingest.observability.events import UnreadDroppedAgain, UnreadKept
from connectors.observability.events import emit
from connectors.ports.database import Database


class RawReaders:
    """See ``RequiredReaders``: the raw topic and that of reports must have been read; others are nobody's memory."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: dict[str, int] = {}

    async def places(self, topic: str, identity: str) -> Mapping[int, int] | None:
        """See ``RequiredReaders``."""
        if topic not in (RAW, REPORTS):
            return None
        async with self._database.session() as session:
            rows = await session.fetch(
                "SELECT partition, min(next_offset) AS place FROM projection "
                "WHERE topic = $1 AND topic_identity = $2 GROUP BY partition",
                topic,
                identity,
            )
        if topic == REPORTS and not rows:
            return None  # no process has ever had the role that reads it
        return {int(row["partition"]): int(row["place"]) for row in rows}

    def kept(self, topic: str, pieces: int) -> None:
        """See ``RequiredReaders``."""
        before, self._kept[topic] = self._kept.get(topic, 0), pieces
        if pieces and pieces != before:
            emit(UnreadKept(topic, pieces))
        elif before and not pieces:
            emit(UnreadDroppedAgain(topic))
