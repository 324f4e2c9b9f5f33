"""The adapters of Stripe, ShipEngine and HubSpot against servers that hold them to the vendors' specifications.

stripe-mock and Prism answer 4xx to a request that the specification does not have; what vendors remember is in
``test_integration_calls``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from lineside.servers.child_process import ProgramMissing, ServerNotStarted

from connectors.crm.hubspot import HubSpot, HubSpotOptions, signature
from connectors.payments.stripe_gateway import StripeGateway
from connectors.ports.crm import CrmCustomer, CrmDeal, CrmInteraction
from connectors.ports.payments import PaymentNews, PaymentRequest, PaymentState, RefundRequest, RefundState
from connectors.ports.shipping import Address, Parcel, ShipmentRequest, TrackingState
from connectors.ports.vendors import AccessRefused, CallRefused, CallUncertain, VendorUnavailable, WebhookRefused
from connectors.shipping.shipengine import ShipEngine, ShipEngineOptions
from tests.servers.vendors import VendorServer, hubspot_server, shipengine_server, stripe_server

SECRET: Final = "whsec_tests"
NOW_S: Final = time.time()
HERE: Final = Address("Lineside", "Mill Road 1", "Austin", "78701", "US", region="TX", phone="555-0100")
REQUEST: Final = PaymentRequest("01JDV3W3Z8Q6C0V2B7N4M5K9XR", "A-1", "acme", Decimal("120.50"), "EUR")


def started(server: VendorServer) -> Iterator[VendorServer]:
    try:
        server.start()
    except (ProgramMissing, ServerNotStarted) as exc:
        pytest.fail(str(exc), pytrace=False)
    yield server
    server.close()


@pytest.fixture(scope="module")
def stripe_mock() -> Iterator[VendorServer]:
    yield from started(stripe_server())


@pytest.fixture(scope="module")
def shipengine_mock() -> Iterator[VendorServer]:
    yield from started(shipengine_server())


@pytest.fixture(scope="module")
def hubspot_mock() -> Iterator[VendorServer]:
    yield from started(hubspot_server())


class Closing:
    """``async with``: the adapter's connections are gone at the end of the test."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    async def __aenter__(self) -> Any:
        return self._adapter

    async def __aexit__(self, *_: object) -> None:
        await self._adapter.close()


# -- Stripe ------------------------------------------------------------------------------------------------------------


async def test_stripe_takes_every_request_about_payments_and_refunds(stripe_mock: VendorServer) -> None:
    async with Closing(StripeGateway("sk_test_1", url=stripe_mock.url)) as gateway:
        made = await gateway.pay(REQUEST)
        assert (made.key, made.state, made.id[:3]) == (REQUEST.key, PaymentState.PENDING, "pi_")
        assert made.client_secret
        await gateway.pay(PaymentRequest("k", "A-1", "acme", Decimal(7), "JPY", payer="cus_1", method="pm_card_visa"))
        assert await gateway.find(REQUEST) is None, "what stripe-mock finds is not ours"
        assert (await gateway.payment("pi_1")).id == "pi_1"
        assert (await gateway.cancel("pi_1")).id
        refund = RefundRequest("f1", "pi_1", Decimal("20.00"), "EUR")
        assert (await gateway.refund(refund)).state is RefundState.DONE
        assert await gateway.find_refund(refund) is None


async def test_stripe_s_refusals_say_what_is_next(stripe_mock: VendorServer) -> None:
    async with Closing(StripeGateway("none", url=stripe_mock.url)) as gateway:
        with pytest.raises(AccessRefused, match="API key"):
            await gateway.pay(REQUEST)
    async with Closing(StripeGateway("sk_test_1", url=stripe_mock.url)) as gateway:
        with pytest.raises(CallRefused, match="smallest unit"):
            await gateway.pay(PaymentRequest("k", "A-1", "acme", Decimal("7.50"), "JPY"))
    async with Closing(StripeGateway("sk_test_1", url="http://127.0.0.1:1")) as gateway:
        with pytest.raises(CallUncertain, match="not answered"):
            await gateway.pay(REQUEST)


def signed(body: bytes, at_s: float = NOW_S, secret: str = SECRET) -> dict[str, str]:
    mark = hmac.new(secret.encode(), f"{int(at_s)}.".encode() + body, hashlib.sha256).hexdigest()
    return {"stripe-signature": f"t={int(at_s)},v1={mark}"}


def intent(**more: Any) -> bytes:
    document = {"object": "payment_intent", "id": "pi_1", "amount": 12050, "amount_received": 12050, "currency": "eur",
                "status": "succeeded", "metadata": {"lineside_key": REQUEST.key}, **more}  # fmt: skip
    return json.dumps({"id": "evt_1", "type": "payment_intent.x", "data": {"object": document}}).encode()


