"""The steps of the saga by which an order ends, also by compensation."""

from __future__ import annotations

from cloud_ingest.orders import facts
from cloud_ingest.orders.case import ReturnState, ShipmentState
from cloud_ingest.orders.events import Told
from cloud_ingest.orders.paying import withdraw_payments
from cloud_ingest.orders.rules import ZERO, State
from cloud_ingest.orders.scene import SAGA, Scene


async def expire(at: Scene) -> bool:
    """A quote whose time is over."""
    case = at.case
    if case.state is not State.QUOTE or case.valid_until is None or at.now < case.valid_until:
        return False
    facts.cancel(case, at.now, "the quote is no longer valid", SAGA)
    return True


async def take_back(at: Scene) -> bool:
    """While it is cancelled: parcels are unpacked, work orders ended, stock given back; then it is over."""
    case = at.case
    if case.state is not State.CANCELLING:
        return False
    withdraw_payments(at)
    for shipment in [*case.shipments_here()]:
        facts.void(case, at.now, shipment, SAGA)
    for work_order in sorted(case.work_orders, key=lambda one: one.work_order):
        if not work_order.is_over:
            await at.world.end(case, work_order, case.reason)
            work_order.state = "cancelled"
    if any(line.reserved for line in case.lines):
        await at.world.release(case)
        for line in case.lines:
            line.reserved = ZERO
    if case.refunding() or case.excess > 0:
        return False
    case.missing = case.missing_code = ""
    if any(line.shipped for line in case.lines):
        case.become(State.SHIPPED, at.now, "The rest of it is cancelled", SAGA, Told.SHIPPED, reason=case.reason)
    else:
        text = f"It is cancelled: {case.reason}"
        case.become(State.CANCELLED, at.now, text, SAGA, Told.CANCELLED, reason=case.reason)
    return True


async def come_back(at: Scene) -> bool:
    """A return is over when it has come in, or was refused, and the money is back."""
    case = at.case
    if case.state is not State.RETURNING or case.refunding() or case.excess > 0:
        return False
    if any(one.state is ReturnState.REQUESTED for one in case.returns):
        return False
    if all(line.returned == line.shipped for line in case.lines):
        case.become(State.RETURNED, at.now, "All of it came back", SAGA, Told.RETURNED)
    else:
        case.become(State.CLOSED, at.now, "The return is settled", SAGA, Told.CLOSED)
    return True


async def close(at: Scene) -> bool:
    """What was shipped is closed when all of it was delivered, or left long ago."""
    case = at.case
    if case.state is not State.SHIPPED:
        return False
    delivered = all(one.state is ShipmentState.DELIVERED for one in case.shipments_left())
    if not delivered and not at.is_over(case.changed, at.terms.close_s):
        return False
    case.become(State.CLOSED, at.now, "All of it was delivered" if delivered else "It left long ago", SAGA, Told.CLOSED)
    return True
