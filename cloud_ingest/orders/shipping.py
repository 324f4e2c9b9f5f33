"""The steps of the saga that are about parcels and the carrier."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from cloud_ingest.orders import facts
from cloud_ingest.orders.case import Case, Kind, RequestState, Shipment, ShipmentState
from cloud_ingest.orders.events import Told
from cloud_ingest.orders.keeping import see_stock
from cloud_ingest.orders.paying import new_request, parcels
from cloud_ingest.orders.rules import IN_THE_PLANT, ZERO
from cloud_ingest.orders.scene import SAGA, Scene
from cloud_ingest.orders.surprises import is_disputed

WEIGHT_KG_MIN: Final = Decimal("0.001")
"""What a parcel weighs at least: carriers take none without a weight."""


async def pack(at: Scene) -> bool:
    """Where nobody has to say so: what is complete is one parcel."""
    case = at.case
    is_complete = all(line.outstanding <= 0 for line in case.lines)
    if not at.terms.pack_at_once or case.state not in IN_THE_PLANT or not is_complete:
        return False
    lines = {line.line: line.reserved for line in case.lines if line.reserved > 0}
    if not lines:
        return False
    if await see_stock(case, at.world, at.now):
        return True
    shipment = Shipment(at.world.new_id(), ShipmentState.PACKED, lines, [{"weight_kg": weight_of(case, lines)}])
    facts.pack(case, at.now, shipment, SAGA)
    await at.world.pack(case, shipment)
    return True


def weight_of(case: Case, lines: dict[int, Decimal]) -> str:
    """What ``lines`` weigh together, in kilograms to the gram."""
    weight = sum((case.line(number).weight_kg * quantity for number, quantity in lines.items()), ZERO)
    return f"{max(weight.quantize(WEIGHT_KG_MIN), WEIGHT_KG_MIN):f}"


async def ship(at: Scene) -> bool:
    """What is packed and paid is given to the carrier, and has left as soon as the carrier has answered."""
    case = at.case
    if case.state not in IN_THE_PLANT:
        return False
    may_leave = case.is_paid and not is_disputed(case)
    for shipment in case.shipments:
        if shipment.state is ShipmentState.PACKED and may_leave:
            case.requests.append(new_request(at, Kind.SHIPMENT, shipment.shipment, ZERO))
            shipment.state = ShipmentState.REQUESTED
            more = parcels(case, shipment)
            case.tell(at.now, "shipment", "The carrier is asked to take it", SAGA, Told.SHIPMENT_REQUESTED, **more)
            return True
        if shipment.state is ShipmentState.REQUESTED and _is_answered(case, shipment):
            if await see_stock(case, at.world, at.now):
                return True
            shipment.lots = await at.world.ship(case, shipment)
            shipment.state, shipment.left = ShipmentState.SHIPPED, at.now
            for number, quantity in shipment.lines.items():
                line = case.line(number)
                line.packed -= quantity
                line.shipped += quantity
            text = f"Parcels have left with {shipment.carrier or 'the carrier'} ({shipment.tracking or 'untracked'})"
            about = {"shipment": shipment.shipment, "carrier": shipment.carrier, "tracking": shipment.tracking}
            case.tell(at.now, "left", text, SAGA, Told.SHIPMENT_SENT, **about)
            return True
    return False


def _is_answered(case: Case, shipment: Shipment) -> bool:
    return any(one.subject == shipment.shipment for one in case.requests_of(Kind.SHIPMENT, RequestState.DONE))
