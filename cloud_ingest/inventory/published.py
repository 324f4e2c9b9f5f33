"""What other parts may ask of inventory, and have it do within their own transaction.

Who books several items in one transaction does it in the order of their codes: each item is locked until the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from cloud_ingest.event_log.announcing import UnitOfWork
from connectors.ports.database import Session


@dataclass(frozen=True, slots=True)
class For:
    """What stock is reserved for. Without ``line``: all lines of it."""

    kind: Literal["order", "work-order"]
    id: str
    line: str = ""


@dataclass(frozen=True, slots=True)
class Availability:
    """What there is of an item. ``available`` is what can be promised: usable, and not reserved."""

    item: str
    on_hand: Decimal
    reserved: Decimal
    available: Decimal
    on_order: Decimal
    """Of purchase proposals that are open."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a quantity of a product needs of an item, on all levels together; phantoms are passed through.

    ``level`` is the deepest at which it is needed, from 1; ``is_made``: it has a bill of material itself.
    """

    item: str
    quantity: Decimal
    unit: str
    level: int
    is_made: bool


@dataclass(frozen=True, slots=True)
class Shipped:
    """What has left: ``lot`` is the lot or serial number, empty for an item that is not tracked."""

    item: str
    lot: str
    quantity: Decimal
    location: str
    line: str


@dataclass(frozen=True, slots=True)
class NewReceipt:
    """What comes in at ``location``. ``order``: a customer sends it back. ``serials`` for items tracked by serial."""

    item: str
    quantity: Decimal
    location: str
    lot: str = ""
    serials: tuple[str, ...] = ()
    expires: date | None = None
    order: str = ""
    reason: str = ""


async def availability(session: Session, tenant_id: int, item: str, at: str | None = None) -> Availability:
    """What there is of ``item``, everywhere or at the location ``at`` and below; zeros for an unknown item."""
    raise NotImplementedError


async def reserve(
    work: UnitOfWork,
    tenant_id: int,
    item: str,
    quantity: Decimal,
    for_: For,
    at: str | None = None,
    *,
    expires: datetime | None = None,
    whole: bool = False,
) -> Decimal:
    """Reserve up to ``quantity`` for ``for_``, in addition to what it has; how much there was to reserve.

    ``whole``: all of it or nothing (0). What expires first is taken first, then what came first. Raises
    ``RequestRefused`` when there is no such item or location.
    """
    raise NotImplementedError


async def release(work: UnitOfWork, tenant_id: int, for_: For, reason: str = "") -> Decimal:
    """Give back all that is reserved for ``for_``; how much that was. None is no error."""
    raise NotImplementedError


async def ship_reserved(work: UnitOfWork, tenant_id: int, for_: For, by: str = "lineside") -> tuple[Shipped, ...]:
    """Book all that is reserved for ``for_`` as shipped to the customer; what that was. The second time: nothing."""
    raise NotImplementedError


async def explode(
    session: Session, tenant_id: int, item: str, quantity: Decimal, on: datetime | None = None
) -> tuple[Requirement, ...]:
    """What ``quantity`` of ``item`` needs by the bills of material of ``on`` (now), in the order of items."""
    raise NotImplementedError


async def receive(work: UnitOfWork, tenant_id: int, receipts: Sequence[NewReceipt], by: str = "lineside") -> None:
    """Book ``receipts``. Raises ``RequestRefused`` when one cannot be; then none is."""
    raise NotImplementedError
