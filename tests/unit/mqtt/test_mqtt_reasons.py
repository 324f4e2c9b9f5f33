"""Whatever stands between us and a broker is said in one sentence: which broker, what is wrong, what to do."""

from __future__ import annotations

import socket
import ssl

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from connectors.configuration.tls_files import TlsFileUnusable
from connectors.mqtt import reasons

PLAIN, SECURED = "mqtt://broker:1883", "mqtts://broker:8883"


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        (
            PLAIN,
            ConnectionRefusedError(111, "Connection refused"),
            "nothing listens there; is the broker running, and is the port right?",
        ),
        (
            PLAIN,
            socket.gaierror(-2, "Name or service not known"),
            "its host name is unknown; check the spelling and the name server, or write the IP address",
        ),
        (PLAIN, ConnectionResetError(104, "x"), "it closes the connection at once; does an MQTT broker listen there?"),
        (
            SECURED,
            ConnectionResetError(104, "x"),
            "it closes the connection at once; is this a TLS port of an MQTT broker? (a port without TLS is written "
            "mqtt://)",
        ),
        (
            PLAIN,
            OSError(113, "No route to host"),
            "No route to host; check the address, and that this network has a way to the broker",
        ),
    ],
)
def test_a_broker_that_cannot_be_reached(url: str, error: Exception, said: str) -> None:
    assert reasons.unreachable(url, error) == f"the broker {url} cannot be reached: {said}"


def test_a_failed_handshake_asks_for_the_port_and_a_strange_certificate_for_the_authority() -> None:
    handshake = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    assert "the TLS handshake failed" in reasons.unreachable(SECURED, handshake)
    assert "is this a TLS port of an MQTT broker?" in reasons.unreachable(SECURED, handshake)
    strange = ssl.SSLCertVerificationError(1, "certificate verify failed")
    strange.verify_message = "self-signed certificate"
    assert "not trusted (self-signed certificate); check ca_file" in reasons.unreachable(SECURED, strange)


def test_a_file_that_cannot_be_used_is_no_fault_of_the_broker() -> None:
    file = TlsFileUnusable("ca_file", "the file 'ca.pem' is empty.", "Put the right file there.")
    assert reasons.unreachable(SECURED, file) == (
        f"the broker {SECURED} was not called: ca_file: the file 'ca.pem' is empty. Put the right file there."
    )


def test_what_to_check_when_a_connection_is_closed_without_an_answer() -> None:
    begin = "takes the connection and closes it without an answer; check that an MQTT broker listens at this port, and "
    assert reasons.unanswered(PLAIN, has_certificate=False) == (
        f"the broker {PLAIN} {begin}whether it wants TLS (then write mqtts://)"
    )
    assert reasons.unanswered(SECURED, has_certificate=False).endswith(
        f"{begin}whether it wants a certificate (cert_file, key_file)"
    )
    assert reasons.unanswered(SECURED, has_certificate=True).endswith(
        f"{begin}that it trusts the certificate in cert_file"
    )


def test_a_silent_broker_and_a_refused_subscription_are_named() -> None:
    assert reasons.silent(PLAIN, 10.0).startswith(f"the broker {PLAIN} does not answer within 10 s; check the address")
    assert reasons.subscription_refused(PLAIN, ["a/#", "b"]) == (
        f"the broker {PLAIN} refuses the subscription to a/#, b; check what its access list allows this client"
    )


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Not authorized", "check user and password"),
        ("Bad user name or password", "check user and password"),
        ("Client identifier not valid", "write another client_id"),
        ("Unsupported protocol version", "write the other mqtt_version"),
        ("Implementation specific error", "look into the broker's log"),
    ],
)
def test_a_refusal_says_what_to_change(name: str, advice: str) -> None:
    reason = ReasonCode(PacketTypes.CONNACK, name)
    assert reasons.refused(PLAIN, str(reason)).startswith(
        f"the broker {PLAIN} refuses the connection: {name}; {advice}"
    )


def test_the_names_of_refusals_and_losses_are_those_of_mqtt() -> None:
    for packet, known in ((PacketTypes.CONNACK, reasons._REFUSALS), (PacketTypes.DISCONNECT, reasons._LOSSES)):
        for name in known:
            assert str(ReasonCode(packet, name)) == name


def test_a_lost_connection_says_what_the_broker_said_of_it() -> None:
    assert reasons.lost(PLAIN) == f"the connection to {PLAIN} was lost"
    assert reasons.lost(PLAIN, "Unspecified error") == f"the connection to {PLAIN} was lost"
    assert reasons.lost(PLAIN, "Keep alive timeout") == f"the connection to {PLAIN} was lost: Keep alive timeout"
    assert "Session taken over; another client came with the same client_id" in reasons.lost(
        PLAIN, "Session taken over"
    )
