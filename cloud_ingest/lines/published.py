"""What other parts may ask of lines, and have them do, within the transaction of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from cloud_ingest.lines.events import LineState, StopKind
from cloud_ingest.lines.work_order_counts import Run, runs_between
from cloud_ingest.lines.work_order_published import (
    Capacity,
    NewWorkOrder,
    PlannedWorkOrders,
    RoutingStep,
    WorkOrderFacts,
    cancel_work_order,
    capacity,
    create_work_order,
    promise,
    work_orders_of,
)
from connectors.ports.database import Session

__all__ = [
    "Capacity",
    "CountSpan",
    "LineStanding",
    "NewWorkOrder",
    "PlannedWorkOrders",
    "RoutingStep",
    "Run",
    "ShiftSpan",
    "StateSpan",
    "StopSpan",
    "WorkOrderFacts",
    "cancel_work_order",
    "capacity",
    "counts_between",
    "create_work_order",
    "line_state",
    "promise",
    "runs_between",
    "shifts_between",
    "states_between",
    "stops_between",
    "work_orders_of",
]


@dataclass(frozen=True, slots=True)
class LineStanding:
    """How a line stands now."""

    site: str
    line: str
    name: str
    state: LineState
    since_ns: int
    reason: str | None
    good: Decimal
    reject: Decimal
    speed: Decimal | None
    speed_unit: str
    work_order: str | None
    product: str | None


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
    raise NotImplementedError


async def states_between(
    session: Session, tenant: int, site: str, line: str, begin_ns: int, end_ns: int
) -> Sequence[StateSpan]:
    """Its states, without a hole from when it was first heard, in order; micro-stops are in them as stops."""
    raise NotImplementedError


async def stops_between(
    session: Session, tenant: int, site: str, line: str, begin_ns: int, end_ns: int
) -> Sequence[StopSpan]:
    """Stops that touch the time, micro-stops too, in order; not cut to it."""
    raise NotImplementedError


async def counts_between(
    session: Session, tenant: int, site: str, line: str, begin_ns: int, end_ns: int
) -> Sequence[CountSpan]:
    """What was counted in ``(begin_ns, end_ns]`` by its end, corrected by all that came late."""
    raise NotImplementedError


async def shifts_between(
    session: Session, tenant: int, site: str, line: str, begin: datetime, end: datetime
) -> Sequence[ShiftSpan]:
    """Shifts that touch the time, in order, not cut to it. Empty for a line without a calendar: all time is planned."""
    raise NotImplementedError
