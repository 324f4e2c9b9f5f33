"""What lines tell on ``lineside.line-events.v1``: types of the events and what they say. Key: ``site/line``.

Quantities are strings ("12.50"), times nanoseconds since 1970-01-01 UTC. Who adds up every ``counted`` has the true
production: a correction by data that came late has ``late: true``, and **its numbers can be negative** (what was booked
on another time, product or work order goes back there in the same transaction, what is added before what is taken).
Those of work orders are in ``work_order_events``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from cloud_ingest.event_log.domain_events import DomainEvent
from cloud_ingest.event_log.topics import LINE_EVENTS
from cloud_ingest.lines.work_order_events import PREFIX, exact, line_key

STATE_CHANGED: Final = "lineside.lines.state-changed.v1"
STATES_CORRECTED: Final = "lineside.lines.states-corrected.v1"
"""States and stops between two times are others now: ``published.states_between`` and ``stops_between`` have them."""
COUNTED: Final = "lineside.lines.counted.v1"
SPEED_CHANGED: Final = "lineside.lines.speed-changed.v1"
STOP_OPENED: Final = "lineside.lines.stop-opened.v1"
STOP_CLOSED: Final = "lineside.lines.stop-closed.v1"
STOP_CLASSIFIED: Final = "lineside.lines.stop-classified.v1"
STOP_WITHDRAWN: Final = "lineside.lines.stop-withdrawn.v1"
"""Data that came late shows that there was none, or it was merged into another."""
ALARM_RAISED: Final = "lineside.lines.alarm-raised.v1"
ALARM_ACKNOWLEDGED: Final = "lineside.lines.alarm-acknowledged.v1"
ALARM_SHELVED: Final = "lineside.lines.alarm-shelved.v1"
ALARM_UNSHELVED: Final = "lineside.lines.alarm-unshelved.v1"
ALARM_CLEARED: Final = "lineside.lines.alarm-cleared.v1"
ALARM_ESCALATED: Final = "lineside.lines.alarm-escalated.v1"


WORK_ORDER_PREFIX: Final = PREFIX
"""So begin the types of what is told of work orders."""


class LineState(StrEnum):
    """What a line does. ISO 22400-2, 5.5: only ``RUNNING`` is production time."""

    RUNNING = "running"
    STOPPED = "stopped"
    FAULTED = "faulted"
    IDLE = "idle"
    """Ready, and nothing to do: no material before it, or no room behind it."""
    PLANNED_STOP = "planned_stop"
    """Not running where nobody planned that it should: no shift, a break, or its state tag says so."""
    CHANGEOVER = "changeover"
    OFFLINE = "offline"
    """Nobody knows."""


class StopKind(StrEnum):
    """How a stop counts."""

    UNPLANNED = "unplanned"
    """A loss of availability."""
    PLANNED = "planned"
    CHANGEOVER = "changeover"
    IDLE = "idle"
    MICRO = "micro"
    """Shorter than the line's threshold: its time counts as running, and the loss as one of speed."""
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class LineKey:
    """A line, and whose it is."""

    tenant_id: int
    site: str
    line: str


@dataclass(frozen=True, slots=True)
class StateChanged:
    """From ``since_ns`` on ``state``; ``previous`` is what it was until then."""

    state: LineState
    previous: LineState
    reason: str | None
    since_ns: int


@dataclass(frozen=True, slots=True)
class Counted:
    """Increments between two times; the source of all production counts. At most one a second and line, if in order.

    ``is_last``: of the steps in the work order's routing this one makes the product; good pieces of those before it go
    on to the next step.
    """

    begin_ns: int
    end_ns: int
    good: Decimal
    reject: Decimal
    product: str | None
    work_order: str | None
    late: bool
    is_last: bool = True


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop; ``end_ns`` is null while it is open, ``reason`` null until somebody or something has said why.

    Opened is told when it is longer than the line's threshold; of a micro-stop closed alone.
    """

    stop: str
    begin_ns: int
    end_ns: int | None
    reason: str | None
    kind: StopKind


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm in a state of ISA-18.2; ``priority`` 1 is the highest of 4."""

    alarm: str
    priority: int
    text: str


def state_changed(key: LineKey, changed: StateChanged) -> DomainEvent:
    """The event of a new state."""
    return _event(STATE_CHANGED, key, changed.since_ns, asdict(changed))


def states_corrected(key: LineKey, time_ns: int, begin_ns: int, end_ns: int) -> DomainEvent:
    """The event that what was known between two times was not so."""
    return _event(STATES_CORRECTED, key, time_ns, {"begin_ns": begin_ns, "end_ns": end_ns})


def counted(key: LineKey, increment: Counted) -> DomainEvent:
    """The event of an increment."""
    data = asdict(increment) | {"good": exact(increment.good), "reject": exact(increment.reject)}
    return _event(COUNTED, key, increment.end_ns, data)


def speed_changed(key: LineKey, time_ns: int, speed: Decimal, unit: str) -> DomainEvent:
    """The event of a speed that differs from the one told last."""
    return _event(SPEED_CHANGED, key, time_ns, {"speed": exact(speed), "unit": unit, "since_ns": time_ns})


def stop_event(type_: str, key: LineKey, time_ns: int, stop: Stop) -> DomainEvent:
    """The event of a stop: ``STOP_OPENED``, ``STOP_CLOSED``, ``STOP_CLASSIFIED`` or ``STOP_WITHDRAWN``."""
    return _event(type_, key, time_ns, asdict(stop))


def alarm_event(type_: str, key: LineKey, time_ns: int, alarm: Alarm) -> DomainEvent:
    """The event of an alarm: one of ``ALARM_…``."""
    return _event(type_, key, time_ns, asdict(alarm))


def _event(type_: str, key: LineKey, time_ns: int, data: dict[str, Any]) -> DomainEvent:
    told = {"site": key.site, "line": key.line, **data}
    return DomainEvent(LINE_EVENTS, type_, key.tenant_id, line_key(key.site, key.line), time_ns, told)
