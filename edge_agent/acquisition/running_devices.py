"""The devices that are read now, by name, each by a task of its own: started, ended, and others in their place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any, Final

from connectors.model.tags import DeviceName
from connectors.observability.events import emit
from edge_agent.acquisition.device import DeviceAcquisition
from edge_agent.observability.agent_events import Fault

END_S_MAX: Final = 5.0


class RunningDevices:
    """See the module. ``by_name`` is always what is read now: whoever keeps it sees each change.

    ``supervised`` keeps a device running until it is cancelled.
    """

    def __init__(self, supervised: Callable[[DeviceAcquisition], Coroutine[Any, Any, None]]) -> None:
        self._devices: dict[DeviceName, DeviceAcquisition] = {}
        self.by_name: Mapping[DeviceName, DeviceAcquisition] = self._devices
        self._supervised = supervised
        self._tasks: dict[DeviceName, asyncio.Task[None]] = {}

    @property
    def all(self) -> Collection[DeviceAcquisition]:
        """All of them; what is kept of this sees each change."""
        return self._devices.values()

    def add(self, device: DeviceAcquisition) -> None:
        """A device that is to be read; it is when it is started."""
        self._devices[device.name] = device

    def sort(self, names: Iterable[str]) -> None:
        """Have them in this order, in which people see them; ``names`` are all of them."""
        for name in names:
            self._devices[DeviceName(name)] = self._devices.pop(DeviceName(name))

    def start(self) -> None:
        """Begin to read every device that is not read yet."""
        for name, device in self._devices.items():
            if name not in self._tasks:
                self._tasks[name] = asyncio.create_task(self._supervised(device), name=name)

    async def end(self, names: Collection[DeviceName]) -> list[DeviceAcquisition]:
        """End the reading of these, all at once: their connections are closed when this returns.

        A driver that does not end within ``END_S_MAX`` is left alone; nothing is taken from it any more.
        """
        tasks = [self._tasks.pop(name) for name in names if name in self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=END_S_MAX)
            for task in stuck:
                emit(Fault(f"device {task.get_name()}", f"its driver has not ended within {END_S_MAX:g} s", ""))
        return [self._devices.pop(name) for name in names]

    async def stop(self, longest_s: float) -> None:
        """The agent ends: end the reading of all, but do not wait for longer than that."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=longest_s)
