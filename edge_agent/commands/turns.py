"""Whose turn it is: the commands that wait, a queue for each device, and a task that serves it.

How many may wait in all, the executor says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.stopping import Tasks
from edge_agent.commands.journal_rows import Command

FOR_AGENT: Final = ""
"""The queue of what is for the agent itself."""
NOWHERE: Final = "#"
"""The queue of commands to devices that there are not: their checks say so. No device can be called so."""


@dataclass(slots=True)
class _Queue:
    waiting: deque[Command] = field(default_factory=deque)
    something: asyncio.Event = field(default_factory=asyncio.Event)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    serving: asyncio.Task[None] | None = None


class Turns:
    """See the module. ``serve`` does the commands of one queue until it is cancelled."""

    def __init__(self, devices: Iterable[str], serve: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        self._serve = serve
        self._queues = {name: _Queue() for name in (*devices, FOR_AGENT, NOWHERE)}
        self._tasks: Tasks | None = None

    def serve_all(self, tasks: Tasks) -> None:
        """Serve every queue, and those of devices that come later."""
        self._tasks = tasks
        for name, queue in self._queues.items():
            queue.serving = tasks.create_task(self._serve(name), name=f"commands {name}")

    def serve_none(self) -> None:
        """Whoever served them has ended, and begins anew with ``serve_all``."""
        self._tasks = None

    def put(self, device: str, command: Command) -> None:
        """A command waits for its turn."""
        queue = self._queues.get(device) or self._queues[NOWHERE]
        queue.waiting.append(command)
        queue.something.set()

    async def wait_for_one(self, device: str) -> None:
        """Wait until the queue is free, and a command is in it."""
        queue = self._queues[device]
        await queue.free.wait()
        while not queue.waiting:
            queue.something.clear()
            await queue.something.wait()

    def take(self, device: str) -> Command:
        """The command whose turn it is; there is one after ``wait_for_one``."""
        return self._queues[device].waiting.popleft()

    def free(self, *devices: str) -> None:
        """What an earlier start has left open of these devices (of none: of all) is settled: their turn begins."""
        for device in devices or self._queues:
            if device in self._queues:
                self._queues[device].free.set()

    def clear(self) -> None:
        """Nothing waits, and no queue is free."""
        for queue in self._queues.values():
            queue.waiting.clear()
            queue.free.clear()

    def follow(self, devices: Iterable[str]) -> None:
        """These are the devices from now on. Nothing is being done on one that is gone; what waits is ``NOWHERE``'s."""
        wanted = {*devices, FOR_AGENT, NOWHERE}
        for name in wanted - self._queues.keys():
            queue = self._queues[name] = _Queue()
            queue.free.set()
            if self._tasks is not None:
                queue.serving = self._tasks.create_task(self._serve(name), name=f"commands {name}")
        for name in self._queues.keys() - wanted:
            queue = self._queues.pop(name)
            if queue.serving is not None:
                queue.serving.cancel()
            for command in queue.waiting:
                self.put(NOWHERE, command)
