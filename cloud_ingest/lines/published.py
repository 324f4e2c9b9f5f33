"""What other parts may ask of lines, and have them do, within the transaction of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from cloud_ingest.lines import equipment, shift_rules
from cloud_ingest.lines.equipment import EquipmentKey
from cloud_ingest.lines.events import LineKey, LineState, StopKind
from cloud_ingest.lines.line_reading import read_calendar
from cloud_ingest.lines.model import LineModel
from cloud_ingest.lines.standing import LineStanding, standings
from cloud_ingest.lines.standing import existing as existing_line
from cloud_ingest.lines.standing import seen as seen_lines
from cloud_ingest.lines.work_order_counts import Run, runs_between
from cloud_ingest.lines.work_order_events import exact
from cloud_ingest.lines.work_order_published import (
    Capacity,
    NewWorkOrder,
    OpenWorkOrder,
    PlannedWorkOrders,
    RoutingStep,
    WorkOrderFacts,
    cancel_work_order,
    capacity,
    create_work_order,
    open_work_orders,
    promise,
    work_orders_of,
    work_times,
)
from cloud_ingest.lines.work_order_recipes import check_routing
from connectors.ports.database import Session

__all__ = [
    "Capacity",
    "CountSpan",
    "LineStanding",
    "NewWorkOrder",
    "OpenWorkOrder",
    "PlannedWorkOrders",
    "RoutingStep",
    "Run",
    "ShiftSpan",
    "StateSpan",
    "StopSpan",
    "WorkOrderFacts",
    "cancel_work_order",
    "capacity",
    "check_routing",
    "counts_between",
    "create_work_order",
    "exact",
    "existing_line",
    "line_state",
    "lines",
    "open_work_orders",
    "promise",
    "runs_between",
    "seen_lines",
    "shifts_between",
    "states_between",
    "stops_between",
    "work_orders_of",
    "work_times",
]
_LINE: Final = "SELECT line_id FROM production_line WHERE tenant_id = $1 AND site = $2 AND line = $3"


@dataclass(frozen=True, slots=True)
class StateSpan:
    """A state from ``begin_ns`` to ``end_ns``, cut to what was asked for."""

    state: LineState
    begin_ns: int
    end_ns: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class StopSpan:
    """A stop; ``end_ns`` is null while it is open."""

    stop: str
    begin_ns: int
    end_ns: int | None
    reason: str | None
    kind: StopKind


@dataclass(frozen=True, slots=True)
class CountSpan:
    """What was counted between two times, never more than a minute apart unless nothing was heard in between."""

    begin_ns: int
    end_ns: int
    good: Decimal
    reject: Decimal
    energy_kwh: Decimal
    product: str | None
    work_order: str | None


@dataclass(frozen=True, slots=True)
class ShiftSpan:
    """A shift of a day, and its planned breaks. ``day`` is the local day on which it begins (ISO 8601)."""

    shift: str
    day: str
    begin: datetime
    end: datetime
    breaks: tuple[tuple[datetime, datetime], ...] = ()


async def line_state(session: Session, tenant: int, site: str, line: str) -> LineStanding | None:
    """How a line stands; ``None`` when there is no such line."""
    found = await standings(session, tenant, site, line)
    return found[0] if found else None


async def lines(session: Session, tenant: int) -> Sequence[LineStanding]:
    """How every line stands, by site and line."""
    return await standings(session, tenant)


async def states_between(
    session: Session, tenant: int, site: str, line: str, begin_ns: int, end_ns: int
) -> Sequence[StateSpan]:
    """Its states, without a hole from when it was first heard, in order; micro-stops are in them as stops.

    The last one goes to ``end_ns`` while it is open, also when that is in the future.
    """
    rows = await session.fetch(
        f"SELECT begin_ns, end_ns, state, reason FROM line_state WHERE line_id = ({_LINE}) "  # noqa: S608  our own text
        "AND begin_ns < $5 AND (end_ns IS NULL OR end_ns > $4) ORDER BY begin_ns",
        tenant, site, line, begin_ns, end_ns,
    )  # fmt: skip
    return [
        StateSpan(
            LineState(row["state"]),
            max(row["begin_ns"], begin_ns),
            end_ns if row["end_ns"] is None else min(row["end_ns"], end_ns),
            row["reason"],
        )
        for row in rows
    ]


async def stops_between(
    session: Session, tenant: int, site: str, line: str, begin_ns: int, end_ns: int
) -> Sequence[StopSpan]:
    """Stops that touch the time, micro-stops too, in order; not cut to it."""
    rows = await session.fetch(
        f"SELECT stop_id, begin_ns, end_ns, reason, kind FROM line_stop WHERE line_id = ({_LINE}) "  # noqa: S608
        "AND begin_ns < $5 AND (end_ns IS NULL OR end_ns > $4) ORDER BY begin_ns",
        tenant, site, line, begin_ns, end_ns,
    )  # fmt: skip
    return [
        StopSpan(row["stop_id"], row["begin_ns"], row["end_ns"], row["reason"], StopKind(row["kind"])) for row in rows
    ]


async def counts_between(
    session: Session, tenant: int, site: str, line: str, begin_ns: int, end_ns: int
) -> Sequence[CountSpan]:
    """What was counted in ``(begin_ns, end_ns]`` by its end, corrected by all that came late.

    Counts are kept by the minute: those of a minute belong to its last count.
    """
    rows = await session.fetch(
        f"SELECT * FROM line_minute WHERE line_id = ({_LINE}) "  # noqa: S608
        "AND end_minute BETWEEN $4::bigint / 60000000000 AND $5::bigint / 60000000000 AND end_ns > $4 AND end_ns <= $5 "
        "ORDER BY end_ns, begin_ns",
        tenant, site, line, begin_ns, end_ns,
    )  # fmt: skip
    return [
        CountSpan(
            row["begin_ns"],
            row["end_ns"],
            row["good"],
            row["reject"],
            row["energy_kwh"],
            row["product"] or None,
            row["work_order"] or None,
        )
        for row in rows
    ]


async def shifts_between(
    session: Session, tenant: int, site: str, line: str, begin: datetime, end: datetime
) -> Sequence[ShiftSpan]:
    """Shifts that touch the time, in order, not cut to it. Empty for a line without a calendar: all time is planned."""
    found = await equipment.find(session, tenant, EquipmentKey(site, "line", line))
    if found is None or not isinstance(found.model, LineModel):
        return []
    calendar = await read_calendar(session, LineKey(tenant, site, line), found.model)
    if calendar is None:
        return []
    return [
        ShiftSpan(
            shift.name,
            shift.day.isoformat(),
            shift.span.begin,
            shift.span.end,
            tuple((pause.begin, pause.end) for pause in shift.breaks),
        )
        for shift in shift_rules.shifts_between(calendar, begin, end)
    ]
