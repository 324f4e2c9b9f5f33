"""What lines have counted becomes stock: components consumed, products received, rejects scrapped.

Each event is booked once, whenever and however often it comes.

A count is what has happened, so it is booked in any case: what the ledger does not have is a shortage, and settled when
it comes. A count that is taken back is booked the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.inventory import boms, events, ledger, reordering, reserving, shortages
from cloud_ingest.inventory.counts import Count, Made, lot_origin
from cloud_ingest.inventory.events import inventory_event
from cloud_ingest.inventory.items import Item, items, locked_items, places
from cloud_ingest.inventory.ledger import Movement, ns_of
from cloud_ingest.inventory.lots import Part, add_parts, ensure_lots
from cloud_ingest.inventory.reserving import Owner
from cloud_ingest.inventory.rules import ZERO, Account, Bucket, Kind, Pick, consumed, pick, spread, takeable
from cloud_ingest.inventory.taking_back import take_back
from connectors.ports.database import Session

SERIALS_MAX: Final = 10_000
"""In one event: more good pieces in a second are a mistake of a counter."""


async def lock_for(session: Session, counts: Sequence[Count]) -> None:
    """Lock all that ``counts`` will book, in one order: they are in one transaction with each other."""
    for tenant_id in sorted({one.tenant_id for one in counts}):
        mine = [one for one in counts if one.tenant_id == tenant_id]
        for product in sorted({one.product for one in mine}):
            await _ensure_item(session, tenant_id, product)
        codes: set[str] = set()
        for product in sorted({one.product for one in mine}):
            tree = await boms.boms_below(session, tenant_id, product, max(one.happened for one in mine))
            codes |= {product, *tree.lines, *tree.units}
        await locked_items(session, tenant_id, codes)


async def book_count(work: UnitOfWork, count: Count) -> None:
    """Book ``count``, unless it is booked already."""
    session, tenant_id = work.session, count.tenant_id
    await _ensure_item(session, tenant_id, count.product)
    tree = await boms.boms_below(session, tenant_id, count.product, count.happened)
    wanted = consumed(tree.lines, tree.phantoms, count.product, Decimal(1))
    known = await locked_items(session, tenant_id, {count.product, *wanted})
    if await session.fetch(
        "SELECT FROM stock_movement WHERE tenant_id = $1 AND event_number = $2 LIMIT 1", tenant_id, count.number
    ):
        return
    components_at, products_to = await line_places(session, tenant_id, count.site, count.line)
    made = Made(count, known, tree.lines, tree.phantoms, components_at, products_to)
    if count.good > 0 or count.reject > 0:
        await _make(work, made, max(count.good, ZERO), max(count.reject, ZERO))
        await shortages.settle(work, tenant_id, known[count.product], count.happened)
    if count.good < 0 or count.reject < 0:
        await take_back(work, made, max(-count.good, ZERO), max(-count.reject, ZERO))
        for item in known.values():
            await shortages.settle(work, tenant_id, item, count.happened)
    await reordering.watch(work, tenant_id, known.values(), count.happened)


async def _make(work: UnitOfWork, made: Made, good: Decimal, reject: Decimal) -> None:
    count, session, tenant_id = made.count, work.session, made.count.tenant_id
    product = made.items[count.product]
    lots = await _lots_of(session, product, count, good)
    made_lot = lots[0] if product.tracking == "lot" else ""
    moves: list[Movement] = []
    parts: list[Part] = []
    for code, needed in consumed(made.boms, made.phantoms, count.product, good + reject).items():
        picks = await _consume(work, made, made.items[code], needed, made_lot)
        moves += [
            Movement(Kind.CONSUMPTION, code, one.lot, one.quantity, one.location, Account.PRODUCTION) for one in picks
        ]
        parts += _parts(product, code, picks, lots, good, reject)
    if good > 0:
        share = Decimal(1) if product.tracking == "serial" else good
        for lot in lots or [""]:
            moves.append(Movement(Kind.PRODUCTION, product.code, lot, share, Account.PRODUCTION, made.products_to))
    if reject > 0:
        moves.append(Movement(Kind.SCRAP, product.code, made_lot, reject, Account.PRODUCTION, Account.SCRAP))
    await ledger.post(work, tenant_id, made.items, moves, count.cause)
    await add_parts(session, tenant_id, product.code, parts, count.work_order, count.happened)
    if good > 0:
        data = {"quantity": good, "location": made.products_to, "lot": made_lot, "work_order": count.work_order}
        work.announce(inventory_event(events.RECEIVED, tenant_id, product.code, ns_of(count.happened), data))


async def _consume(work: UnitOfWork, made: Made, item: Item, needed: Decimal, made_lot: str) -> list[Pick]:
    """What to take for ``needed``: what is reserved for the work order, then what is free; the rest is short."""
    count, tenant_id = made.count, made.count.tenant_id
    picks: list[Pick] = []
    rest = takeable(needed, whole=item.tracking == "serial")
    later = needed - rest
    if count.work_order:
        owner = Owner("work-order", count.work_order)
        for row in await reserving.open_for(work.session, tenant_id, owner, [item.code]):
            if rest <= 0:
                break
            taken = min(rest, row["open"])
            await reserving.use(work.session, tenant_id, row, taken)
            picks.append(Pick(row["location"], row["lot"], taken))
            rest -= taken
    if rest > 0:
        reserved: dict[tuple[str, str], Decimal] = {}
        for one in picks:
            reserved[one.location, one.lot] = reserved.get((one.location, one.lot), ZERO) + one.quantity
        free = await reserving.buckets(work.session, tenant_id, item.code, made.components_at, count.happened)
        left = [
            Bucket(
                held.location,
                held.lot,
                # what was reserved for this is not reserved any more, and not taken yet
                held.free - reserved.get((held.location, held.lot), ZERO),
                held.expires,
                held.arrived,
            )
            for held in free
        ]
        more, rest = pick(left, rest)
        picks += more
    if rest > 0 and await _may_go_below(work.session, tenant_id, item, made.components_at):
        picks.append(Pick(made.components_at, "", rest))
        work.announce(shortages.short_event(tenant_id, item.code, made.components_at, rest, count.cause))
        rest = ZERO
    if (rest := rest + later) > 0:
        await shortages.note(work, tenant_id, "consumption", item.code, made.components_at, rest, count.cause, made_lot)
    return picks


async def _may_go_below(session: Session, tenant_id: int, item: Item, at: str) -> bool:
    """Whether the place may have less than nothing of ``item``: only where nothing of it is promised."""
    place = (await places(session, tenant_id, [at]))[at]
    if item.tracking != "none" or not place.allows_negative:
        return False
    rows = await session.fetch(
        "SELECT FROM stock_balance WHERE tenant_id = $1 AND item = $2 AND location = $3 AND lot = '' AND reserved > 0",
        tenant_id,
        item.code,
        at,
    )
    return not rows


def _parts(
    product: Item, component: str, picks: Sequence[Pick], lots: Sequence[str], good: Decimal, reject: Decimal
) -> list[Part]:
    """What is in which lot; of rejects among serial numbers nothing is, as they get none."""
    if product.tracking == "lot":
        return [Part(lots[0], component, one.lot, one.quantity) for one in picks]
    if product.tracking != "serial" or not lots:
        return []
    shares = spread(picks, int(good + reject))
    return [
        Part(lot, component, one.lot, one.quantity)
        for lot, share in zip(lots, shares[: len(lots)], strict=True)
        for one in share
    ]


async def _lots_of(session: Session, product: Item, count: Count, good: Decimal) -> list[str]:
    """The lot that the work order (or the line, that day) makes, or a serial number for each good piece."""
    if product.tracking == "none":
        return []
    origin = lot_origin(count)
    if product.tracking == "lot":
        lots = [origin]
    else:
        whole = good + max(count.reject, ZERO)
        if whole != whole.to_integral_value() or good != good.to_integral_value() or good > SERIALS_MAX:
            raise ValueError(
                f"{good} good and {count.reject} rejected pieces of {product.code}, which has serial numbers: "
                f"they are whole, and at most {SERIALS_MAX} in one count"
            )
        (row,) = await session.fetch(
            "SELECT count(*) AS n FROM item_lot WHERE tenant_id = $1 AND item = $2 AND origin = $3",
            count.tenant_id,
            product.code,
            origin,
        )
        lots = [f"{origin}-{row['n'] + number:06d}" for number in range(1, int(good) + 1)]
    await ensure_lots(session, count.tenant_id, product, lots, count.happened, origin=origin)
    return lots


async def line_places(session: Session, tenant_id: int, site: str, line: str) -> tuple[str, str]:
    """Where the line takes components, and where its products go: as it is set, or its site, which is made then."""
    rows = await session.fetch(
        "SELECT components_at, products_to FROM line_stock WHERE tenant_id = $1 AND site = $2 AND line = $3",
        tenant_id,
        site,
        line,
    )
    if rows:
        return rows[0]["components_at"], rows[0]["products_to"]
    await session.execute(
        "INSERT INTO stock_location (tenant_id, code, name, kind, path, site) "
        "VALUES ($1, $2, $2, 'site', ARRAY[$2], $2) ON CONFLICT DO NOTHING",
        tenant_id,
        site,
    )
    return site, site


async def _ensure_item(session: Session, tenant_id: int, product: str) -> None:
    """A line has made it, so it is there: an item that nobody has described yet is made, and can be described."""
    if product not in await items(session, tenant_id, [product]):
        await session.execute(
            "INSERT INTO item (tenant_id, code, name, kind, unit, tracking) "
            "VALUES ($1, $2, $2, 'product', 'pcs', 'none') ON CONFLICT DO NOTHING",
            tenant_id,
            product,
        )
