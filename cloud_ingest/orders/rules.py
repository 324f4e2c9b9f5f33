"""What an order is worth, and what may become of it. Pure: no I/O, no clock.

Money is rounded once, for each line: half up to the currency's smallest coin (DIN 1333, section 4.5.1). Everything
else is sums and differences of those amounts, so that totals always balance, also after partial shipments and returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Final

ZERO: Final = Decimal(0)
HUNDRED: Final = Decimal(100)
_WHOLE: Final = Decimal(1)
_CENT: Final = Decimal("0.01")
_NO_COIN: Final = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
     "XOF", "XPF"]
)  # fmt: skip
"""Currencies whose smallest coin is the unit itself (ISO 4217, minor unit 0); nobody pays fifths of an ariary (MGA)."""
THREE_DIGITS: Final = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
"""Currencies with thousandths, which amounts here do not have (ISO 4217, minor unit 3)."""


class State(StrEnum):
    """Where an order stands. ``cancelling`` and ``returning`` last until everything was taken back."""

    QUOTE = "quote"
    PLACED = "placed"
    PAID = "paid"
    RELEASED = "released"
    IN_PRODUCTION = "in_production"
    PACKED = "packed"
    SHIPPED = "shipped"
    CLOSED = "closed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    RETURNING = "returning"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Transition:
    """A way from one state to another, and when it is taken (for the diagram in the documentation)."""

    earlier: State
    later: State
    when: str


TRANSITIONS: Final = (
    Transition(State.QUOTE, State.PLACED, "accepted while it is valid"),
    Transition(State.QUOTE, State.CANCELLED, "withdrawn, or no longer valid"),
    Transition(State.PLACED, State.PAID, "the whole total has come in"),
    Transition(State.PLACED, State.CANCELLING, "cancelled, or not paid in time"),
    Transition(State.PAID, State.RELEASED, "stock reserved, the rest in work orders"),
    Transition(State.PAID, State.CANCELLING, "cancelled"),
    Transition(State.RELEASED, State.IN_PRODUCTION, "a work order runs"),
    Transition(State.RELEASED, State.PACKED, "all of it is packed"),
    Transition(State.RELEASED, State.CANCELLING, "cancelled"),
    Transition(State.IN_PRODUCTION, State.PACKED, "all of it is packed"),
    Transition(State.IN_PRODUCTION, State.CANCELLING, "cancelled"),
    Transition(State.PACKED, State.IN_PRODUCTION, "unpacked"),
    Transition(State.PACKED, State.RELEASED, "unpacked"),
    Transition(State.PACKED, State.SHIPPED, "the last of it has left"),
    Transition(State.PACKED, State.CANCELLING, "cancelled"),
    Transition(State.SHIPPED, State.CLOSED, "delivered, or long ago"),
    Transition(State.SHIPPED, State.RETURNING, "a return was asked for"),
    Transition(State.CLOSED, State.RETURNING, "a return was asked for"),
    Transition(State.CANCELLING, State.CANCELLED, "nothing is held, everything is refunded"),
    Transition(State.CANCELLING, State.SHIPPED, "the rest is cancelled, a part had left before"),
    Transition(State.RETURNING, State.RETURNED, "all of it is back and refunded"),
    Transition(State.RETURNING, State.CLOSED, "a part is back and refunded, or the return was refused"),
)
"""Every way that there is. No other is ever taken (``Case.become``)."""
_WAYS: Final = frozenset((one.earlier, one.later) for one in TRANSITIONS)
FINAL: Final = frozenset({State.CANCELLED, State.RETURNED})
CANCELLABLE: Final = frozenset(one.earlier for one in TRANSITIONS if one.later is State.CANCELLING)
IN_THE_PLANT: Final = frozenset({State.RELEASED, State.IN_PRODUCTION, State.PACKED})
"""The plant works on it: what is there is reserved, produced, packed and shipped."""


def may_become(earlier: State, later: State) -> bool:
    """Whether there is a way from ``earlier`` to ``later``."""
    return (earlier, later) in _WAYS


def diagram() -> str:
    """``TRANSITIONS`` as a Mermaid state diagram, as it stands in docs/reference/orders.md."""
    ends = "".join(f"    {state} --> [*]\n" for state in (State.CLOSED, State.CANCELLED, State.RETURNED))
    ways = "".join(f"    {one.earlier} --> {one.later}: {one.when}\n" for one in TRANSITIONS)
    return f"stateDiagram-v2\n    [*] --> quote: quoted\n    [*] --> placed: placed at once\n{ways}{ends}"


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a line costs: ``list_price`` less ``discount`` is ``net``; with ``tax`` it is ``gross``."""

    list_price: Decimal
    discount: Decimal
    net: Decimal
    tax: Decimal
    gross: Decimal


