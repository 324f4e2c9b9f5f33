"""Which adapter stands behind each port to the outside: the one place of the platform that knows them by name.

Libraries of vendors are loaded where one of them is used, and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from cloud_ingest.event_log.consuming import Consumer, EventsProjection
from cloud_ingest.event_log.topics import ORDER_EVENTS
from cloud_ingest.integrations.asked import OrdersAsk
from cloud_ingest.integrations.built_in import BuiltInMemory
from cloud_ingest.integrations.calls import CallKind
from cloud_ingest.integrations.customers import OrdersTellCrm, crm_kinds
from cloud_ingest.integrations.paying import payment_kinds
from cloud_ingest.integrations.role import Integrations
from cloud_ingest.integrations.rules import Patience
from cloud_ingest.integrations.shipments import shipping_kinds
from cloud_ingest.settings.integrations import (
    FakeCrmSettings,
    FakePayments,
    FakeShipping,
    HubSpotCrm,
    IntegrationsSettings,
    RetrySettings,
    ShipEngineShipping,
    StripePayments,
)
from cloud_ingest.store.processes import Facts
from connectors.ports.clock import Clock
from connectors.ports.crm import Crm
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, TopicSpec
from connectors.ports.payments import PaymentGateway
from connectors.ports.secrets import Secret
from connectors.ports.shipping import Address, Shipping

if TYPE_CHECKING:
    from fastapi import APIRouter


@dataclass(frozen=True, slots=True)
class Vendors:
    """The vendors that the settings name."""

    payments: PaymentGateway
    shipping: Shipping
    crm: Crm | None


def vendors(settings: IntegrationsSettings, database: Database, clock: Clock) -> Vendors:
    """Them, none of which is asked anything yet."""
    return Vendors(
        _payments(settings, database, clock), _shipping(settings, database, clock), _crm(settings, database, clock)
    )


def integration_parts(
    settings: IntegrationsSettings, database: Database, log: EventLog, clock: Clock, topics: Mapping[str, TopicSpec]
) -> list[tuple[str, Callable[[], Coroutine[Any, Any, None]], Facts]]:
    """What runs in a process with the role ``integrations``."""
    used = vendors(settings, database, clock)
    kinds = call_kinds(settings, used, database, clock)
    role = Integrations(
        database, clock, kinds, patience(settings.retry), at_once_max=settings.at_once_max, crm=used.crm
    )
    topic = topics[ORDER_EVENTS]
    orders = EventsProjection("integrations.orders", topic, OrdersAsk(clock).take)
    consumers = [Consumer(database, log, orders)]
    if settings.crm is not None:
        telling = OrdersTellCrm(clock, settings.crm.stages)
        consumers.append(Consumer(database, log, EventsProjection("integrations.crm", topic, telling.take)))
    reading = [(f"integrations reader {n}", one.run, one.facts) for n, one in enumerate(consumers)]
    return [("integrations", role.run, role.facts), *reading]


def integration_routers(settings: IntegrationsSettings, database: Database, clock: Clock) -> list[APIRouter]:
    """The routes of integrations."""
    from cloud_ingest.integrations.routes import integration_routes
    from cloud_ingest.integrations.webhooks import VendorWebhooks

    used = vendors(settings, database, clock)
    webhooks = VendorWebhooks(database, clock, used.payments, used.shipping, used.crm)
    return [integration_routes(database, webhooks, used.payments, used.shipping, settings.public_url or "")]


def call_kinds(
    settings: IntegrationsSettings, used: Vendors, database: Database, clock: Clock
) -> Mapping[tuple[str, str], CallKind]:
    """What calls to ``used`` do."""
    kinds = {**payment_kinds(used.payments, clock), **shipping_kinds(used.shipping, clock)}
    if used.crm is not None and settings.crm is not None:
        kinds |= crm_kinds(used.crm, database, clock, settings.crm.look_every_s)
    return kinds


def patience(retry: RetrySettings) -> Patience:
    """How often calls are tried."""
    return Patience(retry.tries_max, retry.first_s, retry.longest_s)


def _payments(settings: IntegrationsSettings, database: Database, clock: Clock) -> PaymentGateway:
    match settings.payments:
        case FakePayments() as chosen:
            from connectors.payments.fake import FakeGateway

            return FakeGateway(
                BuiltInMemory(database, "payments"),
                clock,
                capture_after_s=chosen.capture_after_s,
                decline_amounts=chosen.decline_amounts,
                webhook_secret=_said(chosen.webhook_secret),
            )
        case StripePayments() as chosen:
            from connectors.payments.stripe_gateway import StripeGateway

            key = chosen.api_key.get_secret_value()
            return StripeGateway(key, webhook_secret=_said(chosen.webhook_secret), url=chosen.url)
        case _:
            assert_never(settings.payments)


def _shipping(settings: IntegrationsSettings, database: Database, clock: Clock) -> Shipping:
    match settings.shipping:
        case FakeShipping() as chosen:
            from connectors.shipping.fake import FakeCarrier

            memory = BuiltInMemory(database, "shipping")
            return FakeCarrier(memory, clock, transit_s=chosen.transit_s, refuse_country=chosen.refuse_country)
        case ShipEngineShipping() as chosen:
            from connectors.shipping.shipengine import ShipEngine, ShipEngineOptions

            options = ShipEngineOptions(
                chosen.api_key.get_secret_value(),
                Address(**chosen.sender.model_dump()),
                chosen.carriers,
                chosen.service,
                chosen.url,
                chosen.track_every_s,
            )
            return ShipEngine(options)
        case _:
            assert_never(settings.shipping)


def _crm(settings: IntegrationsSettings, database: Database, clock: Clock) -> Crm | None:
    match settings.crm:
        case None:
            return None
        case FakeCrmSettings():
            from connectors.crm.fake import FakeCrm

            return FakeCrm(BuiltInMemory(database, "crm"), clock)
        case HubSpotCrm() as chosen:
            from connectors.crm.hubspot import HubSpot, HubSpotOptions

            options = HubSpotOptions(
                chosen.access_token.get_secret_value(),
                _said(chosen.client_secret),
                chosen.customer_property,
                chosen.order_property,
                chosen.url,
            )
            return HubSpot(options)
        case _:
            assert_never(settings.crm)


def _said(secret: Secret | None) -> str:
    return "" if secret is None else secret.get_secret_value()
