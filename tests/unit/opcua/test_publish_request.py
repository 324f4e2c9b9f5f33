"""A Publish request is byte for byte the one that asyncua would make of its objects."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from connectors.opcua.publish_request import Ack, request_bytes

NOW = datetime(2026, 3, 4, 5, 6, 7, 891_000, UTC)


@pytest.mark.parametrize(
    "token",
    [
        ua.NodeId(),
        ua.NodeId(17, 1),
        ua.NodeId(3_000_000_000, 4),
        ua.NodeId(b"\x01\x02" * 16, 0, ua.NodeIdType.ByteString),
    ],
)
@pytest.mark.parametrize("acks", [[], [Ack(1, 2)], [Ack(7, 4_294_967_295), Ack(4_294_967_295, 1)]])
def test_a_publish_request_is_the_one_that_asyncua_makes(token: ua.NodeId, acks: list[Ack]) -> None:
    request = ua.PublishRequest()
    request.RequestHeader.AuthenticationToken = token
    request.RequestHeader.Timestamp = NOW
    request.RequestHeader.RequestHandle = ua.UInt32(4711)
    request.RequestHeader.TimeoutHint = ua.UInt32(0)
    request.Parameters.SubscriptionAcknowledgements = [
        ua.SubscriptionAcknowledgement(ua.UInt32(ack.subscription), ua.UInt32(ack.number)) for ack in acks
    ]
    assert request_bytes(token, 4711, acks, round(NOW.timestamp() * 1e9)) == struct_to_binary(request)
