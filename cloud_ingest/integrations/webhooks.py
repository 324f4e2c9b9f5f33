"""What vendors tell by webhooks: each of their events takes effect once, and what is unknown here is kept and shown.

A webhook comes to an account: that of all, or a tenant's own, whose name is in its address. Only the secret of that
account makes it genuine, and it can be about nothing of a tenant with another account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.integrations.accounts import OF_ALL, Accounts, Vendors, account_tenant, reached
from cloud_ingest.integrations.calls import hurry, time_of
from cloud_ingest.integrations.payments import (
    locked_payment,
    locked_refund,
    refund_elsewhere,
    take_dispute,
    take_payment,
    take_refund,
)
from cloud_ingest.integrations.shipments import take_tracking
from cloud_ingest.observability.integration_events import VendorWebhookRefused, VendorWebhookTaken
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.crm import Crm
from connectors.ports.database import Database, Row
from connectors.ports.payments import Dispute, Payment, PaymentGateway, Refund
from connectors.ports.shipping import Shipping, Tracking
from connectors.ports.vendors import Headers, WebhookRefused

KEPT_BYTES_MAX: Final = 64 * 1024
Outcome = Literal["applied", "unused", "unknown", "again"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a webhook was about."""

    outcome: Outcome
    about: str = ""
    tenant_id: int | None = None
    """Whose that is; without it, whose account the webhook came to."""


UNUSED: Final = Found("unused")
UNKNOWN: Final = Found("unknown")


