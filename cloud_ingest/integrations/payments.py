"""Payments and refunds as they stand: what the gateway tells is taken once, and announced with it.

A transaction that changes a payment or one of its refunds has locked the payment's row. Which calls are made for them
is in ``paying``, which events ask for them in ``asked``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.event_log.domain_events import DomainEvent
from cloud_ingest.integrations.calls import add_call, time_of
from cloud_ingest.integrations.events import Told, integration_event
from cloud_ingest.integrations.rules import (
    Money,
    captured,
    given_back,
    payment_leads_on,
    refund_leads_on,
)
from connectors.commands.ulid import new_ulid
from connectors.ports.clock import Clock
from connectors.ports.database import Row, Session
from connectors.ports.payments import Dispute, DisputeState, Payment, PaymentState, Refund, RefundState

_TOLD_OF_PAYMENT: Final[Mapping[str, Told]] = {
    PaymentState.PENDING: Told.PAYMENT_PENDING,
    PaymentState.CAPTURED: Told.PAYMENT_CAPTURED,
    PaymentState.FAILED: Told.PAYMENT_FAILED,
    PaymentState.CANCELLED: Told.PAYMENT_CANCELLED,
}
_TOLD_OF_REFUND: Final[Mapping[str, Told]] = {
    RefundState.DONE: Told.REFUNDED,
    RefundState.FAILED: Told.REFUND_FAILED,
}


async def locked_payment(session: Session, payment_id: str) -> Row | None:
    """The payment, locked to the end of the transaction."""
    rows = await session.fetch("SELECT * FROM payment WHERE payment_id = $1 FOR UPDATE", payment_id)
    return rows[0] if rows else None


async def locked_refund(session: Session, refund_id: str) -> tuple[Row, Row] | None:
    """The refund and its payment, whose row is locked to the end of the transaction."""
    rows = await session.fetch("SELECT payment_id FROM refund WHERE refund_id = $1", refund_id)
    payment = None if not rows else await locked_payment(session, rows[0]["payment_id"])
    if payment is None:
        return None
    (refund,) = await session.fetch("SELECT * FROM refund WHERE refund_id = $1", refund_id)
    return refund, payment


async def take_payment(work: UnitOfWork, clock: Clock, row: Row, told: Payment, vendor: str) -> None:
    """Write down what the gateway has ``told`` of the locked payment ``row``, where that leads on."""
    if not payment_leads_on(row["state"], told.state):
        return
    money = Money(row["amount"], row["captured"], row["refunded"])
    if told.state is PaymentState.CAPTURED:
        money = captured(money, told.captured or row["amount"])
    now_ns = clock.now_ns()
    await work.session.execute(
        "UPDATE payment SET state = $2, captured = $3, reason = $4, vendor = $5, "
        "vendor_id = CASE WHEN $6 = '' THEN vendor_id ELSE $6 END, changed = $7 WHERE payment_id = $1",
        row["payment_id"],
        told.state.value,
        money.captured,
        told.reason,
        vendor,
        told.id,
        time_of(now_ns),
    )
    known = {**row, "state": told.state.value, "captured": money.captured, "reason": told.reason}
    work.announce(payment_event(known, now_ns))
    if told.state is PaymentState.PENDING:
        kind, after_s = ("cancel", 0.0) if row["withdrawn"] else ("look", told.look_again_s)
        await add_payment_call(work.session, clock, row, kind, told.id, after_s)


async def add_payment_call(
    session: Session, clock: Clock, row: Row, kind: str, vendor_id: str, after_s: float = 0.0
) -> None:
    """Have the gateway be asked about a payment that it has."""
    await add_call(
        session,
        clock,
        tenant_id=row["tenant_id"],
        port="payments",
        kind=kind,
        about=row["payment_id"],
        request={"vendor_id": vendor_id, "look_again_s": after_s},
        after_s=after_s,
    )


async def take_refund(work: UnitOfWork, clock: Clock, refund: Row, payment: Row, told: Refund) -> None:
    """Write down what the gateway has ``told`` of ``refund``, whose ``payment`` is locked, where that leads on."""
    if not refund_leads_on(refund["state"], told.state):
        return
    now_ns = clock.now_ns()
    await _write_refund(work.session, refund, told.state, told.id, told.reason, now_ns)
    if told.state is RefundState.FAILED:
        await count_refunds(work.session, payment)
    if refund["elsewhere"]:  # orders have heard of one that was done, and the vendor knows none of our keys
        if told.state is RefundState.DONE:
            work.announce(_refund_event(refund, Told.REFUNDED_ELSEWHERE, told.reason, now_ns))
        elif refund["state"] == RefundState.DONE:
            work.announce(_refund_event(refund, Told.REFUND_FAILED, told.reason, now_ns))
    elif (what := _TOLD_OF_REFUND.get(told.state)) is not None:
        work.announce(_refund_event(refund, what, told.reason, now_ns))
    else:
        await add_call(
            work.session,
            clock,
            tenant_id=refund["tenant_id"],
            port="payments",
            kind="look-refund",
            about=refund["refund_id"],
            request={"payment": payment["vendor_id"], "look_again_s": told.look_again_s},
            after_s=told.look_again_s,
        )


async def refund_elsewhere(work: UnitOfWork, clock: Clock, payment: Row, told: Refund) -> None:
    """Take a refund of the locked ``payment`` that nobody here has asked for, by the gateway's name of it."""
    now_ns = clock.now_ns()
    refund_id = new_ulid(now_ns // 1_000_000)
    known = "SELECT * FROM refund WHERE payment_id = $1 AND vendor_id = $2"
    rows = await work.session.fetch(known, payment["payment_id"], told.id)
    if not rows:
        await work.session.execute(
            "INSERT INTO refund (refund_id, tenant_id, payment_id, order_id, request, amount, currency, vendor_id, "
            "elsewhere, created, changed) VALUES ($1, $2, $3, $4, $1, $5, $6, $7, true, $8, $8)",
            refund_id,
            payment["tenant_id"],
            payment["payment_id"],
            payment["order_id"],
            told.amount,
            payment["currency"],
            told.id,
            time_of(now_ns),
        )
        await count_refunds(work.session, payment)
        rows = await work.session.fetch(known, payment["payment_id"], told.id)
    await take_refund(work, clock, rows[0], payment, told)


async def take_dispute(work: UnitOfWork, clock: Clock, payment: Row, told: Dispute) -> None:
    """Tell what has become of a dispute about the locked ``payment``; what is lost is money that went back."""
    data = {
        "order": payment["order_id"],
        "request": f"{payment['payment_id']}-{hashlib.sha256(told.id.encode()).hexdigest()[:12]}",
        "payment": payment["payment_id"],
        "state": told.state.value,
        "amount": str(told.amount),
        "currency": payment["currency"],
        "reason": told.reason,
    }
    if told.state is DisputeState.LOST:  # told first: between both, what is not paid would be free to leave
        why = "the bank has decided a dispute for the customer"
        lost = Refund(told.id, "", told.payment, RefundState.DONE, told.amount, why)
        await refund_elsewhere(work, clock, payment, lost)
    tenant_id, order = payment["tenant_id"], payment["order_id"]
    work.announce(integration_event(tenant_id, order, Told.PAYMENT_DISPUTED, clock.now_ns(), data))


async def refuse_refund(work: UnitOfWork, clock: Clock, refund: Row, payment: Row, reason: str) -> None:
    """The gateway does not give the money back."""
    if not refund_leads_on(refund["state"], RefundState.FAILED):
        return
    now_ns = clock.now_ns()
    await _write_refund(work.session, refund, RefundState.FAILED, "", reason, now_ns)
    await count_refunds(work.session, payment)
    work.announce(_refund_event(refund, Told.REFUND_FAILED, reason, now_ns))


async def drop_refund(session: Session, clock: Clock, refund: Row, payment: Row) -> None:
    """The gateway was not asked for ``refund``, and is not going to be."""
    if not refund_leads_on(refund["state"], RefundState.FAILED):
        return
    reason = "it was paid back another way before it was asked for"
    await _write_refund(session, refund, RefundState.FAILED, "", reason, clock.now_ns())
    await count_refunds(session, payment)


async def count_refunds(session: Session, payment: Row) -> None:
    """Write down how much of the locked ``payment`` went back or is on its way, by its refunds as they stand."""
    rows = await session.fetch(
        "SELECT amount FROM refund WHERE payment_id = $1 AND state <> 'failed'", payment["payment_id"]
    )
    back = given_back(payment["captured"], [row["amount"] for row in rows])
    await session.execute("UPDATE payment SET refunded = $2 WHERE payment_id = $1", payment["payment_id"], back)


async def _write_refund(
    session: Session, refund: Row, state: RefundState, vendor_id: str, reason: str, now_ns: int
) -> None:
    await session.execute(
        "UPDATE refund SET state = $2, vendor_id = CASE WHEN $3 = '' THEN vendor_id ELSE $3 END, reason = $4, "
        "changed = $5 WHERE refund_id = $1",
        refund["refund_id"],
        state.value,
        vendor_id,
        reason,
        time_of(now_ns),
    )


def payment_event(row: Mapping[str, Any], now_ns: int) -> DomainEvent:
    """What is told of a payment as it stands."""
    amount = row["captured"] if row["state"] == PaymentState.CAPTURED else row["amount"]
    told = {
        "order": row["order_id"],
        "request": row["request"],
        "payment": row["payment_id"],
        "customer": row["customer"],
        "amount": str(amount),
        "currency": row["currency"],
        "reason": row["reason"],
    }
    return integration_event(row["tenant_id"], row["order_id"], _TOLD_OF_PAYMENT[row["state"]], now_ns, told)


def refund_event(row: Row, now_ns: int) -> DomainEvent | None:
    """What is told of a refund as it stands; nothing while it is on its way."""
    what = _TOLD_OF_REFUND.get(row["state"])
    return None if what is None else _refund_event(row, what, row["reason"], now_ns)


def _refund_event(row: Mapping[str, Any], what: Told, reason: str, now_ns: int) -> DomainEvent:
    told = {
        "order": row["order_id"],
        "request": row["request"],
        "payment": row["payment_id"],
        "amount": str(row["amount"]),
        "currency": row["currency"],
        "reason": reason,
    }
    return integration_event(row["tenant_id"], row["order_id"], what, now_ns, told)
