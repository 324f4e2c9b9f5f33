"""What the built-in vendors remember, in the database: in transactions of their own, as if it were elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from connectors.ports.database import Database


class BuiltInMemory:
    """See ``connectors.ports.vendors.VendorMemory``; ``vendor`` keeps several apart, and those of each account."""

    def __init__(self, database: Database, vendor: str) -> None:
        self._database = database
        self._vendor = vendor

    async def change(self, key: str, change: Callable[[dict[str, Any] | None], dict[str, Any]]) -> dict[str, Any]:
        """See ``VendorMemory``."""
        async with self._database.transaction() as session:
            lock = f"lineside built-in {self._vendor} {key}"
            await session.fetch("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", lock)
            rows = await session.fetch(
                "SELECT document FROM built_in_vendor WHERE vendor = $1 AND key = $2", self._vendor, key
            )
            made = change(json.loads(rows[0]["document"]) if rows else None)
            await session.execute(
                "INSERT INTO built_in_vendor (vendor, key, document) VALUES ($1, $2, $3) "
                "ON CONFLICT (vendor, key) DO UPDATE SET document = excluded.document",
                self._vendor,
                key,
                json.dumps(made),
            )
        return made

    async def get(self, key: str) -> dict[str, Any] | None:
        """See ``VendorMemory``."""
        async with self._database.session() as session:
            rows = await session.fetch(
                "SELECT document FROM built_in_vendor WHERE vendor = $1 AND key = $2", self._vendor, key
            )
        return dict(json.loads(rows[0]["document"])) if rows else None
