"""Orders through drawn histories on a real PostgreSQL, with the real stock and lines: goods and money balance.

The same as ``tests/unit/cloud_orders/test_order_machine.py`` on played ones, here with several orders at once that
share stock and a line, and with every event told again from the beginning.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cloud_ingest.integrations.events import Told as Answer
from cloud_ingest.orders.terms import Terms
from tests.contract.order_steps import Shop, shop
from tests.exploration import histories
from tests.servers.databases import Databases

DEEDS: Final = ("place", "pay", "make", "scrap", "pack", "ship", "cancel", "return", "retry", "later", "twice", "stock")
ENDED: Final = ("cancelled", "returned", "closed", "shipped")
Step = tuple[str, int, int]


@settings(
    max_examples=histories(8),
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
@given(steps=st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 2), st.integers(1, 4)), min_size=8, max_size=22))
def test_whatever_happens_goods_and_money_balance(databases: Databases, steps: list[Step]) -> None:
    with databases.with_tables() as dsn:
        asyncio.run(history(dsn, steps))


async def history(dsn: str, steps: list[Step]) -> None:
    async with shop(dsn, Terms(attempts_max=2)) as here:
        await here.sell("pump", "33.33", stock=3)
        here.outside.pays = here.outside.ships = None
        orders: list[str] = [await here.place(("pump", 2))]
        await here.pump()
        for deed, place, quantity in steps:
            order = orders[place % len(orders)]
            if deed == "place":
                orders.append(await here.place(("pump", quantity)))
            else:
                await do(here, deed, order, quantity)
            await here.pump()
            for one in orders:
                await balances(here, one)
        for order in orders:
            await here.ask("POST", f"/orders/{order}/cancel", body={"reason": "the end"})
        await here.pump(again=True)
        for order in orders:
            await balances(here, order)
            if (found := await here.order(order))["state"] == "cancelled":
                assert await here.holds_nothing(order)
                assert found["lines"][0]["shipped"] == "0"


async def do(here: Shop, deed: str, order: str, quantity: int) -> None:
    found = await here.order(order)
    match deed:
        case "pay":
            for _, asked in [one for one in here.outside.asked if one[1]["order"] == order and "request" in one[1]]:
                if "payment" not in asked:
                    said = {"payment": f"pay-{asked['request']}", "amount": asked["amount"], "currency": "EUR"}
                    await here.answers(order, Answer.PAYMENT_CAPTURED, request=asked["request"], **said)
        case "make" | "scrap":
            for row in await here.work_orders(order):
                if row["state"] in ("next", "ready", "running"):
                    good, reject = (quantity, 0) if deed == "make" else (0, quantity)
                    await here.count(row["work_order_id"], good, reject)
        case "pack":
            await here.ask("POST", f"/orders/{order}/shipments", "olga", {})
        case "ship":
            for shipment in found["shipments"]:
                said = {"carrier": "ups", "tracking": "1Z"}
                await here.answers(order, Answer.SHIPMENT_CREATED, shipment=shipment["shipment"], **said)
        case "cancel":
            await here.ask("POST", f"/orders/{order}/cancel", "acme", {"reason": "drawn"})
        case "return":
            await send_back(here, order, found)
        case "retry":
            await here.ask("POST", f"/orders/{order}/retry")
        case "later":
            await here.later(3600 * quantity)
        case "twice":
            await here.pump(again=True)
        case _:
            await here.stock.receive("pump", str(quantity), "warehouse")


async def send_back(here: Shop, order: str, found: dict[str, Any]) -> None:
    asked = await here.ask("POST", f"/orders/{order}/returns", "acme", {"reason": "drawn"})
    if asked.status_code == 201:
        back = asked.json()["returns"][-1]
        lines = [{"line": int(line), "quantity": quantity} for line, quantity in back["lines"].items()]
        await here.do(
            f"/orders/{order}/returns/{back['id']}/receive", "olga", {"location": "warehouse", "lines": lines}
        )  # fmt: skip


async def balances(here: Shop, order: str) -> None:
    """What always holds, by what the order says and by what stock and lines say themselves."""
    found = await here.order(order)
    (line,) = found["lines"]
    quantity, reserved, packed, shipped, cancelled, returned = (
        Decimal(line[name]) for name in ("quantity", "reserved", "packed", "shipped", "cancelled", "returned")
    )
    assert await here.reserved_for(order) == reserved + packed
    assert await here.left_stock(order) == shipped, "what has left has left once"
    assert shipped + cancelled <= quantity
    paid, refunded, total = (Decimal(found[name]) for name in ("paid", "refunded", "total"))
    assert Decimal(0) <= refunded <= paid
    assert total == Decimal(line["gross"]) == Decimal(line["net"]) + Decimal(line["tax"])
    kept = quantity - cancelled - returned
    if shipped:
        assert paid - refunded >= (total * kept / quantity).quantize(Decimal("0.01")) - Decimal("0.01"), "it is paid"
    if found["state"] in ENDED:
        assert not await here.reserved_for(order)
        assert all(row["state"] in ("complete", "closed", "cancelled") for row in await here.work_orders(order)) or (
            found["state"] != "cancelled"
        )
