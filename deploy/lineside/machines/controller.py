"""The clockwork of a simulated machine's controller: signals, a step at a fixed rate, and what it keeps."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from lineside.machines.retentive_memory import RetentiveMemory

KEEP_EVERY_S: Final = 1.0
LAG_STEPS_MAX: Final = 10
"""A controller that was held up for longer forgets what it has missed: the machine stood still with it."""


class Controller:
    """Runs one machine until SIGTERM or SIGINT. After SIGUSR1 the machine stands still, and its server goes on."""

    def __init__(self, interval_s: float, memory: RetentiveMemory) -> None:
        self._interval_s = interval_s
        self._memory = memory
        self._stop = asyncio.Event()
        self._still = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGUSR1, self._stand_still)

    async def run(
        self,
        step: Callable[[float], None],
        show: Callable[[], Awaitable[None]],
        retained: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Let time pass (``step``), put the values into the server (``show``), and keep what is to be ``retained``."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        keep_s = due_s + KEEP_EVERY_S
        while not self._stop.is_set():
            if not self._still:
                step(self._interval_s)
                await show()
            if loop.time() >= keep_s:
                keep_s = loop.time() + KEEP_EVERY_S
                self._memory.write(retained())
            due_s = max(due_s + self._interval_s, loop.time() - LAG_STEPS_MAX * self._interval_s)
            if (pause_s := due_s - loop.time()) > 0:
                await self._pause(pause_s)
        self._memory.write(retained())

    async def _pause(self, pause_s: float) -> None:
        waiting = asyncio.create_task(self._stop.wait(), name="stop")
        await asyncio.wait([waiting], timeout=pause_s)
        waiting.cancel()

    def _stand_still(self) -> None:
        self._still = True
