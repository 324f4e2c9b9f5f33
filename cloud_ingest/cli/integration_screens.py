"""What ``cloud-ingest integrations`` shows on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloud_ingest.cli.listing import Listing
from cloud_ingest.cli.screens import plain


def status_screen(rows: Sequence[dict[str, Any]]) -> Listing:
    """A row a vendor."""
    table = Listing("vendor", "waiting", "since", "watching", "given up", "left alone until", "why")
    for row in rows:
        table.add_row(
            row["port"],
            str(row["waiting"]),
            _time(row["oldest"]),
            str(row["watching"]),
            str(row["dead"]),
            _time(row["open_until"]),
            plain(row["reason"]),
        )
    return table


def calls_screen(rows: Sequence[dict[str, Any]]) -> Listing:
    """A row a call."""
    table = Listing("call", "vendor", "kind", "about", "state", "tries", "next try", "why")
    for row in rows:
        waits = row["state"] == "waiting"
        table.add_row(
            row["call"],
            row["port"],
            row["kind"],
            row["about"],
            row["state"],
            str(row["tries"]),
            _time(row["next_try"]) if waits else "",
            plain(row["reason"]),
        )
    return table


def _time(when: Any) -> str:
    return "" if when is None else f"{when:%Y-%m-%d %H:%M:%S}"
