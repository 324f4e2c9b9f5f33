"""What people do with work orders: release, start, pause, complete, cancel, change over, another sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, assert_never

from cloud_ingest.access.etags import check_match
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines import work_order_events as events
from cloud_ingest.lines.work_order_book import (
    Act,
    Place,
    before,
    change,
    lock_job,
    lock_lines,
    note,
    on_the_line,
    settle,
    wake,
)
from cloud_ingest.lines.work_order_recipes import write_recipe
from cloud_ingest.lines.work_order_rules import (
    FROM,
    OVER,
    Deed,
    Standing,
    WorkOrderState,
    is_enough,
    problem,
    remaining,
    resequenced,
)
from connectors.ports.database import Row, Session

_STATE: Final[Mapping[Deed, WorkOrderState]] = {
    Deed.HOLD: WorkOrderState.PLANNED,
    Deed.PAUSE: WorkOrderState.PAUSED,
    Deed.COMPLETE: WorkOrderState.COMPLETE,
    Deed.REOPEN: WorkOrderState.PAUSED,
    Deed.CLOSE: WorkOrderState.CLOSED,
    Deed.CANCEL: WorkOrderState.CANCELLED,
}
"""What the deeds make of a work order that make the same of each."""


async def do(work: UnitOfWork, act: Act, work_order: str, deed: Deed, if_match: str = "*") -> Row:
    """Do ``deed``; the row as it is then. Raises ``RequestRefused``, with the reason, when it cannot be done now."""
    job = await lock_job(work.session, act.tenant_id, work_order)
    row = next(row for row in job.values() if row["work_order_id"] == work_order)
    check_match(if_match, row["revision"])
    await _check(work.session, act, row, deed)
    changed = await _done(work, act, job, row, deed)
    for place in sorted({(one["site"], one["line"]) for one in job.values()}):
        await settle(work, act, place)
    (found,) = await work.session.fetch("SELECT * FROM work_order WHERE work_order_id = $1", changed["work_order_id"])
    return found


async def _check(session: Session, act: Act, row: Row, deed: Deed) -> None:
    running, starting = await on_the_line(session, act.tenant_id, (row["site"], row["line"]))
    own = row["work_order_id"]
    standing = Standing(
        WorkOrderState(row["state"]),
        starting == own,
        None if running == own else running,
        None if starting == own else starting,
        bool(remaining(row["good"], row["quantity"])),
    )
    if why := problem(deed, standing, act.reason):
        raise RequestRefused(Why.CONFLICT, "not_now", f"work order {own} on {row['site']}/{row['line']}: {why}")


async def _done(work: UnitOfWork, act: Act, job: Mapping[int, Row], row: Row, deed: Deed) -> Row:
    match deed:
        case Deed.RELEASE:
            return await _release(work, act, job, row)
        case Deed.START | Deed.RESUME:
            return await _start(work, act, row)
        case Deed.ABORT:
            return await fail_start(work, act, row, f"aborted by {act.actor}")
        case Deed.HOLD:
            held = await _set_released(work.session, act, row, released=False)
            if WorkOrderState(held["state"]) is WorkOrderState.PLANNED:
                return held
            return await change(work, act, held, _STATE[deed])
        case Deed.CANCEL:
            changed = await change(work, act, row, _STATE[deed])
            for later in job.values():  # nothing comes to them any more, unless they have begun
                if later["step"] > row["step"] and WorkOrderState(later["state"]) in FROM[Deed.HOLD]:
                    await change(work, act, later, WorkOrderState.CANCELLED)
            return changed
        case Deed.PAUSE | Deed.COMPLETE | Deed.REOPEN | Deed.CLOSE:
            return await change(work, act, row, _STATE[deed])
        case _:
            assert_never(deed)


async def _release(work: UnitOfWork, act: Act, job: Mapping[int, Row], row: Row) -> Row:
    """Let it be made as soon as enough of the step before is there."""
    released = await _set_released(work.session, act, row, released=True)
    if is_enough(before(job, row["step"]), row["transfer"]):
        return await change(work, act, released, WorkOrderState.READY)
    return released


async def _set_released(session: Session, act: Act, row: Row, *, released: bool) -> Row:
    (changed,) = await session.fetch(
        "UPDATE work_order SET released = $3, revision = revision + 1 "
        "WHERE tenant_id = $1 AND work_order_id = $2 RETURNING *",
        act.tenant_id,
        row["work_order_id"],
        released,
    )
    return changed


async def _start(work: UnitOfWork, act: Act, row: Row) -> Row:
    """It runs at once when there is nothing to write; else when everything was written, which the role does."""
    attempt = row["attempt"] + 1
    if not await write_recipe(work.session, act.tenant_id, row, attempt):
        return await change(work, act, row, WorkOrderState.RUNNING)
    (changed,) = await work.session.fetch(
        "UPDATE work_order SET attempt = $3, download = 'under_way', download_why = '', started_by = $4, "
        "revision = revision + 1 WHERE tenant_id = $1 AND work_order_id = $2 RETURNING *",
        act.tenant_id,
        row["work_order_id"],
        attempt,
        act.actor,
    )
    wake(work)
    return changed


async def fail_start(work: UnitOfWork, act: Act, row: Row, why: str) -> Row:
    """It does not start: say why. It can be tried again."""
    (changed,) = await work.session.fetch(
        "UPDATE work_order SET download = 'failed', download_why = $3, revision = revision + 1 "
        "WHERE tenant_id = $1 AND work_order_id = $2 RETURNING *",
        act.tenant_id,
        row["work_order_id"],
        why[:1000],
    )
    told = Act(act.tenant_id, act.time_ns, act.actor, why[:1000])
    await note(work, told, changed, events.DOWNLOAD_FAILED)
    return changed


async def change_over(work: UnitOfWork, act: Act, place: Place, then: Deed) -> Row:
    """End what runs on a line (``then``: complete or pause) and start the next one; the row of that one.

    Raises ``RequestRefused``, and nothing is changed, when either cannot be done.
    """
    where = f"{place[0]}/{place[1]}"
    rows = await work.session.fetch(
        "SELECT work_order_id, state FROM work_order "
        "WHERE tenant_id = $1 AND site = $2 AND line = $3 AND state IN ('running', 'next')",
        act.tenant_id,
        *place,
    )
    found = {row["state"]: str(row["work_order_id"]) for row in rows}
    following = found.get("next")
    if following is None:
        raise RequestRefused(Why.CONFLICT, "nothing_next", f"no work order is next on {where}: release one first")
    jobs = await work.session.fetch(
        "SELECT DISTINCT site, line FROM work_order WHERE tenant_id = $1 AND job IN "
        "(SELECT job FROM work_order WHERE tenant_id = $1 AND work_order_id = ANY($2))",
        act.tenant_id,
        list(found.values()),
    )
    await lock_lines(work.session, act.tenant_id, [(row["site"], row["line"]) for row in jobs])
    if (running := found.get("running")) is not None:
        await do(work, act, running, then)
    return await do(work, act, following, Deed.START)


async def resequence(work: UnitOfWork, act: Act, place: Place, wanted: Sequence[str], if_match: str) -> None:
    """Give the waiting work orders of a line another sequence, which names each of them. Raises ``RequestRefused``."""
    lines = await lock_lines(work.session, act.tenant_id, [place])
    check_match(if_match, lines[place]["revision"] - 1)
    rows = await waiting(work.session, act.tenant_id, place)
    pinned = next(
        (row["work_order_id"] for row in rows if row["download"] == "under_way" and row["state"] == "next"), None
    )
    if why := resequenced([row["work_order_id"] for row in rows], wanted, pinned):
        raise RequestRefused(Why.CONFLICT, "not_the_sequence", f"the sequence of {place[0]}/{place[1]}: {why}")
    places = sorted(row["place"] for row in rows)
    await work.session.execute(
        "UPDATE work_order SET place = given.place, revision = revision + 1 "
        "FROM unnest($2::text[], $3::bigint[]) AS given (id, place) WHERE tenant_id = $1 AND work_order_id = given.id",
        act.tenant_id,
        list(wanted),
        places,
    )
    await settle(work, act, place)


async def waiting(session: Session, tenant_id: int, place: Place) -> Sequence[Row]:
    """The work orders of a line that do not run yet, in their sequence."""
    return await session.fetch(
        "SELECT * FROM work_order WHERE tenant_id = $1 AND site = $2 AND line = $3 "
        "AND state IN ('planned', 'ready', 'next') ORDER BY place, work_order_id",
        tenant_id,
        *place,
    )


async def resize(work: UnitOfWork, act: Act, work_order: str, quantity: Decimal, if_match: str) -> Row:
    """Have more or fewer made, in this step and those behind it. Raises ``RequestRefused``."""
    job = await lock_job(work.session, act.tenant_id, work_order)
    row = next(row for row in job.values() if row["work_order_id"] == work_order)
    check_match(if_match, row["revision"])
    if WorkOrderState(row["state"]) in OVER:
        raise RequestRefused(Why.CONFLICT, "not_now", f"work order {work_order} is {row['state']}: make a new one")
    for later in job.values():
        if later["step"] >= row["step"] and WorkOrderState(later["state"]) not in OVER:
            await work.session.execute(
                "UPDATE work_order SET quantity = $3, transfer = least(transfer, $3), revision = revision + 1 "
                "WHERE tenant_id = $1 AND work_order_id = $2",
                act.tenant_id,
                later["work_order_id"],
                quantity,
            )
    wake(work)
    (found,) = await work.session.fetch("SELECT * FROM work_order WHERE work_order_id = $1", work_order)
    await note(work, act, found, events.PROGRESSED)
    return found
