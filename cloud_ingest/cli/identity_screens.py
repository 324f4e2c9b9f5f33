"""Screens of ``cloud-ingest identity``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloud_ingest.cli.listing import Listing
from cloud_ingest.cli.screens import plain


def users_screen(rows: Sequence[dict[str, Any]]) -> Listing:
    """Users, with what is particular about each."""
    table = Listing("login", "name", "roles", "customer", "")
    for row in rows:
        state = "disabled" if row["disabled"] else "" if row["has_password"] else "has set no password yet"
        table.add_row(row["login"], plain(row["name"]), ", ".join(row["roles"]), row["customer"] or "", state)
    return table


def clients_screen(rows: Sequence[dict[str, Any]]) -> Listing:
    """Services and apps."""
    table = Listing("client", "kind", "name", "roles", "returns to", "")
    for row in rows:
        state = "disabled" if row["disabled"] else ""
        roles, uris = ", ".join(row["roles"]), ", ".join(row["redirect_uris"])
        table.add_row(row["client_id"], row["kind"], plain(row["name"]), roles, uris, state)
    return table
