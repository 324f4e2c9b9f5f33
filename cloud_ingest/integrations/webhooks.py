"""What vendors tell by webhooks: each of their events takes effect once, and what is unknown here is kept and shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.integrations.calls import hurry, time_of
from cloud_ingest.integrations.payments import locked_payment, locked_refund, take_payment, take_refund
from cloud_ingest.integrations.shipments import take_tracking
from cloud_ingest.observability.integration_events import VendorWebhookRefused, VendorWebhookTaken
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.crm import Crm
from connectors.ports.database import Database
from connectors.ports.payments import Payment, PaymentGateway, Refund
from connectors.ports.shipping import Shipping, Tracking
from connectors.ports.vendors import Headers, WebhookRefused

KEPT_BYTES_MAX: Final = 64 * 1024
Outcome = Literal["applied", "unused", "unknown", "again"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a webhook was about."""

    outcome: Outcome
    about: str = ""
    tenant_id: int = 1


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
    ) -> None:
        self.database = database
        self._clock = clock
        self._payments = payments
        self._shipping = shipping
        self._crm = crm

    @property
    def vendors(self) -> frozenset[str]:
        """Whose webhooks are taken."""
        used = (self._payments, self._shipping, self._crm)
        return frozenset(vendor.name for vendor in used if vendor is not None)

    async def take(self, vendor: str, url: str, body: bytes, headers: Headers) -> Outcome:
        """What became of a webhook of ``vendor``, which was posted to ``url``.

        Raises ``WebhookRefused`` when it is not the vendor's, and ``DatabaseUnavailable``: the vendor sends it again.
        """
        try:
            if self._payments is not None and vendor == self._payments.name:
                return await self._of_payments(self._payments, body, headers)
            if self._shipping is not None and vendor == self._shipping.name:
                return await self._of_shipping(self._shipping, body, headers)
            if self._crm is not None and vendor == self._crm.name:
                return await self._of_crm(self._crm, url, body, headers)
        except WebhookRefused as exc:
            emit(VendorWebhookRefused(vendor, str(exc)))
            raise
        raise WebhookRefused(f"{vendor} is not used here: 'integrations' of the settings names another one, or none")

    async def _of_payments(self, gateway: PaymentGateway, body: bytes, headers: Headers) -> Outcome:
        news = gateway.news(body, headers, self._now_s())
        async with unit_of_work(self.database) as work:
            if not await self._is_first(work, gateway.name, news.event, news.kind, body):
                return self._told(gateway.name, news.kind, Found("again"))
            if news.payment is not None:
                found = await self._payment(work, gateway, news.payment)
            elif news.refund is not None:
                found = await self._refund(work, news.refund)
            else:
                found = UNUSED
            await self._note(work, gateway.name, news.event, found)
        return self._told(gateway.name, news.kind, found)

    async def _payment(self, work: UnitOfWork, gateway: PaymentGateway, told: Payment) -> Found:
        row = await locked_payment(work.session, told.key) if told.key else None
        if row is None:
            ids = await work.session.fetch(
                "SELECT payment_id FROM payment WHERE vendor_id = $1 AND vendor = $2", told.id, gateway.name
            )
            row = await locked_payment(work.session, ids[0]["payment_id"]) if ids else None
        if row is None:
            return UNKNOWN
        await take_payment(work, self._clock, row, told, gateway.name)
        return Found("applied", row["payment_id"], row["tenant_id"])

    async def _refund(self, work: UnitOfWork, told: Refund) -> Found:
        found = await locked_refund(work.session, told.key) if told.key else None
        if found is None:
            return UNKNOWN
        await take_refund(work, self._clock, *found, told)
        return Found("applied", found[0]["refund_id"], found[0]["tenant_id"])

    async def _of_shipping(self, shipping: Shipping, body: bytes, headers: Headers) -> Outcome:
        news = await shipping.news(body, headers, self._now_s())
        async with unit_of_work(self.database) as work:
            if not await self._is_first(work, shipping.name, news.event, news.kind, body):
                return self._told(shipping.name, news.kind, Found("again"))
            found = UNUSED if news.tracking is None else await self._tracking(work, news.tracking)
            await self._note(work, shipping.name, news.event, found)
        return self._told(shipping.name, news.kind, found)

    async def _tracking(self, work: UnitOfWork, told: Tracking) -> Found:
        rows = await work.session.fetch(
            "SELECT * FROM shipment WHERE (vendor_id = $1 AND $1 <> '') OR (tracking = $2 AND $2 <> '') FOR UPDATE",
            told.label_id,
            told.tracking,
        )
        if not rows:
            return UNKNOWN
        await take_tracking(work, self._clock, rows[0], told)
        return Found("applied", rows[0]["shipment_id"], rows[0]["tenant_id"])

    async def _of_crm(self, crm: Crm, url: str, body: bytes, headers: Headers) -> Outcome:
        """Something has changed there: it is asked for at once, instead of some minutes later."""
        events = crm.news("POST", url, body, headers, self._now_s())
        async with unit_of_work(self.database) as work:
            new = [one for one in events if await self._is_first(work, crm.name, one, "changed", body)]
            found = Found("applied") if new else Found("again")
            for one in new:
                await self._note(work, crm.name, one, found)
            if new:
                await hurry(work.session, self._clock, 1, crm.name, "changes")
        return self._told(crm.name, "changed", found)

    # -- what was sent -------------------------------------------------------------------------------------------------

    async def _is_first(self, work: UnitOfWork, vendor: str, event: str, kind: str, body: bytes) -> bool:
        """Keep it; false when it came before. Two at the same time wait for each other."""
        (row,) = await work.session.fetch(
            "INSERT INTO vendor_webhook (vendor, event_id, kind, state, body, received) "
            "VALUES ($1, $2, $3, 'unused', $4, $5) "
            "ON CONFLICT (vendor, event_id) DO UPDATE SET times = vendor_webhook.times + 1 RETURNING times",
            vendor,
            event,
            kind,
            body[:KEPT_BYTES_MAX].decode(errors="replace").replace("\0", ""),
            time_of(self._clock.now_ns()),
        )
        return int(row["times"]) == 1

    async def _note(self, work: UnitOfWork, vendor: str, event: str, found: Found) -> None:
        await work.session.execute(
            "UPDATE vendor_webhook SET state = $3, about = $4, tenant_id = $5 WHERE vendor = $1 AND event_id = $2",
            vendor,
            event,
            found.outcome,
            found.about,
            found.tenant_id,
        )

    def _told(self, vendor: str, kind: str, found: Found) -> Outcome:
        emit(VendorWebhookTaken(vendor, kind, found.outcome, found.about))
        return found.outcome

    def _now_s(self) -> float:
        return self._clock.now_ns() / 1e9
