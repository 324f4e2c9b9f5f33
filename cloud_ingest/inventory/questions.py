"""The lists of inventory, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloud_ingest.inventory.items import ITEM_COLUMNS, PLACE_COLUMNS
from connectors.ports.database import Row, Session

MOVEMENT_COLUMNS: Final = (
    'movement, kind, item, lot, quantity, source, target, order_id AS "order", work_order, product, site, line, '
    "reference, reason, booked_by, happened, booked"
)
RESERVATION_COLUMNS: Final = (
    "reservation, item, location, lot, for_kind AS for_, for_id AS id, for_line AS line, quantity, open, used, "
    "released, expires, created"
)
ORDERS_OWN: Final = "order_id = $5 AND order_id <> ''"
"""Behind an "or", the index of it is of no use."""
_HERE: Final = (
    "EXISTS (SELECT FROM stock_location place WHERE place.tenant_id = $1 AND place.code = {code} "
    "AND ({sites}::text[] IS NULL OR place.site = ANY({sites})) "
    "AND ({at}::text IS NULL OR place.path @> ARRAY[{at}]))"
)


async def listed_items(
    session: Session, tenant_id: int, kind: str | None, search: str | None, after: str, count: int, *, only_low: bool
) -> Sequence[Row]:
    """Items by their codes; ``search`` is in the code or name, in any case."""
    return await session.fetch(
        f"SELECT {ITEM_COLUMNS} FROM item WHERE tenant_id = $1 AND code > $2 "  # noqa: S608  of our own
        "AND ($3::text IS NULL OR kind = $3) AND ($4::text IS NULL OR position(lower($4) IN lower(code)) > 0 "
        "OR position(lower($4) IN lower(name)) > 0) AND (is_low OR NOT $5) ORDER BY code LIMIT $6",
        tenant_id,
        after,
        kind,
        search,
        only_low,
        count,
    )


async def listed_places(
    session: Session, tenant_id: int, within: str | None, sites: list[str] | None, after: str, count: int
) -> Sequence[Row]:
    """Places by their codes, without the accounts."""
    return await session.fetch(
        f"SELECT {PLACE_COLUMNS} FROM stock_location WHERE tenant_id = $1 AND code > $2 "  # noqa: S608
        "AND kind <> 'account' AND ($3::text IS NULL OR path @> ARRAY[$3]) "
        "AND ($4::text[] IS NULL OR site = ANY($4)) ORDER BY code LIMIT $5",
        tenant_id,
        after,
        within,
        sites,
        count,
    )


@dataclass(frozen=True, slots=True)
class StockChoice:
    """Which stock: ``after`` is (item, location, lot) of the last one of the page before."""

    item: str | None = None
    at: str | None = None
    lot: str | None = None
    sites: list[str] | None = None
    after: tuple[str, str, str] = ("", "", "")
    count: int = 100


async def listed_stock(session: Session, tenant_id: int, choice: StockChoice) -> Sequence[Row]:
    """What is where, by item, location and lot."""
    return await session.fetch(
        "SELECT held.item, held.location, held.lot, held.on_hand, held.reserved, item.unit, lot.status, lot.expires, "
        "held.arrived, CASE WHEN (lot.status IS NULL OR lot.status = 'released') "
        "AND (lot.expires IS NULL OR lot.expires >= (now() AT TIME ZONE 'UTC')::date) AND place.is_active "
        "THEN greatest(held.on_hand - held.reserved, 0) ELSE 0 END AS available "
        "FROM stock_balance held JOIN item ON item.tenant_id = held.tenant_id AND item.code = held.item "
        "JOIN stock_location place ON place.tenant_id = held.tenant_id AND place.code = held.location "
        "LEFT JOIN item_lot lot ON lot.tenant_id = held.tenant_id AND lot.item = held.item AND lot.lot = held.lot "
        "WHERE held.tenant_id = $1 AND held.location NOT LIKE '@%' AND held.on_hand <> 0 "
        "AND ($2::text IS NULL OR held.item = $2) AND ($3::text IS NULL OR place.path @> ARRAY[$3]) "
        "AND ($4::text IS NULL OR held.lot = $4) AND ($5::text[] IS NULL OR place.site = ANY($5)) "
        "AND (held.item, held.location, held.lot) > ($6, $7, $8) ORDER BY 1, 2, 3 LIMIT $9",
        tenant_id,
        choice.item,
        choice.at,
        choice.lot,
        choice.sites,
        *choice.after,
        choice.count,
    )


@dataclass(frozen=True, slots=True)
class MovementChoice:
    """Which lines of the ledger, before the movement ``before``."""

    item: str | None = None
    lot: str | None = None
    at: str | None = None
    order: str | None = None
    work_order: str | None = None
    sites: list[str] | None = None
    before: int | None = None
    count: int = 100


async def listed_movements(session: Session, tenant_id: int, choice: MovementChoice) -> Sequence[Row]:
    """The ledger, the newest first."""
    source = _HERE.format(code="moved.source", sites="$7", at="$4")
    target = _HERE.format(code="moved.target", sites="$7", at="$4")
    return await session.fetch(
        f"SELECT {MOVEMENT_COLUMNS} FROM stock_movement moved WHERE tenant_id = $1 "  # noqa: S608  of our own
        "AND ($2::text IS NULL OR item = $2) AND ($3::text IS NULL OR lot = $3) "
        f"AND {'$5::text IS NULL' if choice.order is None else ORDERS_OWN} AND ($6::text IS NULL OR work_order = $6) "
        "AND ($8::bigint IS NULL OR movement < $8) "
        f"AND (($4::text IS NULL AND $7::text[] IS NULL) OR {source} OR {target}) "
        "ORDER BY movement DESC LIMIT $9",
        tenant_id,
        choice.item,
        choice.lot,
        choice.at,
        choice.order,
        choice.work_order,
        choice.sites,
        choice.before,
        choice.count,
    )


async def movements(session: Session, tenant_id: int, numbers: Sequence[int]) -> Sequence[Row]:
    """Some lines of the ledger by their numbers."""
    return await session.fetch(
        f"SELECT {MOVEMENT_COLUMNS} FROM stock_movement WHERE tenant_id = $1 AND movement = ANY($2) "  # noqa: S608
        "ORDER BY movement",
        tenant_id,
        list(numbers),
    )


@dataclass(frozen=True, slots=True)
class ReservationChoice:
    """Which reservations; ``is_open``: something of it is neither used nor given back."""

    item: str | None = None
    kind: str | None = None
    id: str | None = None
    sites: list[str] | None = None
    after: str = ""
    count: int = 100
    is_open: bool = True


async def listed_reservations(session: Session, tenant_id: int, choice: ReservationChoice) -> Sequence[Row]:
    """Reservations, the oldest first."""
    here = _HERE.format(code="stock_reservation.location", sites="$5", at="NULL")
    return await session.fetch(
        f"SELECT {RESERVATION_COLUMNS} FROM stock_reservation WHERE tenant_id = $1 "  # noqa: S608  of our own
        "AND ($2::text IS NULL OR item = $2) AND ($3::text IS NULL OR for_kind = $3) "
        f"AND ($4::text IS NULL OR for_id = $4) AND {here} AND reservation > $6 AND (open > 0 OR NOT $7) "
        "ORDER BY reservation LIMIT $8",
        tenant_id,
        choice.item,
        choice.kind,
        choice.id,
        choice.sites,
        choice.after,
        choice.is_open,
        choice.count,
    )


async def listed_lots(
    session: Session, tenant_id: int, item: str | None, status: str | None, after: tuple[str, str], count: int
) -> Sequence[Row]:
    """Lots by item and lot."""
    return await session.fetch(
        "SELECT item, lot, status, expires, origin, created, revision FROM item_lot WHERE tenant_id = $1 "
        "AND ($2::text IS NULL OR item = $2) AND ($3::text IS NULL OR status = $3) AND (item, lot) > ($4, $5) "
        "ORDER BY item, lot LIMIT $6",
        tenant_id,
        item,
        status,
        *after,
        count,
    )


async def open_shortage(session: Session, tenant_id: int, item: str) -> Row:
    """The sum of what is short of an item."""
    (row,) = await session.fetch(
        "SELECT coalesce(sum(open), 0) AS short FROM stock_shortage WHERE tenant_id = $1 AND item = $2 AND open > 0",
        tenant_id,
        item,
    )
    return row
