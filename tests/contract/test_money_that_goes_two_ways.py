"""Money that people and the provider move at the same time, or that comes back: none twice, and nobody is not told."""

from __future__ import annotations

from typing import Any

from cloud_ingest.integrations.events import Told as Answer
from tests.contract.order_steps import Shop, shop


async def owed_back(here: Shop) -> tuple[str, dict[str, Any]]:
    """An order that is cancelled, and whose refund nobody has answered; the refund as it was asked for."""
    await here.sell("pump", stock=1)
    order = await here.place(("pump", 1))
    await here.pump()
    here.outside.refunds = None
    await here.do(f"/orders/{order}/cancel", "acme", {"reason": "no longer needed"})
    await here.pump()
    return order, here.outside.asked[-1][1]


async def test_what_was_paid_back_by_hand_is_not_asked_of_the_provider_any_more(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        order, asked = await owed_back(here)
        await here.do(f"/orders/{order}/requests/{asked['request']}/resolve", body={"reference": "bank 17"})
        await here.pump()
        assert here.told.count("refund-withdrawn") == 1
        assert (await here.state(order), (await here.order(order))["refunded"]) == ("cancelled", "11.90")


async def test_what_was_paid_back_by_hand_and_by_the_provider_as_well_is_said_to_somebody(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        order, asked = await owed_back(here)
        await here.do(f"/orders/{order}/requests/{asked['request']}/resolve", body={"reference": "bank 17"})
        said = {name: asked[name] for name in ("request", "payment", "amount")}
        for _ in range(2):
            await here.answers(order, Answer.REFUNDED, **said)
        await here.pump()
        assert here.told.count("stuck") == 1
        timeline = (await here.ask("GET", f"/orders/{order}/tracking")).json()["timeline"]
        assert timeline[-1]["text"].startswith("11.90 EUR were paid back twice")
        assert (await here.order(order))["refunded"] == "11.90"


async def test_a_refund_that_the_bank_sends_back_is_owed_again_and_somebody_is_told(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        order, asked = await owed_back(here)
        said = {name: asked[name] for name in ("request", "payment", "amount")}
        await here.answers(order, Answer.REFUNDED, **said)
        await here.pump()
        assert await here.state(order) == "cancelled"
        for _ in range(2):
            await here.answers(order, Answer.REFUND_FAILED, **said, reason="the account is closed")
        await here.pump()
        found = await here.order(order)
        assert (found["refunded"], found["problem"]["code"]) == ("0.00", "refund_failed")
        assert found["problem"]["text"] == "the account is closed"
        await here.do(f"/orders/{order}/requests/{asked['request']}/resolve", body={"reference": "bank 18"})
        found = await here.order(order)
        assert (found["refunded"], found["problem"]) == ("11.90", None)


async def test_what_was_paid_by_hand_is_not_asked_of_the_customer_any_more(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=1)
        here.outside.pays = None
        order = await here.place(("pump", 1))
        await here.pump()
        request = here.outside.asked[-1][1]["request"]
        await here.do(f"/orders/{order}/requests/{request}/resolve", body={"reference": "bank 17"})
        await here.pump()
        assert (await here.order(order))["paid"] == "11.90"
        assert here.told.count("payment-withdrawn") == 1


async def test_a_payment_that_the_provider_has_cancelled_is_asked_for_again(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.sell("pump", stock=1)
        here.outside.pays = None
        order = await here.place(("pump", 1))
        await here.pump()
        asked = here.outside.asked[-1][1]
        for answer in (Answer.PAYMENT_PENDING, Answer.PAYMENT_CANCELLED):
            await here.answers(order, answer, request=asked["request"], payment="p", reason="abandoned")
        await here.pump()
        here.outside.pays = True
        await here.later(61)
        assert await here.state(order) == "released"
        assert here.outside.asked[-1][1]["request"] != asked["request"]
