"""An event loop without a clock, a selector or threads: time jumps to what happens next, always in one order.

Two things in asyncio depend on where objects lie in memory: a ``TaskGroup`` cancels its tasks in the order of a set,
and so does ``asyncio.wait``. So tasks hash by the order in which they were made.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from tests.simulation.process import Process

T = TypeVar("T")
STEPS_MAX: Final = 400_000
"""A simulation that takes more steps than this spins."""

current_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)

NOBODY: Final = contextvars.Context()
"""The context of what happens in no process."""


class Stuck(Exception):
    """Every task waits for another one for ever, or they go round in a circle without any time passing."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs what is ready, and jumps to the next timer when nothing is.

    Timers of the same moment run in the order in which they were made. They are kept as tuples beside asyncio's own
    heap, whose handles compare themselves in Python: that was a tenth of the time of a seed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.turns = 0
        self.tasks_made = 0
        self._timers: list[tuple[float, int, asyncio.Handle]] = []
        self._timers_made = 0
        self.frozen: dict[Process, float] = {}
        """Processes of which nothing runs, and until when."""
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self.now_s

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _Handle(when, callback, args, self, context)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(self.now_s, callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def _run_once(self) -> None:
        """What ``BaseEventLoop`` does in a turn, without a selector: waiting is what moves time."""
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        timers = self._timers
        self.turns += 1
        if self.turns > STEPS_MAX:
            raise Stuck(f"{STEPS_MAX} turns of the event loop; it is {self.now_s} s")
        while timers and timers[0][2]._cancelled:  # type: ignore[attr-defined]
            heapq.heappop(timers)
        if not ready:
            if not timers:
                raise Stuck("every task waits for another one, for ever")
            self.now_s = max(self.now_s, timers[0][0])
        while timers and timers[0][0] <= self.now_s:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled or (self.frozen and self._waits_for_its_process(handle)):  # type: ignore[attr-defined]
                continue
            handle._run()

    def _waits_for_its_process(self, handle: asyncio.Handle) -> bool:
        """Whether the process is frozen in which it would run; then it runs when that goes on, in its turn."""
        process = handle._context.get(current_process)  # type: ignore[attr-defined]
        until_s = self.frozen.get(process) if process is not None else None
        if until_s is None:
            return False
        self._timers_made += 1
        heapq.heappush(self._timers, (until_s, self._timers_made, handle))
        return True

    def close(self) -> None:
        self._timers.clear()
        super().close()

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """In the simulated thread ``executor``; see ``process.SimulatedThread``."""
        future: asyncio.Future[T] = executor.start(lambda: func(*args))
        return future

    def _write_to_self(self) -> None:
        """There is no other thread that would have to wake this one."""


class _Handle(asyncio.TimerHandle):
    """What is called soon, or at its time. Made, cancelled and run without what only debugging needs.

    Each seed makes thousands: in asyncio's own, a tenth of its time went by.
    """

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: SimulatedLoop,
        context: contextvars.Context | None,
    ) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = False

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = None
        self._args = None


class SimulatedTask(asyncio.Task[Any]):
    """A task that hashes by the order in which it was made."""

    def __init__(self, coro: Any, *, loop: SimulatedLoop, **options: Any) -> None:
        loop.tasks_made += 1
        self.number = loop.tasks_made
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class _Stepped(Coroutine[Any, Any, Any]):
    """A coroutine of a process: each time that it goes on is a point at which the process can die."""

    __slots__ = ("_coroutine", "_process")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], process: Process) -> None:
        self._coroutine = coroutine
        self._process = process

    def send(self, value: Any) -> Any:
        self._process.step()
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self


def _make_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Future[Any]:
    assert isinstance(loop, SimulatedLoop)
    context = options.get("context")
    process = current_process.get() if context is None else context.get(current_process)
    if process is None:
        return SimulatedTask(coro, loop=loop, **options)
    task = SimulatedTask(_Stepped(coro, process), loop=loop, **options)
    process.has_task(task)
    return task


def run(main: Coroutine[Any, Any, T]) -> T:
    """Like ``asyncio.run``, in simulated time that begins with 0; tasks that are left over are the caller's error."""
    loop = SimulatedLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
