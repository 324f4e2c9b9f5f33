"""Items and places as the tables have them, and the lock by which all that is booked of an item is in one order."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, cast

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.inventory.rules import Tracking, is_account
from connectors.ports.database import Row, Session

ITEM_COLUMNS: Final = (
    "code, name, kind, unit, tracking, is_phantom, quarantine, shelf_life_days, reorder_point, reorder_quantity, "
    "supplier, is_low, is_active, revision"
)
PLACE_COLUMNS: Final = "code, name, kind, parent, path, site, allows_negative, is_pickable, is_active, revision"


@dataclass(frozen=True, slots=True)
class Item:
    """What can be in stock."""

    code: str
    name: str
    kind: str
    unit: str
    tracking: Tracking
    is_phantom: bool
    quarantine: bool
    shelf_life_days: int | None
    reorder_point: Decimal | None
    reorder_quantity: Decimal | None
    supplier: str
    is_low: bool
    is_active: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where stock can be."""

    code: str
    name: str
    kind: str
    parent: str | None
    path: tuple[str, ...]
    site: str | None
    allows_negative: bool
    is_pickable: bool
    is_active: bool
    revision: int


def item_of(row: Row) -> Item:
    """The item in a row of ``ITEM_COLUMNS``."""
    return Item(**dict(row))


def place_of(row: Row) -> Place:
    """The place in a row of ``PLACE_COLUMNS``."""
    values: dict[str, Any] = dict(row)
    return Place(**{**values, "path": tuple(cast("list[str]", values["path"]))})


async def locked_items(session: Session, tenant_id: int, codes: Collection[str]) -> dict[str, Item]:
    """The items, each locked until the end of the transaction: what changes their stock takes its turn.

    They are locked in the order of their codes, so that two who need the same ones wait for each other in one order.
    Raises ``RequestRefused`` when there is no such item.
    """
    rows = await session.fetch(
        f"SELECT {ITEM_COLUMNS} FROM item "  # noqa: S608  of our own
        "WHERE tenant_id = $1 AND code = ANY($2) ORDER BY code FOR NO KEY UPDATE",
        tenant_id,
        sorted(set(codes)),
    )
    found = {row["code"]: item_of(row) for row in rows}
    if missing := sorted(set(codes) - found.keys()):
        raise unknown_item(missing[0])
    return found


async def items(session: Session, tenant_id: int, codes: Collection[str]) -> dict[str, Item]:
    """Those of the items that there are, without a lock."""
    rows = await session.fetch(
        f"SELECT {ITEM_COLUMNS} FROM item WHERE tenant_id = $1 AND code = ANY($2)",  # noqa: S608
        tenant_id,
        sorted(set(codes)),
    )
    return {row["code"]: item_of(row) for row in rows}


async def one_item(session: Session, tenant_id: int, code: str) -> Item:
    """The item. Raises ``RequestRefused`` when there is none."""
    found = await items(session, tenant_id, [code])
    if code not in found:
        raise unknown_item(code)
    return found[code]


async def places(session: Session, tenant_id: int, codes: Collection[str]) -> dict[str, Place]:
    """The places and accounts. Raises ``RequestRefused`` when there is no such place."""
    rows = await session.fetch(
        f"SELECT {PLACE_COLUMNS} FROM stock_location WHERE tenant_id = $1 AND code = ANY($2)",  # noqa: S608
        tenant_id,
        sorted(set(codes)),
    )
    found = {row["code"]: place_of(row) for row in rows}
    if missing := sorted(set(codes) - found.keys()):
        raise unknown_place(missing[0])
    return found


async def one_place(session: Session, tenant_id: int, code: str) -> Place:
    """The place, and no account. Raises ``RequestRefused`` when there is none."""
    if is_account(code):
        raise unknown_place(code)
    return (await places(session, tenant_id, [code]))[code]


def unknown_item(code: str) -> RequestRefused:
    """There is no such item."""
    return RequestRefused(Why.UNKNOWN, "unknown_item", f"there is no item {code!r}; /api/v1/items lists them")


def unknown_place(code: str) -> RequestRefused:
    """There is no such place."""
    return RequestRefused(
        Why.UNKNOWN, "unknown_location", f"there is no location {code!r}; /api/v1/locations lists them"
    )
