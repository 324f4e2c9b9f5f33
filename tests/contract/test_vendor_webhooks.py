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
