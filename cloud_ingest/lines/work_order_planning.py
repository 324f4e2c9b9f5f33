"""New work orders: divided into jobs, a work order each step, planned by what is on the lines already."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines.work_order_book import Act, Place, lock_lines, note, settle
from cloud_ingest.lines.work_order_events import PLANNED, READY
from cloud_ingest.lines.work_order_recipes import check_recipe, read_parameters
from cloud_ingest.lines.work_order_rules import WorkOrderState, divided
from cloud_ingest.lines.work_order_schedule import PlannedStep, Span, WorkTime, earliest, latest
from cloud_ingest.lines.work_order_terms import NewWorkOrder, PlannedWorkOrders, RoutingStep
from connectors.commands.ulid import new_ulid
from connectors.ports.database import Row, Session

HORIZON: Final = timedelta(days=60)
"""Shifts are looked up so far; what is planned behind it counts on a line that always works."""
JOBS_MAX: Final = 1000
CYCLE_S_MIN: Final = Decimal("0.000001")
STEPS_MAX: Final = 50
QUANTITY_MAX: Final = Decimal("999999999999")


@dataclass(frozen=True, slots=True)
class LineLoad:
    """When a line works, and when what is planned on it is done."""

    time: WorkTime
    free_from: datetime


async def load_of(session: Session, tenant_id: int, place: Place, now: datetime) -> LineLoad:
    """What a line has to do yet, and its shifts. Raises ``RequestRefused`` when there is no such line."""
    time = await work_time(session, tenant_id, place, now)
    (row,) = await session.fetch(
        "SELECT coalesce(sum(greatest(quantity - good, 0) * cycle_s "
        "    + CASE WHEN state IN ('running', 'paused') THEN 0 ELSE setup_s END), 0) AS work_s FROM work_order "
        "WHERE tenant_id = $1 AND site = $2 AND line = $3 "
        "AND state IN ('planned', 'ready', 'next', 'running', 'paused')",
        tenant_id,
        *place,
    )
    return LineLoad(time, time.end_of(now, row["work_s"]))


async def work_time(session: Session, tenant_id: int, place: Place, now: datetime) -> WorkTime:
    """The shifts of a line from now on, without their breaks."""
    from cloud_ingest.lines.published import shifts_between  # it has these functions among its own

    until = now + HORIZON
    try:
        shifts = await shifts_between(session, tenant_id, *place, now, until)
    except NotImplementedError:
        shifts = []
    spans: list[Span] = []
    for shift in shifts:
        begin = shift.begin
        for pause_begin, pause_end in shift.breaks:
            spans.append((begin, pause_begin))
            begin = pause_end
        spans.append((begin, shift.end))
    return WorkTime(tuple(span for span in spans if span[0] < span[1]), until if spans else None)


async def plan(work: UnitOfWork, act: Act, new: NewWorkOrder) -> PlannedWorkOrders:
    """See ``published.create_work_order``."""
    steps = _checked(new)
    places = [(step.site, step.line) for step in steps]
    lines = await lock_lines(work.session, act.tenant_id, places)
    for step, place in zip(steps, places, strict=True):
        check_recipe("/".join(place), step.recipe, read_parameters(lines[place]["parameters"]))
    jobs = divided(new.quantity, [step.batch_max for step in steps])
    if len(jobs) > JOBS_MAX:
        raise RequestRefused(
            Why.INVALID,
            "too_many_jobs",
            f"{new.quantity} would be {len(jobs)} jobs of {new.product}: at most {JOBS_MAX}",
        )
    loads = {place: await load_of(work.session, act.tenant_id, place, act.time) for place in dict.fromkeys(places)}
    first_places = await _take_places(work.session, act.tenant_id, places, len(jobs))
    rows: list[Row] = []
    spans: list[Span] = []
    for number, quantity in enumerate(jobs):
        planned = _spans(steps, quantity, transfer_of(new, quantity), loads, act.time, new.due)
        spans += planned
        rows += await _insert(work.session, act, new, quantity, planned, [first + number for first in first_places])
        for step, place in zip(steps, places, strict=True):
            load = loads[place]
            loads[place] = LineLoad(load.time, load.time.end_of(load.free_from, _work_s(step, quantity)))
    for row in rows:
        await note(work, act, row, READY if row["state"] == WorkOrderState.READY else PLANNED)
    for place in sorted(set(places)):
        await settle(work, act, place)
    ids = tuple(str(row["work_order_id"]) for row in rows)
    return PlannedWorkOrders(ids, min(begin for begin, _ in spans), max(end for _, end in spans))


async def promised(
    session: Session,
    tenant_id: int,
    routing: Sequence[RoutingStep],
    quantity: Decimal,
    now: datetime,
    not_before: datetime,
) -> datetime:
    """See ``published.promise``."""
    places = dict.fromkeys((step.site, step.line) for step in routing)
    loads = {place: await load_of(session, tenant_id, place, now) for place in places}
    planned = _spans(routing, quantity, quantity, loads, max(now, not_before), None)
    return planned[-1][1] if planned else max(now, not_before)


def _checked(new: NewWorkOrder) -> Sequence[RoutingStep]:
    if not new.routing:
        why = f"{new.product} has no routing: nobody knows where it is made. Give it one in the catalog"
        raise RequestRefused(Why.CONFLICT, "no_routing", why)
    if len(new.routing) > STEPS_MAX:
        raise RequestRefused(Why.INVALID, "too_many_steps", f"a routing has at most {STEPS_MAX} steps")
    if not Decimal(0) < new.quantity <= QUANTITY_MAX:
        raise RequestRefused(Why.INVALID, "no_quantity", f"a quantity is above 0 and at most {QUANTITY_MAX}")
    if new.transfer is not None and new.transfer <= 0:
        raise RequestRefused(Why.INVALID, "no_quantity", "what makes the next step ready is more than 0")
    return new.routing


def transfer_of(new: NewWorkOrder, quantity: Decimal) -> Decimal:
    """How much of a job's step makes the next one ready."""
    return quantity if new.transfer is None else min(new.transfer, quantity)


