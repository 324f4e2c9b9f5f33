"""Payments by Stripe: payment intents, refunds, and webhooks, with Stripe's own library.

Every intent and refund has our key in its metadata (``lineside_key``) and goes out with it as Idempotency-Key, which
Stripe keeps for at least 24 hours (docs.stripe.com/api/idempotent_requests). Search sees an intent about a minute late
(docs.stripe.com/search), so between them nothing is paid twice: at first by the key, later by what search finds.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Final, TypeVar

import stripe
from stripe import HTTPXClient, StripeClient, WebhookSignature

from connectors.payments.minor_units import from_minor_units, in_minor_units
from connectors.ports.payments import (
    Dispute,
    DisputeState,
    Payment,
    PaymentNews,
    PaymentRequest,
    PaymentState,
    Refund,
    RefundRequest,
    RefundState,
)
from connectors.ports.vendors import (
    CALL_S_MAX,
    REPLAY_WINDOW_S,
    AccessRefused,
    CallRefused,
    CallUncertain,
    Headers,
    VendorUnavailable,
    WebhookRefused,
)

KEY: Final = "lineside_key"
ORDER: Final = "lineside_order"
ON_FILE: Final = "lineside_on_file"
CONFLICT: Final = 409
T = TypeVar("T")
Json = Mapping[str, Any]


class _Http(HTTPXClient):
    """Sends bodies as httpx takes them today: the library's own way is deprecated there."""

    def _get_request_args_kwargs(self, method: str, url: str, headers: Any, post_data: Any) -> list[Any]:
        arguments, more = super()._get_request_args_kwargs(method, url, headers, post_data)
        more["content"] = more.pop("data") or None
        return [arguments, more]


class StripeGateway:
    """``webhook_secret`` is that of the endpoint (``whsec_…``); without it no webhook is believed."""

    name = "stripe"

    def __init__(self, api_key: str, *, webhook_secret: str = "", url: str = "https://api.stripe.com") -> None:
        self._webhook_secret = webhook_secret
        self._http = _Http(timeout=CALL_S_MAX)
        self._client = StripeClient(api_key, base_addresses={"api": url}, http_client=self._http, max_network_retries=0)

    async def pay(self, request: PaymentRequest) -> Payment:
        """See ``PaymentGateway``."""
        params: Any = {
            "amount": _minor(request.amount, request.currency),
            "currency": request.currency.lower(),
            "description": f"Order {request.order}",
            "metadata": {KEY: request.key, ORDER: request.order, "lineside_customer": request.customer},
        }
        if request.method:
            params |= {"payment_method": request.method, "confirm": True, "off_session": True}
            params["metadata"][ON_FILE] = "yes"
        else:
            params["automatic_payment_methods"] = {"enabled": True}
        if request.payer:
            params["customer"] = request.payer
        try:
            made = await _asked(self._client.v1.payment_intents.create_async(params, {"idempotency_key": request.key}))
        except stripe.CardError as exc:
            return _declined(request, exc)
        return _payment(made.to_dict(), request.key)

    async def find(self, request: PaymentRequest) -> Payment | None:
        """See ``PaymentGateway``."""
        query = f"metadata['{KEY}']:'{_quoted(request.key)}'"
        found = await _asked(self._client.v1.payment_intents.search_async({"query": query}))
        documents = [one.to_dict() for one in found.data]
        ours = [one for one in documents if _metadata(one).get(KEY) == request.key]
        return _payment(ours[0], request.key) if ours else None

    async def payment(self, payment_id: str) -> Payment:
        """See ``PaymentGateway``."""
        found = (await _asked(self._client.v1.payment_intents.retrieve_async(payment_id))).to_dict()
        return _payment(found, str(_metadata(found).get(KEY, "")))

    async def cancel(self, payment_id: str) -> Payment:
        """See ``PaymentGateway``."""
        try:
            made = (await _asked(self._client.v1.payment_intents.cancel_async(payment_id))).to_dict()
        except CallRefused:  # it is captured or cancelled already: how it stands is the answer
            return await self.payment(payment_id)
        return _payment(made, str(_metadata(made).get(KEY, "")))

    async def refund(self, request: RefundRequest) -> Refund:
        """See ``PaymentGateway``."""
        made = await _asked(
            self._client.v1.refunds.create_async(
                {
                    "payment_intent": request.payment,
                    "amount": _minor(request.amount, request.currency),
                    "metadata": {KEY: request.key},
                },
                {"idempotency_key": request.key},
            )
        )
        return _refund(made.to_dict(), request.key)

    async def find_refund(self, request: RefundRequest) -> Refund | None:
        """See ``PaymentGateway``."""
        params: Any = {"payment_intent": request.payment, "limit": 100}
        found = await _asked(self._client.v1.refunds.list_async(params))
        ours = [one for one in (each.to_dict() for each in found.data) if _metadata(one).get(KEY) == request.key]
        return _refund(ours[0], request.key) if ours else None

    def news(self, body: bytes, headers: Headers, now_s: float) -> PaymentNews:
        """See ``PaymentGateway``: ``Stripe-Signature``, docs.stripe.com/webhooks#verify-manually."""
        header = headers.get("stripe-signature", "")
        if not self._webhook_secret:
            raise WebhookRefused("there is no 'webhook_secret' in the settings, so no webhook of Stripe is believed")
        if not header.isascii():  # Python compares no other texts in constant time, and raises
            raise WebhookRefused("the signature is not Stripe's")
        try:
            WebhookSignature.verify_header(body, header, self._webhook_secret)
        except (stripe.SignatureVerificationError, UnicodeDecodeError) as exc:
            raise WebhookRefused("the signature is not Stripe's") from exc
        if abs(now_s - _signed_s(header)) > REPLAY_WINDOW_S:
            raise WebhookRefused(f"it was signed more than {REPLAY_WINDOW_S} s from now")
        try:
            event = json.loads(body)
            return _news(str(event["id"]), str(event["type"]), event["data"]["object"])
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise WebhookRefused(f"it is no event of Stripe: {type(exc).__name__}: {exc}") from exc

    async def close(self) -> None:
        """See ``PaymentGateway``."""
        await self._http.close_async()  # type: ignore[no-untyped-call]