async def test_a_webhook_of_stripe_is_believed_when_it_is_signed_and_new() -> None:
    async with Closing(StripeGateway("sk_test_1", webhook_secret=SECRET)) as gateway:
        news = gateway.news(intent(), signed(intent()), NOW_S)
        assert news.payment is not None
        told = (news.event, news.payment.key, news.payment.state, news.payment.captured)
        assert told == ("evt_1", REQUEST.key, PaymentState.CAPTURED, Decimal("120.50"))
        for body, headers, now_s, why in (
            (intent(amount=1), signed(intent()), NOW_S, "not Stripe's"),
            (intent(), {}, NOW_S, "not Stripe's"),
            (intent(), signed(intent(), secret="other"), NOW_S, "not Stripe's"),
            (intent(), signed(intent()), NOW_S + 301, "300 s from now"),
            (intent(), signed(intent(), NOW_S + 400), NOW_S, "300 s from now"),
            (b"[]", signed(b"[]"), NOW_S, "no event"),
            (b"\xff", signed(b"\xff"), NOW_S, "not Stripe's"),
        ):
            with pytest.raises(WebhookRefused, match=why):
                gateway.news(body, headers, now_s)
    async with Closing(StripeGateway("sk_test_1")) as gateway:
        with pytest.raises(WebhookRefused, match="webhook_secret"):
            gateway.news(intent(), signed(intent()), NOW_S)


async def test_what_happens_at_stripe_s_own_pages_is_understood() -> None:
    refund = {"object": "refund", "id": "re_1", "amount": 2050, "currency": "eur", "status": "succeeded",
              "payment_intent": "pi_1", "metadata": {}}  # fmt: skip
    dispute = {"object": "dispute", "id": "dp_1", "amount": 12050, "currency": "eur", "payment_intent": "pi_1",
               "reason": "product_not_received", "status": "needs_response"}  # fmt: skip
    async with Closing(StripeGateway("sk_test_1", webhook_secret=SECRET)) as gateway:

        def news(document: Any) -> PaymentNews:
            body = json.dumps({"id": "evt_1", "type": "x", "data": {"object": document}}).encode()
            return gateway.news(body, signed(body), NOW_S)

        told = news(refund).refund
        assert told is not None
        assert (told.key, told.payment, told.state, told.amount) == ("", "pi_1", RefundState.DONE, Decimal("20.50"))
        for status, state in (("needs_response", "open"), ("under_review", "open"), ("warning_needs_response", "open"),
                              ("won", "won"), ("warning_closed", "won"), ("lost", "lost")):  # fmt: skip
            about = news({**dispute, "status": status}).dispute
            assert about is not None
            assert (about.id, about.payment, about.state, about.amount) == ("dp_1", "pi_1", state, Decimal("120.50"))
            assert about.reason == "product not received"
        of_a_charge = news({**dispute, "payment_intent": None}).dispute
        assert of_a_charge is not None
        assert of_a_charge.payment == "", "Lineside makes no charges without an intent"


# -- ShipEngine --------------------------------------------------------------------------------------------------------


def shipengine(url: str) -> Closing:
    return Closing(ShipEngine(ShipEngineOptions("key", HERE, ["se-123890"], "usps_priority_mail", url)))


async def test_shipengine_takes_every_request_about_rates_labels_and_tracking(shipengine_mock: VendorServer) -> None:
    parcels = [Parcel(Decimal("2.5"), Decimal(30), Decimal(20), Decimal(10)), Parcel(Decimal(1))]
    request = ShipmentRequest("S1", "A-1", HERE, parcels)
    async with shipengine(shipengine_mock.url) as carrier:
        rates = await carrier.rates(HERE, parcels)
        assert [rate.amount for rate in rates] == sorted(rate.amount for rate in rates)
        label = await carrier.buy(request)
        assert (label.key, bool(label.id), bool(label.tracking)) == ("S1", True, True)
        found = await carrier.find(request)
        assert found is None or found.key == "S1"
        assert isinstance(await carrier.cancel(label.id), bool)
        assert (await carrier.track(label.id)).state in TrackingState


