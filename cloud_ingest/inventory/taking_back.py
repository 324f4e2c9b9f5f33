"""Counts that are taken back: the product goes, and the components come back as they were consumed."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.inventory import ledger, shortages
from cloud_ingest.inventory.counts import Count, Made, lot_origin
from cloud_ingest.inventory.items import Item
from cloud_ingest.inventory.ledger import Movement
from cloud_ingest.inventory.lots import Part, add_parts
from cloud_ingest.inventory.rules import ZERO, Account, Bucket, Kind, Pick, consumed, pick, takeable
from connectors.ports.database import Session

_CONSUMED: Final = """
SELECT lot, place, sum(signed) AS quantity FROM (
    SELECT lot, movement, CASE WHEN target = '@production' THEN source ELSE target END AS place,
        CASE WHEN target = '@production' THEN quantity ELSE -quantity END AS signed
    FROM stock_movement WHERE tenant_id = $1 AND item = $2 AND kind = 'consumption' AND product = $3
        AND work_order = $4 AND line = $5 AND site = $6 AND booked > $7::timestamptz - interval '40 days') used
GROUP BY lot, place HAVING sum(signed) > 0 ORDER BY max(movement) DESC
"""


async def take_back(work: UnitOfWork, made: Made, good: Decimal, reject: Decimal) -> None:
    """Book ``good`` and ``reject`` pieces the other way round.

    What has left already cannot be taken back: it is a shortage of the product. Of a component, what is short still
    comes first; then what was consumed last for the same product and work order.
    """
    count, tenant_id = made.count, made.count.tenant_id
    product = made.items[count.product]
    moves: list[Movement] = []
    gone: list[Pick] = []
    if good > 0:
        gone, missing = await _products(work.session, made, product, good)
        moves += [
            Movement(Kind.PRODUCTION, product.code, one.lot, one.quantity, one.location, Account.PRODUCTION)
            for one in gone
        ]
        if missing > 0:
            await shortages.note(work, tenant_id, "production", product.code, made.products_to, missing, count.cause)
    if reject > 0:
        lot = lot_origin(count) if product.tracking == "lot" else ""
        moves.append(Movement(Kind.SCRAP, product.code, lot, reject, Account.SCRAP, Account.PRODUCTION))
    if product.tracking == "serial":
        await _forget_parts(work.session, tenant_id, product.code, [one.lot for one in gone])
    parts: list[Part] = []
    for code, needed in consumed(made.boms, made.phantoms, count.product, good + reject).items():
        picks = await _components(work.session, made, made.items[code], needed)
        moves += [
            Movement(Kind.CONSUMPTION, code, one.lot, one.quantity, Account.PRODUCTION, one.location) for one in picks
        ]
        if product.tracking == "lot":
            parts += [Part(lot_origin(count), code, one.lot, -one.quantity) for one in picks]
    await ledger.post(work, tenant_id, made.items, moves, count.cause)
    await add_parts(work.session, tenant_id, product.code, parts, count.work_order, count.happened)


async def _products(session: Session, made: Made, product: Item, good: Decimal) -> tuple[list[Pick], Decimal]:
    count = made.count
    free = [
        one
        for one in await _held(session, made, product.code)
        if product.tracking == "none" or _is_of(one.lot, count, product)
    ]
    wanted = takeable(good, whole=product.tracking == "serial")
    if product.tracking != "serial":
        picks, short = pick(free, wanted)
    else:  # the newest first
        newest = sorted(free, key=lambda one: one.lot, reverse=True)[: int(wanted)]
        picks, short = [Pick(one.location, one.lot, Decimal(1)) for one in newest], wanted - len(newest)
    return picks, good - wanted + short


async def _held(session: Session, made: Made, item: str) -> list[Bucket]:
    """What is free of the product where it goes, whatever the status of its lot."""
    rows = await session.fetch(
        "SELECT location, lot, on_hand - reserved AS free, arrived FROM stock_balance "
        "WHERE tenant_id = $1 AND item = $2 AND location = $3 AND on_hand > reserved",
        made.count.tenant_id,
        item,
        made.products_to,
    )
    return [Bucket(row["location"], row["lot"], row["free"], None, row["arrived"]) for row in rows]


def _is_of(lot: str, count: Count, product: Item) -> bool:
    origin = lot_origin(count)
    return lot == origin if product.tracking == "lot" else lot.startswith(f"{origin}-")


async def _components(session: Session, made: Made, item: Item, needed: Decimal) -> list[Pick]:
    count = made.count
    short = await shortages.take_off(session, count.tenant_id, item.code, count.product, count.work_order, needed)
    rest = takeable(needed - short, whole=item.tracking == "serial")
    used = await session.fetch(
        _CONSUMED,
        count.tenant_id,
        item.code,
        count.product,
        count.work_order,
        count.line,
        count.site,
        count.happened,
    )
    picks: list[Pick] = []
    for row in used:
        taken = min(rest, row["quantity"])
        if taken > 0:
            picks.append(Pick(row["place"], row["lot"], taken))
            rest -= taken
    return picks


async def _forget_parts(session: Session, tenant_id: int, product: str, serials: Sequence[str]) -> None:
    """Nothing is in a serial number that was not made."""
    await session.execute(
        "UPDATE lot_part SET quantity = $4 WHERE tenant_id = $1 AND item = $2 AND lot = ANY($3)",
        tenant_id,
        product,
        list(serials),
        ZERO,
    )
