"""New work orders: divided into jobs, a work order each step, planned by what is on the lines already."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines.line_times import times_of_lines, work_time
from cloud_ingest.lines.work_order_book import Act, Place, lock_lines, note_all, settle
from cloud_ingest.lines.work_order_events import PLANNED, READY
from cloud_ingest.lines.work_order_recipes import check_recipe, check_values, read_parameters
from cloud_ingest.lines.work_order_rules import WorkOrderState, divided
from cloud_ingest.lines.work_order_schedule import PlannedStep, Span, WorkTime, earliest, latest
from cloud_ingest.lines.work_order_terms import NewWorkOrder, PlannedWorkOrders, RoutingStep, facts_of
from connectors.commands.ulid import new_ulid
from connectors.ports.database import Row, Session

JOBS_MAX: Final = 1000
CYCLE_S_MIN: Final = Decimal("0.000001")
STEPS_MAX: Final = 100
QUANTITY_MAX: Final = Decimal("999999999999")


@dataclass(frozen=True, slots=True)
class LineLoad:
    """When a line works, and when what is planned on it is done."""

    time: WorkTime
    free_from: datetime


@dataclass(frozen=True, slots=True)
class _Planned:
    """A step of a job: its number in the routing, when it is to be done, and its place in the sequence of its line."""

    job: str
    number: int
    step: RoutingStep
    quantity: Decimal
    span: Span
    place: int


async def load_of(session: Session, tenant_id: int, place: Place, now: datetime) -> LineLoad:
    """What a line has to do yet, and its shifts."""
    time = await work_time(session, tenant_id, place, now)
    return (await loads_of(session, tenant_id, {place: time}, now))[place]


async def loads_of(
    session: Session, tenant_id: int, times: Mapping[Place, WorkTime], now: datetime
) -> dict[Place, LineLoad]:
    """``load_of`` each of the lines of ``times``."""
    rows = await session.fetch(
        "SELECT site, line, sum(greatest(quantity - good, 0) * cycle_s "
        "    + CASE WHEN state IN ('running', 'paused') THEN 0 ELSE setup_s END) AS work_s FROM work_order "
        "WHERE tenant_id = $1 AND (site, line) IN (SELECT * FROM unnest($2::text[], $3::text[])) "
        "AND state IN ('planned', 'ready', 'next', 'running', 'paused') GROUP BY site, line",
        tenant_id,
        [site for site, _ in times],
        [line for _, line in times],
    )
    work_s = {(row["site"], row["line"]): row["work_s"] for row in rows}
    return {place: LineLoad(time, time.end_of(now, work_s.get(place, Decimal(0)))) for place, time in times.items()}


async def plan(work: UnitOfWork, act: Act, new: NewWorkOrder) -> PlannedWorkOrders:
    """See ``published.create_work_order``."""
    steps = _checked(new)
    places = [(step.site, step.line) for step in steps]
    jobs = divided(new.quantity, [step.batch_max for step in steps])
    if len(jobs) > JOBS_MAX:
        raise RequestRefused(
            Why.INVALID, "too_many_jobs", f"{new.quantity} {new.product} would be {len(jobs)} jobs: at most {JOBS_MAX}"
        )
    times = await times_of_lines(work.session, act.tenant_id, places, act.time)
    wanted = {place: len(jobs) * places.count(place) for place in places}
    lines = await lock_lines(work.session, act.tenant_id, places, wanted)
    for step, place in zip(steps, places, strict=True):
        where, parameters = "/".join(place), read_parameters(lines[place]["parameters"])
        check_recipe(where, step.recipe, parameters)
        await check_values(work.session, act.tenant_id, where, step.recipe, parameters)
    loads = await loads_of(work.session, act.tenant_id, times, act.time)
    given = {place: int(lines[place]["places"]) - wanted[place] for place in places}
    made: list[_Planned] = []
    for quantity in jobs:
        job = new_ulid(act.time_ns // 1_000_000)
        spans = _spans(steps, quantity, transfer_of(new, quantity), loads, act.time, new.due)
        for number, (step, place, span) in enumerate(zip(steps, places, spans, strict=True), start=1):
            given[place] += 1
            made.append(_Planned(job, number, step, quantity, span, given[place]))
            load = loads[place]
            loads[place] = LineLoad(load.time, load.time.end_of(load.free_from, _work_s(step, quantity)))
    rows = await _insert(work.session, act, new, made)
    await note_all(work, act, [(row, READY if row["state"] == WorkOrderState.READY else PLANNED) for row in rows])
    if new.released:  # of a job, the first step alone can be ready
        changed = await settle(work, act, places[0])
        rows = [changed.get(row["work_order_id"], row) for row in rows]
    facts = tuple(facts_of(row) for row in rows)
    return PlannedWorkOrders(facts, min(one.span[0] for one in made), max(one.span[1] for one in made))


async def promised(
    session: Session,
    tenant_id: int,
    routing: Sequence[RoutingStep],
    quantity: Decimal,
    now: datetime,
    not_before: datetime,
) -> datetime:
    """See ``published.promise``."""
    places = [(step.site, step.line) for step in routing]
    times = await times_of_lines(session, tenant_id, places, now)
    loads = await loads_of(session, tenant_id, times, now)
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


async def _insert(session: Session, act: Act, new: NewWorkOrder, made: Sequence[_Planned]) -> Sequence[Row]:
    now_ms = act.time_ns // 1_000_000
    return await session.fetch(
        "INSERT INTO work_order (work_order_id, tenant_id, job, step, steps, site, line, product, quantity, transfer, "
        "state, released, place, order_id, order_line, due, begin_planned, end_planned, cycle_s, setup_s, recipe, "
        "created_by) SELECT id, $1, job, step, $2, site, line, $3, quantity, transfer, "
        "CASE WHEN step = 1 AND $4 THEN 'ready' ELSE 'planned' END, $4, place, $5, $6, $7, begun, ended, cycle_s, "
        "setup_s, recipe, $8 FROM unnest($9::text[], $10::text[], $11::int[], $12::text[], $13::text[], "
        "$14::numeric[], $15::numeric[], $16::bigint[], $17::timestamptz[], $18::timestamptz[], $19::numeric[], "
        "$20::numeric[], $21::text[]) AS given "
        "(id, job, step, site, line, quantity, transfer, place, begun, ended, cycle_s, setup_s, recipe) RETURNING *",
        act.tenant_id,
        len(new.routing),
        new.product,
        new.released,
        new.order,
        new.order_line,
        new.due,
        new.by,
        [new_ulid(now_ms) for _ in made],
        [one.job for one in made],
        [one.number for one in made],
        [one.step.site for one in made],
        [one.step.line for one in made],
        [one.quantity for one in made],
        [transfer_of(new, one.quantity) for one in made],
        [one.place for one in made],
        [one.span[0] for one in made],
        [one.span[1] for one in made],
        [cycle_s(one.step) for one in made],
        [one.step.setup_s for one in made],
        [json.dumps(dict(one.step.recipe)) for one in made],
    )
