"""The routes below ``/api/v1/integrations``: the webhooks of vendors, and what a person sees and does of calls."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from cloud_ingest.access.needs import Needs
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_session, tenant_transaction
from cloud_ingest.integrations import questions
from cloud_ingest.integrations.accounts import OF_ALL, Accounts
from cloud_ingest.integrations.answers import (
    CallAnswer,
    CallPage,
    CallState,
    CheckoutAnswer,
    PaymentAnswer,
    PaymentPage,
    RateAnswer,
    ShipmentAnswer,
    ShipmentPage,
    Taken,
    VendorStatus,
    WebhookAnswer,
    WebhookPage,
    WebhookState,
)
from cloud_ingest.integrations.questions import CallChoice
from cloud_ingest.integrations.webhooks import VendorWebhooks
from connectors.commands.envelope import ULID_PATTERN
from connectors.ports.database import Database
from connectors.ports.shipping import Address, Parcel
from connectors.ports.vendors import AccessRefused, CallRefused, CallUncertain, VendorUnavailable, WebhookRefused

PROBLEMS: Final[Mapping[int | str, dict[str, object]]] = {
    400: {"description": "The request cannot be understood, or is not the vendor's"},
    401: {"description": "There is no token, or it does not hold"},
    403: {"description": "The token is not good for this"},
    404: {"description": "There is no such thing"},
    409: {"description": "It cannot be done as things stand"},
    503: {"description": "The database or the vendor cannot be reached now"},
}
_AWAY: Final = (VendorUnavailable, CallUncertain, CallRefused, AccessRefused)
_EVENT: Final = {"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": {"object": "payment_intent"}}}
Vendor = Annotated[Literal["stripe", "shipengine", "hubspot", "fake"], Path(description="Whose webhook it is")]
TenantPath = Annotated[
    str,
    Path(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Whose account it is", examples=["plant-7"]),
]
Reads = Annotated[Principal, Depends(Needs(Permission.INTEGRATIONS_EDIT))]
ReadsOrders = Annotated[Principal, Depends(Needs(Permission.ORDERS_READ))]
Ulid = Annotated[str, Path(pattern=ULID_PATTERN)]
OrderQuery = Annotated[str | None, Query(max_length=100, description="Only of this order")]
Text = Annotated[str, Field(max_length=200)]


class RateRequest(BaseModel):
    """Where parcels go, for what that costs."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "Acme", "line1": "Main St 1", "city": "Austin", "postal_code": "78701",
                          "region": "TX", "country": "US", "weights_kg": ["2.5"]}]
        },
    )  # fmt: skip

    name: Annotated[Text, Field(min_length=1)]
    line1: Annotated[Text, Field(min_length=1)]
    city: Annotated[Text, Field(min_length=1)]
    postal_code: Text
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
    region: Text = ""
    weights_kg: Annotated[
        list[Annotated[Decimal, Field(gt=0, le=10_000, max_digits=12, decimal_places=6)]],
        Field(min_length=1, max_length=100),
    ]


def integration_routes(database: Database, webhooks: VendorWebhooks, accounts: Accounts, public_url: str) -> APIRouter:
    """The routes; ``public_url`` is where vendors reach the API, empty where that is as it seems to be from inside."""
    api = APIRouter(prefix="/api/v1/integrations", tags=["Integrations"], responses=dict(PROBLEMS))
    _add_webhooks(api, webhooks, public_url)
    _add_calls(api, database)
    _add_payments(api, database, accounts)
    _add_shipments(api, database, accounts)
    return api


def _add_webhooks(api: APIRouter, webhooks: VendorWebhooks, public_url: str) -> None:
    body = {"requestBody": {"content": {"application/json": {"schema": {}, "example": _EVENT}}, "required": True}}

    @api.post("/{vendor}/webhook", openapi_extra=body)
    async def take(vendor: Vendor, request: Request) -> Taken:
        """A message of a vendor, which signs it: there is no token. The same one takes effect once."""
        return await taken(vendor, request, OF_ALL)

    @api.post("/{vendor}/webhook/{tenant}", openapi_extra=body)
    async def take_of_tenant(vendor: Vendor, tenant: TenantPath, request: Request) -> Taken:
        """A message of a vendor to the account that a tenant has there itself."""
        return await taken(vendor, request, tenant)

    async def taken(vendor: str, request: Request, account: str) -> Taken:
        headers = {name.lower(): value for name, value in request.headers.items()}
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        url = public_url.rstrip("/") + path if public_url else str(request.url)
        try:
            return Taken(outcome=await webhooks.take(vendor, url, await request.body(), headers, account))
        except WebhookRefused as exc:
            raise RequestRefused(Why.INVALID, "not_the_vendors", f"it is not believed: {exc}") from exc
        except _AWAY as exc:
            raise RequestRefused(Why.NOT_SET_UP, "vendor_away", str(exc)) from exc

    @api.get("/webhooks", dependencies=[Depends(only_known_parameters)])
    async def webhooks_taken(
        principal: Reads, state: WebhookState | None = None, after: After = "", limit: Limit = LIMIT
    ) -> WebhookPage:
        """What vendors have sent; those with the state 'unknown' are about nothing that Lineside knows."""
        async with tenant_session(webhooks.database, principal.tenant_id) as session:
            found = await questions.webhooks(session, principal.tenant_id, state, after, limit + 1)
        rows, following = page(found, limit, lambda row: f"{row['vendor']} {row['event']}")
        return WebhookPage(webhooks=[WebhookAnswer.model_validate(row) for row in rows], next=following)


