"""What an order hears: from its customer, from operators, from lines, and from the outside. Pure: no I/O, no clock.

Every function may be told the same thing again, and late: then it changes nothing. What follows from a fact is not
done here, but by ``saga.settle``, which looks at how the order stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, assert_never

from cloud_ingest.orders import surprises
from cloud_ingest.orders.case import (
    WORK_ORDER_OVER,
    Case,
    Kind,
    Payment,
    Request,
    RequestState,
    Return,
    ReturnState,
    Shipment,
    ShipmentState,
)
from cloud_ingest.orders.events import Told
from cloud_ingest.orders.rules import CANCELLABLE, IN_THE_PLANT, ZERO, State, quantity_text, retry_after_s
from cloud_ingest.orders.surprises import PAYMENTS
from cloud_ingest.orders.terms import Terms

CARRIER: Final = "carrier"
LINES: Final = "lines"
BY_HAND: Final = "by-hand-"
"""So begins the id of a payment that an operator has recorded: nobody but a person can pay it back."""
DONE_BY_HAND: Final = "done by hand"
"""So begins the reason of a refund that an operator has made."""


_MOVES: Final = frozenset({"in-transit", "exception", "delivered"})
"""What a carrier says of a parcel that it has."""


class NotNow(Exception):
    """It cannot be done as the order stands; the text is a sentence for who has asked."""


def accept(case: Case, now: datetime, actor: str) -> None:
    """Make a quote an order. Raises ``NotNow``."""
    if case.state is not State.QUOTE:
        raise NotNow(f"the order {case.order} is {case.state} already: only a quote is accepted")
    if case.valid_until is not None and now >= case.valid_until:
        raise NotNow(f"the quote {case.order} was valid until {case.valid_until.isoformat()}: ask for a new one")
    case.become(State.PLACED, now, "The order was placed", actor, Told.PLACED)


def cancel(case: Case, now: datetime, reason: str, actor: str) -> None:
    """Have the order cancelled; again, it changes nothing. Raises ``NotNow`` when it has left already."""
    if case.state in (State.CANCELLING, State.CANCELLED):
        return
    if case.state is not State.QUOTE and case.state not in CANCELLABLE:
        raise NotNow(f"the order {case.order} is {case.state}: what has left comes back as a return")
    for line in case.lines:
        line.cancelled = line.quantity - line.shipped
    case.reason = reason
    if case.state is State.QUOTE:
        case.become(State.CANCELLED, now, f"The quote was taken back: {reason}", actor, Told.CANCELLED, reason=reason)
        return
    text = f"It is being cancelled: {reason}"
    case.become(State.CANCELLING, now, text, actor, Told.CANCEL_REQUESTED, reason=reason)


# -- payments ----------------------------------------------------------------------------------------------------------


def payment_captured(case: Case, now: datetime, payment: str, amount: Decimal, request: str = "") -> None:
    """``amount`` has come in as ``payment``. A second message about the same payment changes nothing."""
    if amount <= 0 or any(one.payment == payment for one in case.payments):
        return
    case.payments.append(Payment(payment, amount, is_by_hand=payment.startswith(BY_HAND)))
    asked = _asked(case, Kind.PAYMENT, request)
    if asked is not None:
        asked.state, asked.due, asked.reason = RequestState.DONE, None, ""
    text = f"{amount} {case.currency} have come in"
    case.tell(now, "payment", text, PAYMENTS, Told.PAYMENT_RECEIVED, payment=payment, amount=str(amount))


def payment_pending(case: Case, request: str) -> None:
    """The customer or the bank takes their time: nobody is asked again until the time for the payment is over."""
    asked = _asked(case, Kind.PAYMENT, request)
    if asked is not None and asked.state is RequestState.OPEN:
        asked.due, asked.reason = None, "the customer has not finished the payment"


def payment_failed(case: Case, now: datetime, reason: str, terms: Terms, request: str = "") -> None:
    """The customer's payment did not go through; some hours later it is asked for again."""
    asked = _asked(case, Kind.PAYMENT, request)
    if asked is None or asked.state is not RequestState.OPEN:
        return
    _fail(asked, now, reason, terms)
    case.tell(now, "payment", f"The payment failed: {reason}", PAYMENTS, Told.PAYMENT_FAILED, reason=reason)


