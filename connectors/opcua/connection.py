"""What goes on while one connection lasts: tags bound, subscribed to and polled, problems tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from asyncua.client.client import Client

from connectors.model.errors import DeviceUnavailable
from connectors.opcua.binding import Binding, BoundTag, bind_tags
from connectors.opcua.opening import renew_channel
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.polling import Polling
from connectors.opcua.publishing import Publishing
from connectors.opcua.server_state import watch_state
from connectors.opcua.session import OpcUaSession
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.subscriptions import Subscriptions
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition


class OpcUaConnection:
    """One connection to the server of ``device``; all of it ends with the connection."""

    def __init__(
        self, client: Client, device: OpcUaDevice, clock: Clock, acquisition: Acquisition, limits: OperationLimits
    ) -> None:
        self._client = client
        self._device = device
        self._acquisition = acquisition
        self._limits = limits
        self._binding = Binding()
        self.subscriptions = Subscriptions(client, device, limits)
        self.publishing = Publishing(client, device, clock, acquisition)
        self._polling = Polling(client, device, clock, acquisition, limits)
        self.session = OpcUaSession(client, device, clock, self._binding)

    @property
    def lag_s_max(self) -> float:
        """How long a change may take until it is here, as the server has revised the intervals."""
        return self.subscriptions.lag_s_max

    async def begin(self) -> None:
        """Bind all tags and say so. Raises what asyncua raises when the connection is lost."""
        await self._bind(range(len(self._device.tags)))
        await self._report()

    async def run(self) -> None:
        """Hand samples over until cancelled.

        Raises ``DeviceUnavailable`` in groups, and what asyncua raises when the connection is lost.
        """
        if await self._acquire(list(self._binding.bound.values())):
            await self._report()
        name = self._device.name
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(watch_state(self._client, self._device), name=f"{name} state")
                tasks.create_task(self.session.watch(), name=f"{name} answers")
                tasks.create_task(self.publishing.run(self.subscriptions), name=f"{name} publishing")
                tasks.create_task(self._polling.run(), name=f"{name} polling")
                tasks.create_task(self._retry_problems(), name=f"{name} retry")
                tasks.create_task(renew_channel(self._client), name=f"{name} channel renewal")
        finally:
            self._polling.tell_behind(*self.publishing.newest)

    async def _bind(self, chosen: Sequence[int]) -> list[BoundTag]:
        """Bind the tags at the indices ``chosen``; those that are."""
        found = await bind_tags(self._client, self._device.tags, chosen, self._limits)
        for index in found.bound:
            self._binding.problems.pop(index, None)
        self._binding.bound.update(found.bound)
        self._binding.problems.update(found.problems)
        self.session.bind(found.bound.values())
        return list(found.bound.values())

    async def _acquire(self, tags: list[BoundTag]) -> bool:
        """Subscribe to ``tags``, or poll them; true when the server refused some, which are problems from then on."""
        polled = [tag for tag in tags if self._device.tags[tag.index].poll_s is not None]
        monitored = [tag for tag in tags if self._device.tags[tag.index].poll_s is None]
        for tag in monitored:
            self.publishing.bind(tag)
        self._polling.add(polled)
        problems = await self.subscriptions.add(monitored)
        for index, problem in problems.items():
            self._binding.bound.pop(index, None)
            self._binding.problems[index] = problem
        return bool(problems)

    async def _report(self) -> None:
        types = [tag.type for _, tag in sorted(self._binding.bound.items())]
        await self._acquisition.online(types, [problem for _, problem in sorted(self._binding.problems.items())])

    async def _retry_problems(self) -> None:
        """Bind again, from time to time, what could not be bound, and what has changed its type."""
        while True:
            await asyncio.sleep(self._device.retry_s)
            changed = self.publishing.take_mismatched() | self._polling.take_mismatched()
            if changed:
                names = ", ".join(self._device.tags[index].name for index in sorted(changed)[:5])
                what = "1 tag has changed its" if len(changed) == 1 else f"{len(changed)} tags have changed their"
                raise DeviceUnavailable(f"{self._device.name}: {what} type on the server ({names}); connecting anew")
            if not self._binding.problems:
                continue
            before = dict(self._binding.problems)
            bound = await self._bind(sorted(before))
            if bound or before != self._binding.problems:
                await self._report()
            if bound and await self._acquire(bound):
                await self._report()
