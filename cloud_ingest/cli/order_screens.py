"""What ``orders`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cloud_ingest.cli.screens import plain, table_of, time_text
from cloud_ingest.orders.rules import quantity_text

_STYLES = {
    "in_production": "cyan",
    "packed": "cyan",
    "shipped": "green",
    "closed": "green",
    "cancelling": "yellow",
    "returning": "yellow",
    "cancelled": "bright_black",
    "returned": "bright_black",
}


def orders_screen(orders: Sequence[dict[str, Any]]) -> RenderableType:
    """Orders for a person, a line each; below one that is stuck, why."""
    if not orders:
        return Text("no order fits")
    table = table_of("order", "customer", "state", "total", "since (UTC)", "expected (UTC)", "")
    for one in orders:
        table.add_row(
            one["id"],
            Text(plain(one["customer"])),
            _state(one["state"]),
            f"{one['total']} {one['currency']}",
            time_text(one["changed"]),
            "" if one["promised"] is None else time_text(one["promised"]),
            Text("" if one["problem"] is None else plain(one["problem"]["text"]), "bold red"),
        )
    return table


def order_screen(order: dict[str, Any]) -> RenderableType:
    """An order with everything that belongs to it."""
    parts: list[RenderableType] = [orders_screen([order])]
    if order["problem"] is not None:
        parts.append(Text(f"  what to do: {plain(order['problem']['action'])}", "bold red"))
    parts += [Text(), _lines(order["lines"])]
    if order["work_orders"]:
        parts += [Text(), _work_orders(order["work_orders"])]
    if order["requests"]:
        parts += [Text(), _requests(order["requests"])]
    paid = f"  {order['paid']} {order['currency']} have come in, {order['refunded']} went back"
    history = table_of("time (UTC)", "by", "")
    for one in order["history"]:
        history.add_row(time_text(one["time"]), Text(plain(one["actor"])), Text(plain(one["text"])))
    return Group(*parts, Text(paid), Text(), history)


def _lines(lines: Sequence[dict[str, Any]]) -> RenderableType:
    names = ("quantity", "reserved", "produced", "packed", "shipped", "cancelled", "returned")
    headings = ("of", "in stock", "counted", "packed", "shipped", "cancelled", "returned")
    table = table_of("line", "product", *headings, "gross")
    for one in lines:
        quantities = [quantity_text(one[name]) for name in names]
        table.add_row(str(one["line"]), Text(plain(one["product"])), *quantities, str(one["gross"]))
    return table


def _work_orders(work_orders: Sequence[dict[str, Any]]) -> RenderableType:
    table = table_of("work order", "line", "product", "state", "good", "reject", "of")
    for one in work_orders:
        quantities = [quantity_text(one[name]) for name in ("good", "reject", "quantity")]
        table.add_row(
            one["work_order"], str(one["line"]), Text(plain(one["item"])), _state(one["state"]), *quantities
        )  # fmt: skip
    return table


def _requests(requests: Sequence[dict[str, Any]]) -> RenderableType:
    table = table_of("asked of the outside", "", "amount", "state", "times", "")
    for one in requests:
        table.add_row(
            one["request"],
            str(one["kind"]),
            str(one["amount"]),
            _state(one["state"]),
            str(one["attempts"]),
            Text(plain(one["reason"])),
        )
    return table


def _state(state: str) -> Text:
    text = str(state).replace("_", " ")
    return Text(text, "bold red" if text == "failed" else _STYLES.get(str(state), ""))
