"""What other parts may ask of inventory, and have it do within their own transaction.

Who books several items in one transaction does it in the order of their codes: each item is locked until the commit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.inventory import boms, booking, events, reordering, reserving, shortages
from cloud_ingest.inventory.boms import BomTree
from cloud_ingest.inventory.booking import Booking
from cloud_ingest.inventory.events import inventory_event
from cloud_ingest.inventory.items import locked_items, one_place
from cloud_ingest.inventory.ledger import Cause, ns_of
from cloud_ingest.inventory.reserving import Owner
from cloud_ingest.inventory.rules import ZERO, Account, Kind, exploded
from connectors.ports.database import Session


@dataclass(frozen=True, slots=True)
class For:
    """What stock is reserved for. Without ``line``: all lines of it."""

    kind: Literal["order", "work-order"]
    id: str
    line: str = ""


@dataclass(frozen=True, slots=True)
class Availability:
    """What there is of an item. ``available`` is what can be promised: usable, and not reserved."""

    item: str
    on_hand: Decimal
    reserved: Decimal
    available: Decimal
    on_order: Decimal
    """Of purchase proposals that are open."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a quantity of a product needs of an item, on all levels together; phantoms are passed through.

    ``level`` is the deepest at which it is needed, from 1; ``is_made``: it has a bill of material itself.
    """

    item: str
    quantity: Decimal
    unit: str
    level: int
    is_made: bool


@dataclass(frozen=True, slots=True)
class Composition:
    """What a product, and everything that it is made of, is made of at one time."""

    _tree: BomTree

    def explode(self, item: str, quantity: Decimal) -> tuple[Requirement, ...]:
        """What ``quantity`` of ``item``, which is the product or something in it, needs; in the order of items."""
        lines, units = self._tree.lines, self._tree.units
        needs = exploded(lines, self._tree.phantoms, item, quantity)
        return tuple(
            Requirement(code, need.quantity, units[code], need.level, code in lines) for code, need in needs.items()
        )


@dataclass(frozen=True, slots=True)
class Shipped:
    """What has left: ``lot`` is the lot or serial number, empty for an item that is not tracked."""

    item: str
    lot: str
    quantity: Decimal
    location: str
    line: str


@dataclass(frozen=True, slots=True)
class NewReceipt:
    """What comes in at ``location``. ``order``: a customer sends it back. ``serials`` for items tracked by serial."""

    item: str
    quantity: Decimal
    location: str
    lot: str = ""
    serials: tuple[str, ...] = ()
    expires: date | None = None
    order: str = ""
    reason: str = ""


async def availability(session: Session, tenant_id: int, item: str, at: str | None = None) -> Availability:
    """What there is of ``item``, everywhere or at the location ``at`` and below; zeros for an unknown item."""
    return (await availabilities(session, tenant_id, [item], at))[item]


async def availabilities(
    session: Session, tenant_id: int, items: Collection[str], at: str | None = None
) -> dict[str, Availability]:
    """``availability`` of each of ``items``, all at one time and in one question."""
    found = await reordering.standings(session, tenant_id, items, at, _now().date())
    return {
        item: Availability(item, one.on_hand, one.reserved, max(one.available, ZERO), one.on_order)
        for item, one in found.items()
    }


async def lock(session: Session, tenant_id: int, codes: Collection[str]) -> None:
    """Lock those of the items that there are, in the order in which everybody does: whoever books them waits."""
    await session.fetch(
        "SELECT FROM item WHERE tenant_id = $1 AND code = ANY($2::text[]) ORDER BY code FOR NO KEY UPDATE",
        tenant_id,
        sorted(set(codes)),
    )


async def pickable(session: Session, tenant_id: int, item: str) -> Decimal:
    """What of ``item`` could be reserved for a customer's order now: it is where these are served."""
    free = await reserving.buckets(session, tenant_id, item, None, _now(), pickable=True)
    return sum((one.free for one in free), ZERO)


async def reserve(
    work: UnitOfWork,
    tenant_id: int,
    item: str,
    quantity: Decimal,
    for_: For,
    at: str | None = None,
    *,
    expires: datetime | None = None,
    whole: bool = False,
) -> Decimal:
    """Reserve up to ``quantity`` for ``for_``, in addition to what it has; how much there was to reserve.

    ``whole``: all of it or nothing (0). What expires first is taken first, then what came first. Raises
    ``RequestRefused`` when there is no such item or location.
    """
    known = await locked_items(work.session, tenant_id, [item])
    if at is not None:
        await one_place(work.session, tenant_id, at)
    owner = Owner(for_.kind, for_.id, for_.line)
    now = _now()
    reserved = await reserving.reserve_stock(
        work, tenant_id, known[item], quantity, owner, at, now, expires=expires, whole=whole
    )
    await reordering.watch(work, tenant_id, known.values(), now)
    return reserved


