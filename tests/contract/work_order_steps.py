"""Work orders on a real PostgreSQL, step by step; counts and commands are played."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.lines.work_order_book import Act
from cloud_ingest.lines.work_order_counts import book_count, runs_between
from cloud_ingest.lines.work_order_deeds import do
from cloud_ingest.lines.work_order_keeper import WorkOrderKeeper
from cloud_ingest.lines.work_order_planning import plan
from cloud_ingest.lines.work_order_rules import Deed
from cloud_ingest.lines.work_order_terms import NewWorkOrder
from connectors.commands.states import CommandState
from tests.contract.command_steps import Office, office

SITE: Final = "plant"
PRESS: Final = (SITE, "press")
OVEN: Final = (SITE, "oven")


@dataclass(frozen=True)
class RoutingLine:
    """A step of a routing, as the catalog publishes it."""

    site: str
    line: str
    ideal_cycle_s: Decimal = Decimal(2)
    setup_s: Decimal = Decimal(60)
    batch_max: Decimal | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)


PRESSED: Final = (RoutingLine(*PRESS),)
PRESSED_AND_BAKED: Final = (RoutingLine(*PRESS), RoutingLine(*OVEN))


class Floor:
    """The lines of tenant 1."""

    def __init__(self, here: Office) -> None:
        self.office = here
        self.database = here.database
        self.keeper = WorkOrderKeeper(here.database, here.clock, here.requests)

    def act(self, actor: str = "anna", reason: str = "") -> Act:
        return Act(1, time.time_ns(), actor, reason)

    async def plan(self, quantity: int | str, *, routing: Any = PRESSED, product: str = "P", **more: Any) -> list[str]:
        """The ids of the work orders that were made."""
        async with unit_of_work(self.database, 1) as work:
            new = NewWorkOrder(product, Decimal(quantity), routing, "paul", **more)
            return list((await plan(work, self.act("paul"), new)).work_orders)

    async def do(self, work_order: str, deed: Deed, reason: str = "", actor: str = "anna") -> Any:
        async with unit_of_work(self.database, 1) as work:
            return await do(work, self.act(actor, reason), work_order, deed)

    async def start(self, work_order: str) -> None:
        await self.do(work_order, Deed.START)

    async def count(self, place: tuple[str, str], good: int, reject: int = 0, at_ns: int | None = None) -> str | None:
        """A count of a line that ends at ``at_ns``: the work order that got it."""
        end_ns = time.time_ns() if at_ns is None else at_ns
        async with unit_of_work(self.database) as work:
            runs = await runs_between(work.session, 1, *place, end_ns - 1, end_ns)
            ran = next((run for run in runs if run.covers(end_ns)), None)
            if ran is not None:
                await book_count(work, 1, ran.work_order, Decimal(good), Decimal(reject), end_ns)
        return None if ran is None else ran.work_order

    async def set_line(
        self, place: tuple[str, str], *, completes: bool = False, starts: bool = False, parameters: str = "{}"
    ) -> None:
        await self.fetch(
            "INSERT INTO work_order_line (tenant_id, site, line, completes_itself, starts_next, parameters) "
            "VALUES (1, $1, $2, $3, $4, $5) ON CONFLICT (tenant_id, site, line) DO UPDATE SET "
            "completes_itself = $3, starts_next = $4, parameters = $5",
            *place,
            completes,
            starts,
            parameters,
        )

    async def row(self, work_order: str) -> Any:
        return (await self.fetch("SELECT * FROM work_order WHERE work_order_id = $1", work_order))[0]

    async def state(self, work_order: str) -> str:
        return str((await self.row(work_order))["state"])

    async def states(self, *work_orders: str) -> list[str]:
        return [await self.state(one) for one in work_orders]

    async def history(self, work_order: str) -> list[str]:
        rows = await self.fetch("SELECT state FROM work_order_state WHERE work_order_id = $1 ORDER BY state_id",
                                work_order)  # fmt: skip
        return [row["state"] for row in rows]

    async def told(self, work_order: str) -> list[str]:
        """What was announced of a work order, in its order."""
        rows = await self.fetch(
            "SELECT event::json ->> 'type' AS type FROM event_outbox "
            "WHERE event::json -> 'data' ->> 'work_order' = $1 ORDER BY number",
            work_order,
        )
        return [row["type"].removeprefix("lineside.lines.work-order-").removesuffix(".v1") for row in rows]

    async def commands(self) -> list[Any]:
        """The commands that were asked for, in their order."""
        return await self.fetch("SELECT * FROM command ORDER BY command_id")

    async def end_command(self, state: CommandState = CommandState.SUCCEEDED) -> str:
        """Let the newest command come to an end, and starts go on by it; its id."""
        command = str((await self.commands())[-1]["command_id"])
        await self.office.make(command, state)
        await self.keeper.look()
        return command

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        return await self.office.fetch(sql, *args)


@asynccontextmanager
async def floor(dsn: str) -> AsyncIterator[Floor]:
    async with office(dsn) as here:
        async with here.database.session() as session:
            await session.execute_many(
                "INSERT INTO production_line (tenant_id, site, line) VALUES (1, $1, $2)", [PRESS, OVEN]
            )
        yield Floor(here)


def in_hours(begin: datetime, end: datetime) -> float:
    """From ``begin`` to ``end``."""
    return (end - begin).total_seconds() / 3600
