"""The section ``integrations``: which vendors take payments, carry parcels and keep customers."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from connectors.ports.secrets import Secret
from connectors.ports.settings import Duration, SettingInvalid, Settings

Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+[^\s]*$", max_length=500)]
Text = Annotated[str, Field(min_length=1, max_length=200)]


class FakePayments(Settings):
    """The built-in gateway: no money moves."""

    kind: Literal["fake"] = "fake"
    capture_after_s: Annotated[Duration, Field(alias="capture_after", ge=0, le=86_400)] = 2.0
    decline_amounts: Annotated[
        tuple[Decimal, ...], Field(max_length=100, description="Payments of these amounts are declined")
    ] = ()
    webhook_secret: Annotated[Secret | None, Field(description="Without it no webhook is believed")] = None


class StripePayments(Settings):
    """Stripe."""

    kind: Literal["stripe"]
    api_key: Annotated[Secret, Field(description="A restricted key (rk_…) for payment intents and refunds")]
    webhook_secret: Annotated[
        Secret | None, Field(description="Of the endpoint (whsec_…); without it no webhook is believed")
    ] = None
    url: Url = "https://api.stripe.com"


class SenderAddress(Settings):
    """Where parcels come from."""

    name: Text
    line1: Text
    city: Text
    postal_code: Text
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2")]
    line2: Annotated[str, Field(max_length=200)] = ""
    region: Annotated[str, Field(max_length=100)] = ""
    company: Annotated[str, Field(max_length=200)] = ""
    phone: Annotated[str, Field(max_length=50)] = ""


class FakeShipping(Settings):
    """The built-in carrier: nothing is carried."""

    kind: Literal["fake"] = "fake"
    transit_s: Annotated[
        Duration, Field(alias="transit", ge=0, le=30 * 86_400, description="On its way; as long again, delivered")
    ] = 5.0
    refuse_country: Annotated[str, Field(max_length=2, description="Where it does not go")] = "XX"


class ShipEngineShipping(Settings):
    """ShipEngine."""

    kind: Literal["shipengine"]
    api_key: Secret
    sender: SenderAddress
    carriers: Annotated[
        tuple[Text, ...], Field(min_length=1, max_length=50, description="Asked for rates; labels are of the first")
    ]
    service: Annotated[Text, Field(description="Such as usps_priority_mail")]
    track_every_s: Annotated[Duration, Field(alias="track_every", ge=60, le=86_400)] = 900.0
    url: Url = "https://api.shipengine.com"


class _CrmSettings(Settings):
    stages: Annotated[
        dict[Text, Text],
        Field(
            default_factory=lambda: {"placed": "contractsent", "paid": "closedwon", "cancelled": "closedlost"},
            max_length=50,
            description="The deal stage for what becomes of an order",
        ),
    ]
    look_every_s: Annotated[
        Duration, Field(alias="look_every", ge=1, le=86_400, description="How often it is asked what has changed")
    ] = 300.0


class FakeCrmSettings(_CrmSettings):
    """The built-in customer relations: a table."""

    kind: Literal["fake"]


class HubSpotCrm(_CrmSettings):
    """HubSpot."""

    kind: Literal["hubspot"]
    access_token: Annotated[Secret, Field(description="Of a private app")]
    client_secret: Annotated[Secret | None, Field(description="Without it no webhook is believed")] = None
    order_property: Annotated[Text, Field(description="A unique property of deals that holds the order")] = (
        "lineside_order"
    )
    customer_property: Annotated[Text, Field(description="A unique property of contacts, the customer")] = (
        "lineside_customer"
    )
    url: Url = "https://api.hubapi.com"


PaymentSettings = Annotated[FakePayments | StripePayments, Field(discriminator="kind")]
ShippingSettings = Annotated[FakeShipping | ShipEngineShipping, Field(discriminator="kind")]
CrmSettings = Annotated[FakeCrmSettings | HubSpotCrm, Field(discriminator="kind")]


class RetrySettings(Settings):
    """How often a call is tried; see docs/reference/integrations.md."""

    tries_max: Annotated[int, Field(ge=1, le=100, description="Then a person has to look at it")] = 12
    first_s: Annotated[Duration, Field(alias="first", ge=0.01, le=3600)] = 2.0
    longest_s: Annotated[Duration, Field(alias="longest", ge=0.01, le=86_400)] = 3600.0

    @model_validator(mode="after")
    def _in_order(self) -> RetrySettings:
        if self.longest_s < self.first_s:
            raise SettingInvalid("'longest' is shorter than 'first'.", "Write a longer one.", ("longest",))
        return self


class TenantIntegrationsSettings(Settings):
    """Accounts of one tenant at vendors: those that it does not name are those of all."""

    payments: PaymentSettings | None = None
    shipping: ShippingSettings | None = None
    crm: CrmSettings | None = None


class IntegrationsSettings(Settings):
    """Vendors behind ports. Without accounts the built-in ones are used, so that all of it can be tried."""

    payments: PaymentSettings = FakePayments()
    shipping: ShippingSettings = FakeShipping()
    crm: Annotated[CrmSettings | None, Field(description="None unless said")] = None
    tenants: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")], TenantIntegrationsSettings],
        Field(max_length=1000, default_factory=dict, description="Accounts of tenants, by their names"),
    ]
    retry: RetrySettings = RetrySettings()
    at_once_max: Annotated[int, Field(ge=1, le=20, description="Calls at a time in one process")] = 4
    public_url: Annotated[
        Url | None,
        Field(description="Where the outside reaches the API: HubSpot signs it with its webhooks, mails name it"),
    ] = None