def _add_calls(api: APIRouter, database: Database) -> None:
    known = [Depends(only_known_parameters)]

    @api.get("/status", dependencies=known)
    async def status(principal: Reads) -> list[VendorStatus]:
        """How it goes with each vendor: what waits, what was given up, whether it is left alone for a while."""
        async with tenant_session(database, principal.tenant_id) as session:
            return [VendorStatus.model_validate(row) for row in await questions.status(session)]

    @api.get("/calls", dependencies=known)
    async def calls(
        principal: Reads,
        state: CallState | None = None,
        port: Annotated[str | None, Query(max_length=30)] = None,
        about: Annotated[str | None, Query(max_length=100, description="A payment, a shipment …")] = None,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> CallPage:
        """Calls to vendors, a page at a time."""
        choice = CallChoice(state, port, about, after, limit + 1)
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await questions.calls(session, principal.tenant_id, choice)
        some, following = page(rows, limit, lambda row: str(row["call"]))
        return CallPage(calls=[CallAnswer.model_validate(row) for row in some], next=following)

    @api.post("/calls/{call}/retry", dependencies=known)
    async def retry(principal: Reads, call: Ulid) -> CallAnswer:
        """Try a call again that was given up, or one that waits at once. It is never done twice."""
        async with tenant_transaction(database, principal.tenant_id) as session:
            return CallAnswer.model_validate(await questions.retry(session, principal.tenant_id, call))


def _add_payments(api: APIRouter, database: Database, accounts: Accounts) -> None:
    known = [Depends(only_known_parameters)]

    @api.get("/payments", dependencies=known)
    async def payments(
        principal: Reads, order: OrderQuery = None, after: After = "", limit: Limit = LIMIT
    ) -> PaymentPage:
        """Payments, a page at a time."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await questions.payments(session, principal.tenant_id, order, after, limit + 1)
        some, following = page(rows, limit, lambda row: str(row["payment"]))
        return PaymentPage(payments=[PaymentAnswer.model_validate(row) for row in some], next=following)

    @api.get("/payments/{payment}/checkout", dependencies=known)
    async def checkout(principal: ReadsOrders, payment: Ulid) -> CheckoutAnswer:
        """With what a customer finishes a payment in a browser, at the vendor's; of a customer, their own alone."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await session.fetch("SELECT * FROM payment WHERE payment_id = $1", payment)
            gateway = (await accounts.of(session, principal.tenant_id)).payments
        if not rows or (principal.customer is not None and rows[0]["customer"] != principal.customer):
            raise RequestRefused(Why.UNKNOWN, "unknown_payment", f"there is no payment {payment}")
        (row,) = rows
        secret = ""
        if row["state"] == "pending" and not row["withdrawn"] and gateway is not None:
            try:
                secret = (await gateway.payment(row["vendor_id"])).client_secret
            except _AWAY as exc:
                raise RequestRefused(Why.NOT_SET_UP, "vendor_away", str(exc)) from exc
        return CheckoutAnswer(payment=payment, vendor=row["vendor"], state=row["state"], client_secret=secret)


def _add_shipments(api: APIRouter, database: Database, accounts: Accounts) -> None:
    known = [Depends(only_known_parameters)]

    @api.get("/shipments", dependencies=known)
    async def shipments(
        principal: Reads, order: OrderQuery = None, after: After = "", limit: Limit = LIMIT
    ) -> ShipmentPage:
        """Shipments, a page at a time."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await questions.shipments(session, principal.tenant_id, order, after, limit + 1)
        some, following = page(rows, limit, lambda row: str(row["shipment"]))
        return ShipmentPage(shipments=[ShipmentAnswer.model_validate(row) for row in some], next=following)

    @api.post("/shipping-rates", dependencies=known)
    async def rates(
        principal: Annotated[Principal, Depends(Needs(Permission.ORDERS_MANAGE))],
        request: RateRequest,
    ) -> list[RateAnswer]:
        """What carriers ask for parcels to an address, the cheapest first. Nothing is bought."""
        to = Address(**request.model_dump(exclude={"weights_kg"}))
        async with tenant_transaction(database, principal.tenant_id) as session:
            shipping = (await accounts.of(session, principal.tenant_id)).shipping
        if shipping is None:
            raise RequestRefused(Why.NOT_SET_UP, "no_carrier", "no carrier is connected: see 'integrations.shipping'")
        try:
            found = await shipping.rates(to, [Parcel(weight) for weight in request.weights_kg])
        except CallRefused as exc:
            raise RequestRefused(Why.CONFLICT, "vendor_refuses", str(exc)) from exc
        except _AWAY as exc:
            raise RequestRefused(Why.NOT_SET_UP, "vendor_away", str(exc)) from exc
        return [
            RateAnswer(
                carrier=rate.carrier,
                service=rate.service,
                amount=str(rate.amount),
                currency=rate.currency,
                days=rate.days,
            )
            for rate in found
        ]
