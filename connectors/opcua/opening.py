"""Opens the session with a server, and closes it: for the driver, and for whoever else asks a server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlparse

from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaError

from connectors.model.errors import DeviceUnavailable
from connectors.opcua.endpoints import ChosenEndpoint, EndpointUnfit
from connectors.opcua.one_request import plain_cancellation
from connectors.opcua.secure_channel import connect
from connectors.opcua.securing import SessionUnsafe, create_session, prepared, watch_trust
from connectors.opcua.server_trust import ServerUntrusted
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import connect_reason
from connectors.stopping import Tasks
from connectors.trust.certificates import CertificateUnusable

CHANNEL_RENEWAL: Final = 0.7
"""The secure channel is renewed when this part of its lifetime has passed (Part 4, 5.5.2: at 75 %)."""

CLOSE_S_MAX: Final = 2.0
PORT_DEFAULT: Final = 4840

REFUSED_HERE: Final = (EndpointUnfit, ServerUntrusted, CertificateUnusable, SessionUnsafe)
"""It is this side that does not go on."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An active session with the server at ``device.endpoint``; ``chosen``: by what, ``None`` without security."""

    client: Client
    device: OpcUaDevice
    chosen: ChosenEndpoint | None


@contextlib.asynccontextmanager
async def opened(device: OpcUaDevice) -> AsyncIterator[Client]:
    """A session with the server as the settings of ``device`` say it, closed at the end.

    Raises ``DeviceUnavailable``, with what to check, when there is none. Whoever keeps it for longer than a few minutes
    runs ``keep_secure`` beside it.
    """
    found = await open_session(device)
    try:
        yield found.client
    finally:
        await close_session(found.client)


async def open_session(device: OpcUaDevice) -> Opened:
    """An active session. Raises ``DeviceUnavailable``, and leaves no connection behind then."""
    with contextlib.ExitStack() as undo, said_of_connecting(device):
        client, chosen = await prepared(device, device.endpoint)
        undo.callback(client.disconnect_socket)
        await connect(client)
        await create_session(client, device, device.endpoint, chosen)
        undo.pop_all()
        return Opened(client, device, chosen)


async def close_session(client: Client) -> None:
    """Close session and connection in good order, or within ``CLOSE_S_MAX`` without the server's word."""
    try:
        with contextlib.suppress(UaError, OSError, asyncio.TimeoutError):
            async with asyncio.timeout(CLOSE_S_MAX):
                with plain_cancellation():
                    await client.close_session()
                    await client.close_secure_channel()
    finally:
        client.disconnect_socket()


@contextlib.contextmanager
def said_of_connecting(device: OpcUaDevice) -> Iterator[None]:
    """Say what goes wrong while a session is opened as ``DeviceUnavailable``, with what to check."""
    try:
        yield
    except REFUSED_HERE as exc:
        raise DeviceUnavailable(f"{device.name}: {exc}") from exc
    except (TimeoutError, UaError, OSError) as exc:
        raise unavailable(device, connect_reason, exc) from exc


async def keep_secure(client: Client, device: OpcUaDevice) -> None:
    """Renew the secure channel before it ends, and look whether the server is still trusted, until cancelled.

    Raises what asyncua raises when the renewal fails, and ``DeviceUnavailable`` when the server is trusted no more.
    """
    async with Tasks() as tasks:
        tasks.create_task(_renew_channel(client), name=f"{device.name} channel renewal")
        tasks.create_task(_watch_trust(client, device), name=f"{device.name} trust")


async def _renew_channel(client: Client) -> None:
    while True:
        await asyncio.sleep(client.secure_channel_timeout / 1000.0 * CHANNEL_RENEWAL)
        await client.open_secure_channel(renew=True)


async def _watch_trust(client: Client, device: OpcUaDevice) -> None:
    try:
        await watch_trust(client, device, device.endpoint)
    except REFUSED_HERE as exc:
        raise DeviceUnavailable(f"{device.name}: {exc}") from exc


def unavailable(
    device: OpcUaDevice, say: Callable[[BaseException, str, int, float], str], error: BaseException
) -> DeviceUnavailable:
    """What ``say`` makes of ``error``, for the engineer, with the name of the device."""
    place = urlparse(device.endpoint)
    return DeviceUnavailable(
        f"{device.name}: {say(error, place.hostname or '', place.port or PORT_DEFAULT, device.timeout_s)}"
    )
