"""The OPC UA driver: one session with one server, values by subscription."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlparse

from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaError

from connectors.model.errors import DeviceUnavailable
from connectors.opcua.binding import Binding, BoundTag, bind_tags, read_limits
from connectors.opcua.publishing import Publishing
from connectors.opcua.session import OpcUaSession
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import connect_reason, loss_reason
from connectors.opcua.subscriptions import Subscriptions
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, Reading, TagProblem, Value

SESSION_TIMEOUT_MS: Final = 60_000
"""A session that a killed agent left behind holds a place on the server for this long."""

CHANNEL_RENEWAL: Final = 0.7
"""The secure channel is renewed when this part of its lifetime has passed (Part 4, 5.5.2: at 75 %)."""

CLOSE_S_MAX: Final = 2.0
PORT_DEFAULT: Final = 4840


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
        async with self._connected() as client:
            try:
                await self._subscribe_and_publish(client, acquisition)
            except* (TimeoutError, UaError, OSError, DeviceUnavailable) as group:
                said, _others = group.split(DeviceUnavailable)  # who noticed it first may not be the first in the group
                if said is not None:
                    raise _first(said) from group
                raise self._unavailable(loss_reason, _first(group)) from group
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
        limits = await read_limits(client)
        binding = await bind_tags(client, self._device.tags, range(len(self._device.tags)), limits)
        subscriptions = Subscriptions(client, self._device, limits)
        self._lag_s = lambda: subscriptions.lag_s_max
        publishing = Publishing(client, self._device, self._clock, acquisition)
        self._overflows_before, self._publishing = self.counts()["queue_overflows"], publishing
        session = OpcUaSession(client, self._device, self._clock, binding)
        session.bind(binding.bound.values())
        await self._report(acquisition, binding)
        self._session = session
        if await self._monitor(subscriptions, publishing, list(binding.bound.values()), binding):
            await self._report(acquisition, binding)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(session.watch(), name=f"{self._device.name} answers")
            tasks.create_task(publishing.run(subscriptions), name=f"{self._device.name} publishing")
            tasks.create_task(
                self._retry_problems(client, acquisition, subscriptions, publishing, binding),
                name=f"{self._device.name} retry",
            )
            tasks.create_task(self._renew_channel(client), name=f"{self._device.name} channel renewal")

    async def _monitor(
        self, subscriptions: Subscriptions, publishing: Publishing, tags: list[BoundTag], binding: Binding
    ) -> bool:
        """Monitor ``tags``; true when the server refused some, which then are problems of ``binding``."""
        for tag in tags:
            publishing.bind(tag)
        problems = await subscriptions.add(tags)
        for index, problem in problems.items():
            binding.bound.pop(index, None)
            binding.problems[index] = problem
        return bool(problems)

    async def _report(self, acquisition: Acquisition, binding: Binding) -> None:
        types = [tag.type for _, tag in sorted(binding.bound.items())]
        await acquisition.online(types, [problem for _, problem in sorted(binding.problems.items())])

    async def _retry_problems(
        self,
        client: Client,
        acquisition: Acquisition,
        subscriptions: Subscriptions,
        publishing: Publishing,
        binding: Binding,
    ) -> None:
        """Bind again, from time to time, what could not be bound, and what has changed its type."""
        while True:
            await asyncio.sleep(self._device.retry_s)
            changed = publishing.take_mismatched()
            if changed:
                names = ", ".join(self._device.tags[index].name for index in sorted(changed)[:5])
                what = "1 tag has changed its" if len(changed) == 1 else f"{len(changed)} tags have changed their"
                raise DeviceUnavailable(f"{self._device.name}: {what} type on the server ({names}); connecting anew")
            if not binding.problems:
                continue
            again = await bind_tags(client, self._device.tags, sorted(binding.problems), await read_limits(client))
            before = dict(binding.problems)
            for index in again.bound:
                binding.problems.pop(index, None)
            binding.bound.update(again.bound)
            binding.problems.update(again.problems)
            if self._session is not None:
                self._session.bind(again.bound.values())
            await self._report_if_new(acquisition, binding, before, again)
            if again.bound and await self._monitor(subscriptions, publishing, list(again.bound.values()), binding):
                await self._report(acquisition, binding)

    async def _report_if_new(
        self, acquisition: Acquisition, binding: Binding, before: dict[int, TagProblem], again: Binding
    ) -> None:
        if again.bound or before != binding.problems:
            await self._report(acquisition, binding)

    async def _renew_channel(self, client: Client) -> None:
        while True:
            await asyncio.sleep(client.secure_channel_timeout / 1000.0 * CHANNEL_RENEWAL)
            await client.open_secure_channel(renew=True)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        client = Client(self._device.endpoint, timeout=self._device.timeout_s)
        client.name = client.description = "Lineside edge agent"
        client.application_uri = "urn:lineside:edge-agent"
        client.session_timeout = SESSION_TIMEOUT_MS
        if self._device.security.user is not None:
            client.set_user(self._device.security.user)
            password = self._device.security.password
            client.set_password("" if password is None else password.get_secret_value())
        try:
            await client.connect_socket()
            await client.send_hello()
            await client.open_secure_channel()
            await client.create_session()
            await client.activate_session(client._username, client._password)  # noqa: SLF001
        except (TimeoutError, UaError, OSError) as exc:
            client.disconnect_socket()
            raise self._unavailable(connect_reason, exc) from exc
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

    def _unavailable(
        self, say: Callable[[BaseException, str, int, float], str], error: BaseException
    ) -> DeviceUnavailable:
        place = urlparse(self._device.endpoint)
        reason = say(error, place.hostname or "", place.port or PORT_DEFAULT, self._device.timeout_s)
        return DeviceUnavailable(f"{self._device.name}: {reason}")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception inside of a group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
