"""Work orders, as other parts of the platform make them and ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from cloud_ingest.event_log.announcing import UnitOfWork
from connectors.ports.database import Session


class RoutingStep(Protocol):
    """One step of a routing, as the catalog has it: where, how long a piece takes at best, and with which recipe."""

    @property
    def site(self) -> str: ...  # noqa: D102
    @property
    def line(self) -> str: ...  # noqa: D102
    @property
    def ideal_cycle_s(self) -> Decimal: ...  # noqa: D102
    @property
    def setup_s(self) -> Decimal: ...  # noqa: D102
    @property
    def batch_max(self) -> Decimal | None:
        """No work order is larger; ``None``: any size."""

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Values by the names of the line's parameters."""


@dataclass(frozen=True, slots=True)
class NewWorkOrder:
    """What is to be made. ``released``: it may begin as soon as the line is free; else a planner releases it."""

    product: str
    quantity: Decimal
    routing: Sequence[RoutingStep]
    by: str
    due: datetime | None = None
    order: str | None = None
    order_line: int | None = None
    released: bool = True


@dataclass(frozen=True, slots=True)
class PlannedWorkOrders:
    """What was made of a ``NewWorkOrder``: its work orders, and from when to when they are planned."""

    work_orders: tuple[str, ...]
    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Capacity:
    """From when on a line is free, by what is planned on it, and how many pieces it makes an hour of its shifts."""

    free_from: datetime
    rate_per_hour: Decimal


@dataclass(frozen=True, slots=True)
class WorkOrderFacts:
    """One work order, as others see it. ``made``: of the product; 0 for all steps but the last."""

    work_order: str
    site: str
    line: str
    product: str
    state: str
    step: int
    steps: int
    quantity: Decimal
    good: Decimal
    reject: Decimal
    order: str | None
    order_line: int | None

    @property
    def made(self) -> Decimal:
        """How many finished pieces of the product it has given."""
        return self.good if self.step == self.steps else Decimal(0)


async def create_work_order(work: UnitOfWork, tenant_id: int, new: NewWorkOrder) -> PlannedWorkOrders:
    """Make the work orders of ``new``, one for each step of its routing, planned behind what is on the lines already.

    A quantity above the smallest ``batch_max`` is divided. Raises ``RequestRefused``: an unknown line, no routing, or
    a recipe with a parameter that the line does not have.
    """
    raise NotImplementedError


async def cancel_work_order(work: UnitOfWork, tenant_id: int, work_order: str, reason: str, by: str) -> Decimal:
    """Cancel a work order with the steps behind it; how many finished pieces were made (they stay in stock).

    One that is over stays as it is. Raises ``RequestRefused`` when there is none.
    """
    raise NotImplementedError


async def work_orders_of(session: Session, tenant_id: int, order: str) -> tuple[WorkOrderFacts, ...]:
    """The work orders of a customer's order, the oldest first."""
    raise NotImplementedError


async def capacity(session: Session, tenant_id: int, site: str, line: str) -> Capacity:
    """When the line is free. Raises ``RequestRefused`` when there is no such line."""
    raise NotImplementedError


async def promise(
    session: Session, tenant_id: int, routing: Sequence[RoutingStep], quantity: Decimal, not_before: datetime
) -> datetime:
    """When ``quantity`` would be done if its work orders were made now and began at ``not_before`` or later."""
    raise NotImplementedError
