"""What the API answers about integrations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator

from cloud_ingest.access.answers import Answer

CallState = Literal["waiting", "done", "refused", "dead", "dropped"]
WebhookState = Literal["applied", "unused", "unknown"]
Money = Annotated[str, Field(examples=["12.50"])]


class CallAnswer(Answer):
    """A call to a vendor."""

    call: Annotated[str, Field(description="ULID", examples=["01JDV3W3Z8Q6C0V2B7N4M5K9XR"])]
    port: Annotated[str, Field(examples=["payments"])]
    kind: Annotated[str, Field(examples=["pay", "refund", "buy", "track"])]
    about: Annotated[str, Field(description="A payment, a refund, a shipment …")]
    state: Annotated[CallState, Field(description="refused: the vendor says no; dead: given up until 'retry'")]
    tries: int
    failures: Annotated[int, Field(description="In a row, since the last retry by a person")]
    may_be_done: Annotated[bool, Field(description="The vendor is asked after it before it is repeated")]
    next_try: datetime
    reason: Annotated[str, Field(description="Why it was not done, when it was tried last")]
    created: datetime
    changed: datetime


class CallPage(Answer):
    """Some of the calls, the oldest first."""

    calls: list[CallAnswer]
    next: str | None


class VendorStatus(Answer):
    """How it goes with one vendor."""

    port: Annotated[str, Field(examples=["payments"])]
    waiting: Annotated[int, Field(description="Calls that are to be made")]
    watching: Annotated[int, Field(description="Calls that ask from time to time how something stands")]
    dead: Annotated[int, Field(description="Calls that were given up: look at them, then retry")]
    oldest: Annotated[datetime | None, Field(description="Since when the oldest waits")]
    open_until: Annotated[datetime | None, Field(description="No call goes out until then: the vendor has failed")]
    reason: str


class _WithMoney(Answer):
    @field_validator("amount", "captured", "refunded", "cost", mode="before", check_fields=False)
    @classmethod
    def _as_text(cls, value: object) -> object:
        return None if value is None else str(value)


class PaymentAnswer(_WithMoney):
    """A payment of an order."""

    payment: str
    order: str
    request: str
    customer: str
    state: Annotated[str, Field(examples=["requested", "pending", "captured", "failed", "cancelled"])]
    amount: Money
    captured: Money
    refunded: Annotated[Money, Field(description="Given back, or on its way back")]
    currency: str
    vendor: str
    vendor_id: str
    withdrawn: bool
    reason: str
    created: datetime
    changed: datetime


class PaymentPage(Answer):
    """Some of the payments, the oldest first."""

    payments: list[PaymentAnswer]
    next: str | None


class CheckoutAnswer(Answer):
    """With what the customer's browser finishes a payment at the gateway."""

    payment: str
    vendor: str
    state: str
    client_secret: Annotated[str, Field(description="For the vendor's own library in the browser; it is not stored")]


class ShipmentAnswer(_WithMoney):
    """A shipment of an order."""

    shipment: str
    order: str
    state: Annotated[str, Field(examples=["requested", "created", "in-transit", "delivered", "failed"])]
    carrier: str
    service: str
    tracking: str
    label_url: str
    cost: Money | None
    currency: str
    vendor: str
    vendor_id: str
    withdrawn: bool
    reason: str
    created: datetime
    changed: datetime


class ShipmentPage(Answer):
    """Some of the shipments."""

    shipments: list[ShipmentAnswer]
    next: str | None


class RateAnswer(_WithMoney):
    """What a service of a carrier costs."""

    carrier: str
    service: str
    amount: Money
    currency: str
    days: Annotated[int | None, Field(description="Until delivery, where the carrier says so")]


class WebhookAnswer(Answer):
    """A webhook that a vendor has sent."""

    vendor: str
    event: str
    kind: str
    state: Annotated[WebhookState, Field(description="unknown: it is about something that Lineside does not know")]
    about: str
    received: datetime
    times: Annotated[int, Field(description="How often it came; it took effect once")]


class WebhookPage(Answer):
    """Some of the webhooks."""

    webhooks: list[WebhookAnswer]
    next: str | None


class Taken(Answer):
    """What became of a webhook."""

    outcome: Literal["applied", "unused", "unknown", "again"]