def refunded(case: Case, now: datetime, request: str) -> None:
    """A refund was made. One that a person has made already was made twice: somebody has to hear of it."""
    asked = _asked(case, Kind.REFUND, request)
    if asked is None:
        for done in case.requests_of(Kind.REFUND, RequestState.DONE):
            if done.request == request and done.reason.startswith(DONE_BY_HAND):
                surprises.paid_twice(case, request, done.amount)
        return
    asked.state, asked.due, asked.reason = RequestState.DONE, None, ""
    payment = next((one for one in case.payments if one.payment == asked.subject), None)
    text = f"{asked.amount} {case.currency} were paid back"
    surprises.pay_back(case, request, payment, asked.amount, text)
    case.tell(now, "refund", text, PAYMENTS, Told.REFUNDED, payment=asked.subject, amount=str(asked.amount))


def refund_failed(case: Case, now: datetime, reason: str, terms: Terms, request: str) -> None:
    """A refund was not made: it is asked for again, and after some times an operator has to see to it.

    A bank may send back what was done, when the account is closed, say: then it is owed again, and an operator's; what
    the provider had paid back by itself is as if it had not been.
    """
    asked = _asked(case, Kind.REFUND, request)
    if asked is not None and asked.state is RequestState.OPEN:
        _fail(asked, now, reason, terms)
        case.tell(now, "refund", f"A refund failed: {reason}", PAYMENTS)
    for done in case.requests_of(Kind.REFUND, RequestState.DONE):
        if done.request == request and not done.reason:
            is_ours = done.attempts != surprises.NEVER_ASKED
            done.state, done.reason = RequestState.FAILED if is_ours else RequestState.WITHDRAWN, reason
            for payment in case.payments:
                if payment.payment == done.subject:
                    payment.refunded = max(ZERO, payment.refunded - done.amount)
            text = f"{done.amount} {case.currency} that were paid back have come back: {reason}"
            case.tell(now, "refund", text, PAYMENTS)


# -- shipments ---------------------------------------------------------------------------------------------------------


def shipment_created(case: Case, shipment: str, *, carrier: str, tracking: str, label_url: str) -> None:
    """The carrier takes a shipment. ``settle`` books it out of stock, unless it was taken back meanwhile."""
    asked = next((one for one in case.requests if one.kind is Kind.SHIPMENT and one.subject == shipment), None)
    found = case.shipment(shipment)
    if found is None or asked is None or found.state is not ShipmentState.REQUESTED:
        return
    asked.state, asked.due, asked.reason = RequestState.DONE, None, ""
    found.carrier, found.tracking, found.label_url = carrier, tracking, label_url


def shipment_failed(case: Case, now: datetime, shipment: str, reason: str, terms: Terms) -> None:
    """The carrier does not take a shipment: it is asked again, and after some times an operator has to see to it."""
    for asked in case.requests_of(Kind.SHIPMENT, RequestState.OPEN):
        if asked.subject == shipment:
            _fail(asked, now, reason, terms)
            case.tell(now, "shipment", f"The carrier does not take a shipment: {reason}", CARRIER)


def tracking_changed(case: Case, now: datetime, shipment: str, state: str) -> None:
    """The carrier says where a shipment is; ``delivered`` is the end of it."""
    found = case.shipment(shipment)
    if found is not None and found.state is ShipmentState.VOIDED and state in _MOVES and not found.carrier_state:
        found.carrier_state = state
        surprises.left_all_the_same(case, found)
    if found is None or found.state is not ShipmentState.SHIPPED or found.carrier_state == state:
        return
    found.carrier_state = state
    if state == "delivered":
        found.state = ShipmentState.DELIVERED
        text = f"{found.carrier or 'The carrier'} has delivered {found.tracking or shipment}"
        case.tell(now, "delivered", text, CARRIER, Told.DELIVERED, shipment=shipment)
    else:
        case.tell(now, "tracking", f"{found.tracking or shipment}: {state.replace('_', ' ')}", CARRIER)


