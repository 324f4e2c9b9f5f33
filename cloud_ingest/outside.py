"""Which adapter stands behind each port to the outside: the one place of the platform that knows them by name.

Libraries of vendors are loaded where one of them is used, and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, assert_never

from cloud_ingest.event_log.consuming import Consumer, EventsProjection
from cloud_ingest.event_log.topics import ORDER_EVENTS
from cloud_ingest.integrations.accounts import OF_ALL, Accounts, Vendors
from cloud_ingest.integrations.asked import OrdersAsk
from cloud_ingest.integrations.built_in import BuiltInMemory
from cloud_ingest.integrations.calls import CallKind
from cloud_ingest.integrations.customers import OrdersTellCrm, crm_kinds
from cloud_ingest.integrations.paying import payment_kinds
from cloud_ingest.integrations.role import Integrations
from cloud_ingest.integrations.rules import Patience
from cloud_ingest.integrations.shipments import shipping_kinds
from cloud_ingest.settings.integrations import (
    CrmSettings,
    FakeCrmSettings,
    FakePayments,
    FakeShipping,
    HubSpotCrm,
    IntegrationsSettings,
    PaymentSettings,
    RetrySettings,
    ShipEngineShipping,
    ShippingSettings,
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


def shared_vendors(settings: IntegrationsSettings, database: Database, clock: Clock) -> Vendors:
    """Those of all, none of which is asked anything yet."""
    return Vendors(
        _payments(settings.payments, "payments", database, clock),
        _shipping(settings.shipping, "shipping", database, clock),
        None if settings.crm is None else _crm(settings.crm, "crm", database, clock),
    )


def own_vendors(settings: IntegrationsSettings, database: Database, clock: Clock) -> Mapping[str, Vendors]:
    """Those of tenants with accounts of their own, by the names of the tenants."""
    return {
        name: Vendors(
            None if mine.payments is None else _payments(mine.payments, f"payments of {name}", database, clock),
            None if mine.shipping is None else _shipping(mine.shipping, f"shipping of {name}", database, clock),
            None if mine.crm is None else _crm(mine.crm, f"crm of {name}", database, clock),
        )
        for name, mine in settings.tenants.items()
    }


def integration_parts(
    settings: IntegrationsSettings, database: Database, log: EventLog, clock: Clock, topics: Mapping[str, TopicSpec]
) -> list[tuple[str, Callable[[], Coroutine[Any, Any, None]], Facts]]:
    """What runs in a process with the role ``integrations``."""
    accounts = Accounts(shared_vendors(settings, database, clock), own_vendors(settings, database, clock))
    crm_settings = {OF_ALL: settings.crm, **{name: mine.crm for name, mine in settings.tenants.items()}}
    look_s = {account: crm.look_every_s for account, crm in crm_settings.items() if crm is not None}
    kinds, *own = (
        call_kinds(accounts, account, database, clock, look_s.get(account, 0.0)) for account in (OF_ALL, *accounts.own)
    )
    crms = {account: crm for account in (OF_ALL, *accounts.own) if (crm := accounts.at(account).crm) is not None}
    role = Integrations(
        database,
        clock,
        kinds,
        patience(settings.retry),
        at_once_max=settings.at_once_max,
        crms=crms,
        own=dict(zip(accounts.own, own, strict=True)),
    )
    topic = topics[ORDER_EVENTS]
    orders = EventsProjection("integrations.orders", topic, OrdersAsk(clock).take)
    consumers = [Consumer(database, log, orders)]
    stages = {account: crm.stages for account, crm in crm_settings.items() if crm is not None}
    if stages:
        telling = OrdersTellCrm(clock, stages.pop(OF_ALL, None), stages)
        consumers.append(Consumer(database, log, EventsProjection("integrations.crm", topic, telling.take)))
    reading = [(f"integrations reader {n}", one.run, one.facts) for n, one in enumerate(consumers)]
    return [("integrations", role.run, role.facts), *reading]


def integration_routers(settings: IntegrationsSettings, database: Database, clock: Clock) -> list[APIRouter]:
    """The routes of integrations."""
    from cloud_ingest.integrations.routes import integration_routes
    from cloud_ingest.integrations.webhooks import VendorWebhooks

    used, own = shared_vendors(settings, database, clock), own_vendors(settings, database, clock)
    webhooks = VendorWebhooks(database, clock, used.payments, used.shipping, used.crm, own)
    return [integration_routes(database, webhooks, webhooks.accounts, settings.public_url or "")]


def call_kinds(
    accounts: Accounts, account: str, database: Database, clock: Clock, look_every_s: float
) -> Mapping[tuple[str, str], CallKind]:
    """What calls by ``account`` do."""
    used, kinds = accounts.at(account), dict[tuple[str, str], CallKind]()
    if used.payments is not None:
        kinds |= payment_kinds(used.payments, clock)
    if used.shipping is not None:
        kinds |= shipping_kinds(used.shipping, clock)
    if used.crm is not None:
        kinds |= crm_kinds(used.crm, database, clock, look_every_s, accounts.reach(account, "crm"))
    return kinds


def patience(retry: RetrySettings) -> Patience:
    """How often calls are tried."""
    return Patience(retry.tries_max, retry.first_s, retry.longest_s)


def _payments(settings: PaymentSettings, memory: str, database: Database, clock: Clock) -> PaymentGateway:
    match settings:
        case FakePayments() as chosen:
            from connectors.payments.fake import FakeGateway

            return FakeGateway(
                BuiltInMemory(database, memory),
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
            assert_never(settings)


def _shipping(settings: ShippingSettings, memory: str, database: Database, clock: Clock) -> Shipping:
    match settings:
        case FakeShipping() as chosen:
            from connectors.shipping.fake import FakeCarrier

            known = BuiltInMemory(database, memory)
            return FakeCarrier(known, clock, transit_s=chosen.transit_s, refuse_country=chosen.refuse_country)
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
            assert_never(settings)


def _crm(settings: CrmSettings, memory: str, database: Database, clock: Clock) -> Crm:
    match settings:
        case FakeCrmSettings():
            from connectors.crm.fake import FakeCrm

            return FakeCrm(BuiltInMemory(database, memory), clock)
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
            assert_never(settings)


def _said(secret: Secret | None) -> str:
    return "" if secret is None else secret.get_secret_value()
