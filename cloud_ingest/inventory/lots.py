"""Lots and serial numbers: made by the first movement that names them, released, blocked; which are in which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.inventory import events
from cloud_ingest.inventory.events import inventory_event
from cloud_ingest.inventory.items import Item
from cloud_ingest.inventory.ledger import ns_of
from cloud_ingest.inventory.rules import LotStatus, is_usable
from connectors.ports.database import Row, Session


@dataclass(frozen=True, slots=True)
class Part:
    """So much of a component's lot is in a lot or serial number."""

    lot: str
    part: str
    part_lot: str
    quantity: Decimal


async def ensure_lots(
    session: Session,
    tenant_id: int,
    item: Item,
    lots: Sequence[str],
    when: datetime,
    *,
    expires: date | None = None,
    origin: str = "",
) -> None:
    """Make those of ``lots`` that are not there yet: in quarantine where the item says so, with its shelf life.

    Raises ``RequestRefused`` when one is there with another expiry: it would be another lot.
    """
    until = expires
    if until is None and item.shelf_life_days is not None:
        until = (when + timedelta(days=item.shelf_life_days)).date()
    status = LotStatus.QUARANTINED if item.quarantine else LotStatus.RELEASED
    await session.execute(
        "INSERT INTO item_lot (tenant_id, item, lot, status, expires, origin) "
        "SELECT $1, $2, lot, $4, $5, $6 FROM unnest($3::text[]) AS lot ON CONFLICT DO NOTHING",
        tenant_id,
        item.code,
        list(lots),
        status.value,
        until,
        origin,
    )
    if expires is None:
        return
    rows = await session.fetch(
        "SELECT lot, expires FROM item_lot WHERE tenant_id = $1 AND item = $2 AND lot = ANY($3) "
        "AND expires IS DISTINCT FROM $4",
        tenant_id,
        item.code,
        list(lots),
        expires,
    )
    if rows:
        until_text = "never" if rows[0]["expires"] is None else f"on {rows[0]['expires']}"
        why = f"the lot {rows[0]['lot']} of {item.code} expires {until_text}, not on {expires}: name another lot"
        raise RequestRefused(Why.CONFLICT, "lot_expires_otherwise", why)


async def add_parts(
    session: Session, tenant_id: int, item: str, parts: Sequence[Part], work_order: str, when: datetime
) -> None:
    """Note what is in which lot of ``item``; quantities add up, and a correction takes away."""
    sums: dict[tuple[str, str, str], Decimal] = {}
    for one in parts:
        if one.lot and one.part_lot:
            key = (one.lot, one.part, one.part_lot)
            sums[key] = sums.get(key, Decimal(0)) + one.quantity
    if sums:
        await session.execute_many(
            "INSERT INTO lot_part AS known (tenant_id, item, lot, part, part_lot, work_order, quantity, first_used, "
            "last_used) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) "
            "ON CONFLICT (tenant_id, item, lot, part, part_lot, work_order) DO UPDATE "
            "SET quantity = known.quantity + excluded.quantity, last_used = excluded.last_used",
            [(tenant_id, item, *key, work_order, quantity, when) for key, quantity in sorted(sums.items())],
        )


async def lot_row(session: Session, tenant_id: int, item: str, lot: str) -> Row:
    """The lot. Raises ``RequestRefused`` when there is none."""
    rows = await session.fetch(
        "SELECT item, lot, status, expires, origin, revision, created FROM item_lot "
        "WHERE tenant_id = $1 AND item = $2 AND lot = $3",
        tenant_id,
        item,
        lot,
    )
    if not rows:
        why = f"there is no lot {lot!r} of {item}; /api/v1/lots?item={item} lists them"
        raise RequestRefused(Why.UNKNOWN, "unknown_lot", why)
    return rows[0]


async def change_lot(
    work: UnitOfWork,
    tenant_id: int,
    item: str,
    lot: str,
    *,
    status: LotStatus | None,
    expires: date | None,
    reason: str,
    when: datetime,
) -> bool:
    """Give a lot another status or expiry; whether it may be used now. The caller has its item's lock."""
    before: Row = await lot_row(work.session, tenant_id, item, lot)
    new = LotStatus(str(before["status"])) if status is None else status
    until: date | None = before["expires"] if expires is None else expires
    await work.session.execute(
        "UPDATE item_lot SET status = $4, expires = $5, revision = revision + 1 "
        "WHERE tenant_id = $1 AND item = $2 AND lot = $3",
        tenant_id,
        item,
        lot,
        new.value,
        until,
    )
    data = {
        "lot": lot,
        "status": new.value,
        "previous": before["status"],
        "expires": None if until is None else str(until),
        "reason": reason,
    }
    work.announce(inventory_event(events.LOT_CHANGED, tenant_id, item, ns_of(when), data))
    return is_usable(new, until, when.date())
