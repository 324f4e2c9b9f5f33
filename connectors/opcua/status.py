"""What OPC UA status codes mean to an engineer, and to the caller."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from asyncua.ua.uaerrors import UaError

from connectors.model.status_names import STATUS_NAMES

_ADVICE: Final = {
    "BadNodeIdUnknown": "the server has no such node; check the spelling and the namespace",
    "BadNodeIdInvalid": "the server does not understand this node id",
    "BadAttributeIdInvalid": "the node is not a variable; name the variable below it",
    "BadNotReadable": "the server does not let this value be read",
    "BadUserAccessDenied": "the user may not read this value",
    "BadNotSupported": "the server does not support this for the node",
    "BadOutOfService": "the source of the value is out of service",
    "BadTooManyMonitoredItems": "the server has no room for more monitored items",
}

_UNKNOWN_THERE: Final = (
    "the server has not accepted this agent's certificate; 'edge-agent trust own' shows it: accept it on the server"
)
_SERVICE_ADVICE: Final = {
    "BadUserAccessDenied": "the server refused the user; check security.user and security.password",
    "BadIdentityTokenRejected": "the server refused the user; check security.user and security.password, or accept its "
    "certificate there",
    "BadIdentityTokenInvalid": "the server does not take this kind of user; check security.user and security.password",
    "BadTooManySessions": "the server has no free session; one that was lost with its connection ends by itself, "
    "after 'keep' and 'silence' together, a minute at least; otherwise close another client or raise its limit",
    "BadTcpEndpointUrlInvalid": "the server does not know this endpoint; check the path after the port",
    "BadSecurityModeRejected": "the server takes no such session; remove 'insecure', or name another security.policy",
    "BadSecurityPolicyRejected": "the server takes no such session; remove 'insecure', or name another security.policy",
    "BadSecurityChecksFailed": _UNKNOWN_THERE,
    "BadCertificateUntrusted": _UNKNOWN_THERE,
    "BadCertificateInvalid": _UNKNOWN_THERE,
    "BadCertificateUriInvalid": "the server says that the agent's certificate is for another application; "
    "'edge-agent trust own' shows for which",
    "BadCertificateTimeInvalid": "the server says that the agent's certificate is not valid now; 'edge-agent trust "
    "own' shows until when; check the clocks here and there, too",
    "BadServerHalted": "the server has stopped",
    "BadShutdown": "the server is shutting down",
}


_WRITE_ADVICE: Final = {
    "BadNotWritable": "the server does not let this value be written",
    "BadWriteNotSupported": "the server does not take a value without status and times for this node",
    "BadUserAccessDenied": "the user may not do this; check security.user, and what the server allows it",
    "BadTypeMismatch": "the server takes a value of another type",
    "BadOutOfRange": "the value is out of the range that the server takes",
    "BadNodeIdUnknown": "the server has no such node; check the spelling and the namespace",
    "BadMethodInvalid": "the object has no such method; check the node ids of both",
    "BadNotExecutable": "the server does not let this method be called",
    "BadInvalidState": "the device cannot do this in its present state",
    "BadInvalidArgument": "the server does not take one of the arguments",
    "BadArgumentsMissing": "the method takes more arguments",
    "BadTooManyArguments": "the method takes fewer arguments",
    "BadNoCommunication": "the server has no connection to the device behind it",
}

_UNDECIDED: Final = frozenset(
    {
        "BadCommunicationError",
        "BadConnectionClosed",
        "BadDeviceFailure",
        "BadInternalError",
        "BadRequestInterrupted",
        "BadRequestTimeout",
        "BadTimeout",
        "BadUnexpectedError",
    }
)
"""What a server says that has begun, or has passed it on to a device, and does not know what has become of it."""


def is_undecided(code: int) -> bool:
    """Whether this answer to a write or a call leaves open whether it was done: an uncertain one, and some bad ones."""
    return code >> 30 == 1 or status_name(code) in _UNDECIDED


def write_reason(code: int) -> str:
    """What a status code says about a write or a call that did not end well."""
    advice = _WRITE_ADVICE.get(status_name(code))
    return f"{advice} ({status_text(code)})" if advice else f"the server answered {status_text(code)}"


def status_name(code: int) -> str:
    """The name of a status code as the specification spells it, or the code in hexadecimal."""
    return STATUS_NAMES.get(code >> 16) or f"0x{code:08X}"


def status_text(code: int) -> str:
    """The name and the code: manuals list the one or the other."""
    name = STATUS_NAMES.get(code >> 16)
    return f"0x{code:08X}" if name is None else f"{name} 0x{code:08X}"


def tag_reason(code: int) -> str:
    """Why a tag gives no values, from the status code that the server answered with."""
    advice = _ADVICE.get(status_name(code))
    return f"{advice} ({status_text(code)})" if advice else f"the server answered {status_text(code)}"


def service_reason(error: BaseException) -> str:
    """Why a request failed, from what asyncua raised."""
    code = getattr(error, "code", None)
    if isinstance(code, int):
        advice = _SERVICE_ADVICE.get(status_name(code))
        return f"{advice} ({status_text(code)})" if advice else f"the server answered {status_text(code)}"
    return str(error) or type(error).__name__


def connect_reason(error: BaseException, host: str, port: int, timeout_s: float) -> str:
    """Why there is no session with the server at ``host``, and what to check, from what the connect raised."""
    where = f"{host}:{port}"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {where}; is the OPC UA server running, and is the port right?"
    if isinstance(error, socket.gaierror):
        return f"the host name {host!r} is not known; check the spelling, or write the IP address"
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return (
            f"{where} does not answer within {timeout_s:g} s; check that the server is switched on, the address and "
            "the port, and that no firewall is between"
        )
    if isinstance(error, UaError):
        return service_reason(error)
    if isinstance(error, ConnectionError):
        return f"{where} takes the connection and closes it again; check that an OPC UA server listens at this port"
    reason = getattr(error, "strerror", None) or error
    return f"{where} cannot be reached ({reason}); check the address, and that this network has a way to the server"


def loss_reason(error: BaseException, host: str, port: int, timeout_s: float) -> str:
    """Why a session has ended that was there, from what a request raised."""
    where = f"{host}:{port}"
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return f"{where} has not answered a request within {timeout_s:g} s; the connection is made anew"
    if isinstance(error, UaError):
        return service_reason(error)
    reason = getattr(error, "strerror", None) or error
    return f"the connection to {where} was lost ({reason}); is the server running?"
