"""Reservations: stock of certain places and lots that is kept for an order or a work order.

All of it is done under the lock of the item, so two who reserve at the same time do it one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.inventory import events
from cloud_ingest.inventory.events import inventory_event
from cloud_ingest.inventory.items import Item
from cloud_ingest.inventory.ledger import ns_of
from cloud_ingest.inventory.rules import ZERO, Bucket, LotStatus, Pick, is_usable, pick
from connectors.commands.ulid import new_ulid
from connectors.ports.database import Row, Session

EXPIRED_AT_ONCE_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Owner:
    """What stock is reserved for; an empty ``line`` where all lines are meant."""

    kind: Literal["order", "work-order"]
    id: str
    line: str = ""

    @property
    def said(self) -> dict[str, str]:
        """As events have it."""
        return {"kind": self.kind, "id": self.id, "line": self.line}


async def buckets(
    session: Session, tenant_id: int, item: str, at: str | None, when: datetime, *, pickable: bool = False
) -> list[Bucket]:
    """What is free of ``item`` at ``at`` and below (``None``: everywhere): usable, and not reserved.

    ``pickable``: only in places from which customers' orders are served.
    """
    rows = await session.fetch(
        "SELECT held.location, held.lot, held.on_hand - held.reserved AS free, lot.status, lot.expires, held.arrived "
        "FROM stock_balance held JOIN stock_location place ON place.tenant_id = held.tenant_id "
        "AND place.code = held.location LEFT JOIN item_lot lot ON lot.tenant_id = held.tenant_id "
        "AND lot.item = held.item AND lot.lot = held.lot "
        "WHERE held.tenant_id = $1 AND held.item = $2 AND held.on_hand > held.reserved AND held.on_hand <> 0 "
        "AND held.location NOT LIKE '@%' "
        "AND place.is_active AND ($3::text IS NULL OR place.path @> ARRAY[$3]) AND (place.is_pickable OR NOT $4)",
        tenant_id,
        item,
        at,
        pickable,
    )
    today = when.date()
    return [
        Bucket(row["location"], row["lot"], row["free"], row["expires"], row["arrived"])
        for row in rows
        if is_usable(None if row["status"] is None else LotStatus(row["status"]), row["expires"], today)
    ]


async def reserve_stock(
    work: UnitOfWork,
    tenant_id: int,
    item: Item,
    quantity: Decimal,
    owner: Owner,
    at: str | None,
    when: datetime,
    *,
    expires: datetime | None = None,
    whole: bool = False,
) -> Decimal:
    """Reserve up to ``quantity``, or with ``whole`` all or nothing; how much. The caller holds the item's lock."""
    free = await buckets(work.session, tenant_id, item.code, at, when, pickable=owner.kind == "order")
    picks, short = pick(free, quantity)
    if whole and short > 0:
        picks, short = [], quantity
    for one in picks:
        await _keep(work.session, tenant_id, item.code, one, owner, expires, when)
    reserved = quantity - short
    data = {
        "quantity": reserved,
        "short": short,
        "for": owner.said,
        "expires": None if expires is None else expires.isoformat(),
    }
    work.announce(inventory_event(events.RESERVED, tenant_id, item.code, ns_of(when), data))
    return reserved


