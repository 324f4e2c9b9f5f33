"""What ``inventory`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from cloud_ingest.cli.screens import plain, table_of
from cloud_ingest.inventory.events import quantity_text
from cloud_ingest.inventory.verifying import Finding


def stock_screen(rows: Sequence[dict[str, Any]]) -> RenderableType:
    """What is where, a line for each lot."""
    if not rows:
        return Text("no stock fits")
    table = table_of("item", "location", "lot", "on hand", "reserved", "available", "unit", "lot is", "expires")
    for row in rows:
        style = "bold red" if row["on_hand"] < 0 else ""
        table.add_row(
            Text(plain(row["item"])),
            Text(plain(row["location"])),
            Text(plain(row["lot"])),
            Text(quantity_text(row["on_hand"]), style),
            quantity_text(row["reserved"]),
            quantity_text(row["available"]),
            Text(plain(row["unit"])),
            Text(plain(row["status"] or "")),
            "" if row["expires"] is None else str(row["expires"]),
        )
    return table


def findings_screen(findings: Sequence[Finding]) -> RenderableType:
    """What the ledger does not prove."""
    table = table_of("what", "tenant", "item", "location", "lot", "is", "proven")
    for one in findings:
        table.add_row(
            one.what,
            str(one.tenant_id),
            Text(plain(one.item)),
            Text(plain(one.location)),
            Text(plain(one.lot)),
            Text(quantity_text(one.found), "bold red"),
            quantity_text(one.proven),
        )
    return table
