"""What an order is worth, and the ways between its states."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.orders.rules import (
    CANCELLABLE,
    FINAL,
    PROBLEMS,
    THREE_DIGITS,
    TRANSITIONS,
    State,
    diagram,
    may_become,
    price_line,
    quantity_text,
    retry_after_s,
    rounded,
    value_of,
)
from tests.unit.cloud_orders.played_plant import BEGIN, PlayedPlant, order_line

PRICES = st.decimals(0, 100_000, places=2)
QUANTITIES = st.decimals("0.000001", 100_000, places=6)
PERCENTS = st.decimals(0, 100, places=2)
RATES = st.decimals(0, 1, places=4)
CURRENCIES = st.sampled_from(["EUR", "USD", "JPY"])


def test_a_line_is_rounded_once_half_up_in_the_coins_of_its_currency() -> None:
    euro = price_line(Decimal(3), Decimal("33.335"), [], Decimal("0.19"), "EUR")
    assert (euro.net, euro.tax, euro.gross) == (Decimal("100.01"), Decimal("19.00"), Decimal("119.01"))
    yen = price_line(Decimal(3), Decimal("33.5"), [], Decimal("0.10"), "JPY")
    assert (yen.net, yen.tax, yen.gross) == (Decimal(101), Decimal(10), Decimal(111))
    cheaper = price_line(Decimal(10), Decimal("10.00"), [Decimal(10), Decimal(5)], Decimal("0.07"), "EUR")
    assert (cheaper.list_price, cheaper.discount, cheaper.net) == (Decimal(100), Decimal("14.50"), Decimal("85.50"))
    assert rounded(Decimal("0.005"), "EUR") == Decimal("0.01")


@given(QUANTITIES, PRICES, PERCENTS, PERCENTS, RATES, CURRENCIES)
def test_the_parts_of_a_line_are_its_whole(
    quantity: Decimal, price: Decimal, one: Decimal, other: Decimal, rate: Decimal, currency: str
) -> None:
    found = price_line(quantity, price, [one, other], rate, currency)
    assert found.net + found.tax == found.gross
    assert found.list_price - found.discount == found.net
    assert Decimal(0) <= found.net <= found.list_price
    assert found.gross == rounded(found.gross, currency)


@given(PRICES, st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_what_comes_back_in_parts_is_paid_back_as_a_whole(gross: Decimal, parts: list[int]) -> None:
    quantity, kept, refunded = Decimal(sum(parts)), Decimal(sum(parts)), Decimal(0)
    for part in parts:
        before = value_of(gross, quantity, kept, "EUR")
        kept -= part
        back = before - value_of(gross, quantity, kept, "EUR")
        assert back >= 0
        refunded += back
    assert refunded == gross


def test_every_state_is_reached_and_left_but_the_last_ones() -> None:
    reached = {one.later for one in TRANSITIONS} | {State.QUOTE, State.PLACED}
    assert reached == set(State)
    assert {state for state in State if not any(one.earlier is state for one in TRANSITIONS)} == FINAL
    assert len({(one.earlier, one.later) for one in TRANSITIONS}) == len(TRANSITIONS)
    assert {State.PLACED, State.PAID, State.RELEASED, State.IN_PRODUCTION, State.PACKED} == CANCELLABLE


def test_no_way_leads_out_of_the_diagram() -> None:
    drawn = diagram()
    assert all(f"{one.earlier} --> {one.later}: " in drawn for one in TRANSITIONS)
    assert not may_become(State.SHIPPED, State.CANCELLING)
    assert not may_become(State.PLACED, State.RELEASED), "nothing is released that is not paid"
    case = PlayedPlant().order(order_line(1, "pump", 1))
    with pytest.raises(ValueError, match="no way from placed to shipped"):
        case.become(State.SHIPPED, BEGIN, "", "", None)


def test_waits_grow_to_a_bound_and_every_problem_says_what_to_do() -> None:
    assert [retry_after_s(count, 60, 3600) for count in (0, 1, 2, 3, 10, 10_000)] == [60, 60, 120, 240, 3600, 3600]
    assert all(action for action in PROBLEMS.values())
    assert all(len(code) == 3 for code in THREE_DIGITS)


@given(st.decimals(0, 10**9, places=6))
def test_a_quantity_is_written_whole(quantity: Decimal) -> None:
    text = quantity_text(quantity)
    assert Decimal(text) == quantity
    assert "E" not in text
    assert not ("." in text and text[-1] in "0.")
