"""What mails to customers about their orders say, in their tenant's name. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import Literal, assert_never

from cloud_ingest.notifications.rules import Words
from cloud_ingest.orders.published import PublishedOrder

Occasion = Literal["placed", "shipped", "cancelled"]


@dataclass(frozen=True, slots=True)
class Parcel:
    """Goods that have left: how much of which line, and how they are found."""

    lines: Mapping[int, Decimal]
    carrier: str
    tracking: str


def order_words(occasion: Occasion, order: PublishedOrder, name: str, tenant: str, parcel: Parcel | None) -> Words:
    """The mail to the customer ``name``; ``tenant`` is whose customer that is, ``parcel`` what has left."""
    called = f"{order.reference} ({order.order})" if order.reference else order.order
    quantities = {line.line: line.quantity for line in order.lines}
    match occasion:
        case "placed":
            subject = f"We have your order {called}"
            said = [f"thank you for your order. We have it as {called}:"]
            after = [f"Total: {order.total} {order.currency}"]
            if order.promised is not None:
                after.append(f"It is expected to leave us on {order.promised:%Y-%m-%d}.")
        case "shipped":
            subject = f"Your order {called} is on its way"
            said = [f"this of your order {called} has left us:"]
            after = _on_its_way(parcel)
            quantities = {} if parcel is None else dict(parcel.lines)
        case "cancelled":
            subject = f"Your order {called} is cancelled"
            said = [f"your order {called} is cancelled:"]
            after = ["What you have paid for it is paid back."]
        case _:
            assert_never(occasion)
    goods = [
        f"{_number(quantities[line.line])} {line.unit}  {line.name or line.product}"
        for line in order.lines
        if quantities.get(line.line)
    ]
    greeting, foot = f"Dear {name}," if name else "Good day,", tenant
    text = "\n".join([greeting, "", *said, "", *[f"    {one}" for one in goods], "", *after, "", foot]).rstrip() + "\n"
    rows = "".join(f"<li>{escape(one)}</li>" for one in goods)
    html = (
        f"<html><body><p>{escape(greeting)}</p><p>{escape(' '.join(said))}</p><ul>{rows}</ul>"
        f"<p>{'<br>'.join(escape(one) for one in after)}</p><p>{escape(foot)}</p></body></html>"
    )
    return Words(subject, text, html)


def _on_its_way(parcel: Parcel | None) -> list[str]:
    if parcel is None or not parcel.tracking:
        return []
    return [f"{parcel.carrier or 'The carrier'} has it under the number {parcel.tracking}."]


def _number(quantity: Decimal) -> str:
    return f"{quantity.normalize():f}"
