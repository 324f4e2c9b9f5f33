"""What has ended a connection: the way to the server, or the server's word; after the first a session may live on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError

from connectors.model.errors import DeviceUnavailable

_OF_THE_LINK: Final = frozenset(
    {
        StatusCodes.BadCommunicationError,
        StatusCodes.BadConnectionClosed,
        StatusCodes.BadRequestInterrupted,
        StatusCodes.BadRequestTimeout,
        StatusCodes.BadSecureChannelClosed,
        StatusCodes.BadSecureChannelIdInvalid,
        StatusCodes.BadSecureChannelTokenUnknown,
        StatusCodes.BadSequenceNumberInvalid,
        StatusCodes.BadTcpInternalError,
        StatusCodes.BadTcpNotEnoughResources,
        StatusCodes.BadTcpSecureChannelUnknown,
        StatusCodes.BadTimeout,
    }
)
SESSION_GONE: Final = frozenset(
    {StatusCodes.BadSessionIdInvalid, StatusCodes.BadSessionClosed, StatusCodes.BadSessionNotActivated}
)
"""The session is not there any more; its subscriptions may be, until their own lifetime is over (Part 4, 5.14.1.1)."""


class LinkLost(DeviceUnavailable):
    """The connection is lost, and not by a word of the server: its session may live on."""


class Silent(LinkLost):
    """Nothing has come of any subscription for too long: the connection is dead, or all of them are."""


def is_of_the_link(error: BaseException) -> bool:
    """Whether what a request has raised says that the connection or the session is lost, and nothing else.

    asyncua raises an error of its own, without a code, for what it cannot read of a channel.
    """
    if isinstance(error, UaError):
        code = getattr(error, "code", None)
        return code is None or code in _OF_THE_LINK or code in SESSION_GONE
    return isinstance(error, LinkLost | OSError | TimeoutError)


def is_link_lost(errors: Sequence[BaseException]) -> bool:
    """Whether a connection that has ended with all of ``errors`` may be one whose session lives on."""
    return bool(errors) and all(is_of_the_link(error) for error in errors)
