"""Where a step of the saga is done: the order, the time, the terms, and the world of stock and lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Protocol

from cloud_ingest.orders.case import Case, Line, Need, Shipment, WorkOrder
from cloud_ingest.orders.terms import Terms

SAGA: Final = "lineside"
"""Who does what follows by itself."""


@dataclass(frozen=True, slots=True)
class Production:
    """What was planned for a line; ``missing`` says which components are not there, or why nothing can be planned."""

    work_orders: tuple[WorkOrder, ...]
    missing: str = ""
    missing_code: str = ""
    end: datetime | None = None
    needs: tuple[Need, ...] = ()


class World(Protocol):
    """Stock and lines, within the transaction that has the order locked. Quantities of the case are the caller's."""

    def new_id(self) -> str:
        """An id that was never given."""
        ...

    async def reserve(self, case: Case, line: Line, quantity: Decimal, *, first: bool = False) -> Decimal:
        """Reserve up to ``quantity`` for ``line``; how much there was. ``first``: what others wait for is left."""
        ...

    async def release(self, case: Case) -> None:
        """Give back all that is reserved for the order, in parcels or not."""
        ...

    async def kept(self, case: Case) -> Mapping[tuple[int, str], Decimal]:
        """What is reserved for the order, as stock has it: by line and shipment, without one under an empty text."""
        ...

    async def pack(self, case: Case, shipment: Shipment) -> None:
        """What is reserved for the lines of the order is for ``shipment`` from now on; the rest stays with these."""
        ...

    async def unpack(self, case: Case, shipment: Shipment) -> None:
        """The other way round."""
        ...

    async def quarantined(self, case: Case, line: Line) -> Decimal:
        """What was made for ``line`` and is in quarantine: somebody releases it, or it is made again."""
        ...

    async def ship(self, case: Case, shipment: Shipment) -> dict[str, Any]:
        """Book what is reserved for ``shipment`` as shipped; its lots and serials by line."""
        ...

    async def produce(self, case: Case, line: Line, quantity: Decimal) -> Production:
        """Make work orders for ``quantity`` of ``line``, and for components that have to be made first."""
        ...

    async def lacks(self, case: Case) -> str:
        """Which components that ``case`` needs are not there for all who need them; empty when they are."""
        ...

    async def end(self, case: Case, work_order: WorkOrder, reason: str) -> None:
        """Have a work order cancelled; what it has made stays in stock."""
        ...


@dataclass(frozen=True, slots=True)
class Scene:
    """One order at one time."""

    case: Case
    world: World
    now: datetime
    terms: Terms

    def after(self, seconds: float) -> datetime:
        """The time in so many seconds."""
        return self.now + timedelta(seconds=seconds)

    def is_over(self, since: datetime, seconds: float) -> bool:
        """Whether so many seconds have passed since then."""
        return self.now >= since + timedelta(seconds=seconds)
