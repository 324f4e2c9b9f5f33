"""An order's whole life over the real event log, by the real roles with the built-in gateway and carrier.

At every stage all roles are ended and begun again: it ends the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from cloud_ingest.config import CloudConfig, Role
from cloud_ingest.event_log.topics import topic_specs
from cloud_ingest.platform import PlatformContext, platform_parts
from connectors.ports.clock import SystemClock
from connectors.ports.event_log import EventLog
from tests.contract.historian_steps import RawLog, eventually
from tests.contract.order_steps import Shop, shop

ROLES: frozenset[Role] = frozenset({"orders", "inventory", "integrations"})


@asynccontextmanager
async def running(here: Shop, log: EventLog) -> AsyncIterator[None]:
    """All roles, until the end; nothing of them is closed in an orderly way."""
    config = CloudConfig.model_validate(
        {"ingest": {"brokers": ["mqtt://127.0.0.1"], "insecure": True}, "database": {"insecure": True}}
    )
    context = PlatformContext(config, ROLES, here.database, log, SystemClock(), topic_specs(2, 86_400.0))
    tasks = [asyncio.create_task(work(), name=name) for name, work, _ in platform_parts(context)]
    try:
        yield
        assert not [task for task in tasks if task.done()], "no role ends by itself"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_order_lives_and_ends_the_same_whichever_role_is_ended_in_the_middle(
    database_dsn: str, raw_log: RawLog
) -> None:
    async with shop(database_dsn, connections_max=40) as here:
        log = await raw_log.open()
        try:
            await raw_log.clear()
            await here.sell("pump", stock=1)
            order, dropped = await here.place(("pump", 3)), await here.place(("pump", 2))

            def comes_to(order: str, state: str) -> Callable[[], Awaitable[bool]]:
                async def is_there() -> bool:
                    return await here.state(order) == state

                return is_there

            async with running(here, log):
                await eventually(comes_to(order, "released"))
                await eventually(comes_to(dropped, "released"))
            for row in await here.work_orders(order):  # while nobody listens
                await here.count(row["work_order_id"], int(row["quantity"]))
            await here.do(f"/orders/{dropped}/cancel", "acme", {"reason": "no longer needed"})
            assert await here.state(dropped) == "cancelling"

            async def is_in_stock() -> bool:
                return (await here.order(order))["lines"][0]["reserved"] == "3"

            async with running(here, log):
                await eventually(is_in_stock)
                await eventually(comes_to(dropped, "cancelled"))
            await here.do(f"/orders/{order}/shipments", "olga", {}, status=201)
            async with running(here, log):
                await eventually(comes_to(order, "shipped"))
            assert await here.left_stock(order) == 3
            assert await here.holds_nothing(dropped)
            found = await here.order(order)
            assert (found["paid"], found["refunded"], found["problem"]) == ("35.70", "0.00", None)
            assert found["shipments"][0]["tracking"]
            assert not await here.stock.rows("SELECT reason FROM event_letter"), "every event was taken"
        finally:
            await log.close()
