"""Vendors that cannot be asked after a call, are away for long, or change their mind: nothing is done twice or lost."""

from __future__ import annotations

import pytest

from cloud_ingest.integrations.rules import Patience
from connectors.ports.payments import Payment, PaymentState
from connectors.ports.shipping import Tracking, TrackingState
from connectors.ports.vendors import CallRefused
from tests.contract.integration_steps import ADDRESS, Office, office

SHORT = Patience(tries_max=3, first_s=1.0, longest_s=4.0)


async def paid(here: Office) -> str:
    """A payment that was captured: its id."""
    await here.ask_payment()
    await here.work()
    await here.pass_s(3)
    row = await here.payment()
    assert row["state"] == "captured"
    return str(row["payment_id"])


async def test_a_vendor_that_cannot_be_asked_after_a_call_has_not_refused_it(database_dsn: str) -> None:
    """Stripe has no search in some countries: then 'no' to a search is no 'no' to the payment."""
    async with office(database_dsn, SHORT) as here:

        async def no_search(*_: object) -> None:
            raise CallRefused("search is not available in your country")

        find = here.gateway.inner.find
        here.gateway.inner.find = no_search  # type: ignore[method-assign, assignment]
        here.gateway.trouble = ["unanswered"]
        await here.ask_payment()
        for _ in range(5):
            await here.pass_s(5)
        assert "payment-failed" not in await here.told_types(), "the order would ask for it once more"
        (call,) = await here.calls()
        assert (call["state"], call["may_be_done"]) == ("dead", True)
        here.gateway.inner.find = find  # type: ignore[method-assign]
        await here.ask_payment()
        await here.pass_s(5)
        assert (await here.told_types())[-1] == "payment-captured"
        assert len(here.at_vendor()) == 1


@pytest.mark.parametrize("kind", ["refund", "buy"])
async def test_nor_is_a_refund_or_a_label_refused_then(database_dsn: str, kind: str) -> None:
    async with office(database_dsn, SHORT) as here:

        async def cannot_say(*_: object) -> None:
            raise CallRefused("the id has a wrong form")

        payment = await paid(here)
        if kind == "refund":
            here.gateway.inner.find_refund = cannot_say  # type: ignore[method-assign, assignment]
            await here.order_says("refund-requested", request="F1", payment=payment, amount="120.50")
        else:
            here.carrier.find = cannot_say  # type: ignore[method-assign, assignment]
            await here.order_says("shipment-requested", shipment="S1", address=ADDRESS, parcels=[{}])
        here.maker.deaths = ["asked"]
        for _ in range(4):
            await here.pass_s(5)
        assert not {"refund-failed", "shipment-failed"} & {*await here.told_types()}
        assert [call["state"] for call in await here.calls(kind)] == ["dead"]


@pytest.mark.parametrize("kind", ["pay", "refund", "buy"])
async def test_a_call_that_was_given_up_is_made_when_the_order_asks_again(database_dsn: str, kind: str) -> None:
    async with office(database_dsn, SHORT) as here:
        payment = "" if kind == "pay" else await paid(here)

        async def ask() -> None:
            if kind == "pay":
                await here.ask_payment()
            elif kind == "refund":
                await here.order_says("refund-requested", request="F1", payment=payment, amount="120.50")
            else:
                await here.order_says("shipment-requested", shipment="S1", address=ADDRESS, parcels=[{}])

        async def away(*_: object) -> None:
            raise OSError("away")

        buy = here.carrier.buy
        here.carrier.buy = away  # type: ignore[method-assign, assignment]
        here.gateway.trouble = ["lost"] * 3
        await ask()
        for _ in range(4):
            await here.pass_s(5)
        assert [call["state"] for call in await here.calls(kind)] == ["dead"]
        here.carrier.buy, here.gateway.trouble = buy, []  # type: ignore[method-assign]
        await ask()
        await ask()
        await here.pass_s(1)
        await here.pass_s(3)
        done = {"pay": "payment-captured", "refund": "refunded", "buy": "shipment-created"}[kind]
        assert (await here.told_types()).count(done) == 1


