"""The port to whoever takes payments (Stripe, or the gateway that Lineside brings for demonstration and tests)."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from connectors.ports.vendors import Headers


class PaymentState(StrEnum):
    """What the gateway says of a payment."""

    PENDING = "pending"
    """The customer has to do something, or the bank takes its time: a webhook tells more, or who asks again."""
    CAPTURED = "captured"
    """The money is ours."""
    FAILED = "failed"
    """It was declined; nothing was taken."""
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """``key`` is what the gateway knows the request by: the same one is paid once, however often it is asked.

    ``method`` and ``payer`` are the gateway's names of a card on file and of whom it belongs to. Without them the
    customer pays with ``Payment.client_secret`` in a browser.
    """

    key: str
    order: str
    customer: str
    amount: Decimal
    currency: str
    payer: str = ""
    method: str = ""


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as the gateway has it. ``id`` is the gateway's, ``key`` that of the request.

    ``look_again_s``: after so long it is worth asking again, while it is pending. ``reason`` says why it failed.
    """

    id: str
    key: str
    state: PaymentState
    amount: Decimal
    currency: str
    captured: Decimal = Decimal(0)
    refunded: Decimal = Decimal(0)
    reason: str = ""
    look_again_s: float = 60.0
    client_secret: str = field(default="", repr=False)


class RefundState(StrEnum):
    """What the gateway says of a refund."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """``payment`` is the gateway's id; ``key`` as of ``PaymentRequest``."""

    key: str
    payment: str
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund as the gateway has it."""

    id: str
    key: str
    payment: str
    state: RefundState
    amount: Decimal
    reason: str = ""
    look_again_s: float = 60.0


class DisputeState(StrEnum):
    """What has become of a dispute."""

    OPEN = "open"
    WON = "won"
    """The money stays ours."""
    LOST = "lost"
    """The bank has given it back to the customer."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """The bank of a customer wants money of a payment back. ``payment`` is the gateway's id of that."""

    id: str
    payment: str
    state: DisputeState
    amount: Decimal
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PaymentNews:
    """What a webhook tells. ``event`` is the vendor's id of it: the same one may come any number of times.

    A refund without a key of ours was made at the vendor's own page. Without payment, refund and dispute it is about
    something that Lineside does not use.
    """

    event: str
    kind: str
    payment: Payment | None = None
    refund: Refund | None = None
    dispute: Dispute | None = None


class PaymentGateway(Protocol):
    """Every coroutine raises ``VendorUnavailable``, ``CallUncertain``, ``CallRefused`` or ``AccessRefused``.

    The caller has made durable that it is about to call before it calls ``pay``, ``refund`` or ``cancel``, and where
    its process ended or the call was uncertain, it calls ``find`` or ``find_refund`` first.
    """

    @property
    def name(self) -> str:
        """Such as ``stripe``: breaker, metrics and webhooks are by it."""
        ...

    async def pay(self, request: PaymentRequest) -> Payment:
        """Take the money, or begin to. That a card was declined is an answer, and no error."""
        ...

    async def find(self, request: PaymentRequest) -> Payment | None:
        """The payment that was made for ``request.key``; ``None`` when there is none.

        A gateway that sees its own payments late makes up for it: ``pay`` with the same key is paid once all the same.
        """
        ...

    async def payment(self, payment_id: str) -> Payment:
        """How the payment stands now. Raises ``CallRefused`` for one that the gateway does not know."""
        ...

    async def cancel(self, payment_id: str) -> Payment:
        """Give a pending payment up: the answer says how it stands, which may be captured."""
        ...

    async def refund(self, request: RefundRequest) -> Refund:
        """Give money back. ``CallRefused`` when it is more than was captured and not given back yet."""
        ...

    async def find_refund(self, request: RefundRequest) -> Refund | None:
        """The refund that was made for ``request.key``; as ``find``."""
        ...

    def news(self, body: bytes, headers: Headers, now_s: float) -> PaymentNews:
        """What a webhook says. Raises ``WebhookRefused`` unless it is signed, and lately."""
        ...

    async def close(self) -> None:
        """Let connections go. Never raises."""
        ...
