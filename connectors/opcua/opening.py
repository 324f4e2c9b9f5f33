"""Opens the session with a server, and closes it: for the driver, and for whoever else asks a server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.parse import urlparse

from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaError

from connectors.model.errors import DeviceUnavailable
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import connect_reason

SESSION_TIMEOUT_MS: Final = 60_000
"""A session that a killed agent left behind holds a place on the server for this long."""

CHANNEL_RENEWAL: Final = 0.7
"""The secure channel is renewed when this part of its lifetime has passed (Part 4, 5.5.2: at 75 %)."""

CLOSE_S_MAX: Final = 2.0
PORT_DEFAULT: Final = 4840


@contextlib.asynccontextmanager
async def opened(device: OpcUaDevice) -> AsyncIterator[Client]:
    """A session with the server as the settings of ``device`` say it, closed at the end.

    Raises ``DeviceUnavailable``, with what to check, when there is none. Whoever keeps it for longer than a few minutes
    runs ``renew_channel`` beside it.
    """
    client = Client(device.endpoint, timeout=device.timeout_s)
    client.name = client.description = "Lineside edge agent"
    client.application_uri = "urn:lineside:edge-agent"
    client.session_timeout = SESSION_TIMEOUT_MS
    if device.security.user is not None:
        client.set_user(device.security.user)
        password = device.security.password
        client.set_password("" if password is None else password.get_secret_value())
    try:
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        await client.create_session()
        await client.activate_session(client._username, client._password)  # noqa: SLF001
    except (TimeoutError, UaError, OSError) as exc:
        client.disconnect_socket()
        raise unavailable(device, connect_reason, exc) from exc
    except asyncio.CancelledError:
        client.disconnect_socket()
        raise
    try:
        yield client
    finally:
        with contextlib.suppress(UaError, OSError, asyncio.TimeoutError):
            async with asyncio.timeout(CLOSE_S_MAX):
                await client.close_session()
                await client.close_secure_channel()
        client.disconnect_socket()


async def renew_channel(client: Client) -> None:
    """Renew the secure channel before it ends, until cancelled. Raises what asyncua raises when that fails."""
    while True:
        await asyncio.sleep(client.secure_channel_timeout / 1000.0 * CHANNEL_RENEWAL)
        await client.open_secure_channel(renew=True)


def unavailable(
    device: OpcUaDevice, say: Callable[[BaseException, str, int, float], str], error: BaseException
) -> DeviceUnavailable:
    """What ``say`` makes of ``error``, for the engineer, with the name of the device."""
    place = urlparse(device.endpoint)
    return DeviceUnavailable(
        f"{device.name}: {say(error, place.hostname or '', place.port or PORT_DEFAULT, device.timeout_s)}"
    )
