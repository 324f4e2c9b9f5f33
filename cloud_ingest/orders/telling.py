"""What people tell an order, as ``handling.Tell``: the facts, and what has to be booked with them."""

from __future__ import annotations

from datetime import datetime

from cloud_ingest.inventory import published as inventory
from cloud_ingest.orders import facts
from cloud_ingest.orders.asking import (
    NewReturn,
    NewShipment,
    PaymentByHand,
    ReceivedReturn,
    WhyBody,
    quantities,
)
from cloud_ingest.orders.case import Case, Return, ReturnState, Shipment, ShipmentState
from cloud_ingest.orders.facts import BY_HAND, NotNow
from cloud_ingest.orders.handling import Tell
from cloud_ingest.orders.keeping import see_stock
from cloud_ingest.orders.rules import IN_THE_PLANT
from cloud_ingest.orders.shipping import weight_of
from cloud_ingest.orders.terms import Terms
from cloud_ingest.orders.world import PlantWorld


def accept(actor: str) -> Tell:
    """A quote is accepted."""

    async def tell(case: Case, _world: PlantWorld, now: datetime) -> None:
        facts.accept(case, now, actor)

    return tell


def cancel(reason: str, actor: str) -> Tell:
    """An order is to be cancelled."""

    async def tell(case: Case, _world: PlantWorld, now: datetime) -> None:
        facts.cancel(case, now, reason, actor)

    return tell


def retry(actor: str) -> Tell:
    """What has failed is to be tried again."""

    async def tell(case: Case, _world: PlantWorld, now: datetime) -> None:
        facts.retry(case, now, actor)

    return tell


def record_payment(asked: PaymentByHand, actor: str) -> Tell:
    """Money has come in by hand; what is too much is paid back by hand."""

    async def tell(case: Case, world: PlantWorld, now: datetime) -> None:
        if case.excess >= 0:
            raise NotNow(f"the order {case.order} is {case.state}, and nothing is owed: no payment is recorded for it")
        case.tell(now, "payment", f"Recorded by hand: {asked.reference}", actor)
        facts.payment_captured(case, now, f"{BY_HAND}{world.new_id()}", asked.amount)

    return tell


def resolve(request: str, reference: str, actor: str) -> Tell:
    """Something that was asked of the outside was done by hand."""

    async def tell(case: Case, _world: PlantWorld, now: datetime) -> None:
        for asked in case.requests:
            if asked.request == request:
                facts.resolve(case, now, asked, actor, reference)
                return
        raise NotNow(f"the order {case.order} has no request {request}")

    return tell


def pack(asked: NewShipment, actor: str) -> Tell:
    """Parcels are packed."""

    async def tell(case: Case, world: PlantWorld, now: datetime) -> None:
        await see_stock(case, world, now)
        lines = quantities(asked.lines)
        if not lines:
            lines = {line.line: line.reserved for line in case.lines if line.reserved > 0}
        if not lines and case.state in IN_THE_PLANT:
            raise NotNow(f"nothing is in stock for the order {case.order} that is not packed")
        if unknown := sorted(lines.keys() - {line.line for line in case.lines}):
            raise NotNow(f"the order {case.order} has no line {unknown[0]}")
        parcels = [parcel.model_dump(mode="json", exclude_none=True) for parcel in asked.parcels]
        shipment = Shipment(
            world.new_id(), ShipmentState.PACKED, lines, parcels or [{"weight_kg": weight_of(case, lines)}]
        )
        facts.pack(case, now, shipment, actor)
        await world.pack(case, shipment)

    return tell


def unpack(shipment: str, actor: str) -> Tell:
    """Parcels that have not left are taken back."""

    async def tell(case: Case, world: PlantWorld, now: datetime) -> None:
        found = case.shipment(shipment)
        if found is None:
            raise NotNow(f"the order {case.order} has no shipment {shipment}")
        if found not in case.shipments_here() or case.state not in IN_THE_PLANT:
            raise NotNow(f"the shipment {shipment} is {found.state}: only what has not left is unpacked")
        facts.void(case, now, found, actor)
        await world.unpack(case, found)

    return tell


def ask_return(asked: NewReturn, actor: str, terms: Terms) -> Tell:
    """Something is to come back."""

    async def tell(case: Case, world: PlantWorld, now: datetime) -> None:
        lines = quantities(asked.lines)
        if not lines:
            lines = {line.line: line.shipped - line.returned for line in case.lines if line.shipped > line.returned}
        facts.ask_return(
            case, now, Return(world.new_id(), ReturnState.REQUESTED, lines, asked.reason), actor, terms
        )  # fmt: skip

    return tell


def receive_return(return_id: str, asked: ReceivedReturn, actor: str) -> Tell:
    """Something has come back: into stock, or to waste."""

    async def tell(case: Case, world: PlantWorld, now: datetime) -> None:
        facts.return_received(case, now, _return(case, return_id), quantities(asked.lines), actor)
        receipts = [
            inventory.NewReceipt(
                case.line(one.line).product,
                one.quantity,
                asked.location,
                one.lot,
                tuple(one.serials),
                order=case.order,
                reason="returned by the customer",
            )
            for one in asked.lines
            if one.restock
        ]
        await world.receive(sorted(receipts, key=lambda receipt: receipt.item), actor)

    return tell


def refuse_return(return_id: str, asked: WhyBody, actor: str) -> Tell:
    """Nothing comes back."""

    async def tell(case: Case, _world: PlantWorld, now: datetime) -> None:
        facts.return_refused(case, now, _return(case, return_id), asked.reason, actor)

    return tell


def _return(case: Case, return_id: str) -> Return:
    for found in case.returns:
        if found.return_id == return_id:
            return found
    raise NotNow(f"the order {case.order} has no return {return_id}")
