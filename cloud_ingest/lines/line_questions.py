"""What routes ask of the tables of lines: each gives what its answer is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.lines.line_reading import time_of
from cloud_ingest.lines.standing import LineStanding
from cloud_ingest.lines.work_order_events import exact
from connectors.ports.database import Row, Session

WEEK_NS: Final = 7 * 86_400 * 1_000_000_000
Places = Sequence[tuple[str, str | None]] | None
_PLACED: Final = (
    "($2::text IS NULL OR line.site = $2) AND ($3::text IS NULL OR line.line = $3) AND ($4::text[] IS NULL OR EXISTS "
    "(SELECT FROM unnest($4::text[], $5::text[]) AS place (site, line) "
    "WHERE place.site = line.site AND (place.line IS NULL OR place.line = line.line)))"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which ones: of a site or line, of the places that the asker may see, older than ``after``."""

    tenant: int
    site: str | None
    line: str | None
    places: Places
    after: str
    limit: int

    @property
    def values(self) -> tuple[Any, ...]:
        """The parameters $1 to $5 of ``_PLACED``."""
        places = self.places
        sites = None if places is None else [site for site, _ in places]
        lines = None if places is None else [line for _, line in places]
        return self.tenant, self.site, self.line, sites, lines


def line_facts(one: LineStanding) -> dict[str, Any]:
    """What a ``LineAnswer`` says."""
    return {
        "site": one.site,
        "line": one.line,
        "name": one.name,
        "area": one.area,
        "state": one.state,
        "since": time_of(one.since_ns) if one.since_ns else None,
        "reason": one.reason,
        "good": exact(one.good),
        "reject": exact(one.reject),
        "energy_kwh": exact(one.energy_kwh),
        "speed": None if one.speed is None else exact(one.speed),
        "speed_unit": one.speed_unit,
        "work_order": one.work_order,
        "product": one.product,
        "last_sample": time_of(one.last_sample_ns) if one.last_sample_ns else None,
    }


async def attention(session: Session, tenant: int, site: str, line: str, now_ns: int) -> dict[str, Any]:
    """What of a line needs somebody."""
    (row,) = await session.fetch(
        "SELECT (SELECT stop_id FROM line_stop WHERE line_stop.line_id = line.line_id AND end_ns IS NULL "
        "ORDER BY begin_ns DESC LIMIT 1) AS open_stop, "
        "(SELECT count(*) FROM line_stop WHERE line_stop.line_id = line.line_id AND reason IS NULL "
        "AND kind <> 'micro' AND begin_ns > $4) AS unclassified_stops, "
        "(SELECT count(*) FROM line_alarm WHERE line_alarm.line_id = line.line_id AND state <> 'cleared' AND is_told) "
        "AS open_alarms FROM production_line AS line WHERE tenant_id = $1 AND site = $2 AND line = $3",
        tenant,
        site,
        line,
        now_ns - WEEK_NS,
    )
    return dict(row)


async def stops(session: Session, choice: Choice, *, is_open: bool | None, is_classified: bool | None) -> list[Row]:
    """Stops, the newest first."""
    rows = await session.fetch(
        "SELECT stop.*, site, line FROM line_stop AS stop JOIN production_line AS line USING (line_id) "  # noqa: S608
        f"WHERE stop.tenant_id = $1 AND {_PLACED} AND ($6 = '' OR stop_id < $6) "
        "AND ($7::boolean IS NULL OR (stop.end_ns IS NULL) = $7) "
        "AND ($8::boolean IS NULL OR (stop.reason IS NOT NULL) = $8) "
        "ORDER BY stop_id DESC LIMIT $9",
        *choice.values,
        choice.after,
        is_open,
        is_classified,
        choice.limit,
    )
    return list(rows)


def stop_facts(row: Row) -> dict[str, Any]:
    """What a ``StopAnswer`` says."""
    return {
        "id": row["stop_id"],
        "site": row["site"],
        "line": row["line"],
        "begin": time_of(row["begin_ns"]),
        "end": _time(row["end_ns"]),
        "state": row["state"],
        "reason": row["reason"],
        "kind": row["kind"],
        "note": row["note"],
        "classified_by": row["classified_by"] or None,
        "revision": row["revision"],
    }


