"""Screens of ``cloud-ingest identity``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table


def users_screen(rows: Sequence[dict[str, Any]]) -> Table:
    """Users, with what is particular about each."""
    table = Table("login", "name", "roles", "customer", "", box=None)
    for row in rows:
        state = "disabled" if row["disabled"] else "" if row["has_password"] else "has set no password yet"
        table.add_row(row["login"], row["name"], ", ".join(row["roles"]), row["customer"] or "", state)
    return table


def clients_screen(rows: Sequence[dict[str, Any]]) -> Table:
    """Services and apps."""
    table = Table("client", "kind", "name", "roles", "returns to", "", box=None)
    for row in rows:
        state = "disabled" if row["disabled"] else ""
        roles, uris = ", ".join(row["roles"]), ", ".join(row["redirect_uris"])
        table.add_row(row["client_id"], row["kind"], row["name"], roles, uris, state)
    return table
