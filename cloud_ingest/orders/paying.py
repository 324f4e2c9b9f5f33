"""The steps of the saga that are about money, and what is asked of the outside again."""

from __future__ import annotations

from decimal import Decimal
from typing import assert_never

from cloud_ingest.orders import facts
from cloud_ingest.orders.case import Case, Kind, Request, RequestState, Shipment
from cloud_ingest.orders.events import Told
from cloud_ingest.orders.rules import State, retry_after_s
from cloud_ingest.orders.scene import SAGA, Scene

_WAITING = (RequestState.OPEN, RequestState.FAILED)


async def refund(at: Scene) -> bool:
    """Whatever has come in and is not owed goes back, from the payments that came last."""
    case = at.case
    if case.state is State.QUOTE or (excess := case.excess) <= 0:
        return False
    for payment in reversed(case.payments):
        amount = min(excess, payment.captured - payment.refunded - case.refunding(payment.payment))
        if amount <= 0:
            continue
        made = new_request(at, Kind.REFUND, payment.payment, amount)
        case.requests.append(made)
        text = f"{amount} {case.currency} are to be paid back"
        if payment.is_by_hand:
            made.state, made.due = RequestState.FAILED, None
            made.reason = "it was paid by hand, so it has to be paid back by hand"
            case.tell(at.now, "refund", text, SAGA)
        else:
            more = {"request": made.request, "payment": payment.payment, "amount": str(amount)}
            case.tell(at.now, "refund", text, SAGA, Told.REFUND_REQUESTED, **more)
        return True
    return False


async def take_payment(at: Scene) -> bool:
    """A placed order is paid, or asked to be, or cancelled when its time for that is over."""
    case = at.case
    if case.state is not State.PLACED:
        return False
    if case.is_paid:
        withdraw_payments(at)
        case.become(State.PAID, at.now, "It is paid", SAGA, Told.PAID, amount=str(case.captured - case.refunded))
        return True
    if at.is_over(case.changed, at.terms.payment_s):
        facts.cancel(case, at.now, "it was not paid in time", SAGA)
        return True
    if next(case.requests_of(Kind.PAYMENT, *_WAITING), None) is not None:
        return False
    made = new_request(at, Kind.PAYMENT, "", -case.excess)
    case.requests.append(made)
    text = f"{made.amount} {case.currency} are to be paid"
    more = {"request": made.request, "amount": str(made.amount)}
    case.tell(at.now, "payment", text, SAGA, Told.PAYMENT_REQUESTED, **more)
    return True


async def ask_again(at: Scene) -> bool:
    """Whatever nobody has answered is asked again under its key; what was refused, under a new one."""
    for asked in at.case.requests:
        if asked.due is None or at.now < asked.due or asked.state not in _WAITING:
            continue
        if asked.state is RequestState.OPEN and asked.attempts >= at.terms.attempts_max:
            asked.state, asked.due = RequestState.FAILED, None
            asked.reason = asked.reason or "nobody answers"
            return True
        again = asked
        if asked.state is RequestState.FAILED and asked.kind is not Kind.SHIPMENT:
            # what a provider has refused under a key, it refuses under this key for ever
            withdraw(at, asked)
            again = new_request(at, asked.kind, asked.subject, asked.amount)
            at.case.requests.append(again)
        again.state = RequestState.OPEN
        again.attempts = asked.attempts + 1
        again.due = at.after(retry_after_s(again.attempts, at.terms.retry_first_s, at.terms.retry_longest_s))
        _tell_again(at, again)
        return True
    return False


def _tell_again(at: Scene, asked: Request) -> None:
    more: dict[str, object] = {"request": asked.request, "amount": str(asked.amount)}
    match asked.kind:
        case Kind.PAYMENT:
            text, told = "The payment is asked for again", Told.PAYMENT_REQUESTED
        case Kind.REFUND:
            text, told = "The refund is asked for again", Told.REFUND_REQUESTED
            more["payment"] = asked.subject
        case Kind.SHIPMENT:
            text, told = "The carrier is asked again", Told.SHIPMENT_REQUESTED
            shipment = at.case.shipment(asked.subject)
            more = {} if shipment is None else parcels(at.case, shipment)
        case Kind.CHECK:  # it is never due
            return
        case _:
            assert_never(asked.kind)
    at.case.tell(at.now, asked.kind.value, text, SAGA, told, **more)


def parcels(case: Case, shipment: Shipment) -> dict[str, object]:
    """What a carrier needs to know of ``shipment``."""
    return {"shipment": shipment.shipment, "address": case.address, "parcels": shipment.parcels}


def withdraw_payments(at: Scene) -> None:
    """Nobody is to pay any more."""
    for asked in [*at.case.requests_of(Kind.PAYMENT, *_WAITING)]:
        withdraw(at, asked)


def withdraw(at: Scene, asked: Request) -> None:
    """What was asked need not be done any more."""
    asked.state, asked.due = RequestState.WITHDRAWN, None
    if asked.kind is Kind.PAYMENT:
        text = "The payment is no longer asked for"
        at.case.tell(at.now, "payment", text, SAGA, Told.PAYMENT_WITHDRAWN, request=asked.request)


def new_request(at: Scene, kind: Kind, subject: str, amount: Decimal) -> Request:
    """A request that is made for the first time."""
    return Request(
        at.world.new_id(), kind, subject, amount, RequestState.OPEN, 1, at.after(at.terms.retry_first_s)
    )  # fmt: skip
