"""Orders on a real PostgreSQL, with the real stock and lines: from a quote to a return, and every way back."""

from __future__ import annotations

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.integrations.events import Told as Answer
from cloud_ingest.inventory import published as inventory
from cloud_ingest.orders.terms import Terms
from tests.contract.inventory_steps import LINE
from tests.contract.order_steps import Shop, shop


async def paid(here: Shop, *lines: tuple[str, int]) -> str:
    order = await here.place(*lines)
    await here.pump()
    return order


async def test_an_order_s_whole_life_from_stock_and_from_the_line(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", "99.99", stock=2)
        order = await paid(here, ("pump", 5))
        found = await here.order(order)
        (line,) = found["lines"]
        assert (found["state"], found["paid"], found["total"]) == ("released", "594.94", "594.94")
        assert (line["net"], line["tax"], line["gross"]) == ("499.95", "94.99", "594.94")
        assert line["reserved"] == "2", "what is in stock is reserved"
        assert [one["quantity"] for one in found["work_orders"]] == ["3"], "the rest is planned"
        (work_order,) = await here.work_orders(order)
        await here.start(work_order["work_order_id"])
        await here.count(work_order["work_order_id"], 2)
        await here.pump()
        found = await here.order(order)
        assert (found["state"], found["lines"][0]["reserved"], found["lines"][0]["produced"]) == (
            "in_production", "4", "2",
        )  # fmt: skip
        await here.do(f"/orders/{order}/shipments", "olga", {"lines": [{"line": 1, "quantity": "3"}]}, status=201)
        await here.pump()
        assert (await here.order(order))["lines"][0]["shipped"] == "3", "a part of it leaves before"
        await here.count(work_order["work_order_id"], 1)
        await here.complete(work_order["work_order_id"])
        await here.pump()
        await here.do(f"/orders/{order}/shipments", "olga", {}, status=201)
        await here.pump()
        found = await here.order(order)
        assert (found["state"], found["lines"][0]["shipped"]) == ("shipped", "5")
        for shipment in found["shipments"]:
            await here.answers(order, Answer.TRACKING_CHANGED, shipment=shipment["shipment"], state="delivered")
        await here.pump()
        assert await here.state(order) == "closed"
        assert await here.left_stock(order) == 5
        assert (await here.stock.stock("pump"))["@customer", ""] == 5
        told = [what for what in here.told if what != "progressed"]
        assert told == ["placed", "payment-requested", "payment-received", "paid", "released", "in-production",
                        "shipment-requested", "shipment-sent", "shipment-requested", "packed", "shipment-sent",
                        "shipped", "delivered", "delivered", "closed"]  # fmt: skip
        track = (await here.ask("GET", f"/orders/{order}/tracking", "acme")).json()
        assert (track["percent"], track["state"], track["expected"]) == (100, "closed", None)
        assert [one["text"] for one in track["timeline"]][:2] == ["The order was placed", "594.94 EUR are to be paid"]


async def test_what_is_cancelled_while_it_is_made_holds_nothing_and_is_paid_back(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=2)
        order = await paid(here, ("pump", 5))
        (work_order,) = await here.work_orders(order)
        await here.start(work_order["work_order_id"])
        await here.count(work_order["work_order_id"], 1)
        await here.pump()
        here.outside.refunds = None
        await here.do(f"/orders/{order}/cancel", "acme", {"reason": "no longer needed"})
        await here.pump()
        assert await here.state(order) == "cancelling", "the money is not back yet"
        here.outside.refunds, here.outside.times = True, 2
        await here.later(120)
        assert await here.state(order) == "cancelled"
        assert await here.holds_nothing(order)
        found = await here.order(order)
        assert (found["paid"], found["refunded"], found["lines"][0]["cancelled"]) == ("59.50", "59.50", "5")
        assert (await here.stock.stock("pump"))["warehouse", ""] == 3, "what was made stays in stock"


async def test_a_part_has_left_when_the_rest_is_cancelled(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=2)
        order = await paid(here, ("pump", 3))
        await here.do(f"/orders/{order}/shipments", "olga", {}, status=201)
        await here.pump()
        await here.do(f"/orders/{order}/cancel", "acme", {"reason": "two are enough"})
        await here.pump()
        found = await here.order(order)
        assert (found["state"], found["paid"], found["refunded"]) == ("shipped", "35.70", "11.90")
        assert not await here.reserved_for(order)
        refused = await here.ask("POST", f"/orders/{order}/cancel", "acme", {"reason": "none"})
        assert (refused.status_code, refused.json()["code"]) == (409, "not_now"), "what has left comes back as a return"


async def test_a_payment_that_comes_twice_is_one_and_a_second_one_goes_back(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=9)
        here.outside.times = 3
        order = await paid(here, ("pump", 1))
        assert (await here.order(order))["paid"] == "11.90", "one webhook three times is one payment"
        await here.answers(order, Answer.PAYMENT_CAPTURED, payment="other", amount="11.90", currency="EUR", request="")
        await here.pump()
        found = await here.order(order)
        assert (found["paid"], found["refunded"], found["state"]) == ("23.80", "11.90", "released")
        assert [one["refunded"] for one in found["payments"]] == ["0.00", "11.90"]


async def test_what_nobody_pays_is_asked_for_again_and_cancelled_in_the_end(database_dsn: str) -> None:
    async with shop(database_dsn, Terms(attempts_max=2)) as here:
        await here.sell("pump", stock=9)
        here.outside.pays = False
        order = await paid(here, ("pump", 1))
        found = await here.order(order)
        assert (found["state"], found["problem"]["code"]) == ("placed", "payment_failed")
        assert "declined" in found["problem"]["text"]
        await here.later(100)
        requests = [data["request"] for _, data in here.outside.asked]
        assert len(requests) == len(set(requests)) == 2, "a provider refuses a key for ever"
        await here.later(8 * 86_400)
        found = await here.order(order)
        assert (found["state"], found["reason"], found["problem"]) == ("cancelled", "it was not paid in time", None)
        await here.answers(order, Answer.PAYMENT_CAPTURED, payment="late", amount="11.90", request=requests[-1])
        await here.pump()
        assert await here.holds_nothing(order), "what comes in too late goes back"
        assert (await here.order(order))["refunded"] == "11.90"


async def test_a_carrier_that_fails_makes_an_order_stuck_until_an_operator_helps(database_dsn: str) -> None:
    async with shop(database_dsn, Terms(attempts_max=1)) as here:
        await here.sell("pump", stock=9)
        here.outside.ships = False
        order = await paid(here, ("pump", 1))
        await here.do(f"/orders/{order}/shipments", "olga", {}, status=201)
        await here.pump()
        (stuck,) = (await here.ask("GET", "/orders?stuck=true")).json()["orders"]
        assert (stuck["id"], stuck["problem"]["code"]) == (order, "shipment_failed")
        assert "address" in stuck["problem"]["action"]
        assert (await here.orders.stuck())["shipment_failed"] == 1
        here.outside.ships = None
        await here.do(f"/orders/{order}/retry")
        await here.later(1)
        (request,) = [one for one in (await here.order(order))["requests"] if one["kind"] == "shipment"]
        assert (request["state"], request["attempts"]) == ("open", 1)
        done = await here.do(f"/orders/{order}/requests/{request['request']}/resolve", body={"reference": "CX1"})
        assert (done["state"], done["shipments"][0]["tracking"]) == ("shipped", "CX1")
        await here.answers(order, Answer.SHIPMENT_CREATED, shipment=request["subject"], carrier="ups", tracking="1Z")
        await here.pump(again=True)
        assert await here.left_stock(order) == 1, "an answer that comes too late ships nothing a second time"


async def test_what_is_cancelled_while_the_carrier_is_asked_does_not_leave(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=9)
        here.outside.ships = None
        order = await paid(here, ("pump", 2))
        await here.do(f"/orders/{order}/shipments", "olga", {}, status=201)
        await here.pump()
        assert await here.state(order) == "packed"
        await here.do(f"/orders/{order}/cancel", "acme", {"reason": "no longer needed"})
        (_, asked) = here.outside.asked[-1]
        await here.answers(order, Answer.SHIPMENT_CREATED, shipment=asked["shipment"], carrier="ups", tracking="1Z")
        await here.pump()
        assert await here.state(order) == "cancelled"
        assert await here.holds_nothing(order)
        assert not await here.left_stock(order)
        assert "shipment-voided" in here.told


async def test_a_return_is_paid_back_and_restocked_and_only_what_was_shipped_comes_back(database_dsn: str) -> None:
    async with shop(database_dsn, Terms(pack_at_once=True)) as here:
        await here.sell("pump", "33.33", stock=3)
        order = await paid(here, ("pump", 3))
        assert await here.state(order) == "shipped"
        too_much = {"lines": [{"line": 1, "quantity": "4"}], "reason": "damaged"}
        assert (await here.ask("POST", f"/orders/{order}/returns", "acme", too_much)).status_code == 409
        asked = await here.do(
            f"/orders/{order}/returns", "acme", {"lines": [{"line": 1, "quantity": "1"}], "reason": "damaged"}, 201
        )
        (first,) = asked["returns"]
        received = {"location": "warehouse", "lines": [{"line": 1, "quantity": "1"}]}
        await here.do(f"/orders/{order}/returns/{first['id']}/receive", "olga", received)
        await here.pump()
        found = await here.order(order)
        assert (found["state"], found["refunded"]) == ("closed", "39.66")
        assert (await here.stock.stock("pump"))["warehouse", ""] == 1
        again = await here.do(f"/orders/{order}/returns", "acme", {"reason": "the others, too"}, 201)
        received = {"location": "warehouse", "lines": [{"line": 1, "quantity": "2"}]}
        await here.do(f"/orders/{order}/returns/{again['returns'][1]['id']}/receive", "olga", received)
        await here.pump()
        found = await here.order(order)
        assert (found["state"], found["paid"]) == ("returned", found["refunded"]), "cents balance over all parts"


async def test_rejects_are_made_again_and_a_cancelled_work_order_waits_for_a_planner(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump")
        order = await paid(here, ("pump", 3))
        (first,) = await here.work_orders(order)
        await here.start(first["work_order_id"])
        await here.count(first["work_order_id"], 2, 1)
        await here.complete(first["work_order_id"])
        await here.pump()
        second = (await here.work_orders(order))[-1]
        assert (second["quantity"], second["state"]) == (1, "next"), "the reject is made again"
        await here.cancel_work_order(second["work_order_id"])
        await here.pump()
        found = await here.order(order)
        assert (found["problem"]["code"], len(found["work_orders"])) == ("production_short", 2)
        await here.do(f"/orders/{order}/retry")
        assert len(await here.work_orders(order)) == 3
        await here.make(order)
        assert (await here.order(order))["lines"][0]["reserved"] == "3"


async def test_components_that_are_not_there_are_made_first_or_said_to_be_missing(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump")
        await here.sell("rotor", stock=1, sold=False)
        await here.stock.item("steel")
        await here.stock.receive("steel", "4", "warehouse")
        await here.stock.bom("pump", ("rotor", "2"), ("steel", "1"))
        await here.stock.bom("rotor", ("steel", "3"))
        order = await paid(here, ("pump", 2))
        made = [(row["product"], int(row["quantity"])) for row in await here.work_orders(order)]
        assert made == [("rotor", 3), ("pump", 2)], "one rotor is in stock, and components come first"
        found = await here.order(order)
        assert found["problem"]["code"] == "components_missing"
        assert found["problem"]["text"] == "7 of steel are missing for the orders that need it"
        await here.stock.receive("steel", "9", "warehouse")
        other = await paid(here, ("pump", 1))
        text = (await here.order(other))["problem"]["text"]
        assert text == "5 of steel are missing for the orders that need it", "two are left of thirteen"
        await here.stock.receive("steel", "5", "warehouse")
        await here.pump()
        assert [(await here.order(one))["problem"] for one in (order, other)] == [None, None]


async def test_a_promise_is_by_stock_and_by_what_is_on_the_lines_already(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=2, cycle_s="3600")
        await here.sell("bought", stock=1, made=False)
        asked = {"lines": [{"product": "pump", "quantity": "2"}, {"product": "pump", "quantity": "3"}]}
        before = (await here.do("/orders/promise", "acme", asked))["lines"]
        assert [line["in_stock"] for line in before] == ["2", "0"], "nobody is promised the same piece twice"
        await paid(here, ("pump", 12))
        after = (await here.do("/orders/promise", "acme", {"lines": [{"product": "pump", "quantity": "1"}]}))["lines"]
        assert after[0]["ready"] > before[1]["ready"], "ten hours of work are on the line before it"
        bought = await here.do("/orders/promise", "acme", {"lines": [{"product": "bought", "quantity": "2"}]})
        assert (bought["ready"], bought["lines"][0]["in_stock"]) == (None, "1")
        assert "no routing" in bought["lines"][0]["missing"]


async def test_what_comes_into_stock_goes_to_who_it_was_made_for(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump")
        await here.sell("bought", made=False)
        first, second = await paid(here, ("pump", 2)), await paid(here, ("pump", 2))
        (work_order,) = await here.work_orders(second)
        await here.count(work_order["work_order_id"], 2)
        await here.pump()
        assert (await here.order(second))["lines"][0]["reserved"] == "2"
        assert (await here.order(first))["lines"][0]["reserved"] == "0"
        waiting = await paid(here, ("bought", 2))
        assert (await here.order(waiting))["problem"]["code"] == "no_routing"
        await here.stock.receive("bought", "5", "warehouse")
        await here.pump()
        found = await here.order(waiting)
        assert (found["lines"][0]["reserved"], found["problem"]) == ("2", None)


async def test_a_retry_does_not_plan_components_again_that_are_under_way(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump")
        await here.sell("rotor", sold=False)
        await here.stock.bom("pump", ("rotor", "2"))
        await steel(here)
        order = await paid(here, ("pump", 3))
        assert await planned(here, order) == [("rotor", 6), ("pump", 3)]
        await here.cancel_work_order((await here.work_orders(order))[1]["work_order_id"])
        await here.pump()
        await here.do(f"/orders/{order}/retry")
        assert await planned(here, order) == [("rotor", 6), ("pump", 3), ("pump", 3)], "its rotors are made already"


async def steel(here: Shop) -> None:
    """Rotors are made of it, and there is enough."""
    await here.stock.item("steel")
    await here.stock.receive("steel", "100", "warehouse")
    await here.stock.bom("rotor", ("steel", "1"))


async def planned(here: Shop, order: str) -> list[tuple[str, int]]:
    return [(row["product"], int(row["quantity"])) for row in await here.work_orders(order)]


async def test_two_orders_plan_with_no_component_twice_also_when_one_is_planned_anew(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", batch_max="5")
        await here.sell("rotor", stock=10, sold=False)
        await here.stock.bom("pump", ("rotor", "1"))
        await steel(here)
        order = await paid(here, ("pump", 10))
        first, _ = await here.work_orders(order)
        await here.start(first["work_order_id"])
        await here.count(first["work_order_id"], 4, 1)
        await here.complete(first["work_order_id"])
        await here.pump()
        assert await planned(here, order) == [("pump", 5), ("pump", 5), ("rotor", 1), ("pump", 1)]
        other = await paid(here, ("pump", 4))
        assert await planned(here, other) == [("rotor", 4), ("pump", 4)], "the five that are left are all promised"


async def test_what_is_packed_is_free_for_nobody_in_between(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=3)
        await here.stock.item("station", kind="product")
        await here.stock.bom("station", ("pump", "1"))
        order = await paid(here, ("pump", 3))
        await here.stock.counted("2", product="station", line=LINE)
        (short,) = await here.stock.rows("SELECT open FROM stock_shortage")
        assert short["open"] == 2, "a line waits for what is reserved for the order"
        await here.stock.say("UPDATE stock_location SET is_pickable = false")
        body = {"lines": [{"line": 1, "quantity": "2"}]}
        shipment = (await here.do(f"/orders/{order}/shipments", "olga", body, status=201))["shipments"][0]["shipment"]
        assert await here.reserved_for(order) == 3
        await here.do(f"/orders/{order}/shipments/{shipment}/unpack", "olga", {})
        await here.do(f"/orders/{order}/shipments", "olga", {}, status=201)
        await here.pump()
        assert (await here.state(order), await here.left_stock(order)) == ("shipped", 3)


async def test_what_stock_keeps_no_longer_is_not_packed_and_parcels_that_are_not_whole_do_not_leave(
    database_dsn: str,
) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=3)
        here.outside.ships = None
        order = await paid(here, ("pump", 3))
        path = f"/orders/{order}/shipments"
        await here.do(path, "olga", {"lines": [{"line": 1, "quantity": "2"}]}, status=201)
        await lose(here, order)
        answer = await here.ask("POST", path, "olga", {"lines": [{"line": 1, "quantity": "1"}]})
        assert (answer.status_code, answer.json()["code"]) == (409, "not_now")
        await here.pump()
        found = await here.order(order)
        assert [one["state"] for one in found["shipments"]] == ["voided"]
        assert (found["lines"][0]["reserved"], found["lines"][0]["packed"]) == ("3", "0"), "it is kept for it anew"
        assert await here.reserved_for(order) == 3


async def lose(here: Shop, order: str) -> None:
    """Stock keeps nothing for the order any more."""
    async with unit_of_work(here.database, 1) as work:
        await inventory.release(work, 1, inventory.For("order", order), "the lot was blocked")


async def test_a_product_whose_line_is_not_there_is_not_planned_and_the_order_says_so(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump")
        await here.stock.say("UPDATE production_line SET is_removed = true")
        order = await paid(here, ("pump", 3))
        found = await here.order(order)
        assert await here.work_orders(order) == []
        assert (found["problem"]["code"], found["problem"]["text"][:19]) == ("no_routing", "there is no line pl")
