"""What Stripe's errors mean for whoever has called it."""

from __future__ import annotations

import pytest
import stripe

from connectors.payments.stripe_gateway import _in_our_words
from connectors.ports.vendors import AccessRefused, CallRefused, CallUncertain, VendorUnavailable


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (stripe.IdempotencyError("other parameters", http_status=400), CallUncertain),
        (stripe.InvalidRequestError("no such payment", "id", http_status=404), CallRefused),
        (stripe.InvalidRequestError("the same request runs", "id", http_status=409), VendorUnavailable),
        (stripe.RateLimitError("slower", http_status=429), VendorUnavailable),
        (stripe.AuthenticationError("which key?", http_status=401), AccessRefused),
        (stripe.APIError("ours", http_status=500), CallUncertain),
        (stripe.APIConnectionError("cut off"), CallUncertain),
    ],
)
def test_only_a_refusal_of_the_request_itself_is_one(error: Exception, means: type[Exception]) -> None:
    with pytest.raises(means), _in_our_words():
        raise error
