"""The OPC UA driver: one session with one server, values by subscription or by polling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaError

from connectors.model.errors import DeviceUnavailable
from connectors.opcua.connection import OpcUaConnection
from connectors.opcua.opening import opened, unavailable
from connectors.opcua.operation_limits import read_limits
from connectors.opcua.publishing import Publishing
from connectors.opcua.session import OpcUaSession
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import loss_reason
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, Reading, Value


class OpcUaDriver:
    """See ``DeviceDriver``; a Publish response is acknowledged to the server only when its samples are on disk."""

    def __init__(self, settings: OpcUaDevice, clock: Clock) -> None:
        self._device = settings
        self._clock = clock
        self._publishing: Publishing | None = None
        self._session: OpcUaSession | None = None
        self._overflows_before = 0
        self._lag_s: Callable[[], float] = lambda: 0.0

    @property
    def lag_s_max(self) -> float:
        """See ``DeviceDriver``; publishing and sampling interval, as they were asked for or as the server has them."""
        return max(self._device.lag_s_max, self._lag_s())

    def counts(self) -> Mapping[str, int]:
        """See ``DeviceDriver``; ``queue_overflows``: samples with the Overflow bit, before which others were lost."""
        overflows = 0 if self._publishing is None else self._publishing.overflows
        return {"queue_overflows": self._overflows_before + overflows}

    async def acquire(self, acquisition: Acquisition) -> None:
        """See ``DeviceDriver``."""
        async with opened(self._device) as client:
            try:
                await self._subscribe_and_publish(client, acquisition)
            except* (TimeoutError, UaError, OSError, DeviceUnavailable) as group:
                said, _others = group.split(DeviceUnavailable)  # who noticed it first may not be the first in the group
                if said is not None:
                    raise _first(said) from group
                raise unavailable(self._device, loss_reason, _first(group)) from group
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
        where several objects have it.
        """
        return await self._connected_session().call(method, arguments)

    def _connected_session(self) -> OpcUaSession:
        if self._session is None:
            raise DeviceUnavailable(f"{self._device.name}: there is no session with the server")
        return self._session

    async def _subscribe_and_publish(self, client: Client, acquisition: Acquisition) -> None:
        limits = await read_limits(client, self._device.limits)
        connection = OpcUaConnection(client, self._device, self._clock, acquisition, limits)
        self._lag_s = lambda: connection.lag_s_max
        self._overflows_before, self._publishing = self.counts()["queue_overflows"], connection.publishing
        await connection.begin()
        self._session = connection.session
        await connection.run()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception inside of a group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