async def one_stop(session: Session, tenant: int, stop: str) -> dict[str, Any]:
    """A stop with its history. Raises ``RequestRefused`` when there is none."""
    rows = await session.fetch(
        "SELECT stop.*, site, line FROM line_stop AS stop JOIN production_line USING (line_id) "
        "WHERE stop.tenant_id = $1 AND stop_id = $2",
        tenant,
        stop,
    )
    if not rows:
        why = f"there is no stop {stop}: it was merged into another, or data that came late shows that there was none"
        raise RequestRefused(Why.UNKNOWN, "no_such_stop", why)
    entries = await session.fetch(
        "SELECT * FROM line_stop_entry WHERE tenant_id = $1 AND stop_id = $2 ORDER BY entry_id DESC LIMIT 1000",
        tenant,
        stop,
    )
    history = [
        {
            "time": time_of(row["time_ns"]),
            "actor": row["actor"],
            "deed": row["deed"],
            "before": json.loads(row["before"]),
            "after": json.loads(row["after"]),
        }
        for row in reversed(entries)
    ]
    return {**stop_facts(rows[0]), "history": history}


async def alarms(session: Session, choice: Choice, *, is_open: bool | None) -> list[Row]:
    """Alarms, the newest first."""
    rows = await session.fetch(
        "SELECT alarm.*, site, line FROM line_alarm AS alarm JOIN production_line AS line USING (line_id) "  # noqa: S608
        f"WHERE alarm.tenant_id = $1 AND {_PLACED} AND ($6 = '' OR alarm_id < $6) "
        "AND ($7::boolean IS NULL OR (alarm.state <> 'cleared') = $7) ORDER BY alarm_id DESC LIMIT $8",
        *choice.values,
        choice.after,
        is_open,
        choice.limit,
    )
    return list(rows)


def alarm_facts(row: Row) -> dict[str, Any]:
    """What an ``AlarmAnswer`` says."""
    return {
        "id": row["alarm_id"],
        "site": row["site"],
        "line": row["line"],
        "alarm": row["code"],
        "priority": row["priority"],
        "text": row["text"],
        "state": row["state"],
        "shelved": not row["is_told"],
        "raised": time_of(row["raised_ns"]),
        "returned": _time(row["returned_ns"]),
        "acknowledged": _time(row["acknowledged_ns"]),
        "acknowledged_by": row["acknowledged_by"] or None,
        "cleared": _time(row["cleared_ns"]),
        "escalated": _time(row["escalated_ns"]),
        "revision": row["revision"],
    }


async def one_alarm(session: Session, tenant: int, alarm: str) -> dict[str, Any]:
    """An alarm with its history. Raises ``RequestRefused`` when there is none."""
    rows = await session.fetch(
        "SELECT alarm.*, site, line FROM line_alarm AS alarm JOIN production_line USING (line_id) "
        "WHERE alarm.tenant_id = $1 AND alarm_id = $2",
        tenant,
        alarm,
    )
    if not rows:
        raise RequestRefused(Why.UNKNOWN, "no_such_alarm", f"there is no alarm {alarm}; /api/v1/alarms lists them")
    entries = await session.fetch(
        "SELECT * FROM line_alarm_entry WHERE tenant_id = $1 AND alarm_id = $2 ORDER BY entry_id LIMIT 1000",
        tenant,
        alarm,
    )
    history = [{"time": time_of(row["time_ns"]), **_said(row)} for row in entries]
    return {**alarm_facts(rows[0]), "history": history}


async def shelves(session: Session, tenant: int, site: str, line: str) -> list[dict[str, Any]]:
    """The alarms of a line that are put aside."""
    rows = await session.fetch(
        "SELECT shelf.* FROM line_alarm_shelf AS shelf JOIN production_line USING (line_id) "
        "WHERE shelf.tenant_id = $1 AND site = $2 AND line = $3 ORDER BY code",
        tenant,
        site,
        line,
    )
    return [
        {
            "alarm": row["code"],
            "until": time_of(row["until_ns"]),
            "shelved_by": row["shelved_by"],
            "reason": row["reason"],
        }
        for row in rows
    ]


def _said(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("deed", "actor", "reason")}


def _time(time_ns: int | None) -> Any:
    return None if time_ns is None else time_of(time_ns)
