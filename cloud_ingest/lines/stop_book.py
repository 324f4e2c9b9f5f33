"""The stops of a line, in the table ``line_stop``: found by its states, classified by operators, told to others.

A stop that is told again is told as it is now. What somebody has said of one stays with it, whatever samples come late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines import events
from cloud_ingest.lines.events import Stop, StopKind
from cloud_ingest.lines.fold_rules import StateSpan
from cloud_ingest.lines.line_reading import ReadLine
from cloud_ingest.lines.stop_rules import Edits, KnownStop, StopPiece, matched, stops_of
from connectors.commands.ulid import new_ulid
from connectors.ports.database import Row, Session

_WRITE: Final = """
INSERT INTO line_stop
(stop_id, tenant_id, line_id, begin_ns, end_ns, state, found_reason, found_kind, reason, kind, is_told)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (stop_id) DO UPDATE SET begin_ns = excluded.begin_ns, end_ns = excluded.end_ns, state = excluded.state,
found_reason = excluded.found_reason, found_kind = excluded.found_kind, reason = excluded.reason, kind = excluded.kind,
is_told = excluded.is_told, revision = line_stop.revision + 1
"""


async def book_stops(work: UnitOfWork, read: ReadLine, states: Sequence[StateSpan], now_ns: int) -> list[int]:
    """Have the stops as ``states`` says, which begin with production. When time alone changes one next."""
    session, begin_ns = work.session, states[0].begin_ns
    rows = await session.fetch(
        "SELECT * FROM line_stop WHERE line_id = $1 AND (end_ns IS NULL OR end_ns > $2) ORDER BY begin_ns",
        read.line_id,
        begin_ns,
    )
    micro_ns = round(read.model.micro_stop_s * 1_000_000_000)
    pieces = stops_of(states, await _edits(session, read.line_id, begin_ns), micro_ns, now_ns)
    ids, gone = matched(pieces, [KnownStop(row["stop_id"], row["begin_ns"], row["end_ns"]) for row in rows])
    by_id = {row["stop_id"]: row for row in rows}
    await session.execute("DELETE FROM line_stop WHERE stop_id = ANY($1::text[])", gone)
    for stop in gone:
        if by_id[stop]["is_told"]:
            work.announce(events.stop_event(events.STOP_WITHDRAWN, read.key, now_ns, stop_of(by_id[stop])))
    for piece, known in zip(pieces, ids, strict=True):
        await _book(work, read, piece, by_id.get(known or ""), now_ns)
    last = pieces[-1] if pieces else None
    if last is None or last.end_ns is not None or last.kind is not StopKind.MICRO:
        return []
    return [_cluster_begin(states) + micro_ns]


def stop_of(row: Mapping[str, object]) -> Stop:
    """The stop in a row, as it is told."""
    end_ns, reason = row["end_ns"], row["reason"]
    return Stop(
        str(row["stop_id"]),
        int(str(row["begin_ns"])),
        None if end_ns is None else int(str(end_ns)),
        None if reason is None else str(reason),
        StopKind(str(row["kind"])),
    )


def _cluster_begin(states: Sequence[StateSpan]) -> int:
    begin_ns = states[-1].begin_ns
    for span in reversed(states):
        if span.state is events.LineState.RUNNING:
            break
        begin_ns = span.begin_ns
    return begin_ns


async def _edits(session: Session, line_id: int, begin_ns: int) -> Edits:
    rows = await session.fetch(
        "SELECT time_ns, is_cut FROM line_stop_edit WHERE line_id = $1 AND time_ns > $2", line_id, begin_ns
    )
    cuts = frozenset(row["time_ns"] for row in rows if row["is_cut"])
    return Edits(cuts, frozenset(row["time_ns"] for row in rows) - cuts)


async def _book(work: UnitOfWork, read: ReadLine, piece: StopPiece, row: Row | None, now_ns: int) -> None:
    """Store one stop if it is not as it is stored, and tell of it: not of a micro-stop before it has ended."""
    is_classified = row is not None and row["classified_by"]
    reason = row["reason"] if row is not None and is_classified else piece.reason
    kind = StopKind(row["kind"]) if row is not None and is_classified else piece.kind
    is_open = piece.end_ns is None
    is_told = kind is not StopKind.MICRO or not is_open or (row is not None and row["is_told"])
    facts = (piece.begin_ns, piece.end_ns, piece.state, piece.reason, piece.kind, reason, kind, is_told)
    names = ("begin_ns", "end_ns", "state", "found_reason", "found_kind", "reason", "kind", "is_told")
    if row is not None and facts == tuple(row[name] for name in names):
        return
    stop = new_ulid(piece.begin_ns // 1_000_000) if row is None else str(row["stop_id"])
    await work.session.execute(_WRITE, stop, read.key.tenant_id, read.line_id, *facts)
    if not is_told:
        return
    told = Stop(stop, piece.begin_ns, piece.end_ns, reason, kind)
    was_told = row is not None and row["is_told"]
    if (not was_told and kind is not StopKind.MICRO) or is_open:
        work.announce(events.stop_event(events.STOP_OPENED, read.key, now_ns, told))
    if not is_open:
        work.announce(events.stop_event(events.STOP_CLOSED, read.key, now_ns, told))
