"""An order with everything that belongs to it, as one thing that is loaded, changed and stored at once.

Pure: no I/O, no clock. What was changed is told in ``story``: the timeline of the order, and the events for others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from cloud_ingest.orders.events import Told
from cloud_ingest.orders.rules import ZERO, State, may_become, value_of


class Kind(StrEnum):
    """What is asked of the outside; and, as ``check``, of a person: ``surprises``."""

    PAYMENT = "payment"
    REFUND = "refund"
    SHIPMENT = "shipment"
    CHECK = "check"


class RequestState(StrEnum):
    """Of a request to the outside: open until answered; ``failed`` is for the operator."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


class ShipmentState(StrEnum):
    """``requested``: the carrier is asked for a label; ``shipped``: it has left, and is no longer in stock."""

    PACKED = "packed"
    REQUESTED = "requested"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    VOIDED = "voided"


class ReturnState(StrEnum):
    """Of a return."""

    REQUESTED = "requested"
    RECEIVED = "received"
    REFUSED = "refused"


REFUNDED_ELSEWHERE = "refunded_elsewhere"
"""The subject of a check: so much is missing, as it was paid back by somebody else."""
WORK_ORDER_OVER = frozenset({"complete", "closed", "cancelled"})
_HERE = frozenset({ShipmentState.PACKED, ShipmentState.REQUESTED})
_LEFT = frozenset({ShipmentState.SHIPPED, ShipmentState.DELIVERED})


@dataclass(slots=True)
class Line:
    """A line. Of ``quantity``, ``reserved`` is in stock for it, ``packed`` in parcels that have not left.

    ``from_stock`` was there when the order was released; ``produced`` is what its work orders have counted as good.
    """

    line: int
    product: str
    name: str
    quantity: Decimal
    unit_price: Decimal
    discount_percent: Decimal
    tax_rate: Decimal
    net: Decimal
    tax: Decimal
    gross: Decimal
    unit: str = "pcs"
    weight_kg: Decimal = ZERO
    reserved: Decimal = ZERO
    from_stock: Decimal = ZERO
    produced: Decimal = ZERO
    packed: Decimal = ZERO
    shipped: Decimal = ZERO
    cancelled: Decimal = ZERO
    returned: Decimal = ZERO

    @property
    def wanted(self) -> Decimal:
        """What the customer is to get."""
        return self.quantity - self.cancelled

    @property
    def outstanding(self) -> Decimal:
        """What is neither here for the order nor has left."""
        return self.wanted - self.reserved - self.packed - self.shipped

    @property
    def under_way(self) -> Decimal:
        """What was counted at the end of a line, and is not known to be in stock for this order."""
        taken = self.reserved + self.packed + self.shipped - self.from_stock
        return max(ZERO, self.produced - max(ZERO, taken))

    @property
    def kept(self) -> Decimal:
        """What the customer pays for."""
        return self.wanted - self.returned


@dataclass(slots=True)
class WorkOrder:
    """A work order for a line, as the events of lines tell of it.

    ``item`` is the product, or a component of it; only the last step of a routing gives finished pieces.
    """

    work_order: str
    line: int
    item: str
    quantity: Decimal
    is_last: bool = True
    state: str = "planned"
    good: Decimal = ZERO
    reject: Decimal = ZERO

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in WORK_ORDER_OVER


@dataclass(slots=True)
class Need:
    """So much of ``item`` is taken from stock while ``pieces`` of the line are made."""

    line: int
    item: str
    quantity: Decimal
    pieces: Decimal


@dataclass(slots=True)
class Request:
    """Something asked of the outside, under one key however often. ``subject``: the payment or the shipment.

    Of a check, ``subject`` is what it is about, as a key of ``PROBLEMS``.
    """

    request: str
    kind: Kind
    subject: str
    amount: Decimal
    state: RequestState
    attempts: int
    due: datetime | None
    """When it is asked again while nobody has answered."""
    reason: str = ""


@dataclass(slots=True)
class Payment:
    """Money that has come in, and how much of it went back."""

    payment: str
    captured: Decimal
    refunded: Decimal = ZERO
    is_by_hand: bool = False


