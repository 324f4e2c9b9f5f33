"""A request that changes something is sent once, and every end of it has its own word."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_to_binary
from asyncua.ua.uaerrors import BadConnectionClosed, BadSessionIdInvalid, BadTimeout, UaStatusCodeError

from connectors.model.errors import DeviceUnavailable, WriteRefused, WriteUncertain
from connectors.model.status_names import STATUS_NAMES
from connectors.opcua.one_request import NoAnswer, judge, result_of
from connectors.opcua.status import is_undecided


class PlayedTransport:
    def __init__(self) -> None:
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing


class PlayedProtocol:
    """Answers with bytes, or raises; ``closes``: the connection ends with it."""

    def __init__(self, answer: bytes | BaseException, *, closes: bool = False) -> None:
        self.transport = PlayedTransport()
        self.sent = 0
        self._answer = answer
        self._closes = closes

    async def send_request(self, request: Any) -> Buffer:
        self.sent += 1
        self.transport.closing = self._closes
        if isinstance(self._answer, BaseException):
            raise self._answer
        return Buffer(self._answer)


class PlayedClient:
    def __init__(self, protocol: PlayedProtocol | None) -> None:
        self.uaclient = self
        self.protocol = protocol


async def outcome(protocol: PlayedProtocol | None) -> Any:
    client = cast(Client, PlayedClient(protocol))
    return await result_of(client, ua.WriteRequest(), ua.WriteResponse, "write of x", 2.0)


def response(*codes: int, service: int = 0) -> bytes:
    answer = ua.WriteResponse()
    answer.ResponseHeader.ServiceResult = ua.StatusCode(ua.UInt32(service))
    answer.Results = [ua.StatusCode(ua.UInt32(code)) for code in codes]
    return struct_to_binary(answer)


async def test_the_one_result_is_returned() -> None:
    protocol = PlayedProtocol(response(0x80740000))
    assert (await outcome(protocol)).value == 0x80740000
    assert protocol.sent == 1


@pytest.mark.parametrize(
    ("answer", "closes", "error", "sentence"),
    [
        (BadSessionIdInvalid(), False, WriteRefused, "write of x: the server answered BadSessionIdInvalid 0x80250000"),
        (
            BadTimeout(),
            False,
            WriteUncertain,
            "write of x: the server answered BadTimeout 0x800A0000; it may have been done or not",
        ),
        (response(service=0x80250000), False, WriteRefused, "write of x: the server answered BadSessionIdInvalid"),
        (BadConnectionClosed(), True, NoAnswer, "write of x: the connection was lost (the server answered BadConn"),
        (BadSessionIdInvalid(), True, NoAnswer, "write of x: the connection was lost (the server answered BadSess"),
        (TimeoutError(), False, NoAnswer, "write of x: no answer within 2 s; it may have been done or not"),
        (ConnectionError("Connection is closed"), True, NoAnswer, "write of x: the connection was lost; it may have"),
        (response(0)[:-9], False, NoAnswer, "write of x: "),
        (response(), False, NoAnswer, "write of x: the answer has no result; it may have been done or not"),
        (response(0, 0), False, NoAnswer, "write of x: the answer has no result; it may have been done or not"),
    ],
)
async def test_every_end_has_its_word(
    answer: bytes | Exception, closes: bool, error: type[Exception], sentence: str
) -> None:
    protocol = PlayedProtocol(answer, closes=closes)
    with pytest.raises(error) as caught:
        await outcome(protocol)
    assert type(caught.value) is error
    assert str(caught.value).startswith(sentence)
    assert protocol.sent == 1


async def test_a_cancellation_that_comes_with_an_answer_is_one_like_any_other() -> None:
    """``asyncio.timeout`` knows no other."""

    class WithAnswer(asyncio.CancelledError):
        pass

    with pytest.raises(asyncio.CancelledError) as caught:
        await outcome(PlayedProtocol(WithAnswer()))
    assert type(caught.value) is asyncio.CancelledError


async def test_on_a_connection_that_closes_nothing_is_sent() -> None:
    protocol = PlayedProtocol(response(0))
    protocol.transport.closing = True
    for each in (protocol, None):
        with pytest.raises(DeviceUnavailable, match="nothing was sent"):
            await outcome(each)
    assert protocol.sent == 0


@pytest.mark.parametrize("code", [0, 0x002E0000, 0x00BA0000])
def test_every_good_code_is_done(code: int) -> None:
    judge(code, "write of x")


def test_a_code_is_a_refusal_only_when_it_says_that_nothing_was_done() -> None:
    """An uncertain answer, and what a server says that has lost its device or itself on the way, decide nothing."""
    undecided = {name for code, name in STATUS_NAMES.items() if code >> 15 and is_undecided(code << 16)}
    assert undecided == {
        "BadCommunicationError",
        "BadConnectionClosed",
        "BadDeviceFailure",
        "BadInternalError",
        "BadRequestInterrupted",
        "BadRequestTimeout",
        "BadTimeout",
        "BadUnexpectedError",
    }
    with pytest.raises(WriteUncertain, match="UncertainLastUsableValue 0x40900000"):
        judge(0x40900000, "write of x")
    with pytest.raises(WriteRefused, match=r"^write of x: the server takes a value of another type \(BadTypeMismatch"):
        judge(0x80740000, "write of x")
    assert issubclass(UaStatusCodeError, Exception)
