"""The OPC UA driver: one session with one server, values by subscription or by polling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaError

from connectors.model.error_groups import expected
from connectors.model.errors import DeviceUnavailable
from connectors.opcua.connection import OpcUaConnection
from connectors.opcua.events import Conditions
from connectors.opcua.known_tags import KnownTags
from connectors.opcua.opening import unavailable
from connectors.opcua.operation_limits import read_limits
from connectors.opcua.publishing import Publishing
from connectors.opcua.redundancy import Redundancy
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
        """See ``DeviceDriver``."""
        async with self._servers.opened() as (client, device):
            if device.backup:
                acquisition.reached(device.endpoint)
            try:
                await self._subscribe_and_publish(client, device, acquisition)
            except DeviceUnavailable:
                raise
            except (ExceptionGroup, *_LOST) as exc:
                if not (found := expected(exc, *_LOST, DeviceUnavailable)):
                    raise
                said = [one for one in found if isinstance(one, DeviceUnavailable)]  # that is not always the first
                raise (said[0] if said else unavailable(device, loss_reason, found[0])) from exc
            finally:
                self._session = None

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

    async def _subscribe_and_publish(self, client: Client, device: OpcUaDevice, acquisition: Acquisition) -> None:
        limits = await read_limits(client, device.limits)
        connection = OpcUaConnection(client, device, self._tags, self._clock, acquisition, limits, self._conditions)
        self._lag_s = lambda: connection.lag_s_max
        before = self.counts()
        self._overflows_before, self._messages_lost_before = before["queue_overflows"], before["messages_lost"]
        self._publishing = connection.publishing
        await connection.begin()
        self._session = connection.session
        await connection.run()
