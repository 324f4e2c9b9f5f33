"""Money that people and the provider move at the same time, or that comes back: none twice, and nobody is not told."""

from __future__ import annotations

from typing import Any, Final

import pytest

from cloud_ingest.integrations.events import Told as Answer
from tests.contract.order_steps import Shop, shop

ELSEWHERE: Final = "01JDV3W3Z8Q6C0V2B7N4M5K9XR"
"""The request of a refund that nobody has asked for."""


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
        (stuck,) = (await here.ask("GET", "/orders?stuck=true")).json()["orders"]
        assert (stuck["id"], stuck["problem"]["code"]) == (order, "refunded_twice")
        timeline = (await here.ask("GET", f"/orders/{order}/tracking")).json()["timeline"]
        assert timeline[-1]["text"].startswith("11.90 EUR were paid back twice")
        found = await here.order(order)
        assert found["refunded"] == "11.90"
        (check,) = [one for one in found["requests"] if one["kind"] == "check"]
        await here.do(f"/orders/{order}/requests/{check['request']}/resolve", body={"reference": "came back, bank 18"})
        assert (await here.order(order))["problem"] is None


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


async def packed(here: Shop) -> tuple[str, str]:
    """An order that is paid, and packed as soon as somebody does it; and its payment."""
    await here.sell("pump", stock=1)
    order = await here.place(("pump", 1))
    await here.pump()
    return order, (await here.order(order))["payments"][0]["payment"]


async def resolve(here: Shop, order: str, reference: str) -> None:
    """Somebody has looked at what there is to look at."""
    checks = [one for one in (await here.order(order))["requests"] if one["kind"] == "check"]
    (check,) = [one for one in checks if one["state"] == "failed"]
    await here.do(f"/orders/{order}/requests/{check['request']}/resolve", body={"reference": reference})
    await here.pump()


async def test_what_the_provider_pays_back_by_itself_keeps_parcels_until_it_is_paid_or_forgiven(
    database_dsn: str,
) -> None:
    async with shop(database_dsn) as here:
        order, payment = await packed(here)
        for _ in range(2):
            await here.answers(
                order, Answer.REFUNDED_ELSEWHERE, request=ELSEWHERE, payment=payment, amount="5.00", currency="EUR"
            )
        await here.pump()
        found = await here.order(order)
        assert (found["paid"], found["refunded"], found["problem"]["code"]) == ("11.90", "5.00", "refunded_elsewhere")
        assert found["problem"]["text"].endswith("5.00 EUR of what is owed are missing")
        await here.do(f"/orders/{order}/shipments", "olga", {}, status=201)
        await here.pump()
        assert await here.state(order) == "packed", "what is not paid does not leave"
        await here.do(f"/orders/{order}/payments", body={"amount": "2.00", "reference": "bank 3"}, status=201)
        assert (await here.order(order))["problem"] is not None, "3.00 are missing still"
        await resolve(here, order, "a discount")
        found = await here.order(order)
        assert (found["state"], found["problem"]) == ("shipped", None)
        assert (found["paid"], found["refunded"]) == ("13.90", "5.00"), "nobody pays the forgiven part twice"


async def test_what_is_missing_is_no_problem_any_more_once_it_has_come_in(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        order, payment = await packed(here)
        await here.answers(order, Answer.REFUNDED_ELSEWHERE, request=ELSEWHERE, payment=payment, amount="11.90")
        await here.pump()
        await here.do(f"/orders/{order}/payments", body={"amount": "11.90", "reference": "bank 3"}, status=201)
        found = await here.order(order)
        assert (found["problem"], found["paid"], found["refunded"]) == (None, "23.80", "11.90")


async def test_what_is_cancelled_and_was_paid_back_at_the_provider_s_page_is_not_paid_back_again(
    database_dsn: str,
) -> None:
    async with shop(database_dsn) as here:
        order, asked = await owed_back(here)
        await here.answers(
            order, Answer.REFUNDED_ELSEWHERE, request=ELSEWHERE, payment=asked["payment"], amount=asked["amount"]
        )
        await here.pump()
        assert here.told.count("refund-withdrawn") == 1
        found = await here.order(order)
        assert (found["state"], found["refunded"], found["problem"]) == ("cancelled", "11.90", None)
        await here.answers(order, Answer.REFUND_FAILED, request=ELSEWHERE, payment=asked["payment"], reason="closed")
        await here.pump()
        found = await here.order(order)
        assert found["refunded"] == "0.00"
        assert [one["state"] for one in found["requests"] if one["kind"] == "refund"][-1] == "open", "it is owed again"


@pytest.mark.parametrize("ends", ["won", "resolved", "lost"])
async def test_nothing_leaves_while_a_payment_is_disputed(database_dsn: str, ends: str) -> None:
    async with shop(database_dsn) as here:
        order, payment = await packed(here)
        about = {"request": f"{ELSEWHERE}-dispute", "payment": payment, "amount": "11.90", "currency": "EUR"}
        await here.answers(order, Answer.PAYMENT_DISPUTED, **about, state="open", reason="fraudulent")
        await here.pump()
        await here.do(f"/orders/{order}/shipments", "olga", {}, status=201)
        await here.pump()
        found = await here.order(order)
        assert (found["state"], found["problem"]["code"]) == ("packed", "disputed")
        seen = (await here.ask("GET", f"/orders/{order}/tracking", "acme")).json()["timeline"]
        assert not [one for one in seen if "bank" in one["text"]], "who disputes it need not be told so"
        if ends == "resolved":
            await resolve(here, order, "the customer has said it was a mistake")
        else:
            if ends == "lost":
                await here.answers(order, Answer.REFUNDED_ELSEWHERE, **{**about, "request": ELSEWHERE})
            await here.answers(order, Answer.PAYMENT_DISPUTED, **about, state=ends)
        await here.answers(order, Answer.PAYMENT_DISPUTED, **about, state="open")
        await here.pump()
        found = await here.order(order)
        if ends == "lost":
            assert (found["state"], found["problem"]["code"]) == ("packed", "refunded_elsewhere")
            await here.do(f"/orders/{order}/cancel", "acme", {"reason": "not paid"})
            await here.pump()
            found = await here.order(order)
            assert (found["state"], found["problem"], found["refunded"]) == ("cancelled", None, "11.90")
        else:
            assert (found["state"], found["problem"]) == ("shipped", None)
