"""Calls to vendors: neither lost nor doubled, whatever is lost on the way and whoever dies."""

from __future__ import annotations

import asyncio
import json

import pytest

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.integrations import questions
from cloud_ingest.integrations.rules import Patience
from connectors.ports.vendors import AccessRefused, CallRefused
from tests.contract.integration_steps import ADDRESS, Died, office


async def test_a_payment_is_captured_and_told_once(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        await here.ask_payment()
        await here.ask_payment()  # the order asks again while nobody has answered
        await here.work()
        assert await here.told_types() == ["payment-pending"]
        await here.pass_s(2.1)
        kinds = await here.told()
        assert [kind for kind, _ in kinds] == ["payment-pending", "payment-captured"]
        row = await here.payment()
        assert kinds[1][1] == {
            "order": "A-1", "request": "R1", "payment": row["payment_id"], "customer": "acme", "amount": "120.50",
            "currency": "EUR", "reason": "",
        }  # fmt: skip
        assert len(here.at_vendor()) == 1
        await here.ask_payment()  # who asks once more is told how it stands
        assert (await here.told_types())[2:] == ["payment-captured"]


async def test_a_declined_payment_is_told_with_its_reason_and_another_request_is_another_payment(
    database_dsn: str,
) -> None:
    async with office(database_dsn) as here:
        await here.ask_payment("13.13")
        await here.work()
        assert await here.told_types() == ["payment-failed"]
        assert (await here.told())[0][1]["reason"] == "the card was declined"
        await here.ask_payment("12.13", "R2")
        await here.pass_s(0)
        await here.pass_s(2.1)
        assert await here.told_types() == ["payment-failed", "payment-pending", "payment-captured"]


@pytest.mark.parametrize("step", ["begun", "asked", "written"])
async def test_a_process_that_dies_at_any_step_of_a_call_neither_loses_nor_doubles_it(
    database_dsn: str, step: str
) -> None:
    async with office(database_dsn) as here:
        await here.ask_payment()
        here.maker.deaths = [step, step]
        await here.work()
        await here.pass_s(6.1)
        await here.pass_s(6.1)
        assert (await here.told_types())[-1] == "payment-captured"
        assert (await here.told_types()).count("payment-captured") == 1
        assert len(here.at_vendor()) == 1
        if step == "asked":
            assert here.gateway.asked[:3] == ["pay", "find", "find"], "it is asked after, and not made again"


async def test_a_call_without_an_answer_is_asked_after_before_it_is_made_again(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        await here.ask_payment()
        here.gateway.trouble = ["unanswered", "lost"]
        await here.work()
        assert (await here.calls())[0]["may_be_done"] is True
        await here.pass_s(10)  # nobody can be reached: it stays as it was
        assert (await here.calls())[0]["may_be_done"] is True
        await here.pass_s(20)
        assert here.gateway.asked[:3] == ["pay", "find", "find"]
        assert (await here.calls())[0]["state"] == "done"
        assert len(here.at_vendor()) == 1


async def test_what_never_goes_through_is_given_up_with_a_sentence_and_tried_again_when_a_person_says_so(
    database_dsn: str,
) -> None:
    async with office(database_dsn, Patience(tries_max=3, first_s=1.0, longest_s=4.0)) as here:
        await here.ask_payment()
        here.gateway.trouble = ["lost"] * 3
        for _ in range(3):
            await here.pass_s(5)
        (call,) = await here.calls()
        assert (call["state"], call["reason"]) == ("dead", "the gateway cannot be reached")
        assert await here.told_types() == ["call-gave-up"]
        async with tenant_transaction(here.database, 1) as session:
            assert (await questions.status(session))[0]["dead"] == 1
            assert (await questions.retry(session, 1, call["call_id"]))["state"] == "waiting"
        await here.pass_s(1)
        await here.pass_s(3)
        assert (await here.told_types())[-1] == "payment-captured"
        async with tenant_transaction(here.database, 1) as session:
            with pytest.raises(RequestRefused, match="only one that waits"):
                await questions.retry(session, 1, call["call_id"])
            with pytest.raises(RequestRefused, match="no call"):
                await questions.retry(session, 1, "01JDV3W3Z8Q6C0V2B7N4M5K9XR")


async def test_a_vendor_that_fails_is_left_alone_and_one_call_finds_out_that_it_is_back(database_dsn: str) -> None:
    async with office(database_dsn, Patience(first_s=0.01, longest_s=0.01)) as here:
        for number in range(8):
            await here.ask_payment(request=f"R{number}")
        here.gateway.trouble = ["lost"] * 6
        await here.work()
        assert len(here.gateway.asked) == 5, "after five failures in a row it is left alone"
        async with tenant_transaction(here.database, 1) as session:
            (status, *_) = await questions.status(session)
        assert status["waiting"] == 8
        assert status["open_until"] is not None
        assert status["reason"] == "the gateway cannot be reached"
        await here.pass_s(10.1)
        assert len(here.gateway.asked) == 6, "one call finds out that it is still away"
        await here.pass_s(20.1)
        await here.pass_s(3)
        assert (await here.told_types()).count("payment-captured") == 8
        assert len(here.at_vendor()) == 8


async def test_a_key_that_is_not_taken_gives_no_call_up(database_dsn: str) -> None:
    async with office(database_dsn, Patience(tries_max=2, first_s=0.01, longest_s=0.01)) as here:
        await here.ask_payment()

        async def refuse(*_: object) -> None:
            raise AccessRefused("the key is not taken")

        here.gateway.pay = refuse  # type: ignore[method-assign, assignment]
        for _ in range(5):
            await here.pass_s(700)
        assert [(call["state"], call["reason"]) for call in await here.calls()] == [("waiting", "the key is not taken")]
        assert (await here.calls())[0]["tries"] == 5


async def test_two_processes_never_make_the_same_call(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        for number in range(12):
            await here.ask_payment(request=f"R{number}")
        await asyncio.gather(*(here.maker.make_one() for _ in range(4)), *(here.maker.make_one() for _ in range(4)))
        await here.work()
        assert here.gateway.asked.count("pay") == 12
        assert [call["tries"] for call in await here.calls()] == [1] * 12


async def test_a_payment_that_is_withdrawn_is_not_asked_for_or_given_up_or_told_as_captured(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        await here.ask_payment(request="before")
        await here.order_says("payment-withdrawn", request="before")
        await here.ask_payment(request="pending")
        await here.work()
        assert here.gateway.asked == ["pay"], "the first one never went out"
        await here.order_says("payment-withdrawn", request="pending")
        await here.work()
        await here.ask_payment(request="late")
        await here.work()
        here.clock.ahead_s += 3
        await here.order_says("payment-withdrawn", request="late")
        await here.work()
        states = {request: (await here.payment(request))["state"] for request in ("before", "pending", "late")}
        assert states == {"before": "cancelled", "pending": "cancelled", "late": "captured"}
        told = [(kind, data["request"]) for kind, data in await here.told() if kind != "payment-pending"]
        assert told == [
            ("payment-cancelled", "before"), ("payment-cancelled", "pending"), ("payment-captured", "late"),
        ]  # fmt: skip


async def test_a_refund_never_exceeds_what_was_captured(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        await here.ask_payment("100.00")
        await here.pass_s(0)
        await here.pass_s(2.1)
        payment = (await here.payment())["payment_id"]
        for request, amount in (("F1", "60.00"), ("F1", "60.00"), ("F2", "60.00"), ("F3", "40.00"), ("F4", "0.01")):
            await here.order_says("refund-requested", request=request, payment=payment, amount=amount)
        await here.work()
        told = [(kind, data["request"]) for kind, data in await here.told() if "refund" in kind]
        assert sorted(told) == [
            ("refund-failed", "F2"), ("refund-failed", "F4"), ("refunded", "F1"), ("refunded", "F3"),
        ]  # fmt: skip
        assert (await here.payment())["refunded"] == 100
        assert sorted(here.at_vendor()[0]["refunds"].values()) == ["40.00", "60.00"]
        await here.order_says("refund-requested", request="F1", payment=payment, amount="60.00")
        assert (await here.told_types())[-1] == "refunded", "who asks again is told how it stands"
        await here.order_says("refund-requested", request="F9", payment="none", amount="1.00")
        assert (await here.told())[-1][1]["reason"] == "there is no payment none"


async def test_a_refund_that_the_gateway_refuses_can_be_asked_for_again(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        await here.ask_payment("100.00")
        await here.pass_s(0)
        await here.pass_s(2.1)
        payment = (await here.payment())["payment_id"]
        refund = here.gateway.inner.refund

        async def refuse(*_: object) -> None:
            raise CallRefused("the bank is closed")

        here.gateway.inner.refund = refuse  # type: ignore[method-assign, assignment]
        await here.order_says("refund-requested", request="F1", payment=payment, amount="100.00")
        await here.work()
        assert (await here.told())[-1][1]["reason"] == "the bank is closed"
        here.gateway.inner.refund = refund  # type: ignore[method-assign]
        await here.order_says("refund-requested", request="F2", payment=payment, amount="100.00")
        await here.work()
        assert (await here.told_types())[-1] == "refunded"


async def test_a_shipment_is_bought_once_and_followed_until_it_has_arrived(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        for _ in range(2):
            await here.order_says("shipment-requested", shipment="S1", address=ADDRESS, parcels=[{"weight_kg": "2.5"}])
        here.maker.deaths = ["asked"]
        await here.work()
        for _ in range(3):
            await here.pass_s(6)
        told = await here.told()
        assert [kind for kind, _ in told] == ["shipment-created", "tracking-changed"]
        assert told[0][1]["cost"] == "6.90"
        assert told[1][1]["state"] == "delivered"
        assert await here.fetch("SELECT FROM integration_call WHERE state = 'waiting'") == []


async def test_a_shipment_without_a_usable_address_fails_with_a_sentence_and_goes_once_that_is_mended(
    database_dsn: str,
) -> None:
    async with office(database_dsn) as here:
        await here.order_says("shipment-requested", shipment="S1", address={"name": "Acme"}, parcels=[{}])
        await here.work()
        assert (await here.told())[-1][1]["reason"] == "the address has no line1, city, country"
        await here.order_says("shipment-requested", shipment="S1", address=ADDRESS, parcels=[{}])
        await here.work()
        assert await here.told_types() == ["shipment-failed", "shipment-created"]
        await here.order_says("shipment-voided", shipment="S1")
        await here.work()
        assert (await here.told_types())[-1] == "shipment-cancelled"


async def test_a_defect_in_one_call_keeps_no_other_from_being_made(database_dsn: str) -> None:
    async with office(database_dsn, Patience(tries_max=1)) as here:
        await here.ask_payment(request="R1")
        await here.ask_payment(request="R2")
        pay, seen = here.gateway.inner.pay, []

        async def break_once(request: object) -> object:
            seen.append(request)
            if len(seen) == 1:
                raise ZeroDivisionError
            return await pay(request)  # type: ignore[arg-type]

        here.gateway.inner.pay = break_once  # type: ignore[method-assign, assignment]
        await here.work()
        states = sorted((call["state"], call["reason"]) for call in await here.calls())
        assert states[0] == ("dead", "a defect of Lineside: ZeroDivisionError: ")
        assert states[1][0] == "done"


async def test_a_kill_point_is_passed_at_each_step(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        for step in ("begun", "asked", "written"):
            await here.ask_payment(request=step)
            here.maker.deaths = [step]
            with pytest.raises(Died):
                await here.maker.make_one()
            here.clock.ahead_s += 60
            await here.work()


async def test_payment_and_carrier_get_what_orders_know_of_a_customer_and_each_what_it_needs(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        await here.customer(
            "acme", name="Ada", email="ada@acme.example", phone="+1 512", payer="cus_7", payment_method="pm_card"
        )
        await here.ask_payment()
        await here.order_says("shipment-requested", shipment="S1", address=ADDRESS, parcels=[], customer="acme")
        (paid,) = await here.calls("pay")
        asked = json.loads(paid["request"])
        assert (asked["payer"], asked["method"]) == ("cus_7", "pm_card")
        assert not {"name", "email", "phone"} & asked.keys(), "nobody pays with a telephone number"
        (sent,) = await here.calls("buy")
        to = json.loads(sent["request"])["address"]
        assert (to["name"], to["phone"], to["email"]) == ("Acme", "+1 512", "ada@acme.example")
        assert "cus_7" not in sent["request"]
