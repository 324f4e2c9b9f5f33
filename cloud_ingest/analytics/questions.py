"""What is asked of the hours: sums, told apart by line, shift, time or product, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

from cloud_ingest.analytics.charts import Proportion, limits_of, p_chart, signals
from cloud_ingest.analytics.rules import CLASS_WIDTH, NAMES, Figures, class_begin_s, notice, pareto, ratios
from cloud_ingest.lines.events import StopKind
from connectors.ports.database import Row, Session

By = Literal["hour", "day", "week", "month", "shift", "line", "product"]
Places = Sequence[tuple[str, str | None]] | None
GROUPS_MAX: Final = 10_000
_TIMES: Final = ("hour", "day", "week", "month")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which hours are asked for: ``begin`` <= hour < ``end``, in ``places`` (``None``: everywhere), by ``zone``."""

    tenant_id: int
    begin: datetime
    end: datetime
    site: str | None = None
    line: str | None = None
    product: str | None = None
    places: Places = None
    zone: str = "UTC"

    def where(self) -> tuple[str, list[Any]]:
        """The condition, and its parameters from ``$1`` on."""
        terms = ["tenant_id = $1", "hour >= $2", "hour < $3"]
        args: list[Any] = [self.tenant_id, self.begin, self.end]
        for column, value in (("site", self.site), ("line", self.line), ("product", self.product)):
            if value is not None:
                args.append(value)
                terms.append(f"{column} = ${len(args)}")
        if self.places is not None:
            args += [[site for site, _ in self.places], [line or "" for _, line in self.places]]
            sites, lines = len(args) - 1, len(args)
            terms.append(
                f"EXISTS (SELECT FROM unnest(${sites}::text[], ${lines}::text[]) AS mine (site, line) "
                "WHERE mine.site = of.site AND mine.line IN ('', of.line))"
            )
        return " AND ".join(terms), args


