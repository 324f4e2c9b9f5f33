"""The one place where states of work orders are written: the row, its history, its runs, and what is told of it.

Whoever changes states on a line has locked the line's row in ``work_order_line`` first; who changes several lines has
locked all of them, in the order of their names. A work order is changed under the locks of all lines of its job: what
is made of one step can make the next one ready. Counts alone are booked without them (``work_order_counts``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines import work_order_events as events
from cloud_ingest.lines.fold_rules import MINUTE_NS
from cloud_ingest.lines.signal_samples import make_due_from
from cloud_ingest.lines.work_order_counts import CHANNEL
from cloud_ingest.lines.work_order_rules import (
    OVER,
    Before,
    Waiting,
    WorkOrderState,
    next_changes,
)
from connectors.ports.database import Row, Session

SYSTEM: Final = "lineside"
"""Who brings about what nobody has asked for by name."""
_S = WorkOrderState
_TOLD: Final[Mapping[WorkOrderState, str]] = {
    _S.PLANNED: events.PLANNED,
    _S.READY: events.READY,
    _S.NEXT: events.NEXT,
    _S.RUNNING: events.STARTED,
    _S.PAUSED: events.PAUSED,
    _S.COMPLETE: events.COMPLETED,
    _S.CLOSED: events.CLOSED,
    _S.CANCELLED: events.CANCELLED,
}
Place = tuple[str, str]
"""Site and line."""


@dataclass(frozen=True, slots=True)
class Act:
    """Who changes something, when, and why."""

    tenant_id: int
    time_ns: int
    actor: str
    reason: str = ""

    @property
    def time(self) -> datetime:
        """``time_ns`` as a time."""
        return datetime.fromtimestamp(self.time_ns / 1e9, UTC)


async def lock_lines(
    session: Session, tenant_id: int, places: Collection[Place], new: Mapping[Place, int] | None = None
) -> dict[Place, Row]:
    """Lock the lines for this transaction; their rows, made where they were not there. Their revisions grow.

    ``new``: so many places in the sequence of each are given away; the last ones are up to ``places`` of its row.
    """
    ordered = sorted(set(places))
    rows = await session.fetch(
        "INSERT INTO work_order_line (tenant_id, site, line, places) SELECT $1, site, line, places "
        "FROM unnest($2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY AS given (site, line, places, n) ORDER BY n "
        "ON CONFLICT (tenant_id, site, line) DO UPDATE SET revision = work_order_line.revision + 1, "
        "places = work_order_line.places + excluded.places RETURNING *",
        tenant_id,
        [site for site, _ in ordered],
        [line for _, line in ordered],
        [(new or {}).get(place, 0) for place in ordered],
    )
    return {(row["site"], row["line"]): row for row in rows}


async def lock_job(session: Session, tenant_id: int, work_order: str) -> dict[int, Row]:
    """Lock the lines of the work order's job; its work orders by step. Raises ``RequestRefused`` when there is none."""
    jobs = "SELECT job FROM work_order WHERE tenant_id = $1 AND work_order_id = $2"
    places = await session.fetch(
        f"SELECT DISTINCT site, line FROM work_order WHERE tenant_id = $1 AND job IN ({jobs})",  # noqa: S608
        tenant_id,
        work_order,
    )
    if not places:
        raise RequestRefused(
            Why.UNKNOWN, "unknown_work_order", f"there is no work order {work_order}; /api/v1/work-orders lists them"
        )
    await lock_lines(session, tenant_id, [(row["site"], row["line"]) for row in places])
    rows = await session.fetch(
        f"SELECT * FROM work_order WHERE tenant_id = $1 AND job IN ({jobs}) ORDER BY step",  # noqa: S608
        tenant_id,
        work_order,
    )
    return {int(row["step"]): row for row in rows}


def before(job: Mapping[int, Row], step: int) -> Before | None:
    """The step before ``step``, as rules ask for it."""
    row = job.get(step - 1)
    return None if row is None else Before(row["good"], WorkOrderState(row["state"]) in OVER)


async def change(work: UnitOfWork, act: Act, row: Row, state: WorkOrderState) -> Row:
    """Make the work order ``state``, with its history, its run and what is told; its row as it is then."""
    was = WorkOrderState(row["state"])
    if state is _S.RUNNING or was is _S.RUNNING:
        await _mark_run(work.session, act, row, begins=state is _S.RUNNING)
    (changed,) = await work.session.fetch(
        "UPDATE work_order SET state = $3, reason = $4, revision = revision + 1, "
        "download = CASE WHEN $6 AND download = 'under_way' THEN 'failed' WHEN $3 = 'running' AND download <> 'none' "
        "    THEN 'done' ELSE download END, "
        "started = CASE WHEN $3 = 'running' THEN coalesce(started, $5) ELSE started END, "
        "ended = CASE WHEN $6 THEN coalesce(ended, $5) WHEN $3 = 'paused' THEN NULL ELSE ended END "
        "WHERE tenant_id = $1 AND work_order_id = $2 RETURNING *",
        act.tenant_id,
        row["work_order_id"],
        state.value,
        act.reason,
        act.time,
        state in OVER,
    )
    await note(work, act, changed, events.RESUMED if was is _S.PAUSED and state is _S.RUNNING else _TOLD[state])
    return changed