async def test_a_webhook_of_shipengine_is_believed_when_one_of_its_keys_has_signed_it() -> None:
    key, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    numbers = key.public_key().public_numbers()

    def base64url(number: int) -> str:
        return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8)).decode().rstrip("=")

    jwks = {"keys": [{"kty": "RSA", "kid": "k1", "n": base64url(numbers.n), "e": base64url(numbers.e)}]}
    data = {"label_id": "se-1", "tracking_number": "1Z", "status_code": "DE", "events": []}
    body = json.dumps({"resource_type": "API_TRACK", "resource_url": "x", "data": data}).encode()

    def headers(with_key: rsa.RSAPrivateKey = key, at_s: float = NOW_S, kid: str = "k1") -> dict[str, str]:
        mark = with_key.sign(f"{int(at_s)}.".encode() + body, padding.PKCS1v15(), SHA256())
        return {"x-shipengine-timestamp": str(int(at_s)), "x-shipengine-rsa-sha256-key-id": kid,
                "x-shipengine-rsa-sha256-signature": base64.b64encode(mark).decode()}  # fmt: skip

    async with shipengine("http://vendor.example") as carrier:
        carrier._http._client = httpx.AsyncClient(
            base_url="http://vendor.example", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=jwks))
        )
        news = await carrier.news(body, headers(), NOW_S)
        assert news.tracking is not None
        assert (news.tracking.label_id, news.tracking.state) == ("se-1", TrackingState.DELIVERED)
        for wrong, why in (
            (headers(other), "not ShipEngine's"),
            (headers(at_s=NOW_S - 301), "300 s of now"),
            (headers(kid="k2"), "none of ShipEngine's"),
            ({}, "300 s of now"),
        ):
            with pytest.raises(WebhookRefused, match=why):
                await carrier.news(body, wrong, NOW_S)


# -- HubSpot -----------------------------------------------------------------------------------------------------------


async def test_hubspot_takes_every_request_about_customers_deals_and_notes(hubspot_mock: VendorServer) -> None:
    async with Closing(HubSpot(HubSpotOptions("token", url=hubspot_mock.url))) as crm:
        customer = await crm.put_customer(CrmCustomer("acme", "Ada Byron", "ada@example.com"))
        deal = CrmDeal("A-1", "Order A-1", "contractsent", Decimal("120.50"), "EUR", customer)
        assert await crm.put_deal(deal) == "512"
        note = CrmInteraction("01JDV3W3Z8", "Order A-1 was placed", datetime.now(UTC), customer, "512")
        assert await crm.add_interaction(note) == "512"
        changes = await crm.changes(datetime(2026, 11, 29, tzinfo=UTC))
        assert [type(change.of) for change in changes] == [CrmCustomer, CrmDeal, CrmInteraction]
        assert changes[0].of == CrmCustomer("", "Ada Byron", "ada@example.com")
        assert await crm._posted("deals", {"dealname": "x"}, "A-1", "lineside_order") == "512"


async def test_who_is_new_in_hubspot_is_made_there_and_errors_say_what_is_next() -> None:
    asked: list[tuple[str, str]] = []
    answers = {"PATCH": 404, "POST": 201}

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        return httpx.Response(answers[request.method], json={"id": "9"}, headers={"Retry-After": "17"})

    async with Closing(HubSpot(HubSpotOptions("token"))) as crm:
        crm._http._client = httpx.AsyncClient(base_url="http://crm.example", transport=httpx.MockTransport(answer))
        assert await crm.put_customer(CrmCustomer("acme/1", "Ada", "ada@example.com")) == "9"
        assert [method for method, _ in asked] == ["PATCH", "PATCH", "POST"]
        for status, error in ((401, AccessRefused), (400, CallRefused), (502, CallUncertain), (429, VendorUnavailable)):
            answers["PATCH"] = status
            with pytest.raises(error, match=f"HubSpot says {status}") as raised:
                await crm.put_customer(CrmCustomer("acme"))
            if isinstance(raised.value, VendorUnavailable):
                assert raised.value.retry_after_s == 17


async def test_a_webhook_of_hubspot_is_believed_when_it_is_signed_for_this_address_and_new() -> None:
    url, body, stamp = "https://api.example/api/v1/integrations/hubspot/webhook", b'[{"eventId": 1, "subscriptionType": "contact.creation"}]', str(int(NOW_S * 1000))  # fmt: skip  # noqa: E501
    good = {"x-hubspot-request-timestamp": stamp,
            "x-hubspot-signature-v3": signature("secret", "POST", url, body, stamp)}  # fmt: skip
    async with Closing(HubSpot(HubSpotOptions("token", "secret"))) as crm:
        assert crm.news("POST", url, body, good, NOW_S) == ["1 contact.creation"]
        for at, headers, now_s in ((url + "x", good, NOW_S), (url, {}, NOW_S), (url, good, NOW_S + 400)):
            with pytest.raises(WebhookRefused):
                crm.news("POST", at, body, headers, now_s)
