"""Items and places as people describe them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.inventory import reordering
from cloud_ingest.inventory.field_types import SITE_PATTERN
from cloud_ingest.inventory.items import Item, Place, one_item, one_place
from cloud_ingest.inventory.requests import LinePlaces, NewItem, NewPlace
from connectors.ports.database import Session

_FIXED: Final = ("unit", "tracking")
_NOT_NULL: Final = (
    "name", "kind", "unit", "tracking", "is_phantom", "quarantine", "supplier", "is_active", "allows_negative",
    "is_pickable",
)  # fmt: skip


async def add_item(session: Session, tenant_id: int, new: NewItem) -> None:
    """Add an item. Raises ``RequestRefused`` when there is one of that code."""
    values = new.model_dump()
    if not await session.execute(
        f"INSERT INTO item (tenant_id, {', '.join(values)}) "  # noqa: S608  names of ours
        f"VALUES ($1, {', '.join(f'${place}' for place in range(2, 2 + len(values)))}) ON CONFLICT DO NOTHING",
        tenant_id,
        *values.values(),
    ):
        why = f"there is an item {new.code!r}: change it (PATCH /api/v1/items/{new.code}), or take another code"
        raise RequestRefused(Why.CONFLICT, "item_there", why)


async def change_item(
    work: UnitOfWork, tenant_id: int, before: Item, changes: Mapping[str, Any], when: datetime
) -> None:
    """Change an item; the caller has its lock. Raises ``RequestRefused`` for what cannot be any more."""
    _check_not_null(changes)
    other = {name: value for name, value in changes.items() if getattr(before, name) != value}
    if fixed := [name for name in _FIXED if name in other]:
        moved = await work.session.fetch(
            "SELECT FROM stock_movement WHERE tenant_id = $1 AND item = $2 LIMIT 1", tenant_id, before.code
        )
        if moved:
            why = f"{before.code} has moved: its {fixed[0]} stays {getattr(before, fixed[0])!r}; make another item"
            raise RequestRefused(Why.CONFLICT, "has_moved", why)
    if other.get("is_phantom") or other.get("is_active") is False:
        await _refuse_stock(work.session, tenant_id, "item", before.code)
    await _update(work.session, "item", tenant_id, before.code, other)
    await reordering.watch(work, tenant_id, [await one_item(work.session, tenant_id, before.code)], when)


async def add_place(session: Session, tenant_id: int, new: NewPlace) -> None:
    """Add a place. Raises ``RequestRefused``."""
    if (new.kind == "site") != (new.parent is None):
        why = (
            "a site is within nothing" if new.kind == "site" else f"a {new.kind} is within another place: name 'parent'"
        )
        raise RequestRefused(Why.INVALID, "parent_does_not_fit", why)
    if new.kind == "site" and not re.fullmatch(SITE_PATTERN, new.code):
        why = f"{new.code!r} cannot be a site: small letters, digits and hyphens, as the lines name it"
        raise RequestRefused(Why.INVALID, "invalid_site", why)
    parent = None if new.parent is None else await one_place(session, tenant_id, new.parent)
    path = (*(parent.path if parent else ()), new.code)
    if len(path) > 10:
        raise RequestRefused(Why.INVALID, "too_deep", "places are at most ten levels deep")
    if not await session.execute(
        "INSERT INTO stock_location (tenant_id, code, name, kind, parent, path, site, allows_negative, is_pickable) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        tenant_id,
        new.code,
        new.name,
        new.kind,
        new.parent,
        list(path),
        path[0],
        new.allows_negative,
        new.is_pickable,
    ):
        why = f"there is a location {new.code!r}: change it (PATCH /api/v1/locations/{new.code}), or take another code"
        raise RequestRefused(Why.CONFLICT, "location_there", why)


async def locked_place(session: Session, tenant_id: int, code: str) -> Place:
    """The place, locked against other changes of it. Raises ``RequestRefused``."""
    await session.fetch(
        "SELECT FROM stock_location WHERE tenant_id = $1 AND code = $2 FOR NO KEY UPDATE", tenant_id, code
    )
    return await one_place(session, tenant_id, code)


async def change_place(session: Session, tenant_id: int, before: Place, changes: Mapping[str, Any]) -> None:
    """Change a place; the caller has its lock. Raises ``RequestRefused`` for what cannot be."""
    _check_not_null(changes)
    other = {name: value for name, value in changes.items() if getattr(before, name) != value}
    if other.get("is_active") is False:
        await _refuse_stock(session, tenant_id, "location", before.code)
        used = await session.fetch(
            "SELECT site, line FROM line_stock WHERE tenant_id = $1 AND $2 IN (components_at, products_to) LIMIT 1",
            tenant_id,
            before.code,
        )
        if used:
            line = f"{used[0]['site']}/{used[0]['line']}"
            why = f"{line} uses {before.code}: give it another place first (/api/v1/line-stock)"
            raise RequestRefused(Why.CONFLICT, "location_used", why)
    if other.get("allows_negative") is False:
        rows = await session.fetch(
            "SELECT item FROM stock_balance WHERE tenant_id = $1 AND location = $2 AND on_hand < 0 LIMIT 1",
            tenant_id,
            before.code,
        )
        if rows:
            why = f"there is less than nothing of {rows[0]['item']} at {before.code}: book what is missing first"
            raise RequestRefused(Why.CONFLICT, "is_negative", why)
    await _update(session, "stock_location", tenant_id, before.code, other)


async def set_line_places(
    session: Session, tenant_id: int, line: tuple[str, str], places: LinePlaces, check: Callable[[int | str], None]
) -> dict[str, Any]:
    """Set where a line takes and puts; ``check`` is asked about the revision there is (0 for none)."""
    for code in (places.components_at, places.products_to):
        place = await one_place(session, tenant_id, code)
        if not place.is_active or place.site != line[0]:
            why = f"{code} is closed" if not place.is_active else f"{code} is not at {line[0]}, where the line is"
            raise RequestRefused(Why.CONFLICT, "location_does_not_fit", f"{why}: name another location")
    rows = await session.fetch(
        "SELECT revision FROM line_stock WHERE tenant_id = $1 AND site = $2 AND line = $3 FOR UPDATE", tenant_id, *line
    )
    check(rows[0]["revision"] if rows else 0)
    (row,) = await session.fetch(
        "INSERT INTO line_stock AS known (tenant_id, site, line, components_at, products_to) "
        "VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT (tenant_id, site, line) DO UPDATE SET components_at = excluded.components_at, "
        "products_to = excluded.products_to, revision = known.revision + 1 "
        "RETURNING site, line, components_at, products_to, revision",
        tenant_id,
        *line,
        places.components_at,
        places.products_to,
    )
    return dict(row)


async def _refuse_stock(session: Session, tenant_id: int, column: str, code: str) -> None:
    """``column``: item or location."""
    rows = await session.fetch(
        f"SELECT item, location FROM stock_balance WHERE tenant_id = $1 AND {column} = $2 AND on_hand <> 0 "  # noqa: S608
        "AND location NOT LIKE '@%' ORDER BY item, location LIMIT 1",
        tenant_id,
        code,
    )
    if rows:
        why = f"there is stock of {rows[0]['item']} at {rows[0]['location']}: move it first"
        raise RequestRefused(Why.CONFLICT, "has_stock", why)


def _check_not_null(changes: Mapping[str, Any]) -> None:
    if empty := sorted(name for name, value in changes.items() if value is None and name in _NOT_NULL):
        raise RequestRefused(Why.INVALID, "not_null", f"{empty[0]} is never null: leave it out, and it stays as it is")


async def _update(session: Session, table: str, tenant_id: int, code: str, changes: Mapping[str, Any]) -> None:
    """The names of the table and columns are ours."""
    settings = "".join(f", {name} = ${place}" for place, name in enumerate(changes, 3))
    await session.execute(
        f"UPDATE {table} SET revision = revision + 1{settings} WHERE tenant_id = $1 AND code = $2",  # noqa: S608
        tenant_id,
        code,
        *changes.values(),
    )
