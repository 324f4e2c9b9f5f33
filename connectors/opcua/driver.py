"""The OPC UA driver: one session with one server, values by subscription."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaError

from connectors.model.errors import DeviceUnavailable
from connectors.opcua.binding import Binding, BoundTag, bind_tags
from connectors.opcua.opening import opened, renew_channel, unavailable
from connectors.opcua.operation_limits import OperationLimits, read_limits
from connectors.opcua.publishing import Publishing
from connectors.opcua.session import OpcUaSession
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import loss_reason
from connectors.opcua.subscriptions import Subscriptions
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, Reading, TagProblem, Value


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
                self._retry_problems(client, acquisition, subscriptions, publishing, binding, limits),
                name=f"{self._device.name} retry",
            )
            tasks.create_task(renew_channel(client), name=f"{self._device.name} channel renewal")

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
        limits: OperationLimits,
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
            again = await bind_tags(client, self._device.tags, sorted(binding.problems), limits)
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


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception inside of a group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
