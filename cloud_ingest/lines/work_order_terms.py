"""What is said of work orders when they are made, and to other parts of the platform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from connectors.ports.database import Row


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
    """What is to be made. ``released``: it may begin as soon as the line is free; else a planner releases it.

    ``transfer``: so much of a step makes the one behind it ready; ``None``: all of it.
    """

    product: str
    quantity: Decimal
    routing: Sequence[RoutingStep]
    by: str
    due: datetime | None = None
    order: str | None = None
    order_line: int | None = None
    released: bool = True
    transfer: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PlannedWorkOrders:
    """What was made of a ``NewWorkOrder``: its work orders as they are now, and from when to when they are planned."""

    facts: tuple[WorkOrderFacts, ...]
    begin: datetime
    end: datetime

    @property
    def work_orders(self) -> tuple[str, ...]:
        """Their ids."""
        return tuple(one.work_order for one in self.facts)


@dataclass(frozen=True, slots=True)
class OpenWorkOrder:
    """A work order that runs or waits; ``remaining`` is what is left to be made."""

    work_order: str
    job: str
    step: int
    steps: int
    site: str
    line: str
    product: str
    state: str
    remaining: Decimal
    transfer: Decimal
    cycle_s: Decimal
    setup_s: Decimal
    order: str | None
    order_line: int | None
    due: datetime | None


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


def facts_of(row: Row) -> WorkOrderFacts:
    """What others see of the work order in a row of ``work_order``."""
    return WorkOrderFacts(
        row["work_order_id"],
        row["site"],
        row["line"],
        row["product"],
        row["state"],
        row["step"],
        row["steps"],
        row["quantity"],
        row["good"],
        row["reject"],
        row["order_id"],
        row["order_line"],
    )
