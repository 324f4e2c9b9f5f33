"""A request that changes something: sent once, and whatever comes of it is said in the words of the port."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asyncua.client.client import Client
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import UaError

from connectors.model.errors import DeviceUnavailable, WriteRefused, WriteUncertain
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.status import is_undecided, service_reason, write_reason


class NoAnswer(WriteUncertain):
    """There was no answer, or none that can be read: the caller makes the connection anew."""


@contextmanager
def plain_cancellation() -> Iterator[None]:
    """Let a cancellation out as any other, when it comes together with an answer.

    asyncua then raises one of a kind of its own, which ``asyncio.timeout`` does not take for the end of its time.
    """
    try:
        yield
    except asyncio.CancelledError as exc:
        if type(exc) is asyncio.CancelledError:
            raise
        raise asyncio.CancelledError from exc


async def result_of(client: Client, request: Any, response_type: type[Any], what: str, timeout_s: float) -> Any:
    """Send ``request``, which asks for one thing, once; the one result that the server answers with.

    ``what`` names it for the operator. Raises ``DeviceUnavailable`` when nothing was sent; ``WriteRefused`` or
    ``WriteUncertain`` when the server answers for the whole request; ``NoAnswer``.
    """
    protocol = client.uaclient.protocol
    transport = None if protocol is None else protocol.transport
    if protocol is None or transport is None or transport.is_closing():
        raise DeviceUnavailable(f"{what}: the connection is closed, nothing was sent")
    try:
        with plain_cancellation():
            data = await protocol.send_request(request)
        response: Any = struct_from_binary(response_type, data)
        response.ResponseHeader.ServiceResult.check()
        results = response.Results
    except UaError as exc:
        code = getattr(exc, "code", None)
        if isinstance(code, int) and protocol.transport is transport and not transport.is_closing():
            judge(code, what)  # the word of the server; else the connection has ended with this
        raise NoAnswer(f"{what}: the connection was lost ({service_reason(exc)}); {_EITHER}") from exc
    except TimeoutError as exc:
        raise NoAnswer(f"{what}: no answer within {timeout_s:g} s; {_EITHER}") from exc
    except OSError as exc:
        raise NoAnswer(f"{what}: the connection was lost; {_EITHER}") from exc
    except DECODING_ERRORS as exc:
        raise NoAnswer(f"{what}: the answer cannot be read ({exc}); {_EITHER}") from exc
    if not isinstance(results, list) or len(results) != 1:
        raise NoAnswer(f"{what}: the answer has no result; {_EITHER}")
    return results[0]


_EITHER = "it may have been done or not"


def judge(code: int, what: str) -> None:
    """Return when ``code`` says that it is done. Raises ``WriteRefused`` or ``WriteUncertain``."""
    if code >> 30 == 0:
        return
    if is_undecided(code):
        raise WriteUncertain(f"{what}: {write_reason(code)}; {_EITHER}")
    raise WriteRefused(f"{what}: {write_reason(code)}")