def pack(case: Case, now: datetime, shipment: Shipment, actor: str) -> None:
    """Put what is reserved into parcels. Raises ``NotNow``."""
    if case.state not in IN_THE_PLANT:
        raise NotNow(f"the order {case.order} is {case.state}: packed is what is released or in production")
    for number, quantity in shipment.lines.items():
        line = next((line for line in case.lines if line.line == number), None)
        if line is None:
            raise NotNow(f"the order {case.order} has no line {number}")
        if quantity > line.reserved:
            here = quantity_text(line.reserved)
            raise NotNow(f"of line {number}, {here} are in stock for this order, not {quantity_text(quantity)}")
        line.reserved -= quantity
        line.packed += quantity
    case.shipments.append(shipment)
    count = len(shipment.parcels)
    case.tell(now, "packed", "A parcel is packed" if count == 1 else f"{count} parcels are packed", actor)


def void(case: Case, now: datetime, shipment: Shipment, actor: str) -> None:
    """Take back a shipment that has not left: its label is not used. What is in it is reserved for its lines again."""
    for number, quantity in shipment.lines.items():
        line = case.line(number)
        line.packed -= quantity
        line.reserved += quantity
    shipment.state = ShipmentState.VOIDED
    for asked in case.requests_of(Kind.SHIPMENT, RequestState.OPEN, RequestState.FAILED):
        if asked.subject == shipment.shipment:
            asked.state, asked.due = RequestState.WITHDRAWN, None
    case.tell(now, "unpacked", "Parcels were taken back", actor, Told.SHIPMENT_VOIDED, shipment=shipment.shipment)


# -- production --------------------------------------------------------------------------------------------------------


_NOT_BEGUN: Final = frozenset({"planned", "ready", "next"})
_SAID: Final[Mapping[str, str]] = {
    "running": "is being produced",
    "complete": "is complete",
    "cancelled": "was cancelled",
}


def work_order_changed(
    case: Case, now: datetime, work_order: str, state: str, *, good: Decimal, reject: Decimal
) -> bool:
    """What lines say of a work order now; whether it is one of this order, and anything has changed."""
    found = next((one for one in case.work_orders if one.work_order == work_order), None)
    if found is None:
        return False
    if found.is_over and state not in WORK_ORDER_OVER:
        state = found.state  # it was told before this order had it cancelled
    if found.state not in _NOT_BEGUN and state in _NOT_BEGUN:
        state = found.state  # what has begun is never as if it had not: it was told late
    if (found.state, found.good, found.reject) == (state, good, reject):
        return False
    earlier, found.state = found.state, state
    line = case.line(found.line)
    if found.is_last and found.item == line.product:
        line.produced += good - found.good
    if (found.good, found.reject) != (good, reject):
        found.good, found.reject, case.counted = good, reject, now
    if state != earlier and (said := _SAID.get(state)):
        case.tell(
            now, "work_order", f"Work order {work_order} ({quantity_text(found.quantity)} × {found.item}) {said}", LINES
        )
    return True


# -- returns -----------------------------------------------------------------------------------------------------------


def ask_return(case: Case, now: datetime, asked: Return, actor: str, terms: Terms) -> None:
    """Have something come back. Raises ``NotNow``."""
    if case.state not in (State.SHIPPED, State.CLOSED):
        raise NotNow(f"the order {case.order} is {case.state}: a return is of what was shipped, one at a time")
    left = max((one.left for one in case.shipments_left() if one.left is not None), default=now)
    if now > left + timedelta(seconds=terms.return_s):
        raise NotNow(f"the order {case.order} left on {left:%Y-%m-%d}: the time for returns is over")
    for number, quantity in asked.lines.items():
        line = next((line for line in case.lines if line.line == number), None)
        if line is None:
            raise NotNow(f"the order {case.order} has no line {number}")
        if quantity > line.shipped - line.returned:
            has = quantity_text(line.shipped - line.returned)
            raise NotNow(f"of line {number}, the customer has {has}, not {quantity_text(quantity)}")
    case.returns.append(asked)
    text = f"A return was asked for: {asked.reason}"
    more = {"return": asked.return_id, "reason": asked.reason}
    case.become(State.RETURNING, now, text, actor, Told.RETURN_REQUESTED, **more)


