"""The calls to the payment gateway: to pay, to see how it stands, to give up, and to give back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.integrations.calls import Again, Call, CallKind, asked_after
from cloud_ingest.integrations.payments import (
    drop_refund,
    locked_payment,
    locked_refund,
    refuse_refund,
    take_payment,
    take_refund,
)
from connectors.ports.clock import Clock
from connectors.ports.database import Session
from connectors.ports.payments import (
    Payment,
    PaymentGateway,
    PaymentRequest,
    PaymentState,
    Refund,
    RefundRequest,
    RefundState,
)

LOOK_LONGEST_S: Final = 3600.0
_OPEN: Final = frozenset({"requested", PaymentState.PENDING.value})


def payment_kinds(gateway: PaymentGateway, clock: Clock) -> Mapping[tuple[str, str], CallKind]:
    """What calls to ``gateway`` do, by port and kind."""
    return {
        ("payments", "pay"): Pay(gateway, clock),
        ("payments", "look"): Look(gateway, clock),
        ("payments", "cancel"): Cancel(gateway, clock),
        ("payments", "refund"): GiveBack(gateway, clock),
        ("payments", "look-refund"): LookAtRefund(gateway, clock),
    }


@dataclass(frozen=True, slots=True)
class _OfPayment:
    """Calls about a payment: its id is what they are ``about``."""

    gateway: PaymentGateway
    clock: Clock

    async def wanted(self, session: Session, call: Call) -> bool:
        """See ``CallKind``: as long as it can become something else."""
        rows = await session.fetch("SELECT state FROM payment WHERE payment_id = $1", call.about)
        return bool(rows) and rows[0]["state"] in _OPEN

    async def take(self, work: UnitOfWork, call: Call, answer: Payment) -> Again | None:
        """See ``CallKind``."""
        row = await locked_payment(work.session, call.about)
        if row is not None:
            await take_payment(work, self.clock, row, answer, self.gateway.name)
        return None

    async def refused(self, work: UnitOfWork, call: Call, reason: str) -> None:
        """See ``CallKind``: how the payment stands is not known any better."""

    async def dropped(self, work: UnitOfWork, call: Call) -> None:
        """See ``CallKind``."""


@dataclass(frozen=True, slots=True)
class Pay(_OfPayment):
    """Take the money, once: the payment's id is the key by which the gateway knows it."""

    async def wanted(self, session: Session, call: Call) -> bool:
        """See ``CallKind``."""
        rows = await session.fetch("SELECT state, withdrawn FROM payment WHERE payment_id = $1", call.about)
        return bool(rows) and rows[0]["state"] in _OPEN and not rows[0]["withdrawn"]

    async def ask(self, call: Call, *, is_wanted: bool) -> Payment | None:
        """See ``CallKind``."""
        request = _payment_request(call)
        if call.may_be_done and (found := await asked_after(self.gateway.find(request))) is not None:
            return found
        return await self.gateway.pay(request) if is_wanted else None

    async def refused(self, work: UnitOfWork, call: Call, reason: str) -> None:
        """See ``CallKind``."""
        await self._nothing_came(work, call, PaymentState.FAILED, reason)

    async def dropped(self, work: UnitOfWork, call: Call) -> None:
        """See ``CallKind``."""
        await self._nothing_came(work, call, PaymentState.CANCELLED, "it was withdrawn before it was asked for")

    async def _nothing_came(self, work: UnitOfWork, call: Call, state: PaymentState, reason: str) -> None:
        row = await locked_payment(work.session, call.about)
        if row is not None:
            told = Payment("", call.about, state, row["amount"], row["currency"], reason=reason)
            await take_payment(work, self.clock, row, told, self.gateway.name)


@dataclass(frozen=True, slots=True)
class Look(_OfPayment):
    """Ask how a payment stands, as a webhook may not come; less and less often."""

    async def ask(self, call: Call, *, is_wanted: bool) -> Payment | None:
        """See ``CallKind``."""
        return await self.gateway.payment(str(call.request["vendor_id"])) if is_wanted else None

    async def take(self, work: UnitOfWork, call: Call, answer: Payment) -> Again | None:
        """See ``CallKind``."""
        await _OfPayment.take(self, work, call, answer)
        return Again(_longer_s(call)) if answer.state is PaymentState.PENDING else None


