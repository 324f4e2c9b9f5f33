"""A payment gateway that is built in: for the demonstration, and for tests of what a vendor remembers.

It behaves as the real ones do: money is captured a moment after it was asked for, certain amounts are declined, a key
is paid once, refunds never exceed what was captured. What it knows is in a ``VendorMemory``, as a vendor's would be
elsewhere. No money moves.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from connectors.ports.clock import Clock
from connectors.ports.payments import (
    Dispute,
    DisputeState,
    Payment,
    PaymentNews,
    PaymentRequest,
    PaymentState,
    Refund,
    RefundRequest,
    RefundState,
)
from connectors.ports.vendors import REPLAY_WINDOW_S, CallRefused, Headers, VendorMemory, WebhookRefused

SIGNATURE = "lineside-fake-signature"


class FakeGateway:
    """``decline_amounts``: such payments fail; ``capture_after_s``: as long the others are pending."""

    name = "fake"

    def __init__(
        self,
        memory: VendorMemory,
        clock: Clock,
        *,
        capture_after_s: float = 2.0,
        decline_amounts: Collection[Decimal] = (),
        webhook_secret: str = "",
    ) -> None:
        self._memory = memory
        self._clock = clock
        self._capture_after_s = capture_after_s
        self._decline = frozenset(decline_amounts)
        self._secret = webhook_secret

    async def pay(self, request: PaymentRequest) -> Payment:
        """See ``PaymentGateway``."""

        def make(known: dict[str, Any] | None) -> dict[str, Any]:
            said = {"amount": str(request.amount), "currency": request.currency, "order": request.order}
            if known is not None:
                if {name: known[name] for name in said} != said:
                    raise CallRefused(f"the key {request.key} was used for another payment", "idempotency")
                return known
            if request.amount <= 0:
                raise CallRefused("an amount is more than 0", "amount")
            return {
                **said,
                "id": _id("pay", request.key),
                "key": request.key,
                "made_ns": self._clock.now_ns(),
                "declined": request.amount in self._decline,
                "cancelled": False,
                "refunds": {},
            }

        return self._payment(await self._memory.change(_id("pay", request.key), make))

    async def find(self, request: PaymentRequest) -> Payment | None:
        """See ``PaymentGateway``."""
        found = await self._memory.get(_id("pay", request.key))
        return None if found is None else self._payment(found)

    async def payment(self, payment_id: str) -> Payment:
        """See ``PaymentGateway``."""
        found = await self._memory.get(payment_id)
        if found is None:
            raise CallRefused(f"there is no payment {payment_id}", "unknown")
        return self._payment(found)

    async def cancel(self, payment_id: str) -> Payment:
        """See ``PaymentGateway``."""

        def give_up(known: dict[str, Any] | None) -> dict[str, Any]:
            if known is None:
                raise CallRefused(f"there is no payment {payment_id}", "unknown")
            if self._state(known) is PaymentState.PENDING:
                known["cancelled"] = True
            return known

        return self._payment(await self._memory.change(payment_id, give_up))

    async def refund(self, request: RefundRequest) -> Refund:
        """See ``PaymentGateway``."""

        def give_back(known: dict[str, Any] | None) -> dict[str, Any]:
            if known is None:
                raise CallRefused(f"there is no payment {request.payment}", "unknown")
            if request.key in known["refunds"]:
                if Decimal(known["refunds"][request.key]) != request.amount:
                    raise CallRefused(f"the key {request.key} was used for another refund", "idempotency")
                return known
            left = self._captured(known) - _refunded(known)
            if request.amount <= 0 or request.amount > left:
                raise CallRefused(f"{request.amount} cannot be refunded: {left} of the payment is left", "amount")
            known["refunds"] = {**known["refunds"], request.key: str(request.amount)}
            return known

        await self._memory.change(request.payment, give_back)
        return _refund(request)

    async def find_refund(self, request: RefundRequest) -> Refund | None:
        """See ``PaymentGateway``."""
        found = await self._memory.get(request.payment)
        return _refund(request) if found is not None and request.key in found["refunds"] else None

    def news(self, body: bytes, headers: Headers, now_s: float) -> PaymentNews:
        """See ``PaymentGateway``; JSON with ``id`` and ``payment``, ``refund`` or ``dispute``, signed by ``sign``."""
        time, _, given = headers.get(SIGNATURE, "").partition(",")
        if not self._secret or not hmac.compare_digest(given.encode(), sign(self._secret, time, body).encode()):
            raise WebhookRefused("the signature is not the gateway's")
        if not time.isdecimal() or abs(now_s - int(time[:12])) > REPLAY_WINDOW_S:
            raise WebhookRefused(f"it was signed more than {REPLAY_WINDOW_S} s from now")
        try:
            return _news(json.loads(body))
        except (ValueError, KeyError, TypeError, ArithmeticError) as exc:
            raise WebhookRefused(f"it is no event of the gateway: {type(exc).__name__}: {exc}") from exc

    async def close(self) -> None:
        """See ``PaymentGateway``."""

    def _state(self, known: Mapping[str, Any]) -> PaymentState:
        if known["cancelled"]:
            return PaymentState.CANCELLED
        if known["declined"]:
            return PaymentState.FAILED
        is_due = self._clock.now_ns() >= known["made_ns"] + self._capture_after_s * 1e9
        return PaymentState.CAPTURED if is_due else PaymentState.PENDING

    def _captured(self, known: Mapping[str, Any]) -> Decimal:
        return Decimal(known["amount"]) if self._state(known) is PaymentState.CAPTURED else Decimal(0)

    def _payment(self, known: Mapping[str, Any]) -> Payment:
        state = self._state(known)
        return Payment(
            id=known["id"],
            key=known["key"],
            state=state,
            amount=Decimal(known["amount"]),
            currency=known["currency"],
            captured=self._captured(known),
            refunded=_refunded(known),
            reason="the card was declined" if state is PaymentState.FAILED else "",
            look_again_s=max(self._capture_after_s, 0.2),
            client_secret=f"{known['id']}_secret",
        )


def _news(event: Mapping[str, Any]) -> PaymentNews:
    name = str(event["id"])
    if (told := event.get("refund")) is not None:
        back, amount = RefundState(told["state"]), Decimal(str(told["amount"]))
        refund = Refund(str(told["id"]), str(told.get("key", "")), str(told["payment"]), back, amount)
        return PaymentNews(name, f"refund.{back}", refund=refund)
    if (told := event.get("dispute")) is not None:
        now, amount = DisputeState(told["state"]), Decimal(str(told["amount"]))
        dispute = Dispute(str(told["id"]), str(told["payment"]), now, amount, str(told.get("reason", "")))
        return PaymentNews(name, f"dispute.{now}", dispute=dispute)
    told = event["payment"]
    state, amount = PaymentState(told["state"]), Decimal(str(told["amount"]))
    captured = amount if state is PaymentState.CAPTURED else Decimal(0)
    payment = Payment(str(told["id"]), str(told["key"]), state, amount, str(told["currency"]), captured)
    return PaymentNews(name, f"payment.{state}", payment)


def sign(secret: str, time: str, body: bytes) -> str:
    """What the gateway's webhooks carry behind their time: HMAC-SHA256 of both, in hexadecimal."""
    return hmac.new(secret.encode(), time.encode() + b"." + body, hashlib.sha256).hexdigest()


def _id(kind: str, key: str) -> str:
    return f"{kind}_{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def _refunded(known: Mapping[str, Any]) -> Decimal:
    return sum((Decimal(amount) for amount in known["refunds"].values()), Decimal(0))


def _refund(request: RefundRequest) -> Refund:
    return Refund(_id("ref", request.key), request.key, request.payment, RefundState.DONE, request.amount)
