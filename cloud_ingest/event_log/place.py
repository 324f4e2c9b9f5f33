"""The place of a projection in the event log, which moves with what it stores, in the same transaction."""

from __future__ import annotations

from typing import Any, Final

from connectors.model.errors import OffsetMoved
from connectors.ports.database import Database, Session


def is_at(first: int) -> str:
    """The condition that a row of ``projection`` is a place as it was left; from ``$first`` on: ``move_columns``."""
    columns = ("projection", "topic", "topic_identity", "partition", "next_offset")
    return " AND ".join(f"{column}=${first + place}" for place, column in enumerate(columns))


def moving(first: int) -> str:
    """The statement that moves it on, with the same parameters."""
    return f"UPDATE projection SET next_offset=${first + 5}, last_ms=${first + 6} WHERE {is_at(first)}"  # noqa: S608


MOVE: Final = moving(1)


class Place:
    """The place of a projection in one partition of a topic: a row that only one process at a time can move."""

    def __init__(self, database: Database, topic: str, identity: str, partition: int, projection: str) -> None:
        self._database = database
        self._key = (projection, topic, identity, partition)
        self.last_ms: int | None = None

    async def read(self) -> int:
        """The offset of the next record; ``last_ms`` is the time of the one before. Raises ``DatabaseUnavailable``."""
        async with self._database.transaction() as session:
            await session.execute(
                "INSERT INTO projection (projection, topic, topic_identity, partition, next_offset) "
                "VALUES ($1,$2,$3,$4,0) ON CONFLICT DO NOTHING",
                *self._key,
            )
            rows = await session.fetch(
                "SELECT next_offset, last_ms FROM projection "
                "WHERE projection=$1 AND topic=$2 AND topic_identity=$3 AND partition=$4",
                *self._key,
            )
        self.last_ms = rows[0]["last_ms"]
        return int(rows[0]["next_offset"])

    async def move(self, session: Session, expected: int, following: int, last_ms: int | None) -> None:
        """Go from ``expected`` to ``following``, behind a record of ``last_ms``, within a transaction.

        Raises ``OffsetMoved`` when the place is not where it was left: another process has this partition now.
        """
        self.moved(await session.execute(MOVE, *self.move_columns(expected, following, last_ms)))

    def move_columns(self, expected: int, following: int, last_ms: int | None) -> list[Any]:
        """The parameters of ``MOVE``, where it is a part of another statement; ``moved`` judges what came of it."""
        return [*self._key, expected, following, last_ms]

    def moved(self, count: int) -> None:
        """Raises ``OffsetMoved`` unless ``MOVE`` has touched one row."""
        if count != 1:
            raise OffsetMoved(f"partition {self._key[3]} of {self._key[1]} has been taken over by another process")

    async def set_back(self, expected: int, offset: int) -> None:
        """Go back from ``expected`` to ``offset``.

        Raises ``OffsetMoved`` as ``move`` does, and ``DatabaseUnavailable``.
        """
        async with self._database.transaction() as session:
            await self.move(session, expected, offset, self.last_ms)
