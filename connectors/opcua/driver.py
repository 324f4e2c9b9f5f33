"""The OPC UA driver: one session with one server, values by subscription or by polling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from asyncua.ua.uaerrors import UaError

from connectors.model.error_groups import expected
from connectors.model.errors import DeviceUnavailable
from connectors.opcua.connection import OpcUaConnection
from connectors.opcua.events import Conditions
from connectors.opcua.known_tags import KnownTags
from connectors.opcua.link_loss import LinkLost
from connectors.opcua.opening import Opened, close_session, unavailable
from connectors.opcua.operation_limits import read_limits
from connectors.opcua.publishing import Publishing
from connectors.opcua.redundancy import Redundancy
from connectors.opcua.resuming import GoingOn, Resuming
from connectors.opcua.session import OpcUaSession
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import loss_reason
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, Reading, Value

_LOST: Final = (TimeoutError, UaError, OSError)


class OpcUaDriver:
    """See ``DeviceDriver``; a Publish response is acknowledged to the server only when its samples are on disk."""

    def __init__(self, settings: OpcUaDevice, clock: Clock) -> None:
        self._device = settings
        self._servers = Redundancy(settings)
        self._resuming = Resuming(settings, clock)
        self._tags = KnownTags(settings.tags, settings.tags_max, len(settings.derived))
        self._clock = clock
        self._conditions = Conditions()
        self._publishing: Publishing | None = None
        self._session: OpcUaSession | None = None
        self._overflows_before = 0
        self._messages_lost_before = 0
        self._lag_s: Callable[[], float] = lambda: 0.0

    @property
    def lag_s_max(self) -> float:
        """See ``DeviceDriver``; publishing and sampling interval, as they were asked for or as the server has them."""
        return max(self._device.lag_s_max, self._lag_s())

    def counts(self) -> Mapping[str, int]:
        """See ``DeviceDriver``; ``queue_overflows``: samples with the Overflow bit, before which others were lost.

        ``messages_lost``: messages of the server that did not come and could not be sent again.
        """
        publishing = self._publishing
        overflows, messages = (0, 0) if publishing is None else (publishing.overflows, publishing.messages_lost)
        return {
            "queue_overflows": self._overflows_before + overflows,
            "messages_lost": self._messages_lost_before + messages,
        }

    async def acquire(self, acquisition: Acquisition) -> None:
        """See ``DeviceDriver``; a session that was lost with its connection goes on, where the server lets it."""
        going_on = await self._resuming.take_up(acquisition)
        opened = await self._servers.open() if going_on is None else going_on.opened
        connection = None if going_on is None else going_on.connection
        begun_s, is_kept = self._clock.monotonic_s(), False
        try:
            if opened.device.backup:
                acquisition.reached(opened.device.endpoint)
            connection = await self._begun(opened, going_on, acquisition)
            await connection.run()
        except (ExceptionGroup, DeviceUnavailable, *_LOST) as exc:
            if not (found := expected(exc, *_LOST, DeviceUnavailable)):
                raise
            said = [one for one in found if isinstance(one, DeviceUnavailable)]  # that is not always the first
            reason = said[0] if said else unavailable(opened.device, loss_reason, found[0])
            lasted_s = self._clock.monotonic_s() - begun_s
            retry_s = await self._resuming.keep(found, opened, connection, lasted_s) if connection else None
            is_kept = retry_s is not None
            raise (LinkLost(reason.reason, retry_s) if is_kept else reason) from exc
        finally:
            self._session = None
            if not is_kept:
                if connection is not None:
                    connection.give_up()
                await close_session(opened.client)

    async def leave(self) -> None:
        """See ``LeavingDriver``: a session that the server keeps after a lost connection is closed."""
        await self._resuming.leave()

    async def write(self, tag: int, value: Value) -> None:
        """See ``DeviceDriver``."""
        await self._connected_session().write(tag, value)

    async def read(self, tag: int) -> Reading:
        """See ``DeviceDriver``."""
        return await self._connected_session().read(tag)

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        """See ``DeviceDriver``.

        ``method`` is the node id of a method, or those of its object and itself as ``object / method``, which has to be
        where several objects have it; or its browse path; or ``acknowledge``, ``confirm`` or ``add_comment``, with the
        node id of a condition, the id of one of its events and a comment.
        """
        return await self._connected_session().call(method, arguments)

    def _connected_session(self) -> OpcUaSession:
        if self._session is None:
            raise DeviceUnavailable(f"{self._device.name}: there is no session with the server")
        return self._session

    async def _begun(self, opened: Opened, going_on: GoingOn | None, acquisition: Acquisition) -> OpcUaConnection:
        """A connection whose tags are known to ``acquisition``, made anew or gone on with."""
        if going_on is not None and going_on.connection is not None:
            self._session = going_on.connection.session
            await going_on.connection.go_on(going_on.how, going_on.reason)
            return going_on.connection
        client, device = opened.client, opened.device
        limits = await read_limits(client, device.limits)
        connection = OpcUaConnection(client, device, self._tags, self._clock, acquisition, limits, self._conditions)
        self._lag_s = lambda: connection.lag_s_max
        before = self.counts()
        self._overflows_before, self._messages_lost_before = before["queue_overflows"], before["messages_lost"]
        self._publishing = connection.publishing
        if reason := self._resuming.take_reason():
            acquisition.continued("anew", reason)
        await connection.begin()
        self._session = connection.session
        return connection
