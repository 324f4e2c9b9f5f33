"""What ``work-orders`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cloud_ingest.cli.screens import plain, table_of, time_text

_STYLES = {
    "running": "green",
    "next": "cyan",
    "paused": "yellow",
    "cancelled": "bright_black",
    "succeeded": "green",
    "failed": "bold red",
    "refused": "bold red",
    "unknown": "bold red",
    "expired": "bold red",
}


def work_orders_screen(orders: Sequence[dict[str, Any]]) -> RenderableType:
    """Work orders, a line each."""
    if not orders:
        return Text("no work order")
    table = table_of("work order", "line", "step", "product", "state", "good", "reject", "of", "planned end (UTC)")
    for one in orders:
        table.add_row(
            one["id"],
            f"{one['site']}/{one['line']}",
            f"{one['step']}/{one['steps']}",
            Text(plain(one["product"])),
            _state(one["state"]),
            one["good"],
            one["reject"],
            one["quantity"],
            "" if one["end_planned"] is None else time_text(one["end_planned"]),
        )
    return table


def work_order_screen(order: dict[str, Any]) -> RenderableType:
    """One with its history, and its recipe on the way to the machines."""
    facts = [f"remaining {order['remaining']}", f"{order['pieces_per_hour']} an hour"]
    if order["forecast_end"] is not None:
        facts.append(f"done at {order['forecast_end']:%Y-%m-%d %H:%M} UTC as it goes now")
    if order["surplus"] != "0":
        facts.append(f"{order['surplus']} more than ordered")
    if order["late_good"] != "0":
        facts.append(f"{order['late_good']} counted after its end")
    history = table_of("state", "since (UTC)", "by", "")
    for one in order["history"]:
        history.add_row(_state(one["state"]), time_text(one["time"]), plain(one["actor"]), Text(plain(one["reason"])))
    parts: list[RenderableType] = [work_orders_screen([order]), Text(), Text("  " + ", ".join(facts)), Text(), history]
    if order["writes"]:
        writes = table_of("parameter", "target", "value", "state", "command", "")
        for one in order["writes"]:
            writes.add_row(
                plain(one["parameter"]),
                plain(one["target"]),
                plain(str(one["value"])),
                _state(one["state"]),
                one["command"] or "",
                Text(plain(one["detail"])),
            )
        parts += [Text(), writes]
    if order["download"] == "failed":
        parts += [Text(), Text(f"  it did not start: {plain(order['download_why'])}", "bold red")]
    return Group(*parts)


def _state(state: str) -> Text:
    return Text(state, _STYLES.get(state, ""))
