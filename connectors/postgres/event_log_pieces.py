"""The pieces of a topic's table: made ahead of time, dropped after the retention, or compacted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connectors.ports.database import Session
from connectors.postgres.event_log_schema import compact, create_piece, has_unread, records_table

PIECES_PER_RETENTION: Final = 8
PIECE_S_MIN: Final = 60
PIECE_S_MAX: Final = 86_400
_AHEAD: Final = 2
"""So many pieces stand ready after the current one."""
_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '2s'"
"""Making and dropping a piece waits for those who use the table, and everybody else then waits behind it."""
_NOW: Final = "SELECT extract(epoch FROM now())::bigint AS now_s"
_PIECES: Final = """
    SELECT c.relname AS piece FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass($1)
"""


def piece_length_s(retention_s: int) -> int:
    """How much time one piece covers: an eighth of the retention, between a minute and a day."""
    return min(PIECE_S_MAX, max(PIECE_S_MIN, retention_s // PIECES_PER_RETENTION))


async def make_pieces(session: Session, topic_id: int, piece_s: int) -> None:
    """Make the piece of this moment and those that follow, unless they exist. ``session`` is in a transaction."""
    await session.execute(_LOCK_TIMEOUT)
    now_s = await _now_s(session)
    existing = set(await _starts(session, topic_id))
    current_s = now_s - now_s % piece_s
    for start_s in range(current_s, current_s + (_AHEAD + 1) * piece_s, piece_s):
        if start_s not in existing:
            await session.execute(create_piece(topic_id, start_s, start_s + piece_s))


async def drop_pieces(
    session: Session, topic_id: int, piece_s: int, retention_s: int, places: Mapping[int, int] | None
) -> int:
    """Drop the pieces whose newest record is older than ``retention_s``; how many were kept all the same.

    A piece is kept while it has a record at one of ``places`` (offsets by partition) or behind; ``None``: nobody has to
    have read it. ``session`` is in a transaction.
    """
    await session.execute(_LOCK_TIMEOUT)
    oldest_s = await _now_s(session) - retention_s
    expired = [start_s for start_s in await _starts(session, topic_id) if start_s + piece_s <= oldest_s]
    kept = 0
    for start_s in expired:
        piece = f"{records_table(topic_id)}_{start_s}"
        if places is not None:
            (unread,) = await session.fetch(has_unread(piece), list(places), list(places.values()))
            if unread["yes"]:
                kept += 1
                continue
        await session.execute(f"DROP TABLE {piece}")
    return kept


async def drop_replaced(session: Session, topic_id: int) -> int:
    """Compact: remove the records that a newer one of the same key has replaced; how many."""
    return await session.execute(compact(topic_id))


async def _now_s(session: Session) -> int:
    (row,) = await session.fetch(_NOW)
    return int(row["now_s"])


async def _starts(session: Session, topic_id: int) -> list[int]:
    rows = await session.fetch(_PIECES, records_table(topic_id))
    return sorted(int(row["piece"].rpartition("_")[2]) for row in rows)
