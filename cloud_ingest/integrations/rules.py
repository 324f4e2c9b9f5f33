"""What may become of payments, refunds, shipments and calls. Pure: no I/O, no clock.

What a vendor tells may come late, twice and in any order (a webhook before the answer to the call, say). So a state is
taken only where it leads on; what was captured never becomes pending again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from typing import Final, Literal, assert_never

from connectors.ports.payments import PaymentState, RefundState
from connectors.ports.shipping import TrackingState

ZERO: Final = Decimal(0)
REQUESTED: Final = "requested"

_PAYMENT_FOLLOWS: Final[Mapping[str, Collection[str]]] = {
    REQUESTED: frozenset(PaymentState),
    PaymentState.PENDING: frozenset({PaymentState.CAPTURED, PaymentState.FAILED, PaymentState.CANCELLED}),
    PaymentState.FAILED: frozenset({PaymentState.CAPTURED}),
    PaymentState.CANCELLED: frozenset({PaymentState.CAPTURED}),
    PaymentState.CAPTURED: frozenset(),
}
"""Money that is there is taken down even where a payment was given up: somebody has to give it back."""


def payment_leads_on(now: str, told: PaymentState) -> bool:
    """Whether a payment that is ``now`` becomes what the gateway has ``told``."""
    return told in _PAYMENT_FOLLOWS.get(now, ())


@dataclass(frozen=True, slots=True)
class Money:
    """Of one payment: what was asked for, what is ours, and what was given back or is on its way back."""

    amount: Decimal
    captured: Decimal = ZERO
    refunded: Decimal = ZERO

    @property
    def left(self) -> Decimal:
        """What can still be given back."""
        return self.captured - self.refunded


def captured(money: Money, told: Decimal) -> Money:
    """``money`` once the gateway says that ``told`` was captured: once, whatever it says again."""
    return money if money.captured else replace(money, captured=told)


def refund_begun(money: Money, amount: Decimal) -> Money:
    """``money`` with ``amount`` on its way back. Raises ``ValueError`` with a sentence when there is less left."""
    if amount <= ZERO:
        raise ValueError(f"a refund of {amount} is none")
    if amount > money.left:
        raise ValueError(
            f"{amount} cannot be given back: of {money.captured} that were captured, {money.left} are left"
        )
    return replace(money, refunded=money.refunded + amount)


def given_back(captured: Decimal, refunds: Iterable[Decimal]) -> Decimal:
    """What of ``captured`` went back or is on its way, by all ``refunds`` that have not failed.

    Somebody who gives it back at the vendor's own page may come before a refund that is on its way from here: the
    vendor refuses the second one, and until it does, all of it is on its way.
    """
    return min(captured, sum(refunds, ZERO))


def refund_leads_on(now: str, told: RefundState) -> bool:
    """Whether a refund that is ``now`` becomes ``told``. A bank may send back what was done."""
    match told:
        case RefundState.PENDING:
            return now == REQUESTED
        case RefundState.DONE:
            return now in (REQUESTED, RefundState.PENDING)
        case RefundState.FAILED:
            return now in (REQUESTED, RefundState.PENDING, RefundState.DONE)
        case _:
            assert_never(told)


_TRACKING_ENDS: Final = frozenset({TrackingState.DELIVERED, TrackingState.CANCELLED})


def tracking_leads_on(now: str, told: TrackingState) -> bool:
    """Whether a shipment that is ``now`` becomes ``told``: an end stays, and it is never only created again."""
    return now not in _TRACKING_ENDS and told != now and told is not TrackingState.CREATED


# -- calls ------------------------------------------------------------------------------------------------------------


class Failure(Enum):
    """Why a call was not done, as the errors of ``ports.vendors`` say it."""

    UNAVAILABLE = "unavailable"
    UNCERTAIN = "uncertain"
    ACCESS = "access"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a call is tried, and how long is waited: from ``first_s``, doubled each time, to ``longest_s``."""

    tries_max: int = 12
    first_s: float = 2.0
    longest_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of a call that has failed. ``may_be_done``: the vendor is asked after it before it is repeated."""

    state: Literal["waiting", "refused", "dead"]
    wait_s: float
    failures: int
    may_be_done: bool


def after_failure(
    failure: Failure,
    failures: int,
    patience: Patience,
    *,
    jitter: float,
    may_be_done: bool = False,
    retry_after_s: float | None = None,
) -> Next:
    """What becomes of a call that has failed for the ``failures + 1``-th time; ``jitter`` is from 0 to 1.

    A key that is not taken is no fault of the call: it waits for ever, as all others of the vendor do. One that may
    have been done stays so until the vendor says what became of it, whatever goes wrong when it is asked.
    """
    bound_s = min(patience.longest_s, patience.first_s * 2.0 ** min(failures, 30))
    wait_s = max(bound_s * (0.5 + 0.5 * jitter), retry_after_s or 0.0)
    match failure:
        case Failure.ACCESS:
            return Next("waiting", max(wait_s, min(60.0, patience.longest_s)), failures, may_be_done)
        case Failure.REFUSED:
            return Next("refused", 0.0, failures + 1, may_be_done)
        case Failure.UNAVAILABLE | Failure.UNCERTAIN:
            uncertain = may_be_done or failure is Failure.UNCERTAIN
            state: Literal["waiting", "dead"] = "dead" if failures + 1 >= patience.tries_max else "waiting"
            return Next(state, wait_s, failures + 1, uncertain)
        case _:
            assert_never(failure)


# -- circuit breaker --------------------------------------------------------------------------------------------------

OPENS_AFTER: Final = 5
OPEN_FIRST_S: Final = 10.0
OPEN_LONGEST_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """Of one vendor: failures in a row, how often it has opened in a row, and until when it is open."""

    failures: int = 0
    openings: int = 0
    open_until_ns: int | None = None

    def is_open(self, now_ns: int) -> bool:
        """Whether no call goes out now."""
        return self.open_until_ns is not None and now_ns < self.open_until_ns

    def tries_one(self, now_ns: int) -> bool:
        """Whether one call, and not more, goes out to see if the vendor is back."""
        return self.open_until_ns is not None and now_ns >= self.open_until_ns


def tried_one(circuit: Circuit, now_ns: int, within_s: float) -> Circuit:
    """``circuit`` while one call finds out: no other goes for as long as that can take."""
    return replace(circuit, open_until_ns=now_ns + round(within_s * 1e9))


def after_call(circuit: Circuit, failure: Failure | None, now_ns: int) -> Circuit:
    """``circuit`` after a call. That the vendor says no to one call is a sign that it is well."""
    match failure:
        case None | Failure.REFUSED:
            return Circuit()
        case Failure.ACCESS | Failure.UNAVAILABLE | Failure.UNCERTAIN:
            failures = circuit.failures + 1
            if failures < OPENS_AFTER and failure is not Failure.ACCESS and circuit.open_until_ns is None:
                return replace(circuit, failures=failures)
            open_s = min(OPEN_LONGEST_S, OPEN_FIRST_S * 2.0 ** min(circuit.openings, 30))
            return Circuit(failures, circuit.openings + 1, now_ns + round(open_s * 1e9))
        case _:
            assert_never(failure)
