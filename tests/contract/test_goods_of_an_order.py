"""Goods that an order counts on, and that come late, or go elsewhere: on a real PostgreSQL, with the real stock."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.integrations.events import Told as Answer
from cloud_ingest.inventory import reserving
from cloud_ingest.inventory.items import locked_items
from cloud_ingest.inventory.lots import change_lot
from cloud_ingest.inventory.rules import Kind, LotStatus
from cloud_ingest.orders import listening
from tests.contract.order_steps import Shop, shop


async def judge(here: Shop, item: str, lot: str, status: LotStatus) -> None:
    """Give a lot a status as the route does: what is reserved of one that may not be used is given back."""
    now = datetime.now(UTC)
    async with unit_of_work(here.database, 1) as work:
        await locked_items(work.session, 1, [item])
        if not await change_lot(work, 1, item, lot, status=status, expires=None, reason="seen", when=now):
            kept = await reserving.open_of_lot(work.session, 1, item, lot)
            await reserving.give_back(work, 1, kept, "seen", now)
    await here.pump()


async def by_lot(here: Shop, code: str, *, quarantine: bool = False) -> None:
    """Sell a product that is tracked by lot."""
    await here.sell(code)
    await here.stock.say("UPDATE item SET tracking = 'lot', quarantine = $2 WHERE code = $1", code, quarantine)


async def test_what_is_in_quarantine_is_not_made_again_and_goes_to_its_order_when_it_is_released(
    database_dsn: str,
) -> None:
    async with shop(database_dsn) as here:
        await by_lot(here, "pump", quarantine=True)
        order = await here.place(("pump", 5))
        await here.pump()
        await here.make(order)
        await here.later(300)
        await here.later(300)
        (work_order,) = await here.work_orders(order)
        found = await here.order(order)
        assert found["problem"]["code"] == "in_quarantine"
        assert "5 of pump" in found["problem"]["text"]
        await here.do(f"/orders/{order}/retry")
        await here.pump()
        assert len(await here.work_orders(order)) == 1, "nor when somebody says retry"
        await judge(here, "pump", work_order["work_order_id"], LotStatus.RELEASED)
        found = await here.order(order)
        assert (found["lines"][0]["reserved"], found["problem"]) == ("5", None)


async def test_what_does_not_pass_is_made_again(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await by_lot(here, "pump", quarantine=True)
        order = await here.place(("pump", 5))
        await here.pump()
        await here.make(order)
        await here.later(300)
        (work_order,) = await here.work_orders(order)
        await judge(here, "pump", work_order["work_order_id"], LotStatus.BLOCKED)
        assert [str(one["quantity"].normalize()) for one in await here.work_orders(order)] == ["5", "5"]


async def test_a_lot_that_is_blocked_is_no_longer_an_order_s_and_another_takes_its_place(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await by_lot(here, "pump")
        await here.stock.receive("pump", "5", "warehouse", "L1")
        order = await here.place(("pump", 5))
        await here.pump()
        assert (await here.order(order))["lines"][0]["reserved"] == "5"
        await here.stock.receive("pump", "2", "warehouse", "L2")
        await judge(here, "pump", "L1", LotStatus.BLOCKED)
        (line,) = (await here.order(order))["lines"]
        assert line["reserved"] == "2"
        assert [str(one["quantity"].normalize()) for one in await here.work_orders(order)] == ["3"]
        assert await here.reserved_for(order) == 2


async def test_parcels_with_a_lot_that_is_blocked_do_not_leave(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await by_lot(here, "pump")
        await here.sell("valve", stock=1)
        await here.stock.receive("pump", "5", "warehouse", "L1")
        order = await here.place(("pump", 5), ("valve", 1))
        await here.pump()
        here.outside.ships = None
        await here.do(f"/orders/{order}/shipments", "olga", {}, status=201)
        await here.pump()
        await judge(here, "pump", "L1", LotStatus.BLOCKED)
        found = await here.order(order)
        assert [one["state"] for one in found["shipments"]] == ["voided"]
        assert [(line["reserved"], line["packed"]) for line in found["lines"]] == [("0", "0"), ("1", "0")]
        assert "shipment-voided" in here.told
        assert await here.reserved_for(order) == 1


async def test_parcels_that_are_on_their_way_though_they_were_taken_back_are_told_to_somebody(
    database_dsn: str,
) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=2)
        order = await here.place(("pump", 2))
        await here.pump()
        here.outside.ships = None
        await here.do(f"/orders/{order}/shipments", "olga", {}, status=201)
        await here.pump()
        await here.do(f"/orders/{order}/cancel", "acme", {"reason": "no longer needed"})
        (shipment,) = (await here.order(order))["shipments"]
        for state in ("created", "in-transit", "in-transit", "delivered"):
            await here.answers(order, Answer.TRACKING_CHANGED, shipment=shipment["shipment"], state=state)
        await here.pump()
        assert here.told.count("stuck") == 1
        found = await here.order(order)
        assert (found["state"], found["problem"]["code"]) == ("cancelled", "left_all_the_same")


@pytest.mark.parametrize("carrier_was_first", [True, False])
async def test_whoever_gives_an_order_s_goods_away_by_hand_stops_neither_packing_nor_the_carrier_s_answer(
    database_dsn: str, carrier_was_first: bool
) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=2)
        order = await here.place(("pump", 2))
        await here.pump()
        if carrier_was_first:
            await here.do(f"/orders/{order}/shipments", "olga", {}, status=201)
        async with unit_of_work(here.database, 1) as work:  # nobody has told the order yet
            await locked_items(work.session, 1, ["pump"])
            kept = await reserving.open_for(work.session, 1, reserving.Owner("order", order), ["pump"])
            await reserving.give_back(work, 1, kept, "by olga", datetime.now(UTC))
        await here.stock.book(Kind.SCRAP, "pump", "2", "warehouse", "@scrap")
        if not carrier_was_first:
            answer = await here.ask("POST", f"/orders/{order}/shipments", "olga", {})
            assert (answer.status_code, answer.json()["code"]) == (409, "not_now")
        await here.pump()
        found = await here.order(order)
        assert (found["lines"][0]["reserved"], found["lines"][0]["packed"], found["lines"][0]["shipped"]) == (
            "0", "0", "0",
        )  # fmt: skip
        assert len(await here.work_orders(order)) == 1, "they are made"
        assert await here.left_stock(order) == 0


async def test_who_waits_gets_what_was_found_and_what_was_brought_to_where_orders_are_served(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.stock.place("line-side", "plant-7", "line-side", is_pickable=False)
        await here.sell("pump", made=False)
        order = await here.place(("pump", 5))
        await here.pump()
        await here.stock.receive("pump", "2", "line-side")
        await here.pump()
        assert (await here.order(order))["lines"][0]["reserved"] == "0"
        await here.stock.book(Kind.TRANSFER, "pump", "2", "line-side", "warehouse")
        await here.pump()
        assert (await here.order(order))["lines"][0]["reserved"] == "2"
        await here.stock.book(Kind.ADJUSTMENT, "pump", "3", "@adjustment", "warehouse")
        await here.pump()
        assert (await here.order(order))["lines"][0]["reserved"] == "5"


async def test_what_comes_in_reaches_all_who_wait_however_many_they_are(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "WAITING_MAX", 2)
    async with shop(database_dsn) as here:
        await here.sell("pump", made=False)
        orders = [await here.place(("pump", 1)) for _ in range(5)]
        await here.pump()
        await here.stock.receive("pump", "5", "warehouse")
        await here.pump()
        await here.later(0)
        assert [(await here.order(order))["lines"][0]["reserved"] for order in orders] == ["1"] * 5


async def test_what_is_promised_from_stock_is_where_orders_are_served(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.stock.place("line-side", "plant-7", "line-side", is_pickable=False)
        await here.sell("pump", made=False)
        await here.stock.receive("pump", "2", "line-side")
        body = {"lines": [{"product": "pump", "quantity": "2"}]}
        (line,) = (await here.ask("POST", "/orders/promise", "acme", body)).json()["lines"]
        assert (line["in_stock"], line["ready"]) == ("0", None)
