"""Several who change one order at once on a real PostgreSQL: one after the other, and nothing is done twice."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.event_log.topics import INVENTORY_EVENTS, topic_specs
from cloud_ingest.integrations.events import Told as Answer
from cloud_ingest.inventory.items import locked_items
from cloud_ingest.orders.listening import projections
from tests.contract.historian_steps import eventually
from tests.contract.order_steps import ADDRESS, shop


async def test_a_cancellation_and_a_payment_at_once_leave_nothing_held_and_nothing_kept(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=3)
        here.outside.pays = None
        for number in range(4):
            order = await here.place(("pump", 5))
            await here.pump()
            request = here.outside.asked[-1][1]["request"]
            said = {"payment": f"p{number}", "amount": "59.50", "currency": "EUR", "request": request}
            await here.answers(order, Answer.PAYMENT_CAPTURED, **said)
            reason = {"reason": "at the same time"}
            answers = await asyncio.gather(
                here.pump(),
                here.ask("POST", f"/orders/{order}/cancel", "acme", reason),
                here.ask("POST", f"/orders/{order}/cancel", "paul", reason),
            )
            assert [answer.status_code for answer in answers[1:]] == [200, 200]
            await here.pump()
            assert await here.state(order) == "cancelled"
            assert await here.holds_nothing(order)
            assert (await here.order(order))["paid"] == "59.50"
        assert (await here.stock.stock("pump"))["warehouse", ""] == 3


async def test_two_who_pack_the_same_goods_at_once_pack_them_once(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=3)
        order = await here.place(("pump", 3))
        await here.pump()
        body = {"lines": [{"line": 1, "quantity": "3"}]}
        path = f"/orders/{order}/shipments"
        answers = await asyncio.gather(*(here.ask("POST", path, "olga", body) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
        await here.pump()
        assert await here.left_stock(order) == 3
        asked = {"lines": [{"product": "pump", "quantity": "1"}]}
        same = await asyncio.gather(
            *(here.ask("POST", "/orders", "acme", asked, Idempotency_Key="same") for _ in range(3))
        )
        assert len({answer.json()["id"] for answer in same}) == 1, "a request that comes again is one order"


async def test_orders_at_once_sell_no_piece_twice(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=5)
        orders = await asyncio.gather(*(here.place(("pump", 2)) for _ in range(5)))
        await here.pump()
        found = [await here.order(order) for order in orders]
        assert sum(Decimal(one["lines"][0]["reserved"]) for one in found) == 5
        assert sum(Decimal(made["quantity"]) for one in found for made in one["work_orders"]) == 5


async def test_the_timer_of_two_processes_does_nothing_twice(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=5)
        here.outside.pays = None
        orders = [await here.place(("pump", 1)) for _ in range(4)]
        await here.pump()
        here.clock.ahead_ms += 61_000
        await asyncio.gather(*(here.orders.look_at_due() for _ in range(3)))
        await here.pump()
        asked = [data["order"] for _, data in here.outside.asked]
        assert sorted(asked) == sorted(orders * 2), "each is asked for a second time, once"


async def test_a_customer_sees_their_own_orders_alone_and_nothing_of_the_plant(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.customer("rival")
        await here.sell("pump", stock=1)
        order = await here.place(("pump", 2), by="acme")
        await here.pump()
        own = await here.order(order, "acme")
        assert (own["work_orders"], own["requests"], own["problem"], own["created_by"]) == ([], [], None, "")
        assert len((await here.ask("GET", "/orders", "acme")).json()["orders"]) == 1
        assert (await here.ask("GET", "/orders", "rival")).json()["orders"] == []
        assert (await here.ask("GET", "/orders?customer=acme", "rival")).json()["orders"] == []
        assert [one["customer"] for one in (await here.ask("GET", "/customers", "rival")).json()["customers"]] == [
            "rival"
        ]
        body = {"reason": "not mine"}
        for answer in (
            await here.ask("GET", f"/orders/{order}", "rival"),
            await here.ask("GET", f"/orders/{order}/tracking", "rival"),
            await here.ask("POST", f"/orders/{order}/cancel", "rival", body),
            await here.ask("POST", f"/orders/{order}/returns", "rival", body),
            await here.ask("GET", "/customers/acme", "rival"),
            await here.ask("GET", f"/orders/{order}", "theirs"),
            await here.ask("POST", f"/orders/{order}/cancel", "theirs", body),
            await here.ask("POST", f"/orders/{order}/retry", "theirs"),
        ):
            assert answer.status_code == 404, answer.text
        lines = [{"product": "pump", "quantity": "1"}]
        foreign = await here.ask("POST", "/orders", "rival", {"customer": "acme", "lines": lines})
        assert foreign.status_code == 404
        cheap = {"lines": [{**lines[0], "discount_percent": "50"}]}
        assert (await here.ask("POST", "/orders", "acme", cheap)).status_code == 403
        assert (await here.ask("GET", "/orders", "nobody")).status_code == 401
        assert (await here.ask("POST", f"/orders/{order}/retry", "acme")).status_code == 403
        assert (await here.ask("GET", f"/orders/{order}", "site")).status_code == 200
        assert (await here.ask("POST", f"/orders/{order}/cancel", "site", body)).status_code == 403, "it is at no site"


async def test_a_change_of_a_customer_names_what_was_seen_and_orders_keep_their_address(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=1)
        order = await here.place(("pump", 1))
        seen = await here.ask("GET", "/customers/acme")
        body = {"name": "Acme", "addresses": {"delivery": {**ADDRESS, "city": "Bonn"}}, "discount_percent": "10"}
        assert (await here.ask("PUT", "/customers/acme", body=body)).status_code == 428
        changed = await here.ask("PUT", "/customers/acme", body=body, If_Match=seen.headers["ETag"])
        assert changed.status_code == 200
        again = await here.ask("PUT", "/customers/acme", body=body, If_Match=seen.headers["ETag"])
        assert again.status_code == 412
        assert (await here.order(order))["address"]["city"] == "Berlin"
        dear, cheap = await here.order(order), await here.order(await here.place(("pump", 1)))
        assert (dear["total"], cheap["total"], cheap["lines"][0]["discount_percent"]) == ("11.90", "10.71", "10")


async def test_a_quote_keeps_its_price_until_it_is_over(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=5)
        kept, late = [await here.place(("pump", 1), path="/quotes") for _ in range(2)]
        await here.stock.say(
            "UPDATE catalog_published SET document = jsonb_set(document, '{prices,0,amount}', '\"99.00\"') "
            "WHERE kind = 'product'"
        )
        accepted = await here.do(f"/quotes/{kept}/accept", "acme")
        assert (accepted["state"], accepted["total"]) == ("placed", "11.90")
        await here.later(15 * 86_400)
        assert await here.state(late) == "cancelled"
        refused = await here.ask("POST", f"/quotes/{late}/accept", "acme")
        assert (refused.status_code, refused.json()["code"]) == (409, "not_now")
        assert [one["id"] for one in (await here.ask("GET", "/quotes")).json()["orders"]] == []


async def test_orders_that_hear_of_several_items_and_lines_that_count_them_wait_for_each_other_in_one_order(
    database_dsn: str,
) -> None:
    async with shop(database_dsn) as here:
        for product in ("alpha", "zeta"):
            await here.sell(product, made=False)
        orders = [await here.place((product, 1)) for product in ("alpha", "zeta")]
        await here.pump()
        for product in ("zeta", "alpha"):
            await here.stock.receive(product, "1", "warehouse")
        records = await here.records(INVENTORY_EVENTS)
        reader = projections(here.orders, topic_specs(2, 86_400.0))[1]

        async def hear() -> None:
            async with unit_of_work(here.database) as work:
                await reader.take(work, 0, records)

        async def somebody_waits() -> bool:
            return bool(await here.stock.rows("SELECT FROM pg_locks WHERE NOT granted"))

        async with unit_of_work(here.database, 1) as counting:
            await locked_items(counting.session, 1, ["alpha"])
            hearing = asyncio.create_task(hear())
            await eventually(somebody_waits)
            await locked_items(counting.session, 1, ["zeta"])
        await hearing
        assert [(await here.order(order))["lines"][0]["reserved"] for order in orders] == ["1", "1"]