def _signed_s(header: str) -> int:
    """When it was signed; ``verify_header`` has found that it says so."""
    return int(next(part[2:] for part in header.split(",") if part.startswith("t=")))


def _news(event: str, kind: str, document: Json) -> PaymentNews:
    match document.get("object"):
        case "payment_intent":
            return PaymentNews(event, kind, payment=_payment(document, str(_metadata(document).get(KEY, ""))))
        case "refund":
            return PaymentNews(event, kind, refund=_refund(document, str(_metadata(document).get(KEY, ""))))
        case "dispute":
            return PaymentNews(event, kind, dispute=_dispute(document))
        case _:
            return PaymentNews(event, kind)


def _payment(intent: Json, key: str) -> Payment:
    currency = str(intent["currency"]).upper()
    state, reason = _state(intent)
    captured = int(intent.get("amount_received") or 0) if state is PaymentState.CAPTURED else 0
    return Payment(
        id=str(intent["id"]),
        key=key,
        state=state,
        amount=from_minor_units(int(intent["amount"]), currency),
        currency=currency,
        captured=from_minor_units(captured, currency),
        reason=reason,
        client_secret=str(intent.get("client_secret") or ""),
    )


def _state(intent: Json) -> tuple[PaymentState, str]:
    """docs.stripe.com/payments/paymentintents/lifecycle. A card on file that was declined is not tried again by us."""
    error = intent.get("last_payment_error") or {}
    reason = str(error.get("message") or "")
    match intent.get("status"):
        case "succeeded":
            return PaymentState.CAPTURED, ""
        case "canceled":
            return PaymentState.CANCELLED, str(intent.get("cancellation_reason") or "")
        case "requires_payment_method" if reason and _metadata(intent).get(ON_FILE):
            return PaymentState.FAILED, reason
        case _:
            return PaymentState.PENDING, reason


def _declined(request: PaymentRequest, error: stripe.CardError) -> Payment:
    intent = getattr(error.error, "payment_intent", None)
    reason = str(error.user_message or error.code or "the card was declined")
    return Payment(
        id="" if intent is None else str(intent["id"]),
        key=request.key,
        state=PaymentState.FAILED,
        amount=request.amount,
        currency=request.currency,
        reason=reason,
    )


def _refund(document: Json, key: str) -> Refund:
    currency = str(document["currency"]).upper()
    match document.get("status"):
        case "succeeded":
            state = RefundState.DONE
        case "failed" | "canceled":
            state = RefundState.FAILED
        case _:
            state = RefundState.PENDING
    payment = document.get("payment_intent") or ""
    amount = from_minor_units(int(document["amount"]), currency)
    reason = str(document.get("failure_reason") or "")
    return Refund(str(document["id"]), key, str(payment), state, amount, reason)


def _dispute(document: Json) -> Dispute:
    """docs.stripe.com/api/disputes/object. An inquiry (``warning_…``) that is closed has taken nothing."""
    match document["status"]:
        case "won" | "warning_closed" | "prevented":
            state = DisputeState.WON
        case "lost":
            state = DisputeState.LOST
        case _:
            state = DisputeState.OPEN
    amount = from_minor_units(int(document["amount"]), str(document["currency"]).upper())
    reason = str(document.get("reason") or "").replace("_", " ")
    return Dispute(str(document["id"]), str(document.get("payment_intent") or ""), state, amount, reason)


def _metadata(document: Json) -> Json:
    return document.get("metadata") or {}


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _minor(amount: Decimal, currency: str) -> int:
    try:
        return in_minor_units(amount, currency)
    except ValueError as exc:
        raise CallRefused(str(exc), "amount") from exc


async def _asked(call: Awaitable[T]) -> T:
    with _in_our_words():
        return await call


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Stripe's errors as what the caller does next; ``CardError`` is an answer, and left to ``pay``."""
    try:
        yield
    except stripe.CardError:
        raise
    except stripe.RateLimitError as exc:
        raise VendorUnavailable(f"Stripe has had too many requests: {exc.user_message or exc}") from exc
    except (stripe.AuthenticationError, stripe.PermissionError) as exc:
        raise AccessRefused(f"Stripe does not take the API key: {exc.user_message or exc}") from exc
    except stripe.IdempotencyError as exc:  # another version of this program has asked in other words: it may be done
        raise CallUncertain(f"Stripe knows the key with another request: {exc.user_message or exc}") from exc
    except stripe.APIConnectionError as exc:
        raise CallUncertain(f"Stripe has not answered: {exc.user_message or exc}") from exc
    except stripe.StripeError as exc:
        status = exc.http_status or 0
        if status == CONFLICT:
            raise VendorUnavailable(f"Stripe is still busy with the same request: {exc.user_message or exc}") from exc
        if status >= 500 or not status:
            raise CallUncertain(f"Stripe has failed ({status}): {exc.user_message or exc}") from exc
        raise CallRefused(f"Stripe refuses: {exc.user_message or exc}", str(exc.code or "")) from exc