async def _keep(
    session: Session, tenant_id: int, item: str, one: Pick, owner: Owner, expires: datetime | None, when: datetime
) -> None:
    await session.execute(
        "UPDATE stock_balance SET reserved = reserved + $5 "
        "WHERE tenant_id = $1 AND item = $2 AND location = $3 AND lot = $4",
        tenant_id,
        item,
        one.location,
        one.lot,
        one.quantity,
    )
    await session.execute(
        "INSERT INTO stock_reservation (reservation, tenant_id, item, location, lot, for_kind, for_id, for_line, "
        "quantity, open, expires, created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11)",
        new_ulid(ns_of(when) // 1_000_000),
        tenant_id,
        item,
        one.location,
        one.lot,
        owner.kind,
        owner.id,
        owner.line,
        one.quantity,
        expires,
        when,
    )


async def items_reserved_for(session: Session, tenant_id: int, owner: Owner) -> list[str]:
    """Of which items something is reserved for ``owner``: to be locked before it is used or given back."""
    rows = await session.fetch(
        "SELECT DISTINCT item FROM stock_reservation WHERE tenant_id = $1 AND for_kind = $2 AND for_id = $3 "
        "AND ($4 = '' OR for_line = $4) AND open > 0",
        tenant_id,
        owner.kind,
        owner.id,
        owner.line,
    )
    return sorted(row["item"] for row in rows)


async def open_for(session: Session, tenant_id: int, owner: Owner, items: Sequence[str]) -> Sequence[Row]:
    """What is reserved of ``items`` for ``owner``, the oldest first. The caller holds the items' locks."""
    return await session.fetch(
        "SELECT reservation, item, location, lot, for_kind, for_id, for_line, open FROM stock_reservation "
        "WHERE tenant_id = $1 AND for_kind = $2 AND for_id = $3 AND ($4 = '' OR for_line = $4) AND open > 0 "
        "AND item = ANY($5) ORDER BY reservation",
        tenant_id,
        owner.kind,
        owner.id,
        owner.line,
        list(items),
    )


async def use(session: Session, tenant_id: int, reservation: Row, quantity: Decimal) -> None:
    """So much of a reservation is taken now: the caller moves it within the same transaction."""
    await _lower(session, tenant_id, reservation, quantity, used=quantity, released=ZERO)


async def give_back(
    work: UnitOfWork, tenant_id: int, reservations: Sequence[Row], reason: str, when: datetime
) -> Decimal:
    """Give back what is open of ``reservations``; how much. The caller holds the items' locks."""
    sums: dict[tuple[str, str, str, str], Decimal] = {}
    for one in reservations:
        await _lower(work.session, tenant_id, one, one["open"], used=ZERO, released=one["open"])
        key = (one["item"], one["for_kind"], one["for_id"], one["for_line"])
        sums[key] = sums.get(key, ZERO) + one["open"]
    for (item, kind, id_, line), quantity in sorted(sums.items()):
        data = {"quantity": quantity, "for": {"kind": kind, "id": id_, "line": line}, "reason": reason}
        work.announce(inventory_event(events.RELEASED, tenant_id, item, ns_of(when), data))
    return sum(sums.values(), ZERO)


async def regroup(
    session: Session, tenant_id: int, reservations: Sequence[Row], line: str, quantity: Decimal, when: datetime
) -> Decimal:
    """Have up to ``quantity`` of ``reservations`` be for ``line`` of their owner; how much. The first ones go first.

    It is reserved all the time. The caller holds the items' locks.
    """
    left = quantity
    for one in reservations:
        part = min(left, one["open"])
        if part <= 0:
            break
        if part == one["open"]:
            await session.execute(
                "UPDATE stock_reservation SET for_line = $2 WHERE reservation = $1", one["reservation"], line
            )
        else:
            await session.execute(
                "UPDATE stock_reservation SET quantity = quantity - $2, open = open - $2 WHERE reservation = $1",
                one["reservation"],
                part,
            )
            await session.execute(
                "INSERT INTO stock_reservation (reservation, tenant_id, item, location, lot, for_kind, for_id, "
                "for_line, quantity, open, expires, created) SELECT $3, tenant_id, item, location, lot, for_kind, "
                "for_id, $4, $5, $5, expires, created FROM stock_reservation WHERE tenant_id = $1 AND reservation = $2",
                tenant_id,
                one["reservation"],
                new_ulid(ns_of(when) // 1_000_000),
                line,
                part,
            )
        left -= part
    return quantity - left


async def held(session: Session, tenant_id: int, owner: Owner) -> dict[str, Decimal]:
    """How much is reserved for each line of ``owner``."""
    rows = await session.fetch(
        "SELECT for_line, sum(open) AS open FROM stock_reservation WHERE tenant_id = $1 AND for_kind = $2 "
        "AND for_id = $3 AND open > 0 GROUP BY for_line",
        tenant_id,
        owner.kind,
        owner.id,
    )
    return {str(row["for_line"]): Decimal(row["open"]) for row in rows}


async def _lower(
    session: Session, tenant_id: int, reservation: Row, quantity: Decimal, *, used: Decimal, released: Decimal
) -> None:
    await session.execute(
        "UPDATE stock_reservation SET open = open - $2, used = used + $3, released = released + $4 "
        "WHERE reservation = $1",
        reservation["reservation"],
        quantity,
        used,
        released,
    )
    await session.execute(
        "UPDATE stock_balance SET reserved = reserved - $5 "
        "WHERE tenant_id = $1 AND item = $2 AND location = $3 AND lot = $4",
        tenant_id,
        reservation["item"],
        reservation["location"],
        reservation["lot"],
        quantity,
    )


async def open_of_lot(session: Session, tenant_id: int, item: str, lot: str) -> Sequence[Row]:
    """What is reserved of one lot."""
    return await session.fetch(
        "SELECT reservation, item, location, lot, for_kind, for_id, for_line, open FROM stock_reservation "
        "WHERE tenant_id = $1 AND item = $2 AND lot = $3 AND open > 0 ORDER BY reservation",
        tenant_id,
        item,
        lot,
    )


async def expired(session: Session, when: datetime) -> Sequence[Row]:
    """Some of the reservations of all tenants whose time is over, or whose lot has expired, with their tenants."""
    return await session.fetch(
        "SELECT kept.tenant_id, reservation, kept.item FROM stock_reservation kept LEFT JOIN item_lot lot "
        "ON lot.tenant_id = kept.tenant_id AND lot.item = kept.item AND lot.lot = kept.lot "
        "WHERE open > 0 AND (kept.expires <= $1 OR lot.expires < $2) ORDER BY reservation LIMIT $3",
        when,
        when.date(),
        EXPIRED_AT_ONCE_MAX,
    )


async def open_again(session: Session, tenant_id: int, reservation: str) -> Sequence[Row]:
    """The reservation as it stands, if anything of it is open: asked behind the item's lock."""
    return await session.fetch(
        "SELECT reservation, kept.item, location, kept.lot, for_kind, for_id, for_line, open, kept.expires, "
        "lot.expires AS lot_expires FROM stock_reservation kept LEFT JOIN item_lot lot "
        "ON lot.tenant_id = kept.tenant_id AND lot.item = kept.item AND lot.lot = kept.lot "
        "WHERE kept.tenant_id = $1 AND reservation = $2 AND open > 0",
        tenant_id,
        reservation,
    )
