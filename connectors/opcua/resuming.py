"""Goes on with a session after its connection was lost (OPC UA Part 4, 6.7: re-establishing connections).

One try after the other, each on one new connection and without a pause between its steps:

1. The session is activated on a new secure channel, by the same user (5.6.3). Its subscriptions have lived on: what the
   server had sent in vain it sends again (5.14.6), and what it has queued comes with its source times.
2. Where the session is gone, a new one takes the subscriptions over (5.14.7), if their owner can be told from others:
   the channel is secured or a user has a name, and the server was not started anew. Initial values are not asked for:
   the numbers of the messages show whether any is missing, and then the values are read.
3. Where there is no subscription any more, or a server does not have these services, all of it is made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError

from connectors.model.errors import DeviceUnavailable
from connectors.opcua.connection import OpcUaConnection
from connectors.opcua.link_loss import SESSION_GONE, LinkLost, Silent, is_link_lost
from connectors.opcua.one_request import plain_cancellation
from connectors.opcua.opening import (
    CLOSE_S_MAX,
    REFUSED_HERE,
    Opened,
    close_session,
    said_of_connecting,
    unavailable,
)
from connectors.opcua.redundancy import check_usable
from connectors.opcua.secure_channel import connect
from connectors.opcua.securing import activate, check_trust, create_session
from connectors.opcua.server_state import check_state, read_start
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import connect_reason, service_reason, status_text
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, Continuation

STEADY_S: Final = 10.0
"""After a connection that has lasted for so long the first try comes at once."""

RETRY_S_MAX: Final = 5.0
"""While a session is kept, the server is looked for as often as this; no less often than it could be back."""

OTHERS_WAIT_S_MAX: Final = 1.0
"""Where there are other servers, the one that was lost has so long to answer, once."""

PROBE_S_MAX: Final = 1.0


@dataclass(frozen=True, slots=True)
class GoingOn:
    """An open session: with ``connection`` that goes on, or ``None`` where all is to be made anew, and why."""

    opened: Opened
    connection: OpcUaConnection | None
    how: Continuation
    reason: str = ""


class Resuming:
    """What is kept of the connection that was lost last, until another goes on with it or its time is over."""

    def __init__(self, device: OpcUaDevice, clock: Clock) -> None:
        self._device = device
        self._clock = clock
        self._kept: tuple[Opened, OpcUaConnection] | None = None
        self._until_s = 0.0
        self._tries = -1  # the first connection that is lost is not looked at
        self._reason = ""

    async def keep(
        self, errors: Sequence[Exception], opened: Opened, connection: OpcUaConnection, lasted_s: float
    ) -> float | None:
        """Keep a connection that has ended with ``errors``, where the server may have kept its session.

        In how many seconds to try to go on; ``None``: it is not kept, and its session is to be closed.
        """
        if self._device.keep_s <= 0:
            return None
        self._reason = await _reason_not_to_keep(errors, opened, connection)
        now_s = self._clock.monotonic_s()
        if not connection.is_going_on:  # else the server has not heard enough of this side to keep it longer
            lifetime_s = connection.subscriptions.lifetime_s
            session_s = opened.client.session_timeout / 1000.0
            self._until_s = now_s + max(session_s, lifetime_s if math.isfinite(lifetime_s) else 0.0)
        if self._reason or now_s > self._until_s:
            return None
        self._kept = opened, connection
        self._tries = 0 if lasted_s > STEADY_S else self._tries + 1
        _drop(opened.client)
        return self._retry_s()

    async def take_up(self, acquisition: Acquisition) -> GoingOn | None:
        """A session to go on with on a new connection; ``None``: there is nothing to go on with, or with nobody.

        Raises ``LinkLost`` where the server cannot be reached and is to be tried again, and ``DeviceUnavailable`` where
        it says that it gives no values, or no session.
        """
        kept, self._kept = self._kept, None
        if kept is None:
            return None
        opened, connection = kept
        if connection.acquisition is not acquisition or self._clock.monotonic_s() > self._until_s:
            connection.give_up()
            self._reason = "the server could not be reached for as long as it keeps a session"
            return None
        try:
            going_on = await self._taken_up(opened, connection)
        except LinkLost as exc:
            if not self._device.backup:
                self._kept = kept
                raise
            connection.give_up()
            self._reason = f"another server is asked ({exc.reason})"
            return None
        except BaseException:
            if self._kept is None:
                connection.give_up()
            raise
        if going_on is None or going_on.connection is None:
            connection.give_up()
        if going_on is not None and going_on.connection is None:
            self._reason = going_on.reason
        return going_on

    async def leave(self) -> None:
        """Nobody goes on with what is kept: close its session, where the server answers within ``CLOSE_S_MAX``.

        Until its timeout it would hold one of the places for sessions, of which a small controller has few. (Part 4,
        5.6.4: only on the channel on which it was activated; its subscriptions are deleted with it.)
        """
        kept, self._kept = self._kept, None
        if kept is None:
            return
        opened, connection = kept
        connection.give_up()
        if self._clock.monotonic_s() > self._until_s:
            return
        client = opened.client
        try:
            with contextlib.suppress(UaError, OSError, asyncio.TimeoutError, *REFUSED_HERE):
                async with asyncio.timeout(CLOSE_S_MAX):
                    with plain_cancellation():
                        await check_trust(client, opened.device, opened.device.endpoint)
                        await connect(client)
                        client.uaclient.session.rebind_authentication_token()
                        await activate(client, opened.device)
                        await client.close_session()
                        await client.close_secure_channel()
        finally:
            _drop(client)

    def take_reason(self) -> str:
        """Why nothing goes on of the session that was lost; empty where there was none, or it was said."""
        reason, self._reason = self._reason, ""
        return reason

    async def _taken_up(self, opened: Opened, connection: OpcUaConnection) -> GoingOn | None:
        try:
            async with asyncio.timeout(OTHERS_WAIT_S_MAX if self._device.backup else None):
                going_on = await _try(opened, connection)
        except UaError as exc:
            _drop(opened.client)
            if getattr(exc, "code", None) is None:
                raise self._not_reached(opened.device, exc) from exc
            self._reason = service_reason(exc)
            return None  # the server takes no such channel any more: it is asked anew what it takes
        except (TimeoutError, OSError) as exc:
            _drop(opened.client)
            raise self._not_reached(opened.device, exc) from exc
        except asyncio.CancelledError:
            _drop(opened.client)
            self._kept = opened, connection  # for ``leave``, which has a time of its own for it
            raise
        except BaseException:
            await close_session(opened.client)
            raise
        await check_usable(opened)
        return going_on

    def _not_reached(self, device: OpcUaDevice, error: Exception) -> LinkLost:
        self._tries += 1
        return LinkLost(unavailable(device, connect_reason, error).reason, self._retry_s())

    def _retry_s(self) -> float:
        return 0.0 if self._tries == 0 else min(float(self._tries), RETRY_S_MAX)


async def _try(opened: Opened, connection: OpcUaConnection) -> GoingOn:
    """Raises what asyncua raises where there is no channel, ``DeviceUnavailable`` where there is no session on it."""
    client, device = opened.client, opened.device
    try:
        await check_trust(client, device, device.endpoint)
    except REFUSED_HERE as exc:
        raise DeviceUnavailable(f"{device.name}: {exc}") from exc
    await connect(client)
    reason = await _reason_not_to_resume(client, device, connection.subscriptions.numbers)
    if reason is None:
        return GoingOn(opened, connection, "resumed")
    client.session_timeout = round(device.session_s * 1000)
    with said_of_connecting(device):
        await create_session(client, device, device.endpoint, opened.chosen)
    if await _are_transferred(client, device, connection):
        return GoingOn(opened, connection, "transferred", reason)
    return GoingOn(opened, None, "anew", reason)


async def _reason_not_to_resume(client: Client, device: OpcUaDevice, subscriptions: Sequence[int]) -> str | None:
    """Activate the session on the new channel; why it cannot go on, and ``None`` when it does, as it was."""
    client.uaclient.session.rebind_authentication_token()
    try:
        await activate(client, device)
    except REFUSED_HERE as exc:
        reason = str(exc)
    except UaError as exc:
        code = getattr(exc, "code", None)
        if code is None:
            raise
        if code in SESSION_GONE:
            return f"the session is gone ({status_text(code)})"
        reason = f"the server does not let the session be resumed: {service_reason(exc)}"
    else:
        missing = await _missing(client, subscriptions)
        if missing is None:
            return None
        reason = f"the session lives, and its subscriptions do not ({missing})"
    with contextlib.suppress(UaError):  # it would hold a place on the server until its time is over
        await client.uaclient.close_session(True)
    return reason


async def _missing(client: Client, subscriptions: Sequence[int]) -> str | None:
    """What the server says of the subscriptions that the session does not have (any more); ``None``: it has all.

    Asked for by something that changes nothing: that they publish. A server that cannot be asked that is believed.
    """
    if not subscriptions:
        return None
    parameters = ua.SetPublishingModeParameters(PublishingEnabled=True)
    parameters.SubscriptionIds = [ua.UInt32(number) for number in subscriptions]
    try:
        results = await client.uaclient.set_publishing_mode(parameters)
    except UaError as exc:
        code = getattr(exc, "code", None)
        if code is None:
            raise
        return None if code in _NOT_OFFERED else status_text(code)
    return next((status_text(int(each.value)) for each in results or () if not each.is_good()), None)


async def _are_transferred(client: Client, device: OpcUaDevice, connection: OpcUaConnection) -> bool:
    """Have the new session take over all subscriptions; whether it has: otherwise it has none of them.

    Without a name nobody is told from others, and after a start of the server a number may be another's subscription.
    """
    numbers = connection.subscriptions.numbers
    has_name = device.security.user is not None or device.security.user_certificate is not None
    if not numbers or (device.is_insecure and not has_name):
        return False
    if connection.server_started is None or await read_start(client) != connection.server_started:
        return False
    parameters = ua.TransferSubscriptionsParameters(SendInitialValues=False)
    parameters.SubscriptionIds = [ua.UInt32(number) for number in numbers]
    try:
        results = await client.uaclient.transfer_subscriptions(parameters)
    except UaError as exc:
        if getattr(exc, "code", None) is None:
            raise
        return False
    taken = [number for number, each in zip(numbers, results or (), strict=False) if each.StatusCode.is_good()]
    if len(taken) == len(numbers):
        return True
    if taken:
        with contextlib.suppress(UaError):
            await client.uaclient.delete_subscriptions([ua.UInt32(number) for number in taken])
    return False


_NOT_OFFERED: Final = frozenset(
    {
        StatusCodes.BadServiceUnsupported,
        StatusCodes.BadNotImplemented,
        StatusCodes.BadNotSupported,
    }
)


async def _reason_not_to_keep(errors: Sequence[Exception], opened: Opened, connection: OpcUaConnection) -> str:
    """Why nobody is to go on with a connection that has ended with ``errors``; empty where it can be tried."""
    is_silent = any(isinstance(error, Silent) for error in errors)
    if not is_link_lost(errors):
        return "it was more than a connection that was lost"
    if not connection.is_settled:
        return "the connection was lost before all was read that it was to begin with"
    if connection.is_going_on and (is_silent or any(isinstance(error, TimeoutError) for error in errors)):
        return "the session was resumed, and the server did not go on with it"
    if is_silent and await _answers(opened):
        return "the server answers, and its subscriptions are silent"
    return ""


async def _answers(opened: Opened) -> bool:
    """Whether the server answers on the connection on which its subscriptions are silent: then they are dead."""
    try:
        async with asyncio.timeout(PROBE_S_MAX):
            await check_state(opened.client, opened.device, PROBE_S_MAX)
    except (TimeoutError, UaError, OSError, LinkLost):
        return False
    except DeviceUnavailable:  # the word of the server that it gives no values
        return True
    return True


def _drop(client: Client) -> None:
    """Leave the connection without a word, and the session with the server."""
    protocol = client.uaclient.protocol
    if protocol is not None:
        protocol.on_connection_lost = None  # it may be told only when there is another connection
        if protocol.transport is not None:
            protocol.transport.abort()
    client.disconnect_socket()
