"""When lines work, by their calendars: whatever is planned on a line is planned in that time."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.lines import equipment
from cloud_ingest.lines.calendar_model import CalendarModel, calendar_of
from cloud_ingest.lines.line_reading import read_calendars
from cloud_ingest.lines.model import LineModel
from cloud_ingest.lines.shift_rules import shifts_between
from cloud_ingest.lines.work_order_book import Place
from cloud_ingest.lines.work_order_schedule import Span, WorkTime
from connectors.ports.database import Session

HORIZON: Final = timedelta(days=60)
"""Shifts are looked up so far; what is planned behind it counts on a line that always works."""
CALENDARS_MAX: Final = 32
"""So many stay worked out: some 50 KB each."""
_LINES: Final = (
    "SELECT known.site AS line_site, known.line, part.* FROM production_line AS known LEFT JOIN equipment AS part "
    "ON part.tenant_id = known.tenant_id AND part.site = known.site AND part.kind = 'line' AND part.code = known.line "
    "WHERE known.tenant_id = $1 AND (known.site, known.line) IN (SELECT * FROM unnest($2::text[], $3::text[])) "
    "AND NOT known.is_removed"
)


async def times_of_lines(
    session: Session, tenant_id: int, places: Collection[Place], now: datetime
) -> dict[Place, WorkTime]:
    """The shifts of lines from ``now`` on, without their breaks.

    Raises ``RequestRefused`` when one of ``places`` is no line: what is planned there nobody would ever make.
    """
    found = await _times(session, tenant_id, places, now)
    if unknown := sorted(set(places) - found.keys()):
        named = ", ".join("/".join(place) for place in unknown[:5])
        why = f"there is no line {named}: describe it ('cloud-ingest lines'), or name another one in the routing"
        raise RequestRefused(Why.CONFLICT, "unknown_line", why)
    return found


async def work_times(
    session: Session, tenant_id: int, places: Collection[Place], now: datetime
) -> dict[Place, WorkTime]:
    """As ``times_of_lines``; what is no line always works."""
    return dict.fromkeys(places, WorkTime()) | await _times(session, tenant_id, places, now)


async def work_time(session: Session, tenant_id: int, place: Place, now: datetime) -> WorkTime:
    """``work_times`` of one."""
    return (await work_times(session, tenant_id, [place], now))[place]


async def _times(session: Session, tenant_id: int, places: Collection[Place], now: datetime) -> dict[Place, WorkTime]:
    rows = await session.fetch(_LINES, tenant_id, [site for site, _ in places], [line for _, line in places])
    models: dict[Place, LineModel] = {}
    for row in rows:
        model = None if row["kind"] is None else equipment.equipment_of(row).model
        if isinstance(model, LineModel):
            models[row["line_site"], row["line"]] = model
    calendars = await read_calendars(session, tenant_id, models)
    places_there = [(row["line_site"], row["line"]) for row in rows]
    return {place: _of_calendar(*calendars[place], now) if place in calendars else WorkTime() for place in places_there}


def _of_calendar(calendar: CalendarModel, time_zone: str, now: datetime) -> WorkTime:
    """From the begin of the hour on: what an order asks for after another is worked out once, and not once a line."""
    return _worked_out(calendar, time_zone, now.replace(minute=0, second=0, microsecond=0))


@lru_cache(maxsize=CALENDARS_MAX)
def _worked_out(calendar: CalendarModel, time_zone: str, begin: datetime) -> WorkTime:
    until = begin + HORIZON
    spans: list[Span] = []
    for shift in shifts_between(calendar_of(calendar, time_zone), begin, until):
        at = shift.span.begin
        for pause in shift.breaks:
            spans.append((at, pause.begin))
            at = pause.end
        spans.append((at, shift.span.end))
    return WorkTime(tuple(span for span in spans if span[0] < span[1]), until if spans else None)
