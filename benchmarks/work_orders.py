"""``work-orders``: a thousand customers' orders become work orders, each with its availability and its promise.

Each order is one transaction, as orders do it: what its product needs on all levels of its bill of material, what there
is of each, what is reserved, and for the rest the work orders (two steps), planned backwards behind what two lines have
to do already, with their events. At the end every order has its goods or its work orders.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from lineside.servers.postgres import PostgresServer

from benchmarks.report import Figure, report
from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.inventory import published as inventory
from cloud_ingest.lines import published as lines
from tests.contract.inventory_steps import SITE, TENANT, Store, store

ORDERS: Final = 1000
ROUNDS: Final = 3
GOAL_S: Final = 10.0
PER_ORDER: Final = Decimal(5)
IN_STOCK: Final = 500


@dataclass(frozen=True)
class Step:
    """A step of the product's routing."""

    site: str
    line: str
    ideal_cycle_s: Decimal
    setup_s: Decimal = Decimal(30)
    batch_max: Decimal | None = None
    recipe: dict[str, Any] = field(default_factory=dict)


ROUTING: Final = (Step(SITE, "press", Decimal(2)), Step(SITE, "oven", Decimal(3)))


def main() -> None:
    """Do it some times, and report the medians."""
    walls, processors, servers, each = zip(*(asyncio.run(one_round()) for _ in range(ROUNDS)), strict=True)
    report(
        "work-orders",
        [
            Figure("1,000 orders into work orders, with availability", statistics.median(walls), "s", GOAL_S, False),
            Figure("of them in the platform's process", statistics.median(processors), "s CPU"),
            Figure("of them in PostgreSQL, its start and its tables included", statistics.median(servers), "s CPU"),
            Figure("the slowest order", statistics.median(max(one) * 1000 for one in each), "ms"),
        ],
    )


async def one_round() -> tuple[float, float, float, list[float]]:
    """Seconds by the clock, of a processor here and in PostgreSQL, and of each order."""
    before_s = _processor_s(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as folder:
        server = PostgresServer(Path(folder) / "postgres")
        server.start()
        try:
            server.create_database("bench")
            async with store(server.dsn("bench")) as here:
                await opened(here)
                wall_s, processor_s, each = await timed(here)
        finally:
            server.stop()
    return wall_s, processor_s, _processor_s(resource.RUSAGE_CHILDREN) - before_s, each


async def opened(here: Store) -> None:
    """A pump of two levels, with stock for a tenth of all orders."""
    for item in ("pump", "housing", "screw", "gasket", "blank"):
        await here.item(item)
    await here.bom("housing", ("blank", "1"), ("screw", "4"))
    await here.bom("pump", ("housing", "1"), ("screw", "8"), ("gasket", "2"))
    for step in ROUTING:
        await here.say(
            "INSERT INTO production_line (tenant_id, site, line) VALUES ($1, $2, $3)", TENANT, step.site, step.line
        )
    for item, quantity in (("pump", IN_STOCK), ("screw", 100_000), ("gasket", 20_000), ("blank", 10_000)):
        await here.receive(item, str(quantity), SITE)


async def timed(here: Store) -> tuple[float, float, list[float]]:
    """Let all orders be planned, one after the other."""
    begun_s, used_s = time.monotonic(), _processor_s()
    each: list[float] = []
    for number in range(ORDERS):
        at_s = time.monotonic()
        await plan(here, f"SO-{number:05}")
        each.append(time.monotonic() - at_s)
    wall_s, processor_s = time.monotonic() - begun_s, _processor_s() - used_s
    (found,) = await here.rows("SELECT count(DISTINCT order_id) AS orders, sum(quantity) / 2 AS wanted FROM work_order")
    if found["wanted"] != ORDERS * PER_ORDER - IN_STOCK:
        raise SystemExit(f"{found['wanted']} are planned for {found['orders']} orders")
    return wall_s, processor_s, each


async def plan(here: Store, order: str) -> None:
    """One order."""
    due = datetime.now(UTC) + timedelta(days=30)
    async with unit_of_work(here.database, TENANT) as work:
        needs = await inventory.explode(work.session, TENANT, "pump", PER_ORDER)
        await inventory.availabilities(work.session, TENANT, [need.item for need in needs])
        got = await inventory.reserve(work, TENANT, "pump", PER_ORDER, inventory.For("order", order, "1"))
        if (rest := PER_ORDER - got) > 0:
            new = lines.NewWorkOrder("pump", rest, ROUTING, "bench", due=due, order=order, order_line=1)
            await lines.create_work_order(work, TENANT, new)


def _processor_s(who: int = resource.RUSAGE_SELF) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
