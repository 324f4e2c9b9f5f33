"""What happens to an order and nobody here has asked for: a person has to look at it. Pure: no I/O, no clock.

Money goes back at the payment provider's own page, or at the bank of a customer who disputes it; it goes back twice; a
parcel leaves that was taken back. Each is a request of the kind ``check``: it stands until somebody resolves it, and
what they leave unpaid is forgiven (``Case.forgiven``).
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from cloud_ingest.orders.case import REFUNDED_ELSEWHERE, Case, Kind, Payment, Request, RequestState, Shipment
from cloud_ingest.orders.events import Told
from cloud_ingest.orders.rules import ZERO, State

REFUNDED_TWICE: Final = "refunded_twice"
LEFT_ALL_THE_SAME: Final = "left_all_the_same"
DISPUTED: Final = "disputed"
PAYMENTS: Final = "payments"
NEVER_ASKED: Final = 0
"""The attempts of a refund that the provider has made by itself."""
_UNPAID: Final = frozenset({State.QUOTE, State.PLACED})
"""Before it was paid, what is missing is asked for again by itself."""


def pay_back(case: Case, request: str, payment: Payment | None, amount: Decimal, text: str) -> None:
    """``amount`` of ``payment`` went back, as ``text`` says: what had gone back before, or is owed, is too much."""
    booked = amount if payment is None else min(amount, payment.captured - payment.refunded)
    if payment is not None:
        payment.refunded += booked
    if booked < amount:
        paid_twice(case, request, amount - booked)
    if case.state not in _UNPAID and case.excess < 0:
        missing = -case.excess
        text = f"{text}: {missing} {case.currency} of what is owed are missing"
        _look(case, f"{request}-missing", REFUNDED_ELSEWHERE, missing, text)


def paid_twice(case: Case, request: str, amount: Decimal) -> None:
    """The customer has got ``amount`` once more than they should."""
    text = f"{amount} {case.currency} were paid back twice, by hand and by the provider"
    _look(case, f"{request}-twice", REFUNDED_TWICE, amount, text)


def left_all_the_same(case: Case, shipment: Shipment) -> None:
    """Parcels that were taken back are on their way."""
    what = shipment.tracking or shipment.shipment
    text = f"{what} was taken back, and is on its way all the same: stock still has its goods"
    _look(case, f"{shipment.shipment}-left", LEFT_ALL_THE_SAME, ZERO, text)


def refunded_elsewhere(case: Case, now: datetime, request: str, payment_id: str, amount: Decimal, reason: str) -> None:
    """The provider has paid back what it was not asked to from here; told again, it changes nothing.

    What is asked of the provider already is not needed any more, or is more than is left: the rest is asked for anew.
    """
    payment = next((one for one in case.payments if one.payment == payment_id), None)
    if payment is None or any(one.request == request for one in case.requests):
        return
    for asked in _not_needed(case, payment, amount):
        asked.state, asked.due, asked.reason = RequestState.WITHDRAWN, None, "it was paid back elsewhere"
        text = "The provider need not pay it back any more"
        case.tell(now, "resolved", text, PAYMENTS, Told.REFUND_WITHDRAWN, request=asked.request)
    case.requests.append(Request(request, Kind.REFUND, payment_id, amount, RequestState.DONE, NEVER_ASKED, None))
    text = f"{amount} {case.currency} were paid back"
    why = f" ({reason})" if reason else ""
    pay_back(case, request, payment, amount, f"{text} that nobody has asked for here{why}")
    case.tell(now, "refund", text, PAYMENTS, Told.REFUNDED, payment=payment_id, amount=str(amount))


def disputed(case: Case, now: datetime, dispute: str, amount: Decimal, state: str, reason: str) -> None:
    """A customer has their bank look at a payment: nothing leaves until that is ``won``, or somebody says so.

    Told late or again, an end stays. What is ``lost`` is told as a refund, too.
    """
    asked = next((one for one in case.requests if one.request == dispute), None)
    if state == "open":
        text = f"The customer's bank wants {amount} {case.currency} back" + (f": {reason}" if reason else "")
        if asked is None:
            _look(case, dispute, DISPUTED, amount, text)
            case.tell(now, "dispute", text, PAYMENTS)
        return
    if asked is None:
        case.requests.append(Request(dispute, Kind.CHECK, DISPUTED, amount, RequestState.DONE, 0, None, state))
    elif asked.reason != state:
        asked.state, asked.reason = RequestState.DONE, state
        text = f"The dispute about {amount} {case.currency} is {state}"
        case.tell(now, "dispute", text, PAYMENTS)


def is_disputed(case: Case) -> bool:
    """Whether a dispute is open that nobody has looked at."""
    return any(one.subject == DISPUTED for one in case.requests_of(Kind.CHECK, RequestState.FAILED))


def to_look_at(case: Case) -> Request | None:
    """The last of what a person has to look at. That money is missing is over when it has come in."""
    found = [
        one
        for one in case.requests_of(Kind.CHECK, RequestState.FAILED)
        if one.subject != REFUNDED_ELSEWHERE or case.excess < 0
    ]
    return found[-1] if found else None


def looked_at(case: Case, asked: Request, reference: str) -> None:
    """Somebody has looked at it: what is missing now is forgiven."""
    asked.amount = max(ZERO, -case.excess) if asked.subject == REFUNDED_ELSEWHERE else asked.amount
    asked.state, asked.reason = RequestState.DONE, reference


def _look(case: Case, request: str, code: str, amount: Decimal, text: str) -> None:
    if all(one.request != request for one in case.requests):
        case.requests.append(Request(request, Kind.CHECK, code, amount, RequestState.FAILED, 0, None, text))


def _not_needed(case: Case, payment: Payment, amount: Decimal) -> list[Request]:
    """Which refunds that are asked for are done by ``amount``, or are more than is left of ``payment`` behind it."""
    waiting = case.requests_of(Kind.REFUND, RequestState.OPEN, RequestState.FAILED)
    found = [one for one in waiting if one.subject == payment.payment]
    if (same := next((one for one in found if one.amount == amount), None)) is not None:
        return [same]
    left = payment.captured - payment.refunded - amount
    over: list[Request] = []
    while found and sum((one.amount for one in found), ZERO) > left:
        over.append(found.pop())
    return over
