"""Which hours of which lines are to be worked out: those that an event touches, and those that have passed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from cloud_ingest.analytics.rules import HOUR_NS
from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.lines import events
from connectors.ports.database import Session

CHANNEL: Final = "lineside_analytics"
SPAN_HOURS_MAX: Final = 24 * 400
"""One event marks no more: a time that is further away is a mistake of a clock."""
BEHIND_HOURS_MAX: Final = 24 * 31
"""So far back a line's hours are made up for when nothing ran for a while and its own events marked none."""
_STOPS: Final = frozenset({events.STOP_OPENED, events.STOP_CLOSED, events.STOP_CLASSIFIED, events.STOP_WITHDRAWN})


def hours_of(event: ReadEvent) -> tuple[int, int] | None:
    """(first, last) hour since 1970 whose figures ``event`` of a line can change; ``None``: it changes none.

    Raises ``KeyError``, ``TypeError`` and ``ValueError`` for an event that does not say what it should.
    """
    data = event.data
    match event.type:
        case events.STATE_CHANGED:
            begin_ns = end_ns = int(data["since_ns"])
        case events.COUNTED:  # it is counted where it ends, and its cycle time is looked at from where it begins
            begin_ns = end_ns = int(data["end_ns"]) - 1
        case events.STATES_CORRECTED:
            begin_ns, end_ns = int(data["begin_ns"]), int(data["end_ns"])
        case stop if stop in _STOPS:
            begin_ns = int(data["begin_ns"])
            end_ns = max(event.time_ns, begin_ns) if data["end_ns"] is None else int(data["end_ns"])
        case _:
            return None
    first, last = begin_ns // HOUR_NS, end_ns // HOUR_NS
    return max(first, last - SPAN_HOURS_MAX), last


async def mark(session: Session, tenant_id: int, site: str, line: str, hours: tuple[int, int]) -> None:
    """Mark the hours from the first to the last of ``hours``, and know the line from now on."""
    first, last = (_time(hour) for hour in hours)
    await session.execute(
        "INSERT INTO analytics_line (tenant_id, site, line, until) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        tenant_id,
        site,
        line,
        first,
    )
    await session.execute(
        "INSERT INTO analytics_due (tenant_id, site, line, hour) "
        "SELECT $1, $2, $3, hour FROM generate_series($4::timestamptz, $5::timestamptz, interval '1 hour') AS hour "
        "ORDER BY hour ON CONFLICT DO NOTHING",
        tenant_id,
        site,
        line,
        first,
        last,
    )


async def mark_passed(session: Session, now: datetime) -> int:
    """Mark, for every line, the hours that have passed since it was last asked, and the one that is running; how many.

    A line that stands still says nothing, and its planned time passes all the same.
    """
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    marked = await session.execute(
        "INSERT INTO analytics_due (tenant_id, site, line, hour) "
        "SELECT tenant_id, site, line, passed.hour FROM analytics_line, generate_series("
        "greatest(until, $1::timestamptz - make_interval(hours => $2)), $1::timestamptz, interval '1 hour') "
        "AS passed (hour) ORDER BY tenant_id, site, line, passed.hour ON CONFLICT DO NOTHING",
        hour,
        BEHIND_HOURS_MAX,
    )
    await session.execute("UPDATE analytics_line SET until = $1 WHERE until < $1", hour)
    return marked


async def wake(session: Session) -> None:
    """Have the marked hours looked at when the transaction has committed."""
    await session.fetch("SELECT pg_notify($1, '')", CHANNEL)


def merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same hours in as few spans as there can be, in order."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _time(hour: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(hours=hour)
