"""All that is needed to fold a line's samples: its model, its shifts, who ran on it, and the samples themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cloud_ingest.lines import equipment
from cloud_ingest.lines.calendar_model import CalendarModel, calendar_of
from cloud_ingest.lines.equipment import EquipmentKey
from cloud_ingest.lines.events import LineKey
from cloud_ingest.lines.fold_rules import LineRule, Mark, Observation, Run
from cloud_ingest.lines.line_rules import line_rule
from cloud_ingest.lines.model import LineModel, SiteModel
from cloud_ingest.lines.shift_rules import Calendar, unplanned_time
from cloud_ingest.lines.work_order_counts import runs_between
from connectors.ports.database import Row, Session

PAGE: Final = 10_000
END_NS: Final = (1 << 63) - 1
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line, its rules, and the numbers of its signals by name."""

    line_id: int
    key: LineKey
    model: LineModel
    rule: LineRule
    signals: dict[str, int]
    calendar: Calendar | None


async def read_line(session: Session, row: Row) -> ReadLine | None:
    """The line of a row of ``production_line``; ``None`` when it was removed."""
    key = LineKey(row["tenant_id"], row["site"], row["line"])
    found = await equipment.find(session, key.tenant_id, EquipmentKey(key.site, "line", key.line))
    if found is None or not isinstance(found.model, LineModel):
        return None
    rows = await session.fetch("SELECT name, signal_id FROM line_signal WHERE line_id = $1 AND is_used", row["line_id"])
    signals = {one["name"]: int(one["signal_id"]) for one in rows}
    rule = line_rule(found.model, signals)
    calendar = await read_calendar(session, key, found.model)
    return ReadLine(row["line_id"], key, found.model, rule, signals, calendar)


async def read_calendar(session: Session, key: LineKey, model: LineModel) -> Calendar | None:
    """The calendar of a line, if it has one."""
    place = (key.site, key.line)
    found = (await read_calendars(session, key.tenant_id, {place: model})).get(place)
    return None if found is None else calendar_of(*found)


async def read_calendars(
    session: Session, tenant_id: int, models: Mapping[tuple[str, str], LineModel]
) -> dict[tuple[str, str], tuple[CalendarModel, str]]:
    """Of those of the lines, by site and line, that have a calendar: it, and the time zone of the site."""
    keys = {
        place: (EquipmentKey(place[0], "calendar", model.calendar), EquipmentKey(place[0], "site", place[0]))
        for place, model in models.items()
        if model.calendar is not None
    }
    if not keys:
        return {}
    parts = await equipment.these(session, tenant_id, {key for pair in keys.values() for key in pair})
    found: dict[tuple[str, str], tuple[CalendarModel, str]] = {}
    for place, (calendar_key, site_key) in keys.items():
        calendar, site = parts[calendar_key].model, parts[site_key].model
        if not isinstance(calendar, CalendarModel) or not isinstance(site, SiteModel):
            raise TypeError(f"{calendar_key} or {site_key} is stored as something else")
        found[place] = (calendar, site.time_zone)
    return found


async def runs_since(session: Session, key: LineKey, begin_ns: int) -> Sequence[Run]:
    """Which work orders ran since ``begin_ns``, in order."""
    found = await runs_between(session, key.tenant_id, key.site, key.line, begin_ns, END_NS)
    return [Run(run.begin_ns, run.end_ns, run.work_order, run.product) for run in found]


async def observations(session: Session, line_id: int, time_ns: int, signal: int) -> AsyncIterator[Sequence[Any]]:
    """The samples of a line behind ``(time_ns, signal)``, in that order, some thousand at a time."""
    at = (time_ns, signal)
    while True:
        rows = await session.fetch(
            "SELECT time_ns, signal_id, number, text, is_bad, mark FROM line_sample "
            "WHERE line_id = $1 AND (time_ns, signal_id) > ($2, $3) ORDER BY time_ns, signal_id LIMIT $4",
            line_id,
            *at,
            PAGE,
        )
        if rows:
            yield [_observation(row) for row in rows]
            at = (rows[-1]["time_ns"], rows[-1]["signal_id"])
        if len(rows) < PAGE:
            return


def _observation(row: Row) -> Observation:
    return Observation(row["time_ns"], row["signal_id"], row["number"], row["text"], row["is_bad"], Mark(row["mark"]))


def time_of(time_ns: int) -> datetime:
    """The time, to the microsecond."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).replace(microsecond=time_ns // 1000 % 1_000_000)


def ns_of(time: datetime) -> int:
    """Nanoseconds since 1970."""
    since = time - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def unplanned_ns(calendar: Calendar | None, begin_ns: int, end_ns: int) -> list[tuple[int, int]]:
    """When nobody planned to produce; never for a line without a calendar."""
    if calendar is None or begin_ns >= end_ns:
        return []
    spans = unplanned_time(calendar, time_of(begin_ns), time_of(end_ns))
    return [(ns_of(span.begin), ns_of(span.end)) for span in spans]
