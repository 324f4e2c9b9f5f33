"""What people and other parts book: receipts, issues, transfers, scrap, adjustments, shipments, returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.inventory import events, ledger, reordering, reserving, shortages
from cloud_ingest.inventory.events import inventory_event, quantity_text
from cloud_ingest.inventory.items import Item, locked_items
from cloud_ingest.inventory.ledger import Cause, Movement, ns_of
from cloud_ingest.inventory.lots import ensure_lots
from cloud_ingest.inventory.reserving import Owner
from cloud_ingest.inventory.rules import Account, Kind, Pick, is_account, pick, quantity_problem
from connectors.ports.database import Session

_FROZEN: Final = (
    "SELECT count_id, stock_count.location FROM stock_count JOIN stock_location place "
    "ON place.tenant_id = stock_count.tenant_id AND place.code = ANY($2) "
    "WHERE stock_count.tenant_id = $1 AND state IN ('frozen', 'counted') AND place.path @> ARRAY[stock_count.location] "
    "LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Booking:
    """``quantity`` of ``item`` from ``source`` to ``target``.

    Without ``lots``, tracked stock is picked where it leaves a place (what expires first, then what came first). An
    item with serial numbers that comes in names as many ``lots`` as pieces.
    """

    kind: Kind
    item: str
    quantity: Decimal
    source: str
    target: str
    lots: tuple[str, ...] = ()
    expires: date | None = None


async def book(work: UnitOfWork, tenant_id: int, bookings: Sequence[Booking], cause: Cause) -> list[int]:
    """Book all of ``bookings``, or none; the numbers of the movements. Raises ``RequestRefused``."""
    items = await locked_items(work.session, tenant_id, {one.item for one in bookings})
    await refuse_frozen(work.session, tenant_id, {end for one in bookings for end in (one.source, one.target)})
    numbers: list[int] = []
    for one in bookings:
        item = items[one.item]
        if item.is_phantom:
            why = f"{item.code} is a phantom assembly: it is never in stock, its components are"
            raise RequestRefused(Why.CONFLICT, "is_phantom", why)
        moves = await _moves(work.session, tenant_id, item, one, cause)
        numbers += await ledger.post(work, tenant_id, items, moves, cause)
        if one.kind in (Kind.RECEIPT, Kind.RETURN) and is_account(one.source):
            for move in moves:
                data = {"quantity": move.quantity, "location": move.target, "lot": move.lot}
                data |= {"proposal": cause.reference, "work_order": cause.work_order, "order": cause.order}
                work.announce(inventory_event(events.RECEIVED, tenant_id, item.code, ns_of(cause.happened), data))
    for item in items.values():
        await shortages.settle(work, tenant_id, item, cause.happened)
    await reordering.watch(work, tenant_id, items.values(), cause.happened)
    return numbers


async def refuse_frozen(session: Session, tenant_id: int, locations: set[str]) -> None:
    """Raises ``RequestRefused`` when stock is being counted at one of ``locations``."""
    rows = await session.fetch(_FROZEN, tenant_id, sorted(locations))
    if rows:
        why = (
            f"stock at {rows[0]['location']} is being counted ({rows[0]['count_id']}): "
            "book it when the count is booked or cancelled"
        )
        raise RequestRefused(Why.CONFLICT, "being_counted", why)


async def _moves(session: Session, tenant_id: int, item: Item, one: Booking, cause: Cause) -> list[Movement]:
    if (problem := quantity_problem(one.quantity, whole=item.tracking == "serial")) is not None:
        raise RequestRefused(
            Why.INVALID, "invalid_quantity", f"{quantity_text(one.quantity)} of {item.code}: {problem}"
        )
    if item.tracking == "none" and one.lots:
        why = f"{item.code} is not tracked: leave the lot {one.lots[0]!r} out"
        raise RequestRefused(Why.INVALID, "not_tracked", why)
    comes_in = is_account(one.source)
    if item.tracking == "serial" and (one.lots or comes_in) and len(set(one.lots)) != one.quantity:
        why = (
            f"{quantity_text(one.quantity)} of {item.code} are {quantity_text(one.quantity)} serial numbers: name each"
        )
        raise RequestRefused(Why.INVALID, "serials_needed", why)
    if item.tracking == "lot" and (len(one.lots) > 1 or (comes_in and not one.lots)):
        why = f"{item.code} is tracked by lot: name the one lot that this is of"
        raise RequestRefused(Why.INVALID, "lot_needed", why)
    if comes_in and one.lots:
        origin = cause.order or cause.work_order or cause.reference
        await ensure_lots(session, tenant_id, item, one.lots, cause.happened, expires=one.expires, origin=origin)
    if item.tracking == "none" or one.lots:
        share = Decimal(1) if item.tracking == "serial" else one.quantity
        return [Movement(one.kind, item.code, lot, share, one.source, one.target) for lot in one.lots or ("",)]
    free = [
        bucket
        for bucket in await reserving.buckets(session, tenant_id, item.code, one.source, cause.happened)
        if bucket.location == one.source
    ]
    picks, short = pick(free, one.quantity)
    if short > 0:
        why = (
            f"there are {quantity_text(one.quantity - short)} {item.unit} of {item.code} at {one.source} in lots that "
            f"are released, not expired and not reserved: {quantity_text(one.quantity)} cannot be taken. "
            "Name a lot to take it all the same"
        )
        raise RequestRefused(Why.CONFLICT, "not_enough", why)
    return [Movement(one.kind, item.code, taken.lot, taken.quantity, one.source, one.target) for taken in picks]


async def ship(work: UnitOfWork, tenant_id: int, owner: Owner, cause: Cause) -> list[tuple[str, str, Pick]]:
    """Book what is reserved for ``owner`` as shipped: (item, line, what). What is reserved no more is not shipped."""
    items = await locked_items(
        work.session, tenant_id, await reserving.items_reserved_for(work.session, tenant_id, owner)
    )
    shipped: list[tuple[str, str, Pick]] = []
    for one in await reserving.open_for(work.session, tenant_id, owner, sorted(items)):
        await reserving.use(work.session, tenant_id, one, one["open"])
        move = Movement(Kind.SHIPMENT, one["item"], one["lot"], one["open"], one["location"], Account.CUSTOMER)
        await ledger.post(work, tenant_id, items, [move], cause)
        shipped.append((one["item"], one["for_line"], Pick(one["location"], one["lot"], one["open"])))
    told: dict[tuple[str, str], list[Pick]] = {}
    for item, line, taken in shipped:
        told.setdefault((item, line), []).append(taken)
    for (item, line), picks in sorted(told.items()):
        lots = [{"lot": one.lot, "quantity": quantity_text(one.quantity), "location": one.location} for one in picks]
        quantity = sum((one.quantity for one in picks), Decimal(0))
        data = {"quantity": quantity, "order": owner.id, "line": line, "lots": lots}
        work.announce(inventory_event(events.SHIPPED, tenant_id, item, ns_of(cause.happened), data))
    await reordering.watch(work, tenant_id, items.values(), cause.happened)
    return shipped