def return_received(case: Case, now: datetime, found: Return, quantities: Mapping[int, Decimal], actor: str) -> None:
    """It has come back: so much of which line. Raises ``NotNow``."""
    if found.state is not ReturnState.REQUESTED:
        raise NotNow(f"the return {found.return_id} was {found.state} already")
    for number, quantity in quantities.items():
        if quantity > found.lines.get(number, ZERO):
            asked = quantity_text(found.lines.get(number, ZERO))
            said = f"the return {found.return_id} is about {asked} of line {number}, not {quantity_text(quantity)}"
            raise NotNow(said)
        case.line(number).returned += quantity
    found.state, found.received = ReturnState.RECEIVED, dict(quantities)
    case.tell(now, "return", "The return has come in", actor, Told.RETURN_RECEIVED, **{"return": found.return_id})


def return_refused(case: Case, now: datetime, found: Return, reason: str, actor: str) -> None:
    """Nothing comes back. Raises ``NotNow``."""
    if found.state is not ReturnState.REQUESTED:
        raise NotNow(f"the return {found.return_id} was {found.state} already")
    found.state = ReturnState.REFUSED
    text = f"The return was refused: {reason}"
    case.tell(now, "return", text, actor, Told.RETURN_REFUSED, **{"return": found.return_id}, reason=reason)


# -- operators ---------------------------------------------------------------------------------------------------------


def retry(case: Case, now: datetime, actor: str) -> None:
    """Try everything again that has failed, with its count of attempts from the beginning."""
    for asked in case.requests:
        if asked.kind is Kind.CHECK:
            continue
        if asked.state in (RequestState.OPEN, RequestState.FAILED) and not _is_by_hand(case, asked):
            asked.state, asked.attempts, asked.due = RequestState.OPEN, 0, now
    case.replan = True
    case.tell(now, "retry", "What has failed is tried again", actor)


def resolve(case: Case, now: datetime, asked: Request, actor: str, reference: str) -> None:
    """An operator has done by hand what was asked of the outside, or has looked at it. Raises ``NotNow``."""
    if asked.state not in (RequestState.OPEN, RequestState.FAILED):
        raise NotNow(f"the request {asked.request} is {asked.state} already")
    said = "Looked at" if asked.kind is Kind.CHECK else f"Done by hand: {asked.kind}"
    case.tell(now, "resolved", f"{said} ({reference})", actor)
    match asked.kind:
        case Kind.PAYMENT:
            payment_captured(case, now, f"{BY_HAND}{asked.request}", asked.amount, asked.request)
            text = "The payment is no longer asked for"
            case.tell(now, "payment", text, actor, Told.PAYMENT_WITHDRAWN, request=asked.request)
        case Kind.REFUND:
            is_asked = not _is_by_hand(case, asked)
            refunded(case, now, asked.request)
            asked.reason = f"{DONE_BY_HAND}: {reference}"
            if is_asked:
                text = "The provider need not pay it back any more"
                case.tell(now, "resolved", text, actor, Told.REFUND_WITHDRAWN, request=asked.request)
        case Kind.SHIPMENT:
            shipment_created(case, asked.subject, carrier="by hand", tracking=reference, label_url="")
        case Kind.CHECK:
            surprises.looked_at(case, asked, reference)
        case _:
            assert_never(asked.kind)


def _is_by_hand(case: Case, asked: Request) -> bool:
    return asked.kind is Kind.REFUND and any(
        payment.payment == asked.subject and payment.is_by_hand for payment in case.payments
    )


def _asked(case: Case, kind: Kind, request: str) -> Request | None:
    """The request that an answer is about: by its id; a payment without one is about the one that was asked last."""
    states = (RequestState.OPEN, RequestState.FAILED, RequestState.WITHDRAWN)
    found = [one for one in case.requests if one.kind is kind and one.state in states]
    if request:
        return next((one for one in found if one.request == request), None)
    return found[-1] if found and kind is Kind.PAYMENT else None


def _fail(asked: Request, now: datetime, reason: str, terms: Terms) -> None:
    asked.state, asked.reason = RequestState.FAILED, reason
    retries = asked.attempts < terms.attempts_max
    wait_s = retry_after_s(asked.attempts, terms.retry_first_s, terms.retry_longest_s)
    asked.due = now + timedelta(seconds=wait_s) if retries else None
