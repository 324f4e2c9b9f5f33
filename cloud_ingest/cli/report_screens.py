"""What ``cloud-ingest reports`` shows on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloud_ingest.cli.listing import Listing
from cloud_ingest.cli.screens import plain


def reports_screen(rows: Sequence[dict[str, Any]]) -> Listing:
    """A row a report."""
    table = Listing("report", "name", "of", "every", "at", "formats", "recipients", "")
    for row in rows:
        table.add_row(
            row["report_id"],
            plain(row["name"]),
            "/".join(part for part in (row["site"], row["line"]) if part) or "all sites",
            row["period"],
            f"{row['at_minute'] // 60:02d}:{row['at_minute'] % 60:02d} {row['zone']}",
            ", ".join(row["formats"]),
            ", ".join(row["recipients"]),
            "" if row["is_active"] else "off",
        )
    return table


def made_screen(rows: Sequence[dict[str, Any]]) -> Listing:
    """A row a period."""
    table = Listing("day", "made", "edition", "formats")
    for row in rows:
        table.add_row(row["day"].isoformat(), _time(row["made"]), str(row["edition"]), ", ".join(row["formats"]))
    return table


def mails_screen(rows: Sequence[dict[str, Any]]) -> Listing:
    """A row a mail."""
    table = Listing("mail", "kind", "about", "to", "state", "tries", "next try", "why")
    for row in rows:
        waits = row["state"] == "waiting"
        table.add_row(
            row["id"],
            row["kind"],
            row["about"],
            row["recipient"],
            row["state"],
            str(row["tries"]),
            _time(row["due"]) if waits else "",
            plain(row["reason"]),
        )
    return table


def _time(when: Any) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S}"
