"""Reorder points: who falls below his is said to be low, and a purchase is proposed; proposals until they have come."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.inventory import events
from cloud_ingest.inventory.events import inventory_event
from cloud_ingest.inventory.items import Item
from cloud_ingest.inventory.ledger import ns_of
from cloud_ingest.inventory.rules import ZERO, ProposalState, is_low, may_become_proposal
from connectors.commands.ulid import new_ulid
from connectors.ports.database import Row, Session

PROPOSAL_COLUMNS: Final = (
    "proposal, item, quantity, received, state, supplier, reference, expected, reason, changed_by, changed, created, "
    "revision"
)
_STOCK: Final = """
SELECT wanted.item, stock.on_hand, stock.reserved, stock.available, coming.on_order
FROM unnest(ARRAY(SELECT unnest($2::text[]))) AS wanted (item), LATERAL (
    SELECT coalesce(sum(held.on_hand), 0) AS on_hand, coalesce(sum(held.reserved), 0) AS reserved,
        coalesce(sum(held.on_hand - held.reserved) FILTER (WHERE (lot.status IS NULL OR lot.status = 'released')
            AND (lot.expires IS NULL OR lot.expires >= $4) AND place.is_active), 0) AS available
    FROM stock_balance held JOIN stock_location place ON place.tenant_id = held.tenant_id AND place.code = held.location
    LEFT JOIN item_lot lot ON lot.tenant_id = held.tenant_id AND lot.item = held.item AND lot.lot = held.lot
    WHERE held.tenant_id = $1 AND held.item = wanted.item AND held.on_hand <> 0 AND held.location NOT LIKE '@%'
        AND ($3::text IS NULL OR place.path @> ARRAY[$3])
) AS stock, LATERAL (
    SELECT coalesce(sum(greatest(quantity - received, 0)), 0) AS on_order FROM purchase_proposal
    WHERE tenant_id = $1 AND item = wanted.item AND state IN ('proposed', 'ordered')
) AS coming
"""
"""How many items there are is hidden from the planner: else it would plan anew with each question, which costs more."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is of an item."""

    on_hand: Decimal
    reserved: Decimal
    available: Decimal
    on_order: Decimal


async def standing(session: Session, tenant_id: int, item: str, at: str | None, today: date) -> Standing:
    """What there is of ``item`` at ``at`` and below (``None``: everywhere)."""
    return (await standings(session, tenant_id, [item], at, today))[item]


async def standings(
    session: Session, tenant_id: int, items: Collection[str], at: str | None, today: date
) -> dict[str, Standing]:
    """``standing`` of each of ``items``, all at one time."""
    if not items:
        return {}
    rows = await session.fetch(_STOCK, tenant_id, sorted(set(items)), at, today)
    return {row["item"]: Standing(row["on_hand"], row["reserved"], row["available"], row["on_order"]) for row in rows}


async def watch(work: UnitOfWork, tenant_id: int, items: Iterable[Item], when: datetime) -> None:
    """Look whether ``items`` are low now; the caller holds their locks, and has booked what it books."""
    watched = [item for item in items if item.reorder_point is not None]
    stock = await standings(work.session, tenant_id, [item.code for item in watched], None, when.date())
    for item in watched:
        found = stock[item.code]
        low = is_low(found.available, found.on_order, item.reorder_point)
        if low and item.reorder_quantity is not None:
            await _propose(work, tenant_id, item, found, when)
        is_still_low = is_low(found.available, ZERO, item.reorder_point)
        if is_still_low == item.is_low:
            continue
        await work.session.execute(
            "UPDATE item SET is_low = $3 WHERE tenant_id = $1 AND code = $2", tenant_id, item.code, is_still_low
        )
        if is_still_low:
            data = {
                "available": found.available,
                "on_order": found.on_order,
                "reorder_point": item.reorder_point,
            }
            work.announce(inventory_event(events.LOW_STOCK, tenant_id, item.code, ns_of(when), data))


async def _propose(work: UnitOfWork, tenant_id: int, item: Item, found: Standing, when: datetime) -> None:
    """As many reorder quantities as bring it to its reorder point."""
    assert item.reorder_point is not None  # noqa: S101  it is low
    assert item.reorder_quantity is not None  # noqa: S101
    missing = item.reorder_point - found.available - found.on_order
    times = max(1, int((missing / item.reorder_quantity).to_integral_value("ROUND_CEILING")))
    quantity = times * item.reorder_quantity
    await add_proposal(work, tenant_id, item, quantity, "lineside", "below its reorder point", when)


async def add_proposal(
    work: UnitOfWork, tenant_id: int, item: Item, quantity: Decimal, by: str, reason: str, when: datetime
) -> str:
    """Propose to buy ``quantity``; the proposal."""
    proposal = new_ulid(ns_of(when) // 1_000_000)
    await work.session.execute(
        "INSERT INTO purchase_proposal (proposal, tenant_id, item, quantity, state, supplier, reason, changed_by) "
        "VALUES ($1, $2, $3, $4, 'proposed', $5, $6, $7)",
        proposal,
        tenant_id,
        item.code,
        quantity,
        item.supplier,
        reason,
        by,
    )
    data = {"proposal": proposal, "quantity": quantity, "supplier": item.supplier}
    work.announce(inventory_event(events.REORDER_PROPOSED, tenant_id, item.code, ns_of(when), data))
    return proposal


async def proposal_row(session: Session, tenant_id: int, proposal: str, *, lock: bool = False) -> Row:
    """The proposal. Raises ``RequestRefused`` when there is none."""
    rows = await session.fetch(
        f"SELECT {PROPOSAL_COLUMNS} FROM purchase_proposal "  # noqa: S608  of our own
        f"WHERE tenant_id = $1 AND proposal = $2{' FOR UPDATE' if lock else ''}",
        tenant_id,
        proposal,
    )
    if not rows:
        why = f"there is no purchase proposal {proposal}; /api/v1/purchase-proposals lists them"
        raise RequestRefused(Why.UNKNOWN, "unknown_proposal", why)
    return rows[0]


def check_proposal(row: Row, wanted: ProposalState) -> None:
    """Raises ``RequestRefused`` when the proposal cannot become ``wanted``."""
    state = ProposalState(row["state"])
    if not may_become_proposal(state, wanted):
        why = f"purchase proposal {row['proposal']} is {state.value}: it cannot become {wanted.value} any more"
        if state is ProposalState.PROPOSED:
            why = f"purchase proposal {row['proposal']} is only proposed: order it first"
        raise RequestRefused(Why.CONFLICT, f"is_{state.value}", why)


async def change_proposal(session: Session, tenant_id: int, proposal: str, changes: dict[str, Any], by: str) -> None:
    """Set columns of a proposal; their names are ours."""
    settings = ", ".join(f"{name} = ${place}" for place, name in enumerate(changes, 4))
    await session.execute(
        f"UPDATE purchase_proposal SET changed_by = $3, changed = now(), revision = revision + 1, {settings} "  # noqa: S608
        "WHERE tenant_id = $1 AND proposal = $2",
        tenant_id,
        proposal,
        by,
        *changes.values(),
    )
