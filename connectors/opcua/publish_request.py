"""Sends Publish requests: the one message that goes to a server as often as values come from it.

(asyncua makes each from objects, for each field of which it looks the type up: of what a device with a thousand values
costs, that was a tenth.)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from struct import Struct
from typing import Any, Final, NamedTuple

from asyncua import ua
from asyncua.client.ua_client import UASocketProtocol, UASocketState
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_to_binary
from asyncua.ua.uaerrors import UaError

from connectors.opcua.wire_types import EPOCH_TICKS

_TYPE: Final = nodeid_to_binary(ua.PublishRequest().TypeId)

_FAULT: Final = nodeid_to_binary(ua.ServiceFault().TypeId)

_REST: Final = Struct("<qIIiI3si")
"""Of the header (Part 4, 7.32) the time, the handle, no diagnostics, no audit entry, no timeout, nothing additional;
then how many acknowledgements there are (Part 4, 5.14.5)."""

_ACK: Final = Struct("<II")


class Ack(NamedTuple):
    """A message that need not be sent again: of which subscription, and its sequence number."""

    subscription: int
    number: int


async def publish(protocol: UASocketProtocol, acks: Sequence[Ack]) -> Buffer:
    """Send one request with ``acks``, and give what comes for it, whenever it comes: to the reader, if it is no fault.

    Raises ``UaError`` for a fault of the service, ``ConnectionError``, and what asyncua raises when the connection is
    lost.
    """
    if protocol.pre_request_hook is not None:
        await protocol.pre_request_hook()
    answer = _send(protocol, acks)
    try:
        data = await answer
    except UaError:
        raise
    except Exception as exc:
        if protocol.state is not UASocketState.OPEN:
            raise ConnectionError("the connection is closed") from exc
        raise
    head = data.copy(len(_FAULT))
    if head.read(len(head)) == _FAULT:
        protocol.check_answer(data, " in response to PublishRequest")
    return data


def request_bytes(token: ua.NodeId, handle: int, acks: Sequence[Ack], now_ns: int) -> bytes:
    """A PublishRequest as it is on the wire (Part 6, 5.2)."""
    rest = _REST.pack(now_ns // 100 + EPOCH_TICKS, handle, 0, -1, 0, b"\0\0\0", len(acks))
    return b"".join((_TYPE, nodeid_to_binary(token), rest, *(_ACK.pack(*ack) for ack in acks)))


def _send(protocol: Any, acks: Sequence[Ack]) -> asyncio.Future[Buffer]:
    """What ``UASocketProtocol._send_request`` does for any request: the future of its answer."""
    if protocol.transport is None:
        raise ConnectionError("the connection is closed")
    handle, number = protocol._request_handle + 1, protocol._request_id + 1  # noqa: SLF001
    body = request_bytes(protocol.authentication_token, handle, acks, time.time_ns())
    protocol.revolve_security_token()
    message = protocol._connection.message_to_binary(body, request_id=number)  # noqa: SLF001
    protocol._request_handle, protocol._request_id = handle, number  # noqa: SLF001
    answer: asyncio.Future[Buffer] = asyncio.get_running_loop().create_future()
    protocol._callbackmap[number] = answer  # noqa: SLF001
    protocol.transport.write(message)
    return answer
