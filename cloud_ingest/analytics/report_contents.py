"""What stands in a report: the figures of a time, told apart by line, shift, day and product, and its losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from cloud_ingest.analytics import questions
from cloud_ingest.analytics.questions import By, Choice
from connectors.ports.database import Session

LOSSES_MAX: Final = 15
_TABLES: Final[Sequence[tuple[str, tuple[By, ...], tuple[str, ...]]]] = (
    ("By line", ("line",), ("site", "line")),
    ("By shift", ("shift", "line"), ("day", "shift", "site", "line")),
    ("By day", ("day",), ("begin",)),
    ("By product", ("product",), ("product",)),
)
"""(heading, what is told apart, the columns that say it)."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: columns and rows of what is shown, numbers as numbers, shares as fractions."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Contents:
    """A report before it is written down in one format or another."""

    title: str
    begin: datetime
    end: datetime
    zone: str
    total: Mapping[str, Any]
    tables: Sequence[Table]


RATIOS: Final = ("availability", "performance", "quality", "oee")
_FIGURES: Final = (*RATIOS, "good", "reject", "planned_ms", "running_ms", "stops", "micro_stops", "energy_kwh")
HEADINGS: Final[Mapping[str, str]] = {
    "site": "Site",
    "line": "Line",
    "day": "Day",
    "begin": "Day",
    "shift": "Shift",
    "product": "Product",
    "availability": "Availability",
    "performance": "Performance",
    "quality": "Quality",
    "oee": "OEE",
    "good": "Good",
    "reject": "Reject",
    "planned_ms": "Planned h",
    "running_ms": "Running h",
    "stops": "Stops",
    "micro_stops": "Micro-stops",
    "energy_kwh": "Energy kWh",
    "reason": "Reason",
    "kind": "Kind",
    "ms": "Lost h",
    "share": "Share",
    "cumulative": "Cumulative",
    "notice": "Notice",
}
_OF_NOTICES: Final = ("site", "line", "product", "notice")


async def contents(session: Session, title: str, choice: Choice) -> Contents:
    """The figures of ``choice``."""
    tables: list[Table] = []
    total: Mapping[str, Any] = {}
    for heading, by, names in _TABLES:
        total, groups = await questions.oee(session, choice, by)
        columns = (*names, *_FIGURES)
        rows = [[_shown(name, group[name], choice.zone) for name in columns] for group in groups]
        tables.append(Table(heading, [HEADINGS[name] for name in columns], rows))
    _, groups = await questions.oee(session, choice, ("line", "product"))
    if notices := [[group[name] for name in _OF_NOTICES] for group in groups if group["notice"]]:
        tables.insert(0, Table("To look at", [HEADINGS[name] for name in _OF_NOTICES], notices))
    losses = (await questions.losses(session, choice))[:LOSSES_MAX]
    names = ("reason", "kind", "ms", "stops", "share", "cumulative")
    shown = [[_shown(name, loss[name], choice.zone) for name in names] for loss in losses]
    tables.append(Table("Losses, the largest first", [HEADINGS[name] for name in names], shown))
    return Contents(title, choice.begin, choice.end, choice.zone, total, tables)


def _shown(name: str, value: Any, zone: str) -> Any:
    """As a person reads it: hours for milliseconds, a day for its beginning; an empty reason has a name."""
    if isinstance(value, datetime):
        return value.astimezone(ZoneInfo(zone)).date().isoformat()
    if name in ("planned_ms", "running_ms", "ms"):
        return round(value / 3_600_000, 2)
    if name in ("good", "reject", "energy_kwh"):
        number = float(value)
        return int(number) if number == int(number) else round(number, 3)
    if name == "reason":
        return value or "(not said)"
    return value
