"""What OPC UA status codes mean to an engineer, and to the caller."""

from __future__ import annotations

from typing import Final

from asyncua import ua

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

_SERVICE_ADVICE: Final = {
    "BadUserAccessDenied": "the server refused the user; check security.user and security.password",
    "BadIdentityTokenRejected": "the server refused the user; check security.user and security.password",
    "BadIdentityTokenInvalid": "the server does not take this kind of user; check security.user and security.password",
    "BadTooManySessions": "the server has no free session; close another client or raise its limit",
    "BadTcpEndpointUrlInvalid": "the server does not know this endpoint; check the path after the port",
    "BadSecurityModeRejected": "the server takes no session without signature and encryption",
    "BadSecurityPolicyRejected": "the server takes no session without signature and encryption",
    "BadServerHalted": "the server has stopped",
    "BadShutdown": "the server is shutting down",
}


def status_name(code: int) -> str:
    """The name of a status code as the specification spells it, or the code in hexadecimal."""
    name: str = ua.StatusCode(ua.UInt32(code)).name
    return name or f"0x{code:08X}"


def tag_reason(code: int) -> str:
    """Why a tag gives no values, from the status code that the server answered with."""
    name = status_name(code)
    advice = _ADVICE.get(name)
    return f"{advice} ({name})" if advice else f"the server answered {name}"


def service_reason(error: BaseException) -> str:
    """Why a request failed, from what asyncua raised."""
    code = getattr(error, "code", None)
    if isinstance(code, int):
        name = status_name(code)
        advice = _SERVICE_ADVICE.get(name)
        return f"{advice} ({name})" if advice else f"the server answered {name}"
    return str(error) or type(error).__name__
