"""Tenants with accounts of their own at vendors: what is whose goes there, and comes from there, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pytest

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.integrations.accounts import Accounts, Vendors
from cloud_ingest.integrations.customers import OrdersTellCrm, crm_kinds, start_looking
from cloud_ingest.integrations.paying import payment_kinds
from cloud_ingest.integrations.rules import Patience
from cloud_ingest.integrations.webhooks import VendorWebhooks
from connectors.crm.fake import FakeCrm
from connectors.payments.fake import SIGNATURE, FakeGateway, sign
from connectors.ports.crm import CrmCustomer
from connectors.ports.vendors import MemoryInProcess, WebhookRefused
from tests.contract.integration_steps import SECRET, LossyGateway, MortalMaker, Office, office

THEIRS: Final = 2
THEIR_SECRET: Final = "whsec_theirs"


class Sides:
    """An office whose second tenant, ``theirs``, has a gateway and a CRM of its own; ``others`` uses those of all."""

    def __init__(self, here: Office) -> None:
        self.here = here
        self.memory = MemoryInProcess()
        self.gateway = LossyGateway(FakeGateway(self.memory, here.clock, webhook_secret=THEIR_SECRET))
        self.crm, self.own_crm = (FakeCrm(MemoryInProcess(), here.clock) for _ in range(2))
        own = {"theirs": Vendors(payments=self.gateway, crm=self.own_crm)}
        shared = Vendors(here.gateway, here.carrier, self.crm)
        self.accounts = Accounts(shared, own)
        here.webhooks = VendorWebhooks(here.database, here.clock, here.gateway, here.carrier, self.crm, own)
        here.maker = MortalMaker(
            here.database,
            here.clock,
            self._kinds("", here.gateway, self.crm),
            Patience(),
            random.Random(7),
            {"theirs": self._kinds("theirs", self.gateway, self.own_crm)},
        )
        here.maker.deaths = []

    def _kinds(self, account: str, gateway: LossyGateway, crm: FakeCrm) -> Mapping[tuple[str, str], Any]:
        here = self.here
        reach = self.accounts.reach(account, "crm")
        return {
            **payment_kinds(gateway, here.clock),
            **crm_kinds(crm, here.database, here.clock, 60.0, reach),
        }

    async def payment(self, tenant_id: int) -> dict[str, Any]:
        (row,) = await self.here.fetch("SELECT * FROM payment WHERE tenant_id = $1", tenant_id)
        return row

    def message(self, payment: Mapping[str, Any], secret: str, event: str) -> tuple[bytes, dict[str, str]]:
        told = {"id": "pay_x", "key": payment["payment_id"], "state": "captured", "amount": str(payment["amount"]),
                "currency": "EUR"}  # fmt: skip
        body = json.dumps({"id": event, "payment": told}).encode()
        time = str(self.here.clock.now_ns() // 1_000_000_000)
        return body, {SIGNATURE: f"{time},{sign(secret, time, body)}"}


@asynccontextmanager
async def sides(dsn: str) -> AsyncIterator[Sides]:
    async with office(dsn) as here:
        async with here.database.session() as session:
            for tenant_id, name in ((THEIRS, "theirs"), (3, "others")):
                await session.execute("INSERT INTO tenant (tenant_id, name) VALUES ($1, $2)", tenant_id, name)
        yield Sides(here)


async def ask_payments(both: Sides) -> None:
    for tenant_id in (1, THEIRS, 3):
        await both.here.ask_payment(tenant_id=tenant_id, order=f"A-{tenant_id}")


async def test_a_tenant_s_payments_go_to_its_own_account_and_others_to_the_one_of_all(database_dsn: str) -> None:
    async with sides(database_dsn) as both:
        await ask_payments(both)
        await both.here.work()
        at_ours = {str(one["key"]) for one in both.here.at_vendor()}
        at_theirs = {str(both.memory._documents[key]["key"]) for key in both.memory.keys("pay_")}
        assert at_ours == {(await both.payment(tenant_id))["payment_id"] for tenant_id in (1, 3)}
        assert at_theirs == {(await both.payment(THEIRS))["payment_id"]}


async def test_an_account_that_fails_is_left_alone_and_keeps_no_other_tenant_from_its_own(database_dsn: str) -> None:
    async with sides(database_dsn) as both:
        both.gateway.trouble = ["lost"] * 1000
        for number in range(8):
            await both.here.ask_payment(tenant_id=THEIRS, request=f"R{number}", order=f"B-{number}")
        for _ in range(8):
            await both.here.pass_s(10)
        circuits = await both.here.fetch("SELECT account, port, tenant_id FROM integration_circuit WHERE openings > 0")
        assert circuits == [{"account": "theirs", "port": "payments", "tenant_id": THEIRS}]
        await both.here.ask_payment(tenant_id=1)
        await both.here.work()
        assert (await both.payment(1))["state"] == "pending"


async def test_a_webhook_is_genuine_by_its_account_s_secret_and_about_that_account_alone(database_dsn: str) -> None:
    async with sides(database_dsn) as both:
        await ask_payments(both)
        await both.here.work()
        ours, theirs = await both.payment(1), await both.payment(THEIRS)
        take = both.here.webhooks.take
        for secret, account in ((SECRET, "theirs"), (THEIR_SECRET, "")):
            with pytest.raises(WebhookRefused):
                await take("fake", "", *both.message(theirs, secret, "evt_1"), account)
        for nobodys in ("others", "nobody"):
            with pytest.raises(WebhookRefused, match="not used here"):
                await take("fake", "", *both.message(ours, SECRET, "evt_1"), nobodys)
        assert await take("fake", "", *both.message(theirs, SECRET, "evt_1")) == "unknown"
        assert await take("fake", "", *both.message(ours, THEIR_SECRET, "evt_1"), "theirs") == "unknown"
        assert [(await both.payment(tenant_id))["state"] for tenant_id in (1, THEIRS)] == ["pending", "pending"]
        assert await take("fake", "", *both.message(theirs, THEIR_SECRET, "evt_2"), "theirs") == "applied"
        assert await take("fake", "", *both.message(theirs, THEIR_SECRET, "evt_2"), "theirs") == "again"
        assert await take("fake", "", *both.message(ours, SECRET, "evt_2")) == "applied", "another account"
        assert [(await both.payment(tenant_id))["state"] for tenant_id in (1, THEIRS, 3)] == [
            "captured", "captured", "pending",
        ]  # fmt: skip
        rows = await both.here.fetch("SELECT account, event_id, tenant_id FROM vendor_webhook ORDER BY 1, 2")
        assert [tuple(row.values()) for row in rows] == [
            ("", "evt_1", 1), ("", "evt_2", 1), ("theirs", "evt_1", THEIRS), ("theirs", "evt_2", THEIRS),
        ]  # fmt: skip


async def test_each_crm_hears_of_its_own_tenants_and_tells_of_them_alone(database_dsn: str) -> None:
    async with sides(database_dsn) as both:
        here = both.here
        telling = OrdersTellCrm(here.clock, {"placed": "contractsent"}, {"theirs": {"placed": "won"}})
        for tenant_id in (1, THEIRS):
            data = {"order": "A-1", "customer": "acme", "customer_name": "Acme", "total": "1.00", "currency": "EUR"}
            event = ReadEvent(tenant_id, "lineside.orders.placed.v1", tenant_id, "A-1", here.clock.now_ns(), data)
            async with unit_of_work(here.database) as work:
                await telling.take(work, event)
        async with here.database.transaction() as session:
            for account, crm in (("", both.crm), ("theirs", both.own_crm)):
                assert await start_looking(session, here.clock, crm, account)
            assert not await start_looking(session, here.clock, both.crm, "nobody")
        await here.work()
        stages = [
            {getattr(change.of, "stage", None) for change in await crm.changes(datetime.fromtimestamp(0, UTC))} - {None}
            for crm in (both.crm, both.own_crm)
        ]
        assert stages == [{"contractsent"}, {"won"}]
        here.clock.ahead_s += 61
        await both.own_crm.put_customer(CrmCustomer("acme", "Acme of them"))
        await here.pass_s(61)
        rows = await here.fetch("SELECT tenant_id, content FROM crm_link WHERE kind = 'customer' ORDER BY 1")
        assert [(row["tenant_id"], json.loads(row["content"])["name"]) for row in rows] == [
            (1, "acme"), (THEIRS, "Acme of them"),
        ]  # fmt: skip
        places = await here.fetch("SELECT account, tenant_id FROM crm_place ORDER BY 1")
        assert [tuple(row.values()) for row in places] == [("", 1), ("theirs", THEIRS)]
        refunds = await here.fetch("SELECT count(*) AS n FROM integration_call WHERE state = 'dead'")
        assert refunds[0]["n"] == 0


async def test_a_tenant_s_settings_name_its_accounts_and_the_rest_is_that_of_all(database_dsn: str) -> None:
    from cloud_ingest.outside import own_vendors, shared_vendors
    from cloud_ingest.settings.integrations import IntegrationsSettings

    settings = IntegrationsSettings.model_validate(
        {"tenants": {"theirs": {"payments": {"kind": "fake", "decline_amounts": ["7.00"]}, "crm": {"kind": "fake"}}}}
    )
    async with office(database_dsn) as here:
        async with here.database.session() as session:
            await session.execute("INSERT INTO tenant (tenant_id, name) VALUES ($1, 'theirs')", THEIRS)
        accounts = Accounts(
            shared_vendors(settings, here.database, here.clock), own_vendors(settings, here.database, here.clock)
        )
        async with here.database.session() as session:
            ours, theirs = await accounts.of(session, 1), await accounts.of(session, THEIRS)
        assert ours.shipping is theirs.shipping
        assert (ours.crm is None, theirs.crm is None) == (True, False)
        assert ours.payments is not theirs.payments
        assert accounts.with_own("payments") == ("theirs",)
        assert accounts.reach("", "payments").arguments == ("", ["theirs"])
        assert accounts.reach("", "shipping").arguments == ("", [])
        assert Decimal("7.00") in settings.tenants["theirs"].payments.decline_amounts  # type: ignore[union-attr]
