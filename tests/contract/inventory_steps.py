"""A store on a real PostgreSQL: items, places, bookings, and lines that count."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.event_log.topics import INVENTORY_EVENTS
from cloud_ingest.inventory import boms, booking
from cloud_ingest.inventory.backflush import book_count
from cloud_ingest.inventory.booking import Booking
from cloud_ingest.inventory.counts import Count
from cloud_ingest.inventory.ledger import Cause
from cloud_ingest.inventory.rules import BomLine, Kind
from cloud_ingest.inventory.verifying import Finding, verify
from cloud_ingest.store.migrate import migrate
from connectors.ports.database import Row
from connectors.postgres.database import PostgresDatabase, open_database

TENANT: Final = 1
NOW: Final = datetime.now(UTC)
SITE: Final = "plant-7"
LINE: Final = "line-3"


class Store:
    """The tables of inventory of the tenant 1."""

    def __init__(self, database: PostgresDatabase) -> None:
        self.database = database
        self._number = 0

    async def item(self, code: str, tracking: str = "none", **more: Any) -> None:
        columns = {"kind": "component", "unit": "pcs", "tracking": tracking, **more}
        names = ", ".join(columns)
        places = ", ".join(f"${place}" for place in range(3, 3 + len(columns)))
        await self.say(
            f"INSERT INTO item (tenant_id, code, {names}) VALUES ($1, $2, {places})", TENANT, code, *columns.values()
        )

    async def place(self, code: str, parent: str | None = None, kind: str = "bin", **more: Any) -> None:
        path = [code] if parent is None else [parent, code]
        columns = {"kind": kind, "parent": parent, "path": path, "site": path[0], **more}
        names = ", ".join(columns)
        places = ", ".join(f"${place}" for place in range(3, 3 + len(columns)))
        await self.say(
            f"INSERT INTO stock_location (tenant_id, code, {names}) VALUES ($1, $2, {places})",
            TENANT,
            code,
            *columns.values(),
        )

    async def say(self, statement: str, *args: Any) -> None:
        async with self.database.session() as session:
            await session.execute(statement, *args)

    async def rows(self, query: str, *args: Any) -> Sequence[Row]:
        async with self.database.session() as session:
            return await session.fetch(query, *args)

    async def bom(
        self, item: str, *lines: tuple[str, str] | tuple[str, str, str], since: datetime | None = None
    ) -> int:
        async with unit_of_work(self.database, TENANT) as work:
            parts = tuple(
                BomLine(line[0], Decimal(line[1]), Decimal(line[2] if len(line) > 2 else 0)) for line in lines
            )
            new = boms.NewBom(item, since or NOW - timedelta(days=30), Decimal(1), parts)
            return await boms.add_bom(work.session, TENANT, new, "eva")

    async def book(
        self, kind: Kind, item: str, quantity: str, source: str, target: str, *lots: str, expires: date | None = None
    ) -> None:
        async with unit_of_work(self.database, TENANT) as work:
            one = Booking(kind, item, Decimal(quantity), source, target, lots, expires)
            await booking.book(work, TENANT, [one], Cause("anna", datetime.now(UTC)))

    async def receive(self, item: str, quantity: str, at: str, *lots: str, expires: date | None = None) -> None:
        await self.book(Kind.RECEIPT, item, quantity, "@supplier", at, *lots, expires=expires)

    async def counted(
        self,
        good: str,
        reject: str = "0",
        *,
        product: str = "pump",
        work_order: str = "WO-1",
        number: int | None = None,
        line: str = LINE,
    ) -> None:
        """Book what the line has counted; with a ``number`` of before it is the same event again."""
        self._number += 1
        count = Count(
            TENANT,
            number or self._number,
            SITE,
            line,
            product,
            work_order,
            Decimal(good),
            Decimal(reject),
            datetime.now(UTC),
        )
        async with unit_of_work(self.database) as work:
            await book_count(work, count)

    async def stock(self, item: str) -> dict[tuple[str, str], Decimal]:
        """What is where, accounts included; what is nothing is left out."""
        rows = await self.rows(
            "SELECT location, lot, on_hand FROM stock_balance WHERE item = $1 AND on_hand <> 0 ORDER BY 1, 2", item
        )
        return {(row["location"], row["lot"]): row["on_hand"] for row in rows}

    async def at(self, item: str, location: str) -> Decimal:
        found = await self.stock(item)
        return sum((quantity for (place, _), quantity in found.items() if place == location), Decimal(0))

    async def findings(self) -> list[Finding]:
        async with self.database.session() as session:
            return await verify(session)

    async def events(self, what: str) -> list[dict[str, Any]]:
        """What was told of ``what``, in its order."""
        import json

        rows = await self.rows("SELECT event FROM event_outbox WHERE topic = $1 ORDER BY number", INVENTORY_EVENTS)
        told = [json.loads(row["event"]) for row in rows]
        return [one["data"] for one in told if one["type"] == f"lineside.inventory.{what}.v1"]


@asynccontextmanager
async def store(dsn: str, *, connections_max: int = 12) -> AsyncIterator[Store]:
    database = await open_database(dsn, connections_max=connections_max, application_name="tests")
    try:
        await migrate(database)
        here = Store(database)
        await here.place(SITE, kind="site")
        await here.place("warehouse", SITE, "warehouse")
        yield here
        assert await here.findings() == [], "whatever was booked, the ledger proves the balances"
    finally:
        await database.close()
