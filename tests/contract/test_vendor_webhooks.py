"""Webhooks of vendors take effect once, in any order with what the call itself answers; and the CRM, both ways."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.integrations.customers import OrdersTellCrm, crm_kinds, start_looking
from cloud_ingest.integrations.rules import Patience
from connectors.crm.fake import FakeCrm
from connectors.payments.fake import SIGNATURE, sign
from connectors.ports.crm import CrmCustomer, CrmDeal
from connectors.ports.vendors import MemoryInProcess, WebhookRefused
from tests.contract.integration_steps import SECRET, MortalMaker, Office, office


def message(here: Office, payment: dict[str, Any], state: str, event: str = "evt_1") -> tuple[bytes, dict[str, str]]:
    """What the gateway posts about ``payment``."""
    told = {"id": "pay_x", "key": payment["payment_id"], "state": state, "amount": str(payment["amount"]),
            "currency": "EUR"}  # fmt: skip
    body = json.dumps({"id": event, "payment": told}).encode()
    time = str(here.clock.now_ns() // 1_000_000_000)
    return body, {SIGNATURE: f"{time},{sign(SECRET, time, body)}"}


async def test_a_webhook_that_comes_twice_or_at_the_same_time_takes_effect_once(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        await here.ask_payment()
        await here.work()
        sent = message(here, await here.payment(), "captured")
        outcomes = await asyncio.gather(*(here.webhooks.take("fake", "", *sent) for _ in range(4)))
        assert sorted(outcomes) == ["again", "again", "again", "applied"]
        later = message(here, await here.payment(), "pending", "evt_2")
        assert await here.webhooks.take("fake", "", *later) == "applied"
        await here.pass_s(2.1)
        assert await here.told_types() == ["payment-pending", "payment-captured"]
        (row,) = await here.fetch("SELECT times, about FROM vendor_webhook WHERE event_id = 'evt_1'")
        assert (row["times"], row["about"]) == (4, (await here.payment())["payment_id"])


async def test_a_webhook_before_the_answer_to_the_call_is_taken(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        await here.ask_payment()
        assert await here.webhooks.take("fake", "", *message(here, await here.payment(), "captured")) == "applied"
        await here.pass_s(0)
        assert await here.told_types() == ["payment-captured"]
        assert (await here.payment())["captured"] == Decimal("120.50")


async def test_a_webhook_about_nothing_that_is_known_is_kept_and_one_of_somebody_else_is_not(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        unknown = {"payment_id": "01JDV3W3Z8Q6C0V2B7N4M5K9XR", "amount": "5.00"}
        assert await here.webhooks.take("fake", "", *message(here, unknown, "captured")) == "unknown"
        body, headers = message(here, unknown, "captured", "evt_2")
        for vendor, sent in (("fake", body + b" "), ("stripe", body)):
            with pytest.raises(WebhookRefused):
                await here.webhooks.take(vendor, "", sent, headers)
        here.clock.ahead_s += 301
        with pytest.raises(WebhookRefused, match="300 s"):
            await here.webhooks.take("fake", "", body, headers)
        rows = await here.fetch("SELECT event_id, state, body FROM vendor_webhook")
        assert [(row["event_id"], row["state"]) for row in rows] == [("evt_1", "unknown")]
        assert "01JDV3W3Z8Q6C0V2B7N4M5K9XR" in rows[0]["body"]


def elsewhere(here: Office, event: str, **told: Any) -> tuple[bytes, dict[str, str]]:
    """What the gateway posts about a refund or a dispute that nobody here has asked for."""
    body = json.dumps({"id": event, **told}).encode()
    time = str(here.clock.now_ns() // 1_000_000_000)
    return body, {SIGNATURE: f"{time},{sign(SECRET, time, body)}"}


async def paid(here: Office) -> dict[str, Any]:
    await here.ask_payment()
    await here.work()
    await here.pass_s(2.1)
    return await here.payment()


async def test_a_refund_at_the_vendor_s_own_page_is_told_once_and_taken_back_when_it_fails(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        payment = await paid(here)
        back = {"id": "re_1", "payment": payment["vendor_id"], "amount": "20.50", "state": "pending"}
        for event, state in (("1", "pending"), ("2", "done"), ("2", "done"), ("3", "done"), ("4", "pending")):
            await here.webhooks.take("fake", "", *elsewhere(here, event, refund={**back, "state": state}))
        kind, data = (await here.told())[-1]
        assert (kind, data["order"], data["payment"]) == ("refunded-elsewhere", "A-1", payment["payment_id"])
        assert (data["amount"], data["currency"]) == ("20.50", "EUR")
        assert (await here.told_types()).count("refunded-elsewhere") == 1
        assert (await here.payment())["refunded"] == Decimal("20.50")
        assert not await here.calls("look-refund"), "the gateway knows none of our keys"
        await here.webhooks.take("fake", "", *elsewhere(here, "5", refund={**back, "state": "failed"}))
        kind, failed = (await here.told())[-1]
        assert (kind, failed["request"]) == ("refund-failed", data["request"])
        assert (await here.payment())["refunded"] == 0


async def test_what_is_given_back_elsewhere_while_it_is_on_its_way_from_here_is_given_back_once(
    database_dsn: str,
) -> None:
    async with office(database_dsn) as here:
        payment = await paid(here)
        ours = {"request": "F1", "payment": payment["payment_id"], "amount": "120.50", "currency": "EUR"}
        await here.order_says("refund-requested", **ours)
        known = here.at_vendor()[0]
        known["refunds"] = {"of the page": "120.50"}
        back = {"id": "re_1", "payment": payment["vendor_id"], "amount": "120.50", "state": "done"}
        assert await here.webhooks.take("fake", "", *elsewhere(here, "1", refund=back)) == "applied"
        assert (await here.payment())["refunded"] == Decimal("120.50")
        await here.work()
        assert (await here.told_types())[-2:] == ["refunded-elsewhere", "refund-failed"], "the gateway gives no more"
        assert (await here.payment())["refunded"] == Decimal("120.50")


async def test_a_dispute_is_told_and_one_that_is_lost_is_money_that_went_back(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        payment = await paid(here)
        about = {"id": "dp_1", "payment": payment["vendor_id"], "amount": "120.50", "reason": "fraudulent"}
        for event, state in (("1", "open"), ("2", "lost"), ("3", "lost")):
            taken = await here.webhooks.take("fake", "", *elsewhere(here, event, dispute={**about, "state": state}))
            assert taken == "applied"
        told = [kind for kind in await here.told_types() if kind not in ("payment-pending", "payment-captured")]
        assert told == ["payment-disputed", "refunded-elsewhere", "payment-disputed", "payment-disputed"]
        disputes = [data for kind, data in await here.told() if kind == "payment-disputed"]
        assert [one["state"] for one in disputes] == ["open", "lost", "lost"]
        assert len({one["request"] for one in disputes}) == 1
        assert (await here.payment())["refunded"] == Decimal("120.50")
        unknown = {**about, "payment": "pay_of_somebody_else", "state": "open"}
        assert await here.webhooks.take("fake", "", *elsewhere(here, "4", dispute=unknown)) == "unknown"
        nothing = {**about, "payment": "", "state": "open"}
        assert await here.webhooks.take("fake", "", *elsewhere(here, "5", dispute=nothing)) == "unknown"


class CrmOffice:
    """A CRM beside the office of integrations."""

    def __init__(self, here: Office) -> None:
        self.here = here
        self.crm = FakeCrm(MemoryInProcess(), here.clock)
        kinds = crm_kinds(self.crm, here.database, here.clock, 60.0)
        here.maker = MortalMaker(here.database, here.clock, kinds, Patience())
        here.maker.deaths = []
        self._tells = OrdersTellCrm(here.clock, {"placed": "contractsent", "paid": "closedwon"})

    async def order(self, what: str, number: int) -> None:
        data = {"order": "A-1", "customer": "acme", "total": "120.50", "currency": "EUR"}
        event = ReadEvent(number, f"lineside.orders.{what}.v1", 1, "A-1", self.here.clock.now_ns(), data)
        async with unit_of_work(self.here.database) as work:
            await self._tells.take(work, event)

    async def look(self) -> None:
        async with self.here.database.transaction() as session:
            await start_looking(session, self.here.clock, self.crm)
        await self.here.work()

    async def content(self) -> list[Any]:
        return [change.of for change in await self.crm.changes(datetime.fromtimestamp(0, UTC))]


async def test_the_crm_is_told_of_customers_deals_and_what_happened_and_the_newest_stage_stays(
    database_dsn: str,
) -> None:
    async with office(database_dsn) as here:
        there = CrmOffice(here)
        await here.customer("acme", name="Acme Ltd", email="buy@acme.example", phone="+49 30 1")
        await there.order("placed", 1)
        await there.order("paid", 2)
        here.maker.deaths = ["asked", "written"]
        await here.work()
        content = await there.content()
        assert CrmCustomer("acme", "Acme Ltd", "buy@acme.example", "+49 30 1") in content
        deals = [one for one in content if isinstance(one, CrmDeal)]
        assert [(deal.stage, deal.amount) for deal in deals] == [("closedwon", Decimal("120.50"))]
        assert sorted(one.text for one in content if hasattr(one, "text")) == [
            "Order A-1 was paid", "Order A-1 was placed",
        ]  # fmt: skip


async def test_what_people_change_in_the_crm_is_told_once_and_what_came_from_here_is_not(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        there = CrmOffice(here)
        await there.look()
        await there.order("placed", 1)
        await here.work()
        await here.pass_s(61)
        assert await here.told_types() == [], "nobody has changed anything there"
        await there.crm.edit("customer", "acme", {"phone": "555-0100"})
        await there.crm.edit("deal", "A-1", {"stage": "closedwon"})
        await there.crm.edit("interaction", "call of Monday", {"text": "Called back", "customer": "acme"})
        await here.pass_s(61)
        await here.pass_s(61)
        told = dict(await here.told())
        assert len(await here.told()) == len(told) == 3, "each of them once"
        assert told["crm-customer-changed"]["phone"] == "555-0100"
        assert (told["crm-deal-changed"]["order"], told["crm-deal-changed"]["stage"]) == ("A-1", "closedwon")
        assert told["crm-interaction"]["text"] == "Called back"
