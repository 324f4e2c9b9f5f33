"""Rules of payments, refunds, shipments and calls: properties that hold whatever vendors tell, in any order."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.integrations.rules import (
    OPENS_AFTER,
    Circuit,
    Failure,
    Money,
    Patience,
    after_call,
    after_failure,
    captured,
    given_back,
    payment_leads_on,
    refund_begun,
    refund_leads_on,
    tracking_leads_on,
    tried_one,
)
from connectors.ports.payments import PaymentState, RefundState
from connectors.ports.shipping import TrackingState

AMOUNTS: Final = st.decimals(Decimal("0.01"), Decimal(10_000), places=2)
NS: Final = 1_000_000_000


@given(st.lists(st.sampled_from(PaymentState), max_size=12))
def test_a_payment_is_captured_at_most_once_whatever_is_told_and_stays_so(told: list[PaymentState]) -> None:
    state, captures = "requested", 0
    for one in told:
        if payment_leads_on(state, one):
            captures += one is PaymentState.CAPTURED
            state = one.value
    assert captures == (PaymentState.CAPTURED in told)
    assert (state == PaymentState.CAPTURED) == bool(captures)


@given(AMOUNTS, st.lists(st.tuples(st.sampled_from(["begin", "fail", "elsewhere"]), AMOUNTS), max_size=30))
def test_refunds_never_exceed_what_was_captured_and_balance(amount: Decimal, deeds: list[tuple[str, Decimal]]) -> None:
    money = captured(captured(Money(amount), amount), amount)
    assert money.captured == amount
    open_ones: list[Decimal] = []
    for deed, part in deeds:
        if deed == "fail" and open_ones:
            open_ones.pop()
        elif deed == "elsewhere":  # at the vendor's own page, while others are on their way
            open_ones.append(part)
        elif deed == "begin":
            try:
                refund_begun(money, part)
            except ValueError:
                assert part > money.left
            else:
                open_ones.append(part)
        money = replace(money, refunded=given_back(money.captured, open_ones))
        assert money.refunded == min(amount, sum(open_ones, Decimal(0)))
        assert 0 <= money.refunded <= money.captured


def test_nothing_is_given_back_of_what_was_not_captured() -> None:
    with pytest.raises(ValueError, match="0 are left"):
        refund_begun(Money(Decimal(5)), Decimal("0.01"))
    with pytest.raises(ValueError, match="is none"):
        refund_begun(Money(Decimal(5), Decimal(5)), Decimal(0))


@given(st.lists(st.sampled_from(RefundState), max_size=12))
def test_a_refund_that_failed_is_over(told: list[RefundState]) -> None:
    state, fails, done = "requested", 0, 0
    for one in told:
        if refund_leads_on(state, one):
            fails += one is RefundState.FAILED
            done += one is RefundState.DONE
            state = one.value
    assert fails <= 1
    assert done <= 1
    assert (state == RefundState.FAILED) == bool(fails)


@given(st.lists(st.sampled_from(TrackingState), max_size=12))
def test_a_shipment_that_was_delivered_or_cancelled_stays_so(told: list[TrackingState]) -> None:
    state, ended = "created", ""
    for one in told:
        if tracking_leads_on(state, one):
            assert not ended
            state = one.value
            ended = state if one in (TrackingState.DELIVERED, TrackingState.CANCELLED) else ""
    assert state != "created" or all(one is TrackingState.CREATED for one in told)


@given(
    st.lists(st.sampled_from([Failure.UNAVAILABLE, Failure.UNCERTAIN, Failure.ACCESS]), min_size=1, max_size=40),
    st.integers(1, 15),
    st.floats(0, 1),
)
def test_a_call_waits_longer_each_time_within_bounds_and_is_given_up_after_so_many_failures(
    failures: list[Failure], tries_max: int, jitter: float
) -> None:
    patience = Patience(tries_max, 1.0, 60.0)
    count, may_be_done, state = 0, False, "waiting"
    for failure in failures:
        following = after_failure(failure, count, patience, jitter=jitter, may_be_done=may_be_done)
        assert 0.5 <= following.wait_s <= 60.0
        assert following.may_be_done >= may_be_done, "that it may have been done is not forgotten"
        assert following.may_be_done or failure is not Failure.UNCERTAIN
        count, may_be_done, state = following.failures, following.may_be_done, following.state
        if state == "dead":
            break
    assert count <= tries_max
    assert (state == "dead") == (count == tries_max)


def test_a_vendor_s_own_retry_after_is_kept_to() -> None:
    following = after_failure(Failure.UNAVAILABLE, 0, Patience(), jitter=0.0, retry_after_s=90.0)
    assert following.wait_s == 90.0


def test_a_refusal_is_final_at_once() -> None:
    assert after_failure(Failure.REFUSED, 0, Patience(), jitter=0.0).state == "refused"


@given(st.lists(st.sampled_from([None, *Failure]), max_size=60))
def test_a_circuit_opens_after_failures_in_a_row_and_closes_with_the_first_answer(
    calls: list[Failure | None],
) -> None:
    circuit, now_ns, row = Circuit(), 0, 0
    for failure in calls:
        if circuit.is_open(now_ns):
            assert circuit.open_until_ns is not None
            now_ns = circuit.open_until_ns
        if circuit.tries_one(now_ns):
            trying = tried_one(circuit, now_ns, 60.0)
            assert trying.is_open(now_ns), "no second call goes out beside it"
        circuit = after_call(circuit, failure, now_ns)
        row = 0 if failure in (None, Failure.REFUSED) else row + 1
        if row == 0:
            assert circuit == Circuit()
        elif row >= OPENS_AFTER or failure is Failure.ACCESS:
            assert circuit.is_open(now_ns)
            assert circuit.open_until_ns is not None
            assert circuit.open_until_ns - now_ns <= 600 * NS
