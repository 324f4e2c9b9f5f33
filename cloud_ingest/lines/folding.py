"""From the samples of a line to what is known of it: counts, states, stops, alarms, and their events, all at once.

Samples in order go on from the fold that is stored with the line. When one is late, the fold before it is taken and all
samples behind it again; what differs from the tables is corrected in them, and told. So the tables are always what the
samples say, and killing who folds changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines import events
from cloud_ingest.lines.alarm_book import AlarmBook
from cloud_ingest.lines.count_book import book_counts
from cloud_ingest.lines.fold_rules import Fold, Folded, StateSpan, fold, present
from cloud_ingest.lines.fold_text import fold_text, read_fold
from cloud_ingest.lines.line_reading import ReadLine, observations, read_line, runs_since, unplanned_ns
from cloud_ingest.lines.retiring import retire_line
from cloud_ingest.lines.state_book import Corrected, book_states
from cloud_ingest.lines.stop_book import book_stops
from cloud_ingest.lines.stop_rules import planned
from cloud_ingest.observability.line_events import LineCorrected
from connectors.observability.events import emit
from connectors.ports.database import Row, Session

AHEAD_NS: Final = 8 * 86_400_000_000_000
"""So far ahead the next change of a calendar is looked for."""


@dataclass(slots=True)
class _Found:
    """What the samples of one look have said."""

    folded: Folded = field(default_factory=Folded)
    alarms: dict[int, list[tuple[int, Decimal]]] = field(default_factory=lambda: defaultdict(list))


async def fold_line(work: UnitOfWork, line_id: int, now_ns: int) -> bool:
    """Bring what is known of a line up to now; to an end, if it was removed. False when another process is at it."""
    session = work.session
    rows = await session.fetch("SELECT * FROM production_line WHERE line_id = $1 FOR UPDATE SKIP LOCKED", line_id)
    if rows and rows[0]["is_removed"]:
        await retire_line(work, rows[0], now_ns)
        return True
    read = await read_line(session, rows[0]) if rows else None
    if read is None:
        return False
    row = rows[0]
    due = await session.fetch("DELETE FROM line_due WHERE line_id = $1 RETURNING time_ns", line_id)
    due_ns = min((one["time_ns"] for one in due), default=None)
    at = await _start(session, row, due_ns)
    start = at.copy()
    found = await _fold_on(session, read, at)
    spans, next_ns = present(read.rule, at, now_ns)
    counted = await book_counts(work, read, start, found.folded.tallies, row["folded_ns"])
    wakes = [] if next_ns is None else [next_ns]
    if at.signal >= 0:
        wakes += await _tell_states(work, read, row, [*found.folded.spans, *spans], now_ns)
    wakes += await AlarmBook(work, read).watch(row["conditions"], found.alarms, now_ns)
    if at.speed != row["told_speed"] and at.speed is not None:
        unit = "" if read.model.signals.speed is None else read.model.signals.speed.unit
        work.announce(events.speed_changed(read.key, at.time_ns, at.speed, unit))
    await _keep(session, read, start, found.folded.kept)
    await session.execute(
        "UPDATE production_line SET fold = $2, folded_ns = $3, looked_ns = $4, wake_ns = $5, speed = $6, "
        "told_speed = $6, good = good + $7, reject = reject + $8, energy_kwh = energy_kwh + $9 WHERE line_id = $1",
        line_id,
        fold_text(at),
        at.time_ns,
        now_ns,
        min(wakes, default=None),
        at.speed,
        *counted,
    )
    return True


async def _start(session: Session, row: Row, due_ns: int | None) -> Fold:
    """The fold to begin at: that of the line, or when a sample is late the last one before it."""
    live = read_fold(row["fold"])
    if due_ns is None or due_ns > live.time_ns:
        return live
    rows = await session.fetch(
        "(SELECT time_ns, fold FROM line_checkpoint WHERE line_id = $1 AND time_ns < $2 ORDER BY time_ns DESC LIMIT 1) "
        "UNION ALL (SELECT time_ns, fold FROM line_checkpoint WHERE line_id = $1 ORDER BY time_ns LIMIT 1)",
        row["line_id"],
        due_ns,
    )
    return read_fold(rows[0]["fold"]) if rows else Fold()


async def _fold_on(session: Session, read: ReadLine, at: Fold) -> _Found:
    """Take all samples behind ``at`` into it."""
    found = _Found(Folded(dict(at.tallies)))
    watched = {signal for name, signal in read.signals.items() if name.startswith("alarm:")}
    runs = await runs_since(session, read.key, at.time_ns)
    async for page in observations(session, read.line_id, at.time_ns, at.signal):
        for seen in page:
            if seen.signal in watched and seen.number is not None and not seen.is_bad:
                found.alarms[seen.signal].append((seen.time_ns, seen.number))
        folded = fold(read.rule, runs, at, page)
        found.folded.tallies.update(folded.tallies)
        found.folded.spans += folded.spans
        found.folded.kept += folded.kept
    return found


async def _tell_states(
    work: UnitOfWork, read: ReadLine, row: Row, spans: Sequence[StateSpan], now_ns: int
) -> list[int]:
    """Store states and stops, and tell what is new. When time alone changes them next."""
    unplanned = unplanned_ns(read.calendar, spans[0].begin_ns, now_ns)
    states = planned(spans, unplanned, now_ns)
    booked = await book_states(work, read, row, states)
    if isinstance(booked.corrected, Corrected):
        told = booked.corrected
        work.announce(events.states_corrected(read.key, now_ns, told.begin_ns, told.end_ns))
        emit(LineCorrected(read.key.site, read.key.line, told.begin_ns, told.end_ns))
    wakes = await book_stops(work, read, booked.states, now_ns)
    if states[-1].state is not events.LineState.RUNNING:
        edges = unplanned_ns(read.calendar, now_ns, now_ns + AHEAD_NS)
        wakes += [edge for period in edges for edge in period if edge > now_ns][:1]
    return wakes


async def _keep(session: Session, read: ReadLine, start: Fold, kept: Sequence[Fold]) -> None:
    """Keep folds to begin at again, one a minute with samples; the first one is that of no sample."""
    await session.execute(
        "DELETE FROM line_checkpoint WHERE line_id = $1 AND time_ns > $2", read.line_id, start.time_ns
    )
    by_time: Mapping[int, Fold] = {one.time_ns: one for one in kept}
    await session.execute_many(
        "INSERT INTO line_checkpoint (line_id, tenant_id, time_ns, fold) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (line_id, time_ns) DO UPDATE SET fold = excluded.fold",
        [(read.line_id, read.key.tenant_id, one.time_ns, fold_text(one)) for one in by_time.values()],
    )
