"""What production has used and the ledger does not have: written down at once, and booked when it comes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.event_log.domain_events import DomainEvent
from cloud_ingest.inventory import events, ledger
from cloud_ingest.inventory.events import inventory_event
from cloud_ingest.inventory.items import Item
from cloud_ingest.inventory.ledger import Cause, Movement, ns_of
from cloud_ingest.inventory.lots import Part, add_parts
from cloud_ingest.inventory.reserving import buckets
from cloud_ingest.inventory.rules import Account, Kind, pick, takeable
from connectors.commands.ulid import new_ulid
from connectors.ports.database import Row, Session

SETTLED_AT_ONCE_MAX: Final = 100
_COLUMNS: Final = (
    "shortage, kind, item, location, quantity, open, product, product_lot, work_order, site, line, event_number, "
    "happened, closed_by, closed_reason"
)


async def note(
    work: UnitOfWork,
    tenant_id: int,
    kind: Literal["consumption", "production"],
    item: str,
    location: str,
    quantity: Decimal,
    cause: Cause,
    product_lot: str = "",
) -> None:
    """Write down that ``quantity`` of ``item`` was used at ``location`` and is not in the ledger there.

    The same item that is short for the same lot and work order again adds to what is open already.
    """
    added = await work.session.execute(
        "UPDATE stock_shortage SET quantity = quantity + $9, open = open + $9 WHERE shortage = (SELECT shortage "
        "FROM stock_shortage WHERE tenant_id = $1 AND item = $2 AND kind = $3 AND location = $4 AND product = $5 "
        "AND product_lot = $6 AND work_order = $7 AND line = $8 AND open > 0 LIMIT 1)",
        tenant_id,
        item,
        kind,
        location,
        cause.product,
        product_lot,
        cause.work_order,
        cause.line,
        quantity,
    )
    if not added:
        await work.session.execute(
            "INSERT INTO stock_shortage (shortage, tenant_id, kind, item, location, quantity, open, product, "
            "product_lot, work_order, site, line, event_number, happened) "
            "VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9, $10, $11, $12, $13)",
            new_ulid(ns_of(cause.happened) // 1_000_000),
            tenant_id,
            kind,
            item,
            location,
            quantity,
            cause.product,
            product_lot,
            cause.work_order,
            cause.site,
            cause.line,
            cause.event_number,
            cause.happened,
        )
    work.announce(_short(tenant_id, item, location, quantity, cause))


def _short(tenant_id: int, item: str, location: str, quantity: Decimal, cause: Cause) -> DomainEvent:
    data = {
        "location": location,
        "quantity": quantity,
        "product": cause.product,
        "work_order": cause.work_order,
        "site": cause.site,
        "line": cause.line,
    }
    return inventory_event(events.SHORTAGE, tenant_id, item, ns_of(cause.happened), data)


def short_event(tenant_id: int, item: str, location: str, quantity: Decimal, cause: Cause) -> DomainEvent:
    """That a place which may has less than nothing now, by ``quantity`` more."""
    return _short(tenant_id, item, location, quantity, cause)


async def settle(work: UnitOfWork, tenant_id: int, item: Item, when: datetime) -> Decimal:
    """Book what is short of ``item`` from what has come since, the oldest first; how much that was.

    The caller holds the item's lock, and calls it after whatever brought stock or made it usable.
    """
    rows = await work.session.fetch(
        f"SELECT {_COLUMNS} FROM stock_shortage "  # noqa: S608  of our own
        "WHERE tenant_id = $1 AND item = $2 AND open > 0 ORDER BY shortage LIMIT $3",
        tenant_id,
        item.code,
        SETTLED_AT_ONCE_MAX,
    )
    settled = Decimal(0)
    for row in rows:
        wanted = takeable(row["open"], whole=item.tracking == "serial")
        picks, short = pick(await buckets(work.session, tenant_id, item.code, row["location"], when), wanted)
        quantity = wanted - short
        if not picks:
            continue
        kind = Kind(row["kind"])
        cause = Cause(
            "lineside",
            when,
            work_order=row["work_order"],
            product=row["product"],
            site=row["site"],
            line=row["line"],
            reference=row["shortage"],
            reason="used before it was in the ledger",
        )
        moves = [Movement(kind, item.code, one.lot, one.quantity, one.location, Account.PRODUCTION) for one in picks]
        await ledger.post(work, tenant_id, {item.code: item}, moves, cause)
        await work.session.execute(
            "UPDATE stock_shortage SET open = open - $2 WHERE shortage = $1", row["shortage"], quantity
        )
        if kind is Kind.CONSUMPTION and row["product_lot"]:
            parts = [Part(row["product_lot"], item.code, one.lot, one.quantity) for one in picks]
            await add_parts(work.session, tenant_id, row["product"], parts, row["work_order"], when)
        data = {"location": row["location"], "quantity": quantity, "work_order": row["work_order"]}
        work.announce(inventory_event(events.SHORTAGE_SETTLED, tenant_id, item.code, ns_of(when), data))
        settled += quantity
    return settled


async def take_off(
    session: Session, tenant_id: int, item: str, product: str, work_order: str, most: Decimal
) -> Decimal:
    """What a correction takes back is first what is short still, the newest first; how much of ``most`` that was."""
    rows = await session.fetch(
        "SELECT shortage, open FROM stock_shortage WHERE tenant_id = $1 AND item = $2 AND product = $3 "
        "AND work_order = $4 AND kind = 'consumption' AND open > 0 ORDER BY shortage DESC LIMIT $5",
        tenant_id,
        item,
        product,
        work_order,
        SETTLED_AT_ONCE_MAX,
    )
    taken = Decimal(0)
    for row in rows:
        part = min(row["open"], most - taken)
        if part <= 0:
            break
        await session.execute("UPDATE stock_shortage SET open = open - $2 WHERE shortage = $1", row["shortage"], part)
        taken += part
    return taken


async def one(session: Session, tenant_id: int, shortage: str) -> Row:
    """The shortage. Raises ``RequestRefused`` when there is none."""
    rows = await session.fetch(
        f"SELECT {_COLUMNS} FROM stock_shortage WHERE tenant_id = $1 AND shortage = $2",  # noqa: S608  of our own
        tenant_id,
        shortage,
    )
    if not rows:
        why = f"there is no shortage {shortage}; /api/v1/shortages lists them"
        raise RequestRefused(Why.UNKNOWN, "unknown_shortage", why)
    return rows[0]


async def close(session: Session, tenant_id: int, shortage: str, by: str, reason: str) -> None:
    """Have a shortage be booked never: somebody knows better. Raises ``RequestRefused`` when none is open."""
    if not await session.execute(
        "UPDATE stock_shortage SET open = 0, closed_by = $3, closed_reason = $4 "
        "WHERE tenant_id = $1 AND shortage = $2 AND open > 0",
        tenant_id,
        shortage,
        by,
        reason,
    ):
        why = f"the shortage {shortage} is settled or closed already"
        raise RequestRefused(Why.CONFLICT, "not_open", why)


async def listed(
    session: Session,
    tenant_id: int,
    item: str | None,
    sites: list[str] | None,
    after: str,
    count_max: int,
    *,
    with_closed: bool,
) -> Sequence[Row]:
    """Shortages of ``sites`` (``None``: of all), the oldest first."""
    return await session.fetch(
        f"SELECT {_COLUMNS} FROM stock_shortage WHERE tenant_id = $1 AND ($2::text IS NULL OR item = $2) "  # noqa: S608
        "AND (open > 0 OR $3) AND shortage > $4 AND ($6::text[] IS NULL OR site = ANY($6)) "
        "ORDER BY shortage LIMIT $5",
        tenant_id,
        item,
        with_closed,
        after,
        count_max,
        sites,
    )


async def open_ones(session: Session) -> tuple[int, datetime | None]:
    """How many are open, of all tenants, and when the oldest of them has happened."""
    (row,) = await session.fetch("SELECT count(*) AS found, min(happened) AS oldest FROM stock_shortage WHERE open > 0")
    return int(row["found"]), row["oldest"]