class VendorWebhooks:
    """Takes the webhooks of those vendors that are used."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        payments: PaymentGateway | None,
        shipping: Shipping | None,
        crm: Crm | None,
        own: Mapping[str, Vendors] | None = None,
    ) -> None:
        """``own`` are those of tenants with accounts of their own, by their names."""
        self.database = database
        self._clock = clock
        self.accounts = Accounts(Vendors(payments, shipping, crm), own)

    async def take(self, vendor: str, url: str, body: bytes, headers: Headers, account: str = OF_ALL) -> Outcome:
        """What became of a webhook of ``vendor`` to ``account``, which was posted to ``url``.

        Raises ``WebhookRefused`` when it is not the vendor's, and ``DatabaseUnavailable``: the vendor sends it again.
        """
        used = self.accounts.at(account)
        try:
            if used.payments is not None and vendor == used.payments.name:
                return await self._of_payments(used.payments, account, body, headers)
            if used.shipping is not None and vendor == used.shipping.name:
                return await self._of_shipping(used.shipping, account, body, headers)
            if used.crm is not None and vendor == used.crm.name:
                return await self._of_crm(used.crm, account, url, body, headers)
        except WebhookRefused as exc:
            emit(VendorWebhookRefused(vendor, str(exc)))
            raise
        raise WebhookRefused(f"{vendor} is not used here: 'integrations' of the settings names another one, or none")

    async def _of_payments(self, gateway: PaymentGateway, account: str, body: bytes, headers: Headers) -> Outcome:
        news = gateway.news(body, headers, self._now_s())
        async with unit_of_work(self.database) as work:
            if not await self._is_first(work, account, gateway.name, news.event, news.kind, body):
                return self._told(gateway.name, news.kind, Found("again"))
            if news.payment is not None:
                found = await self._payment(work, gateway, account, news.payment)
            elif news.refund is not None:
                found = await self._refund(work, gateway, account, news.refund)
            elif news.dispute is not None:
                found = await self._dispute(work, gateway, account, news.dispute)
            else:
                found = UNUSED
            await self._note(work, account, gateway.name, news.event, found)
        return self._told(gateway.name, news.kind, found)

    async def _payment(self, work: UnitOfWork, gateway: PaymentGateway, account: str, told: Payment) -> Found:
        row = await self._known(work, gateway, account, told.id, told.key)
        if row is None:
            return UNKNOWN
        await take_payment(work, self._clock, row, told, gateway.name)
        return Found("applied", row["payment_id"], row["tenant_id"])

    async def _known(
        self, work: UnitOfWork, gateway: PaymentGateway, account: str, vendor_id: str, key: str = ""
    ) -> Row | None:
        """The payment that the gateway calls ``vendor_id``, or knows by ``key``, locked."""
        ids = await work.session.fetch(
            "SELECT payment_id FROM payment JOIN tenant USING (tenant_id) "  # noqa: S608  of our own
            f"WHERE (payment_id = $1 OR (vendor_id = $2 AND $2 <> '' AND vendor = $3)) AND {reached(4)} "
            "ORDER BY (payment_id = $1) DESC LIMIT 1",
            key,
            vendor_id,
            gateway.name,
            *self.accounts.reach(account, "payments").arguments,
        )
        return await locked_payment(work.session, ids[0]["payment_id"]) if ids else None

    async def _refund(self, work: UnitOfWork, gateway: PaymentGateway, account: str, told: Refund) -> Found:
        ids = await work.session.fetch(
            f"SELECT refund_id FROM refund JOIN tenant USING (tenant_id) WHERE refund_id = $1 AND {reached(2)}",  # noqa: S608
            told.key,
            *self.accounts.reach(account, "payments").arguments,
        )
        found = await locked_refund(work.session, told.key) if ids else None
        if found is not None:
            await take_refund(work, self._clock, *found, told)
            return Found("applied", found[0]["refund_id"], found[0]["tenant_id"])
        payment = await self._known(work, gateway, account, told.payment)
        if payment is None:
            return UNKNOWN
        await refund_elsewhere(work, self._clock, payment, told)
        return Found("applied", payment["payment_id"], payment["tenant_id"])

    async def _dispute(self, work: UnitOfWork, gateway: PaymentGateway, account: str, told: Dispute) -> Found:
        payment = await self._known(work, gateway, account, told.payment)
        if payment is None:
            return UNKNOWN
        await take_dispute(work, self._clock, payment, told)
        return Found("applied", payment["payment_id"], payment["tenant_id"])

    async def _of_shipping(self, shipping: Shipping, account: str, body: bytes, headers: Headers) -> Outcome:
        news = await shipping.news(body, headers, self._now_s())
        async with unit_of_work(self.database) as work:
            if not await self._is_first(work, account, shipping.name, news.event, news.kind, body):
                return self._told(shipping.name, news.kind, Found("again"))
            found = UNUSED if news.tracking is None else await self._tracking(work, account, news.tracking)
            await self._note(work, account, shipping.name, news.event, found)
        return self._told(shipping.name, news.kind, found)

    async def _tracking(self, work: UnitOfWork, account: str, told: Tracking) -> Found:
        rows = await work.session.fetch(
            "SELECT shipment.* FROM shipment JOIN tenant USING (tenant_id) "  # noqa: S608  of our own
            f"WHERE ((vendor_id = $1 AND $1 <> '') OR (tracking = $2 AND $2 <> '')) AND {reached(3)} "
            "FOR UPDATE OF shipment",
            told.label_id,
            told.tracking,
            *self.accounts.reach(account, "shipping").arguments,
        )
        if not rows:
            return UNKNOWN
        await take_tracking(work, self._clock, rows[0], told)
        return Found("applied", rows[0]["shipment_id"], rows[0]["tenant_id"])

    async def _of_crm(self, crm: Crm, account: str, url: str, body: bytes, headers: Headers) -> Outcome:
        """Something has changed there: it is asked for at once, instead of some minutes later."""
        events = crm.news("POST", url, body, headers, self._now_s())
        async with unit_of_work(self.database) as work:
            tenant_id = await account_tenant(work.session, account)
            if tenant_id is None:
                raise WebhookRefused(f"there is no tenant {account!r} yet")
            new = [one for one in events if await self._is_first(work, account, crm.name, one, "changed", body)]
            found = Found("applied" if new else "again", tenant_id=tenant_id)
            for one in new:
                await self._note(work, account, crm.name, one, found)
            if new:
                await hurry(work.session, self._clock, tenant_id, crm.name, "changes")
        return self._told(crm.name, "changed", found)

    # -- what was sent -------------------------------------------------------------------------------------------------

    async def _is_first(self, work: UnitOfWork, account: str, vendor: str, event: str, kind: str, body: bytes) -> bool:
        """Keep it; false when it came before. Two at the same time wait for each other."""
        (row,) = await work.session.fetch(
            "INSERT INTO vendor_webhook (vendor, event_id, kind, state, body, received, account, tenant_id) "
            "VALUES ($1, $2, $3, 'unused', $4, $5, $6, coalesce((SELECT tenant_id FROM tenant WHERE name = $6), 1)) "
            "ON CONFLICT (account, vendor, event_id) DO UPDATE SET times = vendor_webhook.times + 1 RETURNING times",
            vendor,
            event,
            kind,
            body[:KEPT_BYTES_MAX].decode(errors="replace").replace("\0", ""),
            time_of(self._clock.now_ns()),
            account,
        )
        return int(row["times"]) == 1

    async def _note(self, work: UnitOfWork, account: str, vendor: str, event: str, found: Found) -> None:
        await work.session.execute(
            "UPDATE vendor_webhook SET state = $3, about = $4, tenant_id = coalesce($5, tenant_id) "
            "WHERE vendor = $1 AND event_id = $2 AND account = $6",
            vendor,
            event,
            found.outcome,
            found.about,
            found.tenant_id,
            account,
        )

    def _told(self, vendor: str, kind: str, found: Found) -> Outcome:
        emit(VendorWebhookTaken(vendor, kind, found.outcome, found.about))
        return found.outcome

    def _now_s(self) -> float:
        return self._clock.now_ns() / 1e9
