"""Bills of material: versions that hold from a time on, what a product needs, and where a component is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.inventory.items import locked_items
from cloud_ingest.inventory.rules import BomLine, Boms, cycle
from connectors.ports.database import Session

LINES_MAX: Final = 1000
_EFFECTIVE: Final = (
    "SELECT DISTINCT ON (item) tenant_id, item, version, yields FROM bom WHERE tenant_id = $1 AND effective <= $3 "
    "AND withdrawn IS NULL ORDER BY item, effective DESC"
)
_BELOW: Final = f"""
WITH RECURSIVE now AS ({_EFFECTIVE}),
below AS (
    SELECT $2::text AS item
    UNION
    SELECT line.component FROM below JOIN now USING (item)
    JOIN bom_line line ON line.tenant_id = now.tenant_id AND line.item = now.item AND line.version = now.version
)
SELECT line.item, line.component, line.quantity / now.yields AS quantity, line.scrap_factor, part.unit, part.is_phantom
FROM below JOIN now USING (item)
JOIN bom_line line ON line.tenant_id = now.tenant_id AND line.item = now.item AND line.version = now.version
JOIN item part ON part.tenant_id = line.tenant_id AND part.code = line.component
ORDER BY line.item, line.component
"""  # noqa: S608  of our own
_ABOVE: Final = f"""
WITH RECURSIVE now AS ({_EFFECTIVE}),
lines AS (
    SELECT line.item, line.component, line.quantity / now.yields AS quantity, line.scrap_factor
    FROM now JOIN bom_line line USING (tenant_id, item, version)
),
above AS (
    SELECT $2::text AS component
    UNION
    SELECT lines.item FROM above JOIN lines USING (component)
)
SELECT lines.* FROM above JOIN lines USING (component) ORDER BY lines.item, lines.component
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class NewBom:
    """A version of a bill of material as it is asked for: the lines are for ``yields`` of the item."""

    item: str
    effective: datetime
    yields: Decimal
    lines: tuple[BomLine, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class BomTree:
    """Bills of material of one time: lines by item, which of all components are phantoms, and their units."""

    lines: Boms
    phantoms: frozenset[str]
    units: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Use:
    """One step up: so much of ``component`` is in one ``item``."""

    item: str
    component: str
    quantity: Decimal
    level: int


async def boms_below(session: Session, tenant_id: int, item: str, when: datetime) -> BomTree:
    """The bills of material of ``item`` and of all below it that hold at ``when``."""
    rows = await session.fetch(_BELOW, tenant_id, item, when)
    lines: dict[str, list[BomLine]] = {}
    for row in rows:
        lines.setdefault(row["item"], []).append(BomLine(row["component"], row["quantity"], row["scrap_factor"]))
    phantoms = frozenset(row["component"] for row in rows if row["is_phantom"])
    return BomTree(lines, phantoms, {row["component"]: row["unit"] for row in rows})


async def add_bom(session: Session, tenant_id: int, new: NewBom, by: str) -> int:
    """Add a version; its number. Raises ``RequestRefused`` when it cannot be, as when an item would be in itself."""
    names = [line.component for line in new.lines]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        why = f"{twice[0]} stands in it twice: write one line with the sum"
        raise RequestRefused(Why.INVALID, "component_twice", why)
    await session.fetch("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", "lineside boms", tenant_id)
    await locked_items(session, tenant_id, {new.item, *names})
    await _check_cycle(session, tenant_id, new)
    if await session.fetch(
        "SELECT FROM bom WHERE tenant_id = $1 AND item = $2 AND effective = $3 AND withdrawn IS NULL",
        tenant_id,
        new.item,
        new.effective,
    ):
        why = (
            f"{new.item} has a bill of material from {new.effective.isoformat()} on: withdraw it, or take another time"
        )
        raise RequestRefused(Why.CONFLICT, "bom_there", why)
    (row,) = await session.fetch(
        "INSERT INTO bom (tenant_id, item, version, effective, yields, note, created_by) "
        "SELECT $1, $2, coalesce(max(version), 0) + 1, $3, $4, $5, $6 FROM bom WHERE tenant_id = $1 AND item = $2 "
        "RETURNING version",
        tenant_id,
        new.item,
        new.effective,
        new.yields,
        new.note,
        by,
    )
    await session.execute_many(
        "INSERT INTO bom_line (tenant_id, item, version, component, quantity, scrap_factor) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        [(tenant_id, new.item, row["version"], one.component, one.quantity, one.scrap_factor) for one in new.lines],
    )
    return int(row["version"])


async def _check_cycle(session: Session, tenant_id: int, new: NewBom) -> None:
    """By all versions that are not withdrawn, whenever they hold: so none is ever in itself at any time."""
    rows = await session.fetch(
        "SELECT DISTINCT line.item, line.component FROM bom_line line JOIN bom USING (tenant_id, item, version) "
        "WHERE tenant_id = $1 AND withdrawn IS NULL",
        tenant_id,
    )
    components: dict[str, set[str]] = {}
    for row in rows:
        components.setdefault(row["item"], set()).add(row["component"])
    components.setdefault(new.item, set()).update(line.component for line in new.lines)
    if (way := cycle(components, new.item)) is not None:
        why = f"{new.item} would be in itself: {' > '.join(way)}. Take the component out of one of these"
        raise RequestRefused(Why.CONFLICT, "bom_cycle", why)


async def withdraw(session: Session, tenant_id: int, item: str, version: int) -> None:
    """Have a version hold no more, as if it had never; the one before it does. Raises ``RequestRefused``."""
    if not await session.execute(
        "UPDATE bom SET withdrawn = now() WHERE tenant_id = $1 AND item = $2 AND version = $3 AND withdrawn IS NULL",
        tenant_id,
        item,
        version,
    ):
        why = f"{item} has no version {version} of its bill of material that holds; /api/v1/boms/{item} lists them"
        raise RequestRefused(Why.UNKNOWN, "unknown_bom", why)


async def versions(session: Session, tenant_id: int, item: str) -> list[dict[str, Any]]:
    """All versions of an item, the newest first, with their lines."""
    rows = await session.fetch(
        "SELECT version, effective, yields, note, created_by, created, withdrawn FROM bom "
        "WHERE tenant_id = $1 AND item = $2 ORDER BY version DESC",
        tenant_id,
        item,
    )
    lines = await session.fetch(
        "SELECT version, component, quantity, scrap_factor FROM bom_line WHERE tenant_id = $1 AND item = $2 "
        "ORDER BY component",
        tenant_id,
        item,
    )
    return [
        {**dict(row), "item": item, "lines": [dict(one) for one in lines if one["version"] == row["version"]]}
        for row in rows
    ]


async def where_used(session: Session, tenant_id: int, component: str, when: datetime) -> Sequence[Use]:
    """In what ``component`` is, directly (level 1) and in what that is; ``quantity`` is for one, scrap included."""
    rows = await session.fetch(_ABOVE, tenant_id, component, when)
    level = {component: 0}
    waiting = [component]
    while waiting:
        part = waiting.pop(0)
        for row in rows:
            if row["component"] == part and row["item"] not in level:
                level[row["item"]] = level[part] + 1
                waiting.append(row["item"])
    uses = [
        Use(row["item"], row["component"], BomLine("", row["quantity"], row["scrap_factor"]).needed, level[row["item"]])
        for row in rows
    ]
    return sorted(uses, key=lambda use: (use.level, use.item, use.component))
