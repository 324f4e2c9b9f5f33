"""Prices by time, texts by language, attributes by their schema."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cloud_ingest.catalog.models import ProductBody
from cloud_ingest.catalog.rules import Attribute, Price, attribute_problems, price_at, price_problem, text_in

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOURS = st.none() | st.integers(-48, 48)


def at(hours: int) -> datetime:
    return NOON + timedelta(hours=hours)


def price(amount: str, begin: int | None = None, end: int | None = None, currency: str = "EUR") -> Price:
    return Price(currency, Decimal(amount), None if begin is None else at(begin), None if end is None else at(end))


def test_of_prices_that_hold_the_one_that_began_last_is_meant() -> None:
    prices = [price("10"), price("12", 0), price("9", 2, 4), price("1", currency="USD")]
    assert [price_at(prices, "EUR", at(hour)) for hour in (-1, 0, 2, 4)] == [
        Decimal(10), Decimal(12), Decimal(9), Decimal(12),
    ]  # fmt: skip
    assert price_at(prices, "USD", at(2)) == Decimal(1)
    assert price_at(prices, "CHF", at(2)) is None
    assert price_at([price("9", 2, 4)], "EUR", at(1)) is None


@given(st.lists(st.builds(price, st.sampled_from(["1", "2.50", "3"]), HOURS, HOURS), max_size=6), st.integers(-50, 50))
def test_prices_that_are_taken_have_one_amount_at_any_time_in_whatever_order_they_stand(
    prices: list[Price], hour: int
) -> None:
    if price_problem(prices):
        return
    found = price_at(prices, "EUR", at(hour))
    assert found == price_at(prices[::-1], "EUR", at(hour))
    assert (found is None) == (not any(one.holds(at(hour)) for one in prices))


def test_prices_that_say_two_things_at_once_or_end_before_they_begin_are_refused() -> None:
    assert price_problem([price("1"), price("2", 0), price("3", 0, currency="USD")]) == ""
    assert "which of them" in price_problem([price("1", 0), price("2", 0, 5)])
    assert "before it begins" in price_problem([price("1", 0, 0)])
    with pytest.raises(ValidationError, match="which of them"):
        ProductBody.model_validate(
            {"names": {"en": "x"}, "sold": True, "prices": [{"currency": "EUR", "amount": "1"}] * 2}
        )


@pytest.mark.parametrize(
    "wrong",
    [{"prices": [{"currency": "EUR", "amount": "1.005"}]}, {"prices": [{"currency": "EUR", "amount": "-1"}]},
     {"prices": [{"currency": "eur", "amount": "1"}]}, {"tax_rate": "1"}, {"weight_kg": "NaN"}, {"names": {}},
     {"names": {"EN": "x"}}, {"routing": "../x"}, {"sold": None}, {"unknown": 1},
     {"prices": [{"currency": "EUR", "amount": "1", "from": "2026-01-01T00:00:00"}]}],
)  # fmt: skip
def test_a_product_is_refused_that_says_what_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ProductBody.model_validate({"names": {"en": "x"}, "sold": True, **wrong})


def test_money_stays_the_text_that_it_was() -> None:
    given_price = {"currency": "EUR", "amount": "0.10", "from": None, "to": None}
    body = ProductBody.model_validate({"names": {"en": "x"}, "sold": True, "prices": [given_price]})
    assert body.document()["prices"] == [given_price]
    assert ProductBody.model_validate(body.document()).document() == body.document()


def test_a_text_is_shown_in_the_language_or_the_nearest_that_there_is() -> None:
    texts = {"de": "Pumpe", "en": "pump", "fr-CA": "pompe"}
    assert [text_in(texts, language) for language in ("de", "de-AT", "fr-CA", "fr")] == [
        "Pumpe", "Pumpe", "pompe", "pump",
    ]  # fmt: skip
    assert text_in({"it": "pompa", "es": "bomba"}, "de") == "bomba"
    assert text_in({}, "de") == ""


def test_attributes_are_what_the_category_says_and_all_that_is_wrong_is_told() -> None:
    schema = {
        "bar": Attribute("number", required=True, minimum=0, maximum=16),
        "colour": Attribute("choice", choices=("red", "blue")),
        "atex": Attribute("flag"),
        "note": Attribute("text"),
    }
    assert attribute_problems({"bar": 12, "colour": "red", "atex": True, "note": "x"}, schema) == []
    assert attribute_problems({"bar": 12.5}, schema) == []
    problems = attribute_problems({"colour": "green", "atex": 1, "note": 2, "weight": 1}, schema)
    assert [problem.split("'")[1] for problem in problems] == ["weight", "bar", "colour", "atex", "note"]
    assert "16 or less" in attribute_problems({"bar": 17}, schema)[0]
    assert "0 or more" in attribute_problems({"bar": -1}, schema)[0]
    assert "is a number" in attribute_problems({"bar": True}, schema)[0]
