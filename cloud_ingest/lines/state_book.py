"""The states of a line, in the table ``line_state``; what is new is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines import events
from cloud_ingest.lines.events import LineState, StateChanged
from cloud_ingest.lines.fold_rules import StateSpan
from cloud_ingest.lines.line_reading import ReadLine
from cloud_ingest.lines.stop_rules import planned
from connectors.ports.database import Row, Session


@dataclass(frozen=True, slots=True)
class Corrected:
    """What was known between two times was not so."""

    begin_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class BookedStates:
    """The states from a state of production on, which the ones that were booked follow; and what was corrected."""

    states: list[StateSpan]
    corrected: Corrected | None


async def book_states(work: UnitOfWork, read: ReadLine, row: Row, spans: Sequence[StateSpan]) -> BookedStates:
    """Have the table as ``spans`` says from the first one on; its last one is open, and is how the line stands."""
    known = await _known(work.session, read.line_id, spans[0].begin_ns)
    states = _behind(known, spans)
    before, after = {one.begin_ns: one for one in known}, {one.begin_ns: one for one in states}
    gone = [begin_ns for begin_ns in before if begin_ns not in after]
    await work.session.execute(
        "DELETE FROM line_state WHERE line_id = $1 AND begin_ns = ANY($2::bigint[])", read.line_id, gone
    )
    new = [one for one in states if before.get(one.begin_ns) != one]
    await work.session.execute_many(
        "INSERT INTO line_state (line_id, tenant_id, begin_ns, end_ns, state, reason) VALUES ($1, $2, $3, $4, $5, $6) "
        "ON CONFLICT (line_id, begin_ns) DO UPDATE SET end_ns = excluded.end_ns, state = excluded.state, "
        "reason = excluded.reason",
        [(read.line_id, read.key.tenant_id, one.begin_ns, one.end_ns, one.state, one.reason) for one in new],
    )
    await _tell(work, read, row, known, states)
    return BookedStates(states, _corrected(known, states))


def _behind(known: Sequence[StateSpan], spans: Sequence[StateSpan]) -> list[StateSpan]:
    """``spans`` behind what of the known ones is before them; equal neighbours are one."""
    first_ns = spans[0].begin_ns
    kept = [one for one in known if one.begin_ns < first_ns]
    if kept and (kept[-1].end_ns is None or kept[-1].end_ns > first_ns):
        kept[-1] = replace(kept[-1], end_ns=first_ns)
    return planned([*kept, *spans], (), first_ns)


async def _known(session: Session, line_id: int, begin_ns: int) -> list[StateSpan]:
    """The states that are stored since ``begin_ns``, and before it back to the last production."""
    rows = await session.fetch(
        "SELECT begin_ns, end_ns, state, reason FROM line_state WHERE line_id = $1 AND begin_ns >= coalesce("
        "(SELECT max(begin_ns) FROM line_state WHERE line_id = $1 AND begin_ns < $2 AND state = $3), "
        "(SELECT min(begin_ns) FROM line_state WHERE line_id = $1), $2) ORDER BY begin_ns",
        line_id,
        begin_ns,
        LineState.RUNNING,
    )
    return [StateSpan(row["begin_ns"], row["end_ns"], LineState(row["state"]), row["reason"]) for row in rows]


async def _tell(
    work: UnitOfWork, read: ReadLine, row: Row, known: Sequence[StateSpan], states: Sequence[StateSpan]
) -> None:
    """Tell every state behind the one that was known last; at least how the line stands, if it is another."""
    told_ns = known[-1].begin_ns if known else -1
    previous, reason = LineState(row["state"]), row["reason"]
    for at, span in enumerate(states):
        is_last = at == len(states) - 1
        if (span.begin_ns < told_ns and not is_last) or (span.state, span.reason) == (previous, reason):
            continue
        if span.begin_ns == told_ns and not is_last:
            continue  # it was told, and has ended
        work.announce(events.state_changed(read.key, StateChanged(span.state, previous, span.reason, span.begin_ns)))
        previous, reason = span.state, span.reason
    last = states[-1]
    await work.session.execute(
        "UPDATE production_line SET state = $2, reason = $3, since_ns = $4 WHERE line_id = $1",
        read.line_id,
        last.state,
        last.reason,
        last.begin_ns,
    )


def _corrected(known: Sequence[StateSpan], states: Sequence[StateSpan]) -> Corrected | None:
    """What differs before the state that was known last."""
    if not known:
        return None
    tail_ns = known[-1].begin_ns
    before = {(one.begin_ns, one.end_ns, one.state, one.reason) for one in known[:-1]}
    after = {
        (one.begin_ns, one.end_ns, one.state, one.reason)
        for one in states
        if one.end_ns is not None and one.end_ns <= tail_ns
    }
    times = [time for one in before ^ after for time in one[:2] if time is not None]
    return Corrected(min(times), max(times)) if times else None
