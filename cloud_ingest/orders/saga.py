"""What follows from how an order stands, done step by step until nothing more follows.

The saga has no state of its own: each step is found anew from the order, so that it is the same whichever event came
first, and however often. A step is done once because it changes what it is found by, in the transaction that has the
order locked. What has to be asked of the outside is told as an event with a key (``case.Request``), again by a timer.

Compensation is the same: while an order is ``cancelling``, what is held is given back, and money that is no longer
owed (``Case.excess``) goes back wherever an order stands.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from cloud_ingest.orders import ending, paying, producing, shipping
from cloud_ingest.orders.case import Case, Kind, RequestState
from cloud_ingest.orders.events import Told
from cloud_ingest.orders.rules import IN_QUARANTINE, IN_THE_PLANT, PROBLEMS, State
from cloud_ingest.orders.scene import SAGA, Scene
from cloud_ingest.orders.surprises import to_look_at

STEPS_MAX: Final = 300
"""More steps at once than any order takes: then one is found again and again, which is a defect."""
_STEPS: Final[tuple[Callable[[Scene], Awaitable[bool]], ...]] = (
    ending.expire,
    paying.take_payment,
    paying.refund,
    producing.release,
    producing.take_stock,
    producing.look_for_components,
    producing.plan_again,
    shipping.pack,
    shipping.ship,
    producing.stand,
    ending.take_back,
    ending.come_back,
    ending.close,
    paying.ask_again,
)
_LOST: Final = frozenset({"exception", "failure", "lost", "returned", "return-to-sender"})
"""What a carrier says of a parcel that does not arrive."""


async def settle(at: Scene) -> None:
    """Do everything that follows from how the order stands; again, it does nothing."""
    for _ in range(STEPS_MAX):
        for step in _STEPS:
            if await step(at):
                break
        else:
            _tell_problem(at)
            return
    raise RuntimeError(f"order {at.case.order}: a step is found again and again while it is {at.case.state}")


def _tell_problem(at: Scene) -> None:
    case = at.case
    found = problem(at)
    if found != case.problem and found:
        more = {"code": found, "text": why(case, found), "action": PROBLEMS[found]}
        case.tell(at.now, "stuck", why(case, found), SAGA, Told.STUCK, **more)
    case.problem = found


def problem(at: Scene) -> str:
    """Why it stands still until a person does something, as a key of ``PROBLEMS``; empty when it does not."""
    case = at.case
    if (check := to_look_at(case)) is not None:
        return check.subject
    for asked in case.requests:
        if asked.kind is Kind.CHECK:
            continue
        if asked.state is RequestState.FAILED and (asked.due is None or asked.kind is Kind.PAYMENT):
            if asked.kind is Kind.PAYMENT and asked.reason == "nobody answers":
                return "payment_unanswered"
            return f"{asked.kind}_failed"
    if case.state in IN_THE_PLANT:
        if case.missing_code:
            return case.missing_code
        if any(producing.shortfall(at, line) > 0 for line in case.lines):
            return "production_short"
        if case.promised is not None and at.now > case.promised and any(line.outstanding > 0 for line in case.lines):
            return "late"
    if case.state is State.SHIPPED and any(one.carrier_state in _LOST for one in case.shipments_left()):
        return "delivery_failed"
    return ""


def why(case: Case, code: str) -> str:
    """The problem ``code`` of this order in a sentence."""
    if (check := to_look_at(case)) is not None and check.subject == code:
        return check.reason
    if code in ("no_routing", "components_missing", IN_QUARANTINE):
        return case.missing
    if code == "late" and case.promised is not None:
        return f"It was promised for {case.promised:%Y-%m-%d %H:%M} UTC, and is not complete"
    if code == "production_short":
        return "Its work orders do not give all that is needed"
    if code == "delivery_failed":
        return "; ".join(f"{one.tracking}: {one.carrier_state}" for one in case.shipments_left() if one.carrier_state)
    failed = (one for one in case.requests if one.state is RequestState.FAILED and one.kind is not Kind.CHECK)
    reasons = (one.reason for one in failed if one.reason)
    return next(reasons, code.replace("_", " "))


def look_again(at: Scene) -> datetime | None:
    """When the time alone makes something follow, next."""
    case, terms = at.case, at.terms
    dues = [one.due for one in case.requests if one.state in (RequestState.OPEN, RequestState.FAILED)]
    match case.state:
        case State.QUOTE:
            dues.append(case.valid_until)
        case State.PLACED:
            dues.append(case.changed + timedelta(seconds=terms.payment_s))
        case State.SHIPPED:
            dues.append(case.changed + timedelta(seconds=terms.close_s))
        case State.RELEASED | State.IN_PRODUCTION | State.PACKED:
            if any(line.outstanding > 0 for line in case.lines):
                dues.append(case.promised)
            if case.counted is not None:
                dues.append(case.counted + timedelta(seconds=terms.grace_s))
        case _:
            pass
    return min((due for due in dues if due is not None and due > at.now), default=None)
