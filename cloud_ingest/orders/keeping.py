"""What is kept for an order, as stock has it: of a lot that was blocked or has expired, nothing is kept any more."""

from __future__ import annotations

from datetime import datetime

from cloud_ingest.orders import facts
from cloud_ingest.orders.case import Case
from cloud_ingest.orders.events import Told
from cloud_ingest.orders.rules import ZERO
from cloud_ingest.orders.scene import SAGA, World


async def see_stock(case: Case, world: World, now: datetime) -> bool:
    """Bring the order to what is reserved for it, parcels that are not whole among it; whether something is gone.

    What is gone is wanted again: from stock, or from lines.
    """
    kept = await world.kept(case)
    broken = [
        shipment
        for shipment in case.shipments_here()
        if any(kept.get((line, shipment.shipment), ZERO) < quantity for line, quantity in shipment.lines.items())
    ]
    for shipment in broken:
        facts.void(case, now, shipment, SAGA)
        await world.unpack(case, shipment)
    if broken:
        kept = await world.kept(case)
    is_gone = bool(broken)
    for line in case.lines:
        lost = line.reserved - kept.get((line.line, ""), ZERO)
        if lost > 0:
            line.reserved -= lost
            line.from_stock = max(ZERO, line.from_stock - lost)
            is_gone = True
    if is_gone:
        text = "Goods that were kept for it are not in stock any more"
        case.tell(now, "stock", text, SAGA, Told.PROGRESSED)
    return is_gone
