"""Money as gateways count it: in the smallest unit of its currency (ISO 4217; docs.stripe.com/currencies)."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

_WITHOUT: Final = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
)
"""ISK and UGX are not among them: they have no smaller coin, and Stripe takes them in hundredths all the same."""
_THOUSANDTHS: Final = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])


def _places(currency: str) -> int:
    code = currency.upper()
    return 0 if code in _WITHOUT else 3 if code in _THOUSANDTHS else 2


def in_minor_units(amount: Decimal, currency: str) -> int:
    """``amount`` in the smallest unit. Raises ``ValueError`` with a sentence when it is no whole number of it."""
    scaled = amount.scaleb(_places(currency))
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{amount} {currency} cannot be paid: it is less than the smallest unit of the currency")
    return int(scaled)


def from_minor_units(count: int, currency: str) -> Decimal:
    """The amount that ``count`` smallest units are."""
    return Decimal(count).scaleb(-_places(currency))
