"""Works out one hour of a line from what lines publish, and stores it in place of what was known of it."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from cloud_ingest.analytics.rules import NAMES, Count, Hour, Shift, Span, Stop, Told, hour_of
from cloud_ingest.catalog import published as catalog
from cloud_ingest.event_log.failures import Cause, cause_of, sentence_of
from cloud_ingest.lines import published as lines
from cloud_ingest.observability.analytics_events import HourNotWorkedOut
from connectors.observability.events import emit
from connectors.ports.database import Database, Row, Session

CALENDAR: Final = timedelta(days=20)
"""A line that has no shift for so long before and behind an hour has no calendar: no plant is closed for longer."""
_KEY: Final = "tenant_id = $1 AND site = $2 AND line = $3 AND hour = $4"
_HOUR_COLUMNS: Final = ("tenant_id", "site", "line", "hour", "shift", "day", "product", *NAMES)
AGAIN_AFTER: Final = timedelta(minutes=10)
"""An hour that could not be worked out is tried again after so long: meanwhile its cause may have been mended."""
_OLDEST: Final = (
    "SELECT tenant_id, site, line, hour FROM analytics_due WHERE marked <= now() ORDER BY marked, hour LIMIT $1"
)
_TAKE: Final = (
    f"DELETE FROM analytics_due WHERE (tenant_id, site, line, hour) IN ({_OLDEST} FOR UPDATE SKIP LOCKED) "  # noqa: S608
    "RETURNING tenant_id, site, line, hour"
)


@dataclass(frozen=True, slots=True, order=True)
class LineHour:
    """An hour of a line."""

    tenant_id: int
    site: str
    line: str
    hour: datetime


async def compute_due(database: Database, now: datetime, count_max: int) -> int:
    """Work out up to ``count_max`` marked hours in one transaction; how many there were.

    Several processes share the work: each takes hours that no other one has taken. Who marks an hour meanwhile has it
    worked out once more. Hours that have not begun yet are left out: nothing is known of them. One that cannot be
    worked out is tried again after ``AGAIN_AFTER``, and keeps no other one waiting until then.
    """
    try:
        async with database.transaction() as session:
            hours = _hours(await session.fetch(_TAKE, count_max))
            for one in hours:
                if one.hour < now:
                    await store(session, one, await compute(session, one, now))
    except Exception as exc:
        if cause_of(exc) is Cause.OUTSIDE:
            raise
        return await _each_by_itself(database, now, count_max)
    return len(hours)


async def _each_by_itself(database: Database, now: datetime, count_max: int) -> int:
    async with database.session() as session:
        hours = _hours(await session.fetch(_OLDEST, count_max))
    for one in hours:
        try:
            async with database.transaction() as session:
                if await _take(session, one) and one.hour < now:
                    await store(session, one, await compute(session, one, now))
        except Exception as exc:
            if cause_of(exc) is Cause.OUTSIDE:
                raise
            async with database.session() as session:
                await _put_off(session, one)
            trace = "".join(traceback.format_exception(exc))
            emit(HourNotWorkedOut(one.site, one.line, one.hour.isoformat(), sentence_of(exc), trace))
    return len(hours)


async def _take(session: Session, one: LineHour) -> int:
    key = (one.tenant_id, one.site, one.line, one.hour)
    return await session.execute(f"DELETE FROM analytics_due WHERE {_KEY}", *key)  # noqa: S608  a name of our own


async def _put_off(session: Session, one: LineHour) -> None:
    key = (one.tenant_id, one.site, one.line, one.hour)
    await session.execute(
        f"UPDATE analytics_due SET marked = now() + $5::interval WHERE {_KEY}",  # noqa: S608  a name of our own
        *key,
        AGAIN_AFTER,
    )


def _hours(rows: Sequence[Row]) -> list[LineHour]:
    return sorted(LineHour(row["tenant_id"], row["site"], row["line"], row["hour"]) for row in rows)


async def compute(session: Session, one: LineHour, now: datetime) -> Hour:
    """The figures of ``one``, up to ``now``."""
    begin_ns, end_ns = _ns(one.hour), min(_ns(one.hour + timedelta(hours=1)), _ns(now))
    line = (session, one.tenant_id, one.site, one.line)
    states = await lines.states_between(*line, begin_ns, end_ns)
    if not states and await lines.line_state(*line) is None:
        return Hour()  # it was removed, and no time of it passes any more
    until = one.hour + timedelta(hours=1)
    shifts = await lines.shifts_between(*line, one.hour, until)
    has_calendar = bool(shifts) or bool(await lines.shifts_between(*line, one.hour - CALENDAR, until + CALENDAR))
    told = Told(
        [Span(state.begin_ns, state.end_ns, state.state) for state in states],
        [
            Stop(stop.begin_ns, end_ns if stop.end_ns is None else stop.end_ns, stop.reason or "", stop.kind)
            for stop in await lines.stops_between(*line, begin_ns, end_ns)
        ],
        [
            Count(count.begin_ns, count.end_ns, count.good, count.reject, count.energy_kwh, count.product or "")
            for count in await lines.counts_between(*line, begin_ns, end_ns)
        ],
        [
            Span(run.begin_ns, end_ns if run.end_ns is None else run.end_ns, run.product)
            for run in await lines.runs_between(*line, begin_ns, end_ns)
        ],
        [_shift(shift) for shift in shifts],
        has_calendar,
    )
    made = sorted({count.product for count in told.counts if count.product})
    return hour_of(begin_ns, end_ns, told, await _cycles_s(session, one, made))


async def store(session: Session, one: LineHour, hour: Hour) -> None:
    """Put ``hour`` in place of what is stored of ``one``."""
    key = (one.tenant_id, one.site, one.line, one.hour)
    for table in ("analytics_hour", "analytics_loss", "analytics_cycle"):
        await session.execute(f"DELETE FROM {table} WHERE {_KEY}", *key)  # noqa: S608  names of our own
    if hour.figures:
        places = ", ".join(f"${number}" for number in range(1, len(_HOUR_COLUMNS) + 1))
        await session.execute_many(
            f"INSERT INTO analytics_hour ({', '.join(_HOUR_COLUMNS)}) VALUES ({places})",  # noqa: S608  of our own
            [(*key, *share, *astuple(figures)) for share, figures in hour.figures.items()],
        )
    if hour.losses:
        await session.execute_many(
            "INSERT INTO analytics_loss (tenant_id, site, line, hour, shift, day, product, reason, kind, ms, stops) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            [
                (*key, *share, reason, kind.value, loss.ms, loss.stops)
                for (share, reason, kind), loss in hour.losses.items()
            ],
        )
    if hour.cycles:
        await session.execute_many(
            "INSERT INTO analytics_cycle (tenant_id, site, line, hour, shift, day, product, class, pieces) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            [(*key, *share, number, pieces) for (share, number), pieces in hour.cycles.items()],
        )


async def _cycles_s(session: Session, one: LineHour, products: Sequence[str]) -> dict[str, Decimal]:
    """The ideal cycle time on this line of those ``products`` whose routing says it."""
    if not products:
        return {}
    found: dict[str, Decimal] = {}
    for code, product in (await catalog.products(session, one.tenant_id, products)).items():
        for step in product.routing:
            if (step.site, step.line) == (one.site, one.line):
                found.setdefault(code, step.ideal_cycle_s)
    return found


def _shift(shift: lines.ShiftSpan) -> Shift:
    breaks = tuple((_ns(begin), _ns(end)) for begin, end in shift.breaks)
    return Shift(_ns(shift.begin), _ns(shift.end), shift.shift, shift.day, breaks)


def _ns(time: datetime) -> int:
    """Nanoseconds since 1970; exact, as the float of ``timestamp`` would not be."""
    since = time - datetime.fromtimestamp(0, UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