@dataclass(frozen=True, slots=True)
class Cancel(_OfPayment):
    """Give a payment up that nobody wants any more. It may turn out that the money is there."""

    async def ask(self, call: Call, *, is_wanted: bool) -> Payment | None:
        """See ``CallKind``."""
        return await self.gateway.cancel(str(call.request["vendor_id"])) if is_wanted else None

    async def take(self, work: UnitOfWork, call: Call, answer: Payment) -> Again | None:
        """See ``CallKind``: what the bank is working at cannot be cancelled now, and is tried again later."""
        await _OfPayment.take(self, work, call, answer)
        return Again(_longer_s(call)) if answer.state is PaymentState.PENDING else None


@dataclass(frozen=True, slots=True)
class _OfRefund:
    """Calls about a refund: its id is what they are ``about``."""

    gateway: PaymentGateway
    clock: Clock

    async def wanted(self, session: Session, call: Call) -> bool:
        """See ``CallKind``."""
        rows = await session.fetch("SELECT state FROM refund WHERE refund_id = $1", call.about)
        return bool(rows) and rows[0]["state"] in _OPEN

    async def take(self, work: UnitOfWork, call: Call, answer: Refund) -> Again | None:
        """See ``CallKind``."""
        if (found := await locked_refund(work.session, call.about)) is not None:
            await take_refund(work, self.clock, *found, answer)
        return None

    async def refused(self, work: UnitOfWork, call: Call, reason: str) -> None:
        """See ``CallKind``."""
        if (found := await locked_refund(work.session, call.about)) is not None:
            await refuse_refund(work, self.clock, *found, reason)

    async def dropped(self, work: UnitOfWork, call: Call) -> None:
        """See ``CallKind``."""


@dataclass(frozen=True, slots=True)
class GiveBack(_OfRefund):
    """Give money back, once: the refund's id is the key by which the gateway knows it."""

    async def wanted(self, session: Session, call: Call) -> bool:
        """See ``CallKind``."""
        rows = await session.fetch("SELECT state, withdrawn FROM refund WHERE refund_id = $1", call.about)
        return bool(rows) and rows[0]["state"] in _OPEN and not rows[0]["withdrawn"]

    async def dropped(self, work: UnitOfWork, call: Call) -> None:
        """See ``CallKind``: who has withdrawn it knows that it was not made, so nobody is told."""
        if (found := await locked_refund(work.session, call.about)) is not None:
            await drop_refund(work.session, self.clock, *found)

    async def ask(self, call: Call, *, is_wanted: bool) -> Refund | None:
        """See ``CallKind``."""
        request = _refund_request(call)
        if call.may_be_done and (found := await asked_after(self.gateway.find_refund(request))) is not None:
            return found
        return await self.gateway.refund(request) if is_wanted else None


@dataclass(frozen=True, slots=True)
class LookAtRefund(_OfRefund):
    """Ask how a refund stands."""

    async def ask(self, call: Call, *, is_wanted: bool) -> Refund | None:
        """See ``CallKind``."""
        if not is_wanted:
            return None
        request = RefundRequest(call.about, str(call.request["payment"]), Decimal(0), "")
        found = await self.gateway.find_refund(request)
        return found or Refund("", call.about, request.payment, RefundState.PENDING, Decimal(0))

    async def take(self, work: UnitOfWork, call: Call, answer: Refund) -> Again | None:
        """See ``CallKind``."""
        await _OfRefund.take(self, work, call, answer)
        return Again(_longer_s(call)) if answer.state is RefundState.PENDING else None

    async def refused(self, work: UnitOfWork, call: Call, reason: str) -> None:
        """See ``CallKind``: how the refund stands is not known any better."""


def _longer_s(call: Call) -> float:
    first_s = float(call.request.get("look_again_s") or 60.0)
    return min(LOOK_LONGEST_S, first_s * 2.0 ** min(call.number, 20))


def _payment_request(call: Call) -> PaymentRequest:
    asked: Mapping[str, Any] = call.request
    return PaymentRequest(
        call.about,
        str(asked["order"]),
        str(asked["customer"]),
        Decimal(asked["amount"]),
        str(asked["currency"]),
        str(asked.get("payer", "")),
        str(asked.get("method", "")),
    )


def _refund_request(call: Call) -> RefundRequest:
    asked: Mapping[str, Any] = call.request
    return RefundRequest(call.about, str(asked["payment"]), Decimal(asked["amount"]), str(asked["currency"]))