async def test_a_refund_that_was_made_by_hand_is_not_made_by_the_gateway_too(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        payment = await paid(here)
        here.gateway.trouble = ["lost"]
        await here.order_says("refund-requested", request="F1", payment=payment, amount="120.50")
        await here.work()
        await here.order_says("refund-withdrawn", request="F1")
        await here.order_says("refund-withdrawn", request="F1")
        await here.order_says("refund-withdrawn", request="unheard of")
        await here.pass_s(60)
        assert here.at_vendor()[0]["refunds"] == {}
        assert [call["state"] for call in await here.calls("refund")] == ["dropped"]
        assert (await here.payment())["refunded"] == 0
        assert (await here.told_types())[-1] == "payment-captured", "nobody is told that it has failed"
        await here.order_says("refund-requested", request="F1", payment=payment, amount="120.50")
        await here.pass_s(60)
        assert here.at_vendor()[0]["refunds"] == {}, "nor when it is asked for late"


async def test_a_refund_that_was_made_already_when_it_is_withdrawn_is_told(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        payment = await paid(here)
        here.gateway.trouble = ["unanswered"]
        await here.order_says("refund-requested", request="F1", payment=payment, amount="120.50")
        await here.work()
        await here.order_says("refund-withdrawn", request="F1")
        await here.pass_s(60)
        assert (await here.told_types())[-1] == "refunded"
        assert (await here.payment())["refunded"] == 120.50


async def test_a_payment_that_cannot_be_given_up_now_is_looked_at_until_it_has_come_to_an_end(
    database_dsn: str,
) -> None:
    """A bank debit that is being processed can be cancelled at no gateway, and is captured days later."""
    async with office(database_dsn) as here:

        async def too_late(payment_id: str) -> Payment:
            return await here.gateway.inner.payment(payment_id)

        here.gateway.inner.cancel = too_late  # type: ignore[method-assign]
        await here.ask_payment()
        here.maker.deaths = ["asked"]
        here.gateway.inner._capture_after_s = 1000.0
        with pytest.raises(BaseException, match="asked"):
            await here.maker.make_one()
        await here.order_says("payment-withdrawn", request="R1")
        await here.pass_s(6)
        assert (await here.payment())["state"] == PaymentState.PENDING
        for _ in range(3):
            await here.pass_s(3600)
        assert (await here.told_types())[-1] == "payment-captured"


async def test_the_second_line_of_an_address_is_on_the_label(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        seen = []
        buy = here.carrier.buy

        async def note(request: object) -> object:
            seen.append(request)
            return await buy(request)  # type: ignore[arg-type]

        here.carrier.buy = note  # type: ignore[method-assign, assignment]
        address = {"name": "Acme", "street": "Hauptstr. 1", "street2": "3rd floor", "city": "Berlin", "country": "DE"}
        await here.order_says("shipment-requested", shipment="S1", address=address, parcels=[{}])
        await here.work()
        assert seen[0].to.line2 == "3rd floor"  # type: ignore[attr-defined]


async def test_a_label_that_the_carrier_does_not_take_back_is_followed(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        await here.order_says("shipment-requested", shipment="S1", address=ADDRESS, parcels=[{}])
        here.maker.deaths = ["asked"]
        with pytest.raises(BaseException, match="asked"):
            await here.maker.make_one()
        await here.order_says("shipment-voided", shipment="S1")
        await here.pass_s(6)  # it is with the carrier already
        await here.pass_s(6)
        assert (await here.told_types())[-1] == "tracking-changed"


async def test_a_parcel_of_which_nothing_is_heard_is_not_asked_after_for_ever(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        here.carrier._transit_s = 1e9
        await here.order_says("shipment-requested", shipment="S1", address=ADDRESS, parcels=[{}])
        await here.work()

        async def nothing(label: str) -> Tracking:
            return Tracking(label, "", TrackingState.CREATED, look_again_s=900.0)

        here.carrier.track = nothing  # type: ignore[method-assign]
        await here.pass_s(1)
        assert [call["state"] for call in await here.calls("track")] == ["waiting"]
        await here.pass_s(91 * 86_400)
        assert [call["state"] for call in await here.calls("track")] == ["done"]