def coin(currency: str) -> Decimal:
    """The smallest amount of ``currency``."""
    return _WHOLE if currency in _NO_COIN else _CENT


def rounded(amount: Decimal, currency: str) -> Decimal:
    """``amount`` in whole coins of ``currency``, half up."""
    return amount.quantize(coin(currency), ROUND_HALF_UP).quantize(_CENT)


def price_line(
    quantity: Decimal, unit_price: Decimal, discounts_percent: Iterable[Decimal], tax_rate: Decimal, currency: str
) -> Amounts:
    """The amounts of a line. Discounts apply one after the other; ``tax_rate`` is a share, such as 0.19."""
    share = _WHOLE
    for percent in discounts_percent:
        share *= (HUNDRED - percent) / HUNDRED
    list_price = rounded(quantity * unit_price, currency)
    net = rounded(quantity * unit_price * share, currency)
    tax = rounded(net * tax_rate, currency)
    return Amounts(list_price, list_price - net, net, tax, net + tax)


def quantity_text(quantity: Decimal) -> str:
    """All of a quantity, without zeros at its end and without an exponent."""
    text = f"{quantity:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def value_of(gross: Decimal, quantity: Decimal, part: Decimal, currency: str) -> Decimal:
    """What ``part`` of a line of ``quantity`` is worth that costs ``gross``: all of it for the whole, nothing for 0."""
    return rounded(gross * part / quantity, currency)


def retry_after_s(attempts: int, first_s: float, longest_s: float) -> float:
    """How long to wait for an answer, or before asking again, when it was asked ``attempts`` times."""
    return min(longest_s, first_s * (1 << min(max(attempts, 1) - 1, 20)))


IN_QUARANTINE: Final = "in_quarantine"
PROBLEMS: Final[Mapping[str, str]] = {
    "payment_failed": "Have the customer pay another way, then 'retry'; or record the payment by hand, or cancel",
    "payment_unanswered": "See whether the integration with the payment provider runs, then 'retry'",
    "refund_failed": "Pay it back another way and resolve the request as done, or 'retry'",
    "shipment_failed": "Correct the address or the parcels, then 'retry'; or resolve it with the carrier's tracking "
    "number when it was shipped by hand; or unpack it",
    "no_routing": "Book stock of the product, or give it a routing in the catalog, then 'retry'",
    "production_short": "A work order was cancelled or ended short: 'retry' plans the missing quantity anew",
    "components_missing": "Buy or produce the components (purchase proposals of inventory); production goes on then",
    IN_QUARANTINE: "Release its lots, or block them (inventory): what is blocked is made again",
    "delivery_failed": "Ask the carrier; the customer may get a return or a new order",
    "refunded_twice": "Have the customer give one of them back, then resolve the request",
    "refunded_elsewhere": "Have the customer pay it, and record the payment; or resolve the request: then it is "
    "forgiven; or cancel",
    "disputed": "Answer it at the payment provider. Nothing leaves meanwhile, unless you resolve the request",
    "left_all_the_same": "Stop it at the carrier, or book its goods out of stock and tell the customer; then resolve "
    "the request",
    "late": "It is behind the promised date: look at its work orders, or tell the customer",
}
"""Why an order stands still, and what to do about it."""
