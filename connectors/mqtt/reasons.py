"""Why there is no connection to a broker, in a sentence that names the broker and says what to check."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from connectors.configuration.tls_files import TlsFileUnusable

_LOGIN: Final = "check user and password, the client's certificate, and what the broker allows this client"
_TLS_PORT: Final = "is this a TLS port of an MQTT broker? (a port without TLS is written mqtt://)"
_REFUSALS: Final = {
    "Not authorized": _LOGIN,
    "Bad user name or password": _LOGIN,
    "Bad authentication method": _LOGIN,
    "Banned": "the broker has banned this client; look into its log",
    "Client identifier not valid": "write another client_id",
    "Unsupported protocol version": "write the other mqtt_version: 5 or 3.1.1",
    "Server unavailable": "it is tried again",
    "Server busy": "it is tried again",
    "Connection rate exceeded": "it is tried again",
    "Quota exceeded": "look into the broker's log for which quota it is",
    "Use another server": "write the address of the other one under brokers",
    "Server moved": "write its new address under brokers",
    "Packet too large": "let the broker take larger packets, or write a smaller packet_max",
}
_LOSSES: Final = {
    "Session taken over": "another client came with the same client_id: give every agent its own name or client_id",
    "Not authorized": _LOGIN,
    "Packet too large": "let the broker take larger packets, or write a smaller packet_max",
    "Server shutting down": "it is tried again",
}


def unreachable(url: str, error: Exception) -> str:
    """There is no connection at all: name lookup, TCP or TLS failed with ``error``."""
    if isinstance(error, TlsFileUnusable):
        return f"the broker {url} was not called: {error}"
    return f"the broker {url} cannot be reached: {_obstacle(url, error)}"


def silent(url: str, within_s: float) -> str:
    """Nothing has come in time."""
    return (
        f"the broker {url} does not answer within {within_s:g} s; check the address, that no firewall is between, and "
        "that an MQTT broker listens at this port"
    )


def unanswered(url: str, *, has_certificate: bool) -> str:
    """The connection was closed, or something else than MQTT came, before the broker has answered the CONNECT."""
    if url.startswith("mqtt://"):
        port = "that an MQTT broker listens at this port, and whether it wants TLS (then write mqtts://)"
    elif has_certificate:
        port = "that an MQTT broker listens at this port, and that it trusts the certificate in cert_file"
    else:
        port = "that an MQTT broker listens at this port, and whether it wants a certificate (cert_file, key_file)"
    return f"the broker {url} takes the connection and closes it without an answer; check {port}"


def refused(url: str, reason: str) -> str:
    """The broker has answered the CONNECT with a refusal; ``reason`` is its name in MQTT."""
    advice = _REFUSALS.get(reason, "look into the broker's log")
    return f"the broker {url} refuses the connection: {reason}; {advice}"


def subscription_refused(url: str, filters: list[str]) -> str:
    """The broker has refused filters of a SUBSCRIBE."""
    topics = ", ".join(filters)
    return f"the broker {url} refuses the subscription to {topics}; check what its access list allows this client"


def lost(url: str, reason: str = "") -> str:
    """A connection has ended that was there; ``reason`` is the name in MQTT, where the broker gave one."""
    if not reason or reason in ("Unspecified error", "Success", "Normal disconnection"):
        return f"the connection to {url} was lost"
    advice = _LOSSES.get(reason)
    return f"the connection to {url} was lost: {reason}{f'; {advice}' if advice else ''}"


def _obstacle(url: str, error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there; is the broker running, and is the port right?"
    if isinstance(error, socket.gaierror):
        return "its host name is unknown; check the spelling and the name server, or write the IP address"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); check ca_file and the host name"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed ({getattr(error, 'reason', None) or error}); {_TLS_PORT}"
    if isinstance(error, ConnectionError):
        encrypted = url.startswith("mqtts://")
        return f"it closes the connection at once; {_TLS_PORT if encrypted else 'does an MQTT broker listen there?'}"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{reason}; check the address, and that this network has a way to the broker"
