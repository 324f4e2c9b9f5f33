"""How lines stand now: what the dashboard shows, and what other parts ask."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.lines.events import LineState
from connectors.ports.database import Row, Session


@dataclass(frozen=True, slots=True)
class LineStanding:
    """How a line stands now. ``good``, ``reject`` and ``energy_kwh`` are all that was ever counted."""

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
    """Of the work order that runs."""
    area: str
    energy_kwh: Decimal
    last_sample_ns: int
    """0 before the first one."""


async def standings(
    session: Session,
    tenant: int,
    site: str | None = None,
    line: str | None = None,
    *,
    after: tuple[str, str] = ("", ""),
    limit: int = 10_000,
) -> Sequence[LineStanding]:
    """How lines stand, behind ``after`` (site, line) in that order; those of a site, or one of it."""
    rows = await session.fetch(
        "SELECT line.*, model.model, run.work_order_id, run.product FROM production_line AS line "
        "JOIN equipment AS model ON model.tenant_id = line.tenant_id AND model.site = line.site "
        "AND model.kind = 'line' AND model.code = line.line "
        "LEFT JOIN LATERAL (SELECT work_order_id, product FROM work_order WHERE work_order.tenant_id = line.tenant_id "
        "AND work_order.site = line.site AND work_order.line = line.line AND state = 'running') AS run ON true "
        "WHERE line.tenant_id = $1 AND ($2::text IS NULL OR line.site = $2) AND ($3::text IS NULL OR line.line = $3) "
        "AND (line.site, line.line) > ($4, $5) AND NOT is_removed ORDER BY line.site, line.line LIMIT $6",
        tenant,
        site,
        line,
        *after,
        limit,
    )
    return [_standing(row) for row in rows]


async def seen(session: Session, principal: Principal, site: str | None, after: str, limit: int) -> list[LineStanding]:
    """Lines behind ``after`` (``site/line``) that the asker may see: up to one more than ``limit``."""
    last_site, _, last_line = after.partition("/")
    found = await standings(session, principal.tenant_id, site, after=(last_site, last_line))
    theirs = [one for one in found if principal.may(Permission.LINES_READ, site=one.site, line=one.line)]
    return theirs[: limit + 1]


async def existing(session: Session, tenant: int, site: str, line: str) -> LineStanding:
    """How a line stands. Raises ``RequestRefused`` when there is none."""
    found = await standings(session, tenant, site, line)
    if not found:
        raise RequestRefused(Why.UNKNOWN, "no_such_line", f"there is no line {site}/{line}; /api/v1/lines lists them")
    return found[0]


def _standing(row: Row) -> LineStanding:
    model = json.loads(row["model"])
    return LineStanding(
        row["site"],
        row["line"],
        model.get("name", ""),
        LineState(row["state"]),
        row["since_ns"],
        row["reason"],
        row["good"],
        row["reject"],
        row["speed"],
        model.get("signals", {}).get("speed", {}).get("unit", ""),
        row["work_order_id"],
        row["product"],
        model["area"],
        row["energy_kwh"],
        row["folded_ns"],
    )