def cycle_s(step: RoutingStep) -> Decimal:
    """How long a piece takes at best; never nothing, as nobody knows when what takes no time is done."""
    return max(step.ideal_cycle_s, CYCLE_S_MIN)


def _work_s(step: RoutingStep, quantity: Decimal) -> Decimal:
    return step.setup_s + quantity * cycle_s(step)


def _spans(
    steps: Sequence[RoutingStep],
    quantity: Decimal,
    transfer: Decimal,
    loads: Mapping[Place, LineLoad],
    not_before: datetime,
    due: datetime | None,
) -> tuple[Span, ...]:
    planned = [
        PlannedStep(
            loads[(step.site, step.line)].time,
            loads[(step.site, step.line)].free_from,
            _work_s(step, quantity),
            _work_s(step, transfer),
        )
        for step in steps
    ]
    return earliest(planned, not_before) if due is None else latest(planned, due, not_before)


async def _take_places(session: Session, tenant_id: int, places: Sequence[Place], jobs: int) -> list[int]:
    """For each step the place on its line of the first of ``jobs`` work orders: they are in a row, job by job."""
    first: list[int] = []
    for place in places:
        (row,) = await session.fetch(
            "UPDATE work_order_line SET places = places + $4 WHERE tenant_id = $1 AND site = $2 AND line = $3 "
            "RETURNING places",
            tenant_id,
            *place,
            jobs,
        )
        first.append(int(row["places"]) - jobs + 1)
    return first


async def _insert(
    session: Session,
    act: Act,
    new: NewWorkOrder,
    quantity: Decimal,
    planned: Sequence[Span],
    places: Sequence[int],
) -> Sequence[Row]:
    now_ms = act.time_ns // 1_000_000
    job, steps = new_ulid(now_ms), new.routing
    return await session.fetch(
        "INSERT INTO work_order (work_order_id, tenant_id, job, step, steps, site, line, product, quantity, transfer, "
        "state, released, place, order_id, order_line, due, begin_planned, end_planned, cycle_s, setup_s, recipe, "
        "created_by) SELECT id, $1, $2, step, $3, site, line, $4, $5, $21, "
        "CASE WHEN step = 1 AND $6 THEN 'ready' ELSE 'planned' END, $6, place, $7, $8, $9, begun, ended, cycle_s, "
        "setup_s, recipe, $10 FROM unnest($11::text[], $12::int[], $13::text[], $14::text[], $15::bigint[], "
        "$16::timestamptz[], $17::timestamptz[], $18::numeric[], $19::numeric[], $20::text[]) "
        "AS given (id, step, site, line, place, begun, ended, cycle_s, setup_s, recipe) RETURNING *",
        act.tenant_id,
        job,
        len(steps),
        new.product,
        quantity,
        new.released,
        new.order,
        new.order_line,
        new.due,
        new.by,
        [new_ulid(now_ms) for _ in steps],
        list(range(1, len(steps) + 1)),
        [step.site for step in steps],
        [step.line for step in steps],
        list(places),
        [begin for begin, _ in planned],
        [end for _, end in planned],
        [cycle_s(step) for step in steps],
        [step.setup_s for step in steps],
        [json.dumps(dict(step.recipe)) for step in steps],
        transfer_of(new, quantity),
    )
