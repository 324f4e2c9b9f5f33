"""What goes wrong with an OPC UA server is said in a sentence: what, where and what to do; never a bare errno."""

from __future__ import annotations

import socket

import pytest
from asyncua.ua.uaerrors import BadTooManySessions, UaError

from connectors.opcua.status import connect_reason, loss_reason, service_reason, status_text, tag_reason

RESET = ConnectionResetError(104, "Connection reset by peer")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ConnectionRefusedError(111, "Connect call failed"),
            "nothing listens at press:4840; is the OPC UA server running, and is the port right?",
        ),
        (
            socket.gaierror(-2, "Name or service not known"),
            "the host name 'press' is not known; check the spelling, or write the IP address",
        ),
        (
            TimeoutError(),
            "press:4840 does not answer within 5 s; check that the server is switched on, the address and the port, "
            "and that no firewall is between",
        ),
        (
            RESET,
            "press:4840 takes the connection and closes it again; check that an OPC UA server listens at this port",
        ),
        (
            OSError(113, "No route to host"),
            "press:4840 cannot be reached (No route to host); check the address, and that this network has a way to "
            "the server",
        ),
        (
            BadTooManySessions(),
            "the server has no free session; one that was lost with its connection ends by itself, after 'keep' "
            "and 'silence' together, a minute at least; otherwise close another "
            "client or raise its limit (BadTooManySessions 0x80560000)",
        ),
    ],
)
def test_why_there_is_no_session(error: Exception, said: str) -> None:
    assert connect_reason(error, "press", 4840, 5.0) == said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "press:4840 has not answered a request within 5 s; the connection is made anew"),
        (RESET, "the connection to press:4840 was lost (Connection reset by peer); is the server running?"),
        (ConnectionError("connection lost"), "the connection to press:4840 was lost (connection lost); is the server"),
        (UaError("no answer"), "no answer"),
    ],
)
def test_why_a_session_has_ended(error: Exception, said: str) -> None:
    assert loss_reason(error, "press", 4840, 5.0).startswith(said)


def test_a_status_is_named_with_its_code() -> None:
    assert status_text(0x80350000) == "BadAttributeIdInvalid 0x80350000"
    assert status_text(0x80350400) == "BadAttributeIdInvalid 0x80350400", "info bits are no other status"
    assert status_text(0x8FFF0000) == "0x8FFF0000"
    assert tag_reason(0x80340000).endswith("check the spelling and the namespace (BadNodeIdUnknown 0x80340000)")
    assert tag_reason(0x808C0000) == "the server answered BadSensorFailure 0x808C0000"
    assert service_reason(UaError()) == "UaError"
