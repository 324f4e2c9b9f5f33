"""Asks a server for a notification message that has not come (OPC UA Part 4, 5.14.6 Republish)."""

from __future__ import annotations

from typing import Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.uaerrors import (
    BadMessageNotAvailable,
    BadNotImplemented,
    BadNotSupported,
    BadServiceUnsupported,
    UaError,
)

from connectors.opcua.notification_message import Notification, read_republish_response

_NOT_THERE: Final[tuple[type[UaError], ...]] = (
    BadMessageNotAvailable,
    BadNotImplemented,
    BadNotSupported,
    BadServiceUnsupported,
)
"""The server does not have the message any more, or keeps none: small ones do not have the service."""


async def sent_again(client: Client, subscription: int, number: int) -> Notification | None:
    """The message ``number`` of ``subscription``, or ``None`` when the server cannot send it again.

    Raises what asyncua raises when the session or the subscription is not there any more, and any of
    ``DECODING_ERRORS`` when the answer cannot be read.
    """
    protocol = client.uaclient.protocol
    if protocol is None:
        raise ConnectionError("the connection is closed")
    request = ua.RepublishRequest()
    request.Parameters.SubscriptionId = ua.UInt32(subscription)
    request.Parameters.RetransmitSequenceNumber = ua.UInt32(number)
    try:
        found = read_republish_response(await protocol.send_request(request), subscription)
    except _NOT_THERE:
        return None
    return found if found.sequence_number == number else None