async def oee(session: Session, choice: Choice, by: Sequence[By]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The figures of all that was chosen, and those of each group, in their order; at most ``GROUPS_MAX``."""
    where, args = choice.where()
    columns = _columns(by, choice.zone, args)
    sums = ", ".join(f"sum({name}) AS {name}" for name in NAMES)
    chosen = "".join(f"{expression} AS {name}, " for name, expression in columns)
    grouped = f" GROUP BY {_numbers(columns)} ORDER BY {_numbers(columns)} LIMIT {GROUPS_MAX}" if columns else ""
    rows = await session.fetch(
        f"SELECT {chosen}{sums} FROM analytics_hour AS of WHERE {where}{grouped}",  # noqa: S608  of our own
        *args,
    )
    total = Figures()
    groups: list[dict[str, Any]] = []
    for row in rows:
        figures = figures_of(row)
        total.add(figures)
        groups.append({name: row[name] for name, _ in columns} | told(figures))
    return told(total), groups if columns else []


def figures_of(row: Row) -> Figures:
    """The sums in ``row``; without rows PostgreSQL sums to null."""
    found = Figures()
    for name in NAMES:
        value = row[name]
        if value is not None:
            setattr(found, name, value if isinstance(getattr(found, name), Decimal) else int(value))
    return found


def told(figures: Figures) -> dict[str, Any]:
    """Figures and ratios as the API has them."""
    found: dict[str, Any] = {}
    for name in NAMES:
        value = getattr(figures, name)
        found[name] = format(value.normalize(), "f") if isinstance(value, Decimal) else value
    of = ratios(figures)
    found |= {"availability": of.availability, "performance": of.performance, "quality": of.quality, "oee": of.oee}
    found["notice"] = notice(figures)
    found["pieces_per_hour"] = float(figures.good * 3_600_000 / figures.planned_ms) if figures.planned_ms else None
    return found


async def waiting(session: Session, choice: Choice) -> int:
    """How many of the hours are to be worked out anew; without those that cannot be for now."""
    where, args = Choice(
        choice.tenant_id, choice.begin, choice.end, choice.site, choice.line, None, choice.places
    ).where()
    (row,) = await session.fetch(
        f"SELECT count(*) AS n FROM analytics_due AS of WHERE marked <= now() AND {where}",  # noqa: S608  of our own
        *args,
    )
    return int(row["n"])


async def is_settled(session: Session, choice: Choice) -> bool:
    """Whether all hours of ``choice``, which has passed, were worked out: none is marked, and none is to be yet."""
    (row,) = await session.fetch(
        "SELECT EXISTS (SELECT FROM analytics_line WHERE tenant_id = $1 AND until < $2 "
        "AND ($3::text IS NULL OR site = $3) AND ($4::text IS NULL OR line = $4)) AS is_behind",
        choice.tenant_id,
        choice.end,
        choice.site,
        choice.line,
    )
    return not row["is_behind"] and not await waiting(session, choice)


async def losses(session: Session, choice: Choice) -> list[dict[str, Any]]:
    """Losses by reason and kind, the largest first."""
    where, args = choice.where()
    rows = await session.fetch(
        "SELECT reason, kind, sum(ms)::bigint AS ms, sum(stops)::bigint AS stops "  # noqa: S608  of our own
        f"FROM analytics_loss AS of WHERE {where} GROUP BY reason, kind",
        *args,
    )
    found = pareto((row["reason"], StopKind(row["kind"]), row["ms"], row["stops"]) for row in rows)
    return [one._asdict() for one in found]


async def cycle_times(session: Session, choice: Choice) -> dict[str, Any]:
    """How the cycle times are spread."""
    where, args = choice.where()
    rows = await session.fetch(
        f"SELECT class, sum(pieces) AS pieces FROM analytics_cycle AS of WHERE {where} "  # noqa: S608  of our own
        "GROUP BY class ORDER BY class",
        *args,
    )
    whole = sum((row["pieces"] for row in rows), Decimal(0))
    classes = [
        {
            "from_s": class_begin_s(row["class"]),
            "to_s": class_begin_s(row["class"] + 1),
            "pieces": format(row["pieces"].normalize(), "f"),
        }
        for row in rows
    ]
    quantiles = {f"p{percent}_s": _quantile(rows, whole * percent / 100) for percent in (10, 50, 90)}
    return {"pieces": format(whole.normalize(), "f"), "classes": classes, **quantiles}


def _quantile(rows: Sequence[Row], pieces: Decimal) -> float | None:
    """The middle of the class that holds the piece at that place."""
    until_here = Decimal(0)
    for row in rows:
        until_here += row["pieces"]
        if until_here >= pieces > 0:
            return float(class_begin_s(row["class"]) * CLASS_WIDTH**0.5)
    return None


async def reject_chart(session: Session, choice: Choice, by: By) -> tuple[float | None, list[dict[str, Any]]]:
    """A p-chart: the share of rejects by time, with limits by how many pieces each point stands for."""
    _, groups = await oee(session, choice, [by])
    made = [group for group in groups if Decimal(group["good"]) + Decimal(group["reject"]) > 0]
    parts = [Proportion(float(one["reject"]), float(one["good"]) + float(one["reject"])) for one in made]
    chart = p_chart(parts)
    shares = [part.count / part.size for part in parts]
    if chart is None:
        return None, [_point(one["begin"], share, part.size, None) for one, share, part in _zip(made, shares, parts)]
    center, sigmas = chart
    distances = [_distance(share, center, sigma) for share, sigma in zip(shares, sigmas, strict=True)]
    broken = signals(distances)
    return center, [
        _point(one["begin"], share, part.size, (center, sigma), rules, floor=0.0)
        for (one, share, part), sigma, rules in zip(_zip(made, shares, parts), sigmas, broken, strict=True)
    ]


def value_chart(rows: Sequence[tuple[datetime, float, float]]) -> tuple[float | None, list[dict[str, Any]]]:
    """A chart of means: (time, mean, samples) by subgroup, with limits by the moving range."""
    limits = limits_of([mean for _, mean, _ in rows])
    if limits is None:
        return None, [_point(begin, mean, size, None) for begin, mean, size in rows]
    broken = signals([_distance(mean, limits.center, limits.sigma) for _, mean, _ in rows])
    return limits.center, [
        _point(begin, mean, size, (limits.center, limits.sigma), rules)
        for (begin, mean, size), rules in zip(rows, broken, strict=True)
    ]


def _distance(value: float, center: float, sigma: float) -> float:
    return (value - center) / sigma if sigma else 0.0


def _zip(
    groups: Sequence[dict[str, Any]], shares: Sequence[float], parts: Sequence[Proportion]
) -> list[tuple[dict[str, Any], float, Proportion]]:
    return list(zip(groups, shares, parts, strict=True))


def _point(
    begin: datetime,
    value: float,
    size: float,
    line: tuple[float, float] | None,
    rules: Sequence[str] = (),
    floor: float | None = None,
) -> dict[str, Any]:
    center, sigma = line or (value, 0.0)
    lower = center - 3 * sigma
    return {
        "begin": begin,
        "value": value,
        "size": size,
        "lower": lower if floor is None else max(floor, lower),
        "upper": center + 3 * sigma,
        "signals": [str(rule) for rule in rules],
    }


def _columns(by: Sequence[By], zone: str, args: list[Any]) -> list[tuple[str, str]]:
    """(name, expression) of what groups are told apart by."""
    found: list[tuple[str, str]] = []
    for one in by:
        if one in _TIMES:
            args.append(zone)
            place = f"${len(args)}"
            found.append(("begin", f"date_trunc('{one}', hour, {place})"))
        elif one == "shift":
            found += [("day", "day"), ("shift", "shift")]
        elif one == "line":
            found += [("site", "site"), ("line", "line")]
        else:
            found.append(("product", "product"))
    return found


def _numbers(columns: Sequence[tuple[str, str]]) -> str:
    return ", ".join(str(number) for number in range(1, len(columns) + 1))