async def release(work: UnitOfWork, tenant_id: int, for_: For, reason: str = "") -> Decimal:
    """Give back all that is reserved for ``for_``; how much that was. None is no error."""
    owner, now = Owner(for_.kind, for_.id, for_.line), _now()
    codes = await reserving.items_reserved_for(work.session, tenant_id, owner)
    known = await locked_items(work.session, tenant_id, codes)
    open_ = await reserving.open_for(work.session, tenant_id, owner, codes)
    given = await reserving.give_back(work, tenant_id, open_, reason, now)
    for one in known.values():
        await shortages.settle(work, tenant_id, one, now)
    await reordering.watch(work, tenant_id, known.values(), now)
    return given


async def regroup(work: UnitOfWork, tenant_id: int, item: str, source: For, line: str, quantity: Decimal) -> Decimal:
    """Have up to ``quantity`` of ``item`` that is reserved for ``source`` be for another ``line`` of it; how much.

    In one step: it is free for nobody in between. The rest stays as it is.
    """
    owner, now = Owner(source.kind, source.id, source.line), _now()
    await locked_items(work.session, tenant_id, [item])
    rows = await reserving.open_for(work.session, tenant_id, owner, [item])
    moved = await reserving.regroup(work.session, tenant_id, rows, line, quantity, now)
    if moved > 0:
        data = {"quantity": moved, "from": owner.said, "for": {**owner.said, "line": line}}
        work.announce(inventory_event(events.REGROUPED, tenant_id, item, ns_of(now), data))
    return moved


async def held_for(session: Session, tenant_id: int, for_: For) -> dict[str, Decimal]:
    """How much is reserved for each line of ``for_``, whatever it names as its line."""
    return await reserving.held(session, tenant_id, Owner(for_.kind, for_.id))


async def quarantined(session: Session, tenant_id: int, item: str, work_orders: Sequence[str]) -> Decimal:
    """How much of ``item`` these work orders have made that somebody has to release before it is used."""
    (row,) = await session.fetch(
        "SELECT coalesce(sum(held.on_hand), 0) AS on_hand FROM item_lot lot JOIN stock_balance held "
        "ON held.tenant_id = lot.tenant_id AND held.item = lot.item AND held.lot = lot.lot "
        "WHERE lot.tenant_id = $1 AND lot.item = $2 AND lot.origin = ANY($3::text[]) AND lot.status = 'quarantined' "
        "AND held.on_hand > 0 AND held.location NOT LIKE '@%'",
        tenant_id,
        item,
        list(work_orders),
    )
    return Decimal(row["on_hand"])


async def booked_pieces(session: Session, tenant_id: int, products: Mapping[str, str]) -> dict[str, Decimal]:
    """How many pieces are booked that work orders have made, rejects too: what these took is no longer in stock.

    ``products``: by work order, what it makes.
    """
    if not products:
        return {}
    rows = await session.fetch(
        "SELECT work_order, sum(CASE WHEN source = '@production' THEN quantity ELSE -quantity END) AS pieces "
        "FROM stock_movement JOIN unnest($2::text[], $3::text[]) AS made (work_order, item) USING (work_order, item) "
        "WHERE tenant_id = $1 AND kind IN ('production', 'scrap') AND '@production' IN (source, target) "
        "GROUP BY work_order",
        tenant_id,
        list(products),
        list(products.values()),
    )
    return dict.fromkeys(products, ZERO) | {row["work_order"]: Decimal(row["pieces"]) for row in rows}


async def ship_reserved(work: UnitOfWork, tenant_id: int, for_: For, by: str = "lineside") -> tuple[Shipped, ...]:
    """Book all that is reserved for ``for_`` as shipped to the customer; what that was. The second time: nothing."""
    owner = Owner(for_.kind, for_.id, for_.line)
    is_order = for_.kind == "order"
    cause = Cause(by, _now(), order=for_.id if is_order else "", work_order="" if is_order else for_.id)
    shipped = await booking.ship(work, tenant_id, owner, cause)
    return tuple(Shipped(item, one.lot, one.quantity, one.location, line) for item, line, one in shipped)


async def explode(
    session: Session, tenant_id: int, item: str, quantity: Decimal, on: datetime | None = None
) -> tuple[Requirement, ...]:
    """What ``quantity`` of ``item`` needs by the bills of material of ``on`` (now), in the order of items."""
    return (await composition(session, tenant_id, item, on)).explode(item, quantity)


async def composition(session: Session, tenant_id: int, item: str, on: datetime | None = None) -> Composition:
    """What ``item`` is made of, by the bills of material of ``on`` (now)."""
    return Composition(await boms.boms_below(session, tenant_id, item, on or _now()))


async def receive(work: UnitOfWork, tenant_id: int, receipts: Sequence[NewReceipt], by: str = "lineside") -> None:
    """Book ``receipts``. Raises ``RequestRefused`` when one cannot be; then none is."""
    for one in sorted(receipts, key=lambda receipt: receipt.item):
        kind, source = (Kind.RETURN, Account.CUSTOMER) if one.order else (Kind.RECEIPT, Account.SUPPLIER)
        lots = one.serials or ((one.lot,) if one.lot else ())
        cause = Cause(by, _now(), order=one.order, reason=one.reason)
        wanted = Booking(kind, one.item, one.quantity, source, one.location, lots, one.expires)
        await booking.book(work, tenant_id, [wanted], cause)


def _now() -> datetime:
    return datetime.now(UTC)