async def note(work: UnitOfWork, act: Act, row: Row, type_: str) -> None:
    """Write down and tell that the work order is now as ``row`` has it."""
    await note_all(work, act, [(row, type_)])


async def note_all(work: UnitOfWork, act: Act, noted: Sequence[tuple[Row, str]]) -> None:
    """``note`` each of (row, type of its event)."""
    await work.session.execute(
        "INSERT INTO work_order_state (tenant_id, work_order_id, state, time_ns, actor, reason) "
        "SELECT $1, id, state, $4, $5, $6 FROM unnest($2::text[], $3::text[]) AS given (id, state)",
        act.tenant_id,
        [row["work_order_id"] for row, _ in noted],
        [row["state"] for row, _ in noted],
        act.time_ns,
        act.actor,
        act.reason,
    )
    for row, type_ in noted:
        told = events.work_order_event(type_, act.tenant_id, act.time_ns, row, actor=act.actor, reason=act.reason)
        work.announce(told)


async def settle(work: UnitOfWork, act: Act, place: Place) -> dict[str, Row]:
    """Have the right work order of a line be next; call it last, whenever something was changed on the line.

    The rows that this changes, as they are then, by work order.
    """
    rows = await work.session.fetch(
        "(SELECT * FROM work_order WHERE tenant_id = $1 AND site = $2 AND line = $3 AND state IN ('ready', 'next') "
        "    ORDER BY place, work_order_id LIMIT 1) UNION ALL "
        "SELECT * FROM work_order WHERE tenant_id = $1 AND site = $2 AND line = $3 AND state = 'next'",
        act.tenant_id,
        *place,
    )
    known = {row["work_order_id"]: row for row in rows}
    current = next((_waiting(row) for row in rows if row["state"] == _S.NEXT), None)
    system = Act(act.tenant_id, act.time_ns, SYSTEM)
    changes = next_changes(current, _waiting(rows[0]) if rows else None)
    wake(work)
    return {order: await change(work, system, known[order], state) for order, state in changes}


def wake(work: UnitOfWork) -> None:
    """Wake who lets work orders go on by themselves, when the transaction is committed."""
    work.notify(CHANNEL)


async def on_the_line(session: Session, tenant_id: int, place: Place) -> tuple[str | None, str | None]:
    """(the work order that runs on a line, the one whose recipe is under way)."""
    rows = await session.fetch(
        "SELECT work_order_id, state, download FROM work_order WHERE tenant_id = $1 AND site = $2 AND line = $3 "
        "AND state IN ('next', 'running', 'paused') AND (state = 'running' OR download = 'under_way')",
        tenant_id,
        *place,
    )
    running = next((str(row["work_order_id"]) for row in rows if row["state"] == _S.RUNNING), None)
    return running, next((str(row["work_order_id"]) for row in rows if row["download"] == "under_way"), None)


async def _mark_run(session: Session, act: Act, row: Row, *, begins: bool) -> None:
    """Write down that the work order runs, or does no more, behind all that was counted already.

    A machine whose clock is ahead has counted later than now: that was before all the same. Runs never overlap. What is
    being folded meanwhile has not seen it, and is folded again.
    """
    place = (row["site"], row["line"])
    (counted,) = await session.fetch(
        "SELECT max(end_ns) AS end_ns FROM line_minute JOIN production_line AS line USING (line_id) "
        "WHERE line.tenant_id = $1 AND site = $2 AND line = $3 AND end_minute >= $4 "
        "AND (line_minute.good <> 0 OR line_minute.reject <> 0)",
        act.tenant_id,
        *place,
        act.time_ns // MINUTE_NS,
    )
    time_ns = max(act.time_ns, counted["end_ns"] or 0)
    if begins:
        runs = await session.fetch(
            "INSERT INTO work_order_run (tenant_id, work_order_id, site, line, begin_ns) "
            "SELECT $1, $2, $3, $4, greatest($5, (SELECT max(end_ns) FROM work_order_run "
            "    WHERE tenant_id = $1 AND site = $3 AND line = $4)) RETURNING begin_ns AS edge_ns",
            act.tenant_id,
            row["work_order_id"],
            *place,
            time_ns,
        )
    else:
        runs = await session.fetch(
            "UPDATE work_order_run SET end_ns = greatest(begin_ns, $3) "
            "WHERE tenant_id = $1 AND work_order_id = $2 AND end_ns IS NULL RETURNING end_ns AS edge_ns",
            act.tenant_id,
            row["work_order_id"],
            time_ns,
        )
    for run in runs:
        await make_due_from(session, act.tenant_id, *place, run["edge_ns"])


def _waiting(row: Mapping[str, Any]) -> Waiting:
    return Waiting(row["work_order_id"], WorkOrderState(row["state"]), row["download"] == "under_way")
