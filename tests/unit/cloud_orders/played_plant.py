"""A stock room and lines that are played, for orders without a database: what they hold must balance at any time."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, Final, TypeVar

from cloud_ingest.orders.case import Case, Line, Shipment, WorkOrder
from cloud_ingest.orders.rules import ZERO, State, price_line
from cloud_ingest.orders.saga import settle
from cloud_ingest.orders.scene import Production, Scene
from cloud_ingest.orders.terms import Terms

T = TypeVar("T")
BEGIN: Final = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
UNMADE: Final = "bought-in"
"""A product without a routing."""


def done(step: Coroutine[Any, Any, T]) -> T:
    """What ``step`` gives, which waits for nothing in a played plant."""
    try:
        step.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("it waits")


def order_line(number: int, product: str, quantity: int, price: str = "9.99", tax: str = "0.19") -> Line:
    amounts = price_line(Decimal(quantity), Decimal(price), [Decimal(5)], Decimal(tax), "EUR")
    return Line(number, product, product, Decimal(quantity), Decimal(price), Decimal(5), Decimal(tax),
                amounts.net, amounts.tax, amounts.gross)  # fmt: skip


@dataclass
class PlayedPlant:
    """See ``World``. ``free`` is what is in stock and reserved for nobody."""

    now: datetime = BEGIN
    terms: Terms = field(default_factory=Terms)
    free: dict[str, Decimal] = field(default_factory=dict)
    held: dict[tuple[str, str, str], Decimal] = field(default_factory=dict)
    """Reserved: by order, line or shipment, and product."""
    left: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    """What has left, by order and product."""
    made: dict[str, WorkOrder] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    ids: count[int] = field(default_factory=lambda: count(1))
    counted: int = 0

    def order(self, *lines: Line, state: State = State.PLACED) -> Case:
        made = Case(1, self.new_id(), "acme", state, "EUR", {}, list(lines), self.now, self.now, "anna")
        made.valid_until = self.now + timedelta(seconds=self.terms.quote_s)
        return made

    def settle(self, case: Case) -> None:
        done(settle(Scene(case, self, self.now, self.terms)))

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def new_id(self) -> str:
        return f"id{next(self.ids)}"

    async def reserve(self, case: Case, line: Line, quantity: Decimal, *, first: bool = False) -> Decimal:
        got = min(quantity, self.free.get(line.product, ZERO))
        if got <= 0:
            return ZERO
        self.free[line.product] -= got
        self._hold((case.order, f"line {line.line}", line.product), got)
        return got

    async def release(self, case: Case) -> None:
        for key in [key for key in self.held if key[0] == case.order]:
            self._receive(key[2], self.held.pop(key))

    async def kept(self, case: Case) -> Mapping[tuple[int, str], Decimal]:
        found: dict[tuple[int, str], Decimal] = {}
        for (order, place, product), quantity in self.held.items():
            if order == case.order:
                line = next(one.line for one in case.lines if one.product == product)
                found[line, "" if place.startswith("line ") else place] = quantity
        return found

    async def pack(self, case: Case, shipment: Shipment) -> None:
        for number, quantity in shipment.lines.items():
            product = case.line(number).product
            self._hold((case.order, f"line {number}", product), -quantity)
            self._hold((case.order, shipment.shipment, product), quantity)

    async def unpack(self, case: Case, shipment: Shipment) -> None:
        for number, quantity in shipment.lines.items():
            product = case.line(number).product
            self._hold((case.order, shipment.shipment, product), -quantity)
            self._hold((case.order, f"line {number}", product), quantity)

    async def quarantined(self, case: Case, line: Line) -> Decimal:
        return ZERO

    async def ship(self, case: Case, shipment: Shipment) -> dict[str, Any]:
        for key in [key for key in self.held if key[:2] == (case.order, shipment.shipment)]:
            place = (case.order, key[2])
            self.left[place] = self.left.get(place, ZERO) + self.held.pop(key)
        return {}

    async def produce(self, case: Case, line: Line, quantity: Decimal) -> Production:
        if line.product == UNMADE:
            return Production((), f"{line.product} cannot be made", "no_routing")
        made = WorkOrder(self.new_id(), line.line, line.product, quantity)
        self.made[made.work_order] = made
        return Production((made,), end=self.now + timedelta(hours=1))

    async def lacks(self, case: Case) -> str:
        return ""

    async def end(self, case: Case, work_order: WorkOrder, reason: str) -> None:
        self.ended.add(work_order.work_order)

    def receive(self, product: str, quantity: Decimal) -> None:
        self._receive(product, quantity)

    def held_of(self, case: Case) -> Decimal:
        return sum((quantity for key, quantity in self.held.items() if key[0] == case.order), ZERO)

    def _receive(self, product: str, quantity: Decimal) -> None:
        self.free[product] = self.free.get(product, ZERO) + quantity

    def _hold(self, key: tuple[str, str, str], quantity: Decimal) -> None:
        self.held[key] = self.held.get(key, ZERO) + quantity
        assert self.held[key] >= 0, f"{key}: more was taken than is reserved"
        if not self.held[key]:
            del self.held[key]
