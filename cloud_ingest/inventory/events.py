"""What inventory tells others, on ``lineside.inventory-events.v1``; the key is the item. Quantities are texts."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.event_log.domain_events import DomainEvent
from cloud_ingest.event_log.topics import INVENTORY_EVENTS

MOVED: Final = "lineside.inventory.moved.v1"
"""One line of the ledger: movement, kind, item, lot, quantity, source, target, order, work_order, by."""
RESERVED: Final = "lineside.inventory.reserved.v1"
"""item, quantity, short (what was wanted and is not there), for {kind, id, line}, expires."""
RELEASED: Final = "lineside.inventory.released.v1"
"""A reservation that is no more, without having been used: item, quantity, for {kind, id, line}, reason."""
REGROUPED: Final = "lineside.inventory.reservation-regrouped.v1"
"""What is reserved is for another line of the same: item, quantity, from and for {kind, id, line}."""
SHORTAGE: Final = "lineside.inventory.shortage.v1"
"""Production has used what the ledger does not have: item, location, quantity, product, work_order, site, line."""
SHORTAGE_SETTLED: Final = "lineside.inventory.shortage-settled.v1"
"""item, location, quantity, work_order: it came, and was booked as consumed."""
LOW_STOCK: Final = "lineside.inventory.low-stock.v1"
"""item, available, on_order, reorder_point; once, until there is enough again."""
REORDER_PROPOSED: Final = "lineside.inventory.reorder-proposed.v1"
"""proposal, item, quantity, supplier."""
RECEIVED: Final = "lineside.inventory.received.v1"
"""item, quantity, location, lot, proposal, work_order: from a supplier, a customer or production."""
SHIPPED: Final = "lineside.inventory.shipped.v1"
"""item, quantity, order, line, lots [{lot, quantity, location}]."""
LOT_CHANGED: Final = "lineside.inventory.lot-changed.v1"
"""item, lot, status, previous, reason."""


def inventory_event(type_: str, tenant_id: int, item: str, time_ns: int, data: Mapping[str, Any]) -> DomainEvent:
    """An event about ``item``; decimals in ``data`` become texts."""
    said = {key: quantity_text(value) if isinstance(value, Decimal) else value for key, value in data.items()}
    return DomainEvent(INVENTORY_EVENTS, type_, tenant_id, item, time_ns, {"item": item, **said})


def quantity_text(quantity: Decimal) -> str:
    """A quantity as JSON has it: without an exponent, and without zeros at its end."""
    text = f"{quantity:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