@dataclass(slots=True)
class Shipment:
    """Parcels that leave together, with how much of which line is in them."""

    shipment: str
    state: ShipmentState
    lines: dict[int, Decimal]
    parcels: list[dict[str, Any]]
    carrier: str = ""
    tracking: str = ""
    label_url: str = ""
    carrier_state: str = ""
    left: datetime | None = None
    lots: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Return:
    """What comes back: how much of which line."""

    return_id: str
    state: ReturnState
    lines: dict[int, Decimal]
    reason: str
    received: dict[int, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chapter:
    """One entry of the timeline; with ``told`` it is an event for others, too."""

    time: datetime
    what: str
    text: str
    actor: str
    told: Told | None
    data: Mapping[str, Any]


@dataclass(slots=True)
class Case:
    """One order, whole."""

    tenant_id: int
    order: str
    customer: str
    state: State
    currency: str
    address: dict[str, Any]
    lines: list[Line]
    changed: datetime
    """When its state has changed last."""
    created: datetime
    created_by: str
    reference: str = ""
    wanted: datetime | None = None
    valid_until: datetime | None = None
    promised: datetime | None = None
    revision: int = 0
    reason: str = ""
    """Why it was cancelled."""
    counted: datetime | None = None
    """When one of its work orders has counted something, last."""
    replan: bool = False
    """An operator has asked for what is missing to be planned anew."""
    missing: str = ""
    """Which components are not there, or that a product has no routing, in a sentence; beside it the code."""
    missing_code: str = ""
    work_orders: list[WorkOrder] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)
    shipments: list[Shipment] = field(default_factory=list)
    returns: list[Return] = field(default_factory=list)
    story: list[Chapter] = field(default_factory=list)
    problem: str = ""
    look_at: datetime | None = None
    """When the time alone makes something follow (``saga.look_again``)."""

    @property
    def net(self) -> Decimal:
        """Without tax."""
        return sum((line.net for line in self.lines), ZERO)

    @property
    def tax(self) -> Decimal:
        """Of all lines."""
        return sum((line.tax for line in self.lines), ZERO)

    @property
    def total(self) -> Decimal:
        """What was ordered costs."""
        return self.net + self.tax

    def line(self, number: int) -> Line:
        """The line ``number``. Raises ``KeyError`` when there is none."""
        for line in self.lines:
            if line.line == number:
                return line
        raise KeyError(number)

    # -- money ---------------------------------------------------------------------------------------------------------

    @property
    def due(self) -> Decimal:
        """What the customer owes altogether for what they get and keep; a quote obliges nobody."""
        if self.state is State.QUOTE:
            return ZERO
        return sum((self.value(line, line.kept) for line in self.lines), ZERO)

    def value(self, line: Line, part: Decimal) -> Decimal:
        """What ``part`` of ``line`` costs."""
        return value_of(line.gross, line.quantity, part, self.currency)

    @property
    def captured(self) -> Decimal:
        """What has come in."""
        return sum((payment.captured for payment in self.payments), ZERO)

    @property
    def refunded(self) -> Decimal:
        """What went back."""
        return sum((payment.refunded for payment in self.payments), ZERO)

    def refunding(self, payment: str | None = None) -> Decimal:
        """What is on its way back, of ``payment`` or of all."""
        open_ = (RequestState.OPEN, RequestState.FAILED)
        return sum((r.amount for r in self.requests_of(Kind.REFUND, *open_) if payment in (None, r.subject)), ZERO)

    @property
    def forgiven(self) -> Decimal:
        """What went back elsewhere, and somebody has said that it need not come in again."""
        checks = self.requests_of(Kind.CHECK, RequestState.DONE)
        return sum((one.amount for one in checks if one.subject == REFUNDED_ELSEWHERE), ZERO)

    @property
    def excess(self) -> Decimal:
        """What has come in and is neither owed nor on its way back; below zero, what is missing."""
        return self.captured - self.refunded - self.refunding() - max(ZERO, self.due - self.forgiven)

    @property
    def is_paid(self) -> bool:
        """Whether what is owed has come in, and stays."""
        return self.excess >= 0

    # -- goods ---------------------------------------------------------------------------------------------------------

    @property
    def is_all_shipped(self) -> bool:
        """Whether nothing of it is to leave any more, and something has."""
        return any(line.shipped for line in self.lines) and all(line.shipped == line.wanted for line in self.lines)

    @property
    def is_all_packed(self) -> bool:
        """Whether everything that has not left is in parcels."""
        return any(line.packed for line in self.lines) and all(
            line.shipped + line.packed == line.wanted for line in self.lines
        )

    @property
    def is_held(self) -> bool:
        """Whether stock or lines are held for it."""
        return any(line.reserved or line.packed for line in self.lines) or any(
            not work_order.is_over for work_order in self.work_orders
        )

    @property
    def is_begun(self) -> bool:
        """Whether something of it is, or was, in production."""
        begun = ("running", "paused", "complete", "closed")
        return any(one.good or one.reject or one.state in begun for one in self.work_orders)

    def open_needs(self, unbooked: Mapping[int, Decimal]) -> dict[str, Decimal]:
        """By item, what its work orders are going to take from stock, with what is in ``unbooked`` pieces of lines."""
        found: dict[str, Decimal] = {}
        for need in self.needs:
            line = self.line(need.line)
            pieces = min(need.pieces, max(ZERO, line.wanted - line.from_stock - line.produced))
            pieces += unbooked.get(need.line, ZERO)
            found[need.item] = found.get(need.item, ZERO) + need.quantity * pieces / need.pieces
        return found

    def shipments_here(self) -> Iterator[Shipment]:
        """What is packed and has not left."""
        return (one for one in self.shipments if one.state in _HERE)

    def shipments_left(self) -> Iterator[Shipment]:
        """What has left."""
        return (one for one in self.shipments if one.state in _LEFT)

    def shipment(self, shipment: str) -> Shipment | None:
        """The shipment of that id."""
        return next((one for one in self.shipments if one.shipment == shipment), None)

    def requests_of(self, kind: Kind, *states: RequestState) -> Iterator[Request]:
        """Requests of a kind that are in one of ``states``."""
        return (one for one in self.requests if one.kind is kind and one.state in states)

    # -- what is told --------------------------------------------------------------------------------------------------

    def become(self, later: State, now: datetime, text: str, actor: str, told: Told | None, /, **data: Any) -> None:
        """Come to ``later``; a way that is not in the table is a defect: ``ValueError``."""
        if not may_become(self.state, later):
            raise ValueError(f"order {self.order}: there is no way from {self.state} to {later}")
        self.state = later
        self.changed = now
        self.tell(now, later.value, text, actor, told, **data)

    def tell(self, now: datetime, what: str, text: str, actor: str, told: Told | None = None, /, **data: Any) -> None:
        """Add to the timeline."""
        self.story.append(Chapter(now, what, text, actor, told, data))
