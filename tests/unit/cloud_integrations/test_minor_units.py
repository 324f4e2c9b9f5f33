"""Money as gateways count it: by the examples of docs.stripe.com/currencies."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloud_ingest.orders.rules import THREE_DIGITS, rounded
from connectors.payments.minor_units import from_minor_units, in_minor_units

WITHOUT_COINS = frozenset(
    [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "MGA",
        "PYG",
        "RWF",
        "UGX",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ]
)


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [("10.00", "USD", 1000), ("500", "JPY", 500), ("5", "UGX", 500), ("5", "ISK", 500), ("5.12", "KWD", 5120)],
)
def test_amounts_are_sent_as_the_gateway_counts_them(amount: str, currency: str, units: int) -> None:
    assert in_minor_units(Decimal(amount), currency) == units
    assert from_minor_units(units, currency) == Decimal(amount)


def test_whatever_an_order_costs_can_be_paid() -> None:
    """In each currency that has no smaller coin at the gateway, or is taken in whole units there."""
    for currency in WITHOUT_COINS | {"EUR"}:
        assert currency not in THREE_DIGITS
        units = in_minor_units(rounded(Decimal("1234.56"), currency), currency)
        assert currency not in ("ISK", "UGX") or units % 100 == 0
