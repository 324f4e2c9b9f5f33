"""Signatures that are no text at all: a webhook is refused, and nothing breaks."""

from __future__ import annotations

import time

import pytest

from connectors.payments.fake import SIGNATURE, FakeGateway
from connectors.payments.stripe_gateway import StripeGateway
from connectors.ports.clock import SystemClock
from connectors.ports.vendors import MemoryInProcess, WebhookRefused


@pytest.mark.parametrize("signature", ["é", "t=1,v1=é", "1,é", ""])
def test_a_signature_with_letters_of_any_alphabet_is_refused(signature: str) -> None:
    now_s = time.time()
    stripe = StripeGateway("sk_test_1", webhook_secret="whsec_1")
    with pytest.raises(WebhookRefused):
        stripe.news(b"{}", {"stripe-signature": signature.replace("t=1", f"t={int(now_s)}")}, now_s)
    fake = FakeGateway(MemoryInProcess(), SystemClock(), webhook_secret="s")
    with pytest.raises(WebhookRefused):
        fake.news(b"{}", {SIGNATURE: signature}, now_s)
