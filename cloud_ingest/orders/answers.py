"""What the API answers about customers and orders. Money and quantities are texts, exact."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, PlainSerializer

from cloud_ingest.access.answers import Answer
from cloud_ingest.orders.asking import Address
from cloud_ingest.orders.case import Kind, RequestState, ReturnState, ShipmentState
from cloud_ingest.orders.rules import State, quantity_text

Quantity = Annotated[
    Decimal, PlainSerializer(quantity_text, return_type=str, when_used="json"), Field(examples=["12.5"])
]
Money = Annotated[
    Decimal,
    PlainSerializer(lambda amount: f"{amount:.2f}", return_type=str, when_used="json"),
    Field(examples=["99.00"]),
]


class CustomerAnswer(Answer):
    """A customer; ``revision`` is the ETag."""

    customer: Annotated[str, Field(examples=["acme"])]
    name: str
    email: str
    phone: str
    addresses: dict[str, Address]
    currency: str
    discount_percent: Quantity
    active: bool
    payer: str
    payment_method: Annotated[str, Field(description="The payment gateway's name of a card on file")]
    revision: int
    created: datetime


class CustomerPage(Answer):
    """Some of the customers, by their codes; ``next`` is the ``after`` of the following request."""

    customers: list[CustomerAnswer]
    next: str | None


class ProblemOf(Answer):
    """Why an order stands still, and what to do about it."""

    code: Annotated[str, Field(description="For programs; it stays as it is", examples=["payment_failed"])]
    text: str
    action: str


class LineAnswer(Answer):
    """A line of an order, and what has become of its quantity."""

    line: int
    product: str
    name: str
    unit: str
    quantity: Quantity
    unit_price: Money
    discount_percent: Annotated[Quantity, Field(description="Of line and customer together")]
    tax_rate: Annotated[Quantity, Field(description="A share: 0.19 is 19 %")]
    net: Money
    tax: Money
    gross: Money
    reserved: Annotated[Quantity, Field(description="In stock for this line, not packed yet")]
    produced: Annotated[Quantity, Field(description="Counted as good by its work orders")]
    packed: Annotated[Quantity, Field(description="In parcels that have not left")]
    shipped: Quantity
    cancelled: Quantity
    returned: Quantity


class OrderAnswer(Answer):
    """An order, or a quote."""

    id: Annotated[str, Field(description="ULID", examples=["01JDV3W3Z8Q6C0V2B7N4M5K9XR"])]
    customer: str
    state: State
    reference: str
    currency: str
    net: Money
    tax: Money
    total: Money
    created: datetime
    created_by: str
    changed: Annotated[datetime, Field(description="Since when it is in its state")]
    wanted: datetime | None
    promised: Annotated[datetime | None, Field(description="When all of it is expected to be ready, where known")]
    valid_until: Annotated[datetime | None, Field(description="Of a quote")]
    reason: Annotated[str, Field(description="Why it was cancelled")]
    problem: ProblemOf | None
    revision: int


class OrderPage(Answer):
    """Some of the orders, the newest first; ``next`` is the ``after`` of the following request."""

    orders: list[OrderAnswer]
    next: str | None


class WorkOrderAnswer(Answer):
    """A work order for a line, as lines have told of it."""

    work_order: str
    line: int
    item: str
    quantity: Quantity
    state: str
    good: Quantity
    reject: Quantity


class RequestAnswer(Answer):
    """Something asked of the outside: a payment, a refund, a shipment."""

    request: str
    kind: Kind
    subject: Annotated[str, Field(description="Of a refund the payment, of a shipment the shipment")]
    amount: Money
    state: RequestState
    attempts: int
    due: Annotated[datetime | None, Field(description="When it is tried again")]
    reason: str


class PaymentAnswer(Answer):
    """Money that has come in."""

    payment: str
    captured: Money
    refunded: Money
    by_hand: bool


class ShipmentAnswer(Answer):
    """Parcels that leave together."""

    shipment: str
    state: ShipmentState
    lines: Annotated[dict[str, Quantity], Field(description="Quantities by line")]
    parcels: list[dict[str, Any]]
    carrier: str
    tracking: str
    label_url: str
    carrier_state: str
    left: datetime | None
    lots: Annotated[dict[str, Any], Field(description="Lots and serials by line")]


class ReturnAnswer(Answer):
    """Something that comes back."""

    id: str
    state: ReturnState
    lines: dict[str, Quantity]
    received: dict[str, Quantity]
    reason: str


class ChapterAnswer(Answer):
    """What has happened."""

    time: datetime
    what: str
    text: str
    actor: str


class WholeOrder(OrderAnswer):
    """An order with everything that belongs to it. A customer does not see what goes on in the plant."""

    address: Address
    lines: list[LineAnswer]
    paid: Money
    refunded: Money
    work_orders: list[WorkOrderAnswer]
    requests: list[RequestAnswer]
    payments: list[PaymentAnswer]
    shipments: list[ShipmentAnswer]
    returns: list[ReturnAnswer]


class TrackedLine(Answer):
    """How far a line is."""

    line: int
    product: str
    name: str
    quantity: Quantity
    produced: Quantity
    ready: Annotated[Quantity, Field(description="In stock for the order, in parcels or not")]
    shipped: Quantity


class TrackedShipment(Answer):
    """A shipment as its receiver follows it."""

    carrier: str
    tracking: str
    state: str
    left: datetime | None


class Tracking(Answer):
    """An order as its customer follows it, while it happens."""

    id: str
    state: State
    percent: Annotated[int, Field(description="How much of what was ordered is ready or has left, of 100")]
    expected: Annotated[datetime | None, Field(description="When all of it is expected to be ready, where known")]
    late: bool
    lines: list[TrackedLine]
    shipments: list[TrackedShipment]
    timeline: list[ChapterAnswer]


class LinePromiseAnswer(Answer):
    """Of ``quantity``, ``in_stock`` could leave at once."""

    product: str
    quantity: Quantity
    in_stock: Quantity
    ready: Annotated[datetime | None, Field(description="When all of it could be; null where nobody knows")]
    missing: Annotated[str, Field(description="Why nobody knows")]


class PromiseAnswer(Answer):
    """When all of it could be ready, by what is planned now. Nothing is reserved by asking."""

    ready: datetime | None
    lines: list[LinePromiseAnswer]
