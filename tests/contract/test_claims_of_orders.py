"""What work orders of orders are going to take is promised to nobody else, whenever stock hears of what was made."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.inventory.backflush import book_count
from cloud_ingest.inventory.counts import Count
from cloud_ingest.orders import facts
from cloud_ingest.orders.case import Case
from cloud_ingest.orders.world import PlantWorld
from tests.contract import order_steps
from tests.contract.order_steps import Shop, shop


class LateStock:
    """Stock that books what lines have counted when it is told to, and not when orders hear of it."""

    def __init__(self, here: Shop, patched: pytest.MonkeyPatch) -> None:
        self._here = here
        self._counts: list[Count] = []
        patched.setattr(order_steps, "book_into_stock", self._later)

    async def _later(self, _work: UnitOfWork, count: Count) -> None:
        self._counts.append(count)

    async def catch_up(self) -> None:
        counts, self._counts = self._counts, []
        for count in counts:
            async with unit_of_work(self._here.database) as work:
                await book_count(work, count)
        await self._here.pump()


async def made_of_steel(here: Shop, quantity: int) -> None:
    await here.sell("pump")
    await here.stock.item("steel")
    await here.stock.receive("steel", str(quantity), "warehouse")
    await here.stock.bom("pump", ("steel", "1"))


async def paid(here: Shop, quantity: int) -> str:
    order = await here.place(("pump", quantity))
    await here.pump()
    return order


async def missing(here: Shop, order: str) -> int:
    """How much steel is missing for an order; 0 when it lacks nothing."""
    problem = (await here.order(order))["problem"]
    if problem is None:
        return 0
    assert "of steel are missing" in problem["text"]
    return int(problem["text"].split()[0])


async def test_what_a_counted_piece_is_made_of_is_promised_to_nobody_before_stock_has_booked_it(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(database_dsn) as here:
        await made_of_steel(here, 10)
        stock = LateStock(here, monkeypatch)
        first = await paid(here, 10)
        await here.make(first)
        assert (await here.order(first))["lines"][0]["produced"] == "10"
        assert await here.stock.at("steel", "warehouse") == 10, "the ledger does not know of it yet"
        second = await paid(here, 4)
        assert await missing(here, second) == 4
        await stock.catch_up()
        assert await here.stock.at("steel", "warehouse") == 0
        assert await missing(here, second) == 4
        await here.stock.receive("steel", "4", "warehouse")
        await here.pump()
        assert await missing(here, second) == 0


async def test_what_an_order_needs_no_longer_is_promised_to_others(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await made_of_steel(here, 10)
        await here.sell("motor")
        await here.sell("rotor", sold=False)
        await here.stock.bom("rotor", ("steel", "1"))
        await here.stock.bom("motor", ("rotor", "1"))
        order = await here.place(("motor", 10))
        await here.pump()
        assert await missing(here, await paid(here, 1)) == 1, "all of it is for the rotors"
        for work_order in await here.work_orders(order):
            await here.cancel_work_order(work_order["work_order_id"])
        await here.stock.receive("rotor", "10", "warehouse")
        await here.pump()
        await here.do(f"/orders/{order}/retry")
        assert [row["product"] for row in await here.work_orders(order)] == ["rotor", "motor", "motor"]
        assert await missing(here, await paid(here, 9)) == 0, "the rotors are there: no steel is taken for them"


async def test_rejects_that_stock_has_not_booked_are_counted_when_they_are_made_again(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(database_dsn) as here:
        await made_of_steel(here, 10)
        stock = LateStock(here, monkeypatch)
        order = await paid(here, 10)
        (work_order,) = await here.work_orders(order)
        await here.start(work_order["work_order_id"])
        await here.count(work_order["work_order_id"], 7, 3)
        await here.complete(work_order["work_order_id"])
        await here.pump()
        assert await missing(here, order) == 3, "all ten are used, and three are made again"
        await stock.catch_up()
        await here.stock.receive("steel", "3", "warehouse")
        await here.pump()
        assert await missing(here, order) == 0


async def test_components_come_for_an_order_of_which_stock_has_not_booked_what_was_made(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(database_dsn) as here:
        await made_of_steel(here, 6)
        stock = LateStock(here, monkeypatch)
        order = await paid(here, 10)
        (work_order,) = await here.work_orders(order)
        await here.start(work_order["work_order_id"])
        await here.count(work_order["work_order_id"], 6)
        await here.pump()
        await here.stock.receive("steel", "1", "warehouse")
        await here.pump()
        assert await missing(here, order) == 3
        await stock.catch_up()
        assert await missing(here, order) == 3
        await here.stock.receive("steel", "3", "warehouse")
        await here.pump()
        assert await missing(here, order) == 0


async def test_orders_that_are_paid_at_once_are_promised_no_component_twice(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await made_of_steel(here, 10)
        here.outside.pays = None
        orders = [await here.place(("pump", 3)) for _ in range(5)]
        await asyncio.gather(*(pay(here, order) for order in orders))
        short = sorted([await missing(here, order) for order in orders])
        assert short == [0, 0, 0, 2, 5], "of whoever is released, all that were before count"


async def pay(here: Shop, order: str) -> None:
    async def tell(case: Case, _world: PlantWorld, now: datetime) -> None:
        facts.payment_captured(case, now, f"pay-{order}", case.total)

    async with unit_of_work(here.database) as work:
        await here.orders.hear(work, 1, [order], tell)
