"""A process of the plant: the tasks that belong to it, the points at which it can die, and what dies with it.

A process dies at one of these points: when a task of it goes on after an ``await``, when it writes to its disk, when
it publishes, when it says something to the log or the database. From that moment nothing that it does is seen by
anybody: its disk takes no more writes, its connections are cut. Its tasks run to their next ``await`` and are cancelled
there; what they do on their way out has no effect either.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from tests.simulation.event_loop import NOBODY, SimulatedLoop, SimulatedTask, current_process
from tests.simulation.trace import Trace

T = TypeVar("T")
Point = Literal["now", "await", "disk", "wire", "store", "device"]
BURIAL_S_MAX: Final = 30.0
LOOK_EVERY: Final = 16


@dataclass(slots=True)
class Crash:
    """The process dies at the ``count``-th such point from now; with ``power_lost`` its disk keeps what was synced."""

    at: Point
    count: int
    power_lost: bool = False


class Leak(Exception):
    """A task goes on though it was cancelled."""


class Process:
    """One life of one program."""

    def __init__(self, name: str, trace: Trace, *, look: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.alive = True
        self.power_lost = False
        self.died = asyncio.Event()
        self.work_takes_s: Callable[[], float] = lambda: 0.001
        self.box: Any = None
        """What belongs to an agent: its disk and its connection."""
        self._main: asyncio.Task[None] | None = None
        self._trace = trace
        self._look = look
        self._steps = 0
        self._crash: Crash | None = None
        self._tasks: dict[int, SimulatedTask] = {}
        self._cut: list[Callable[[], None]] = []
        self._context = contextvars.copy_context()
        self._context.run(current_process.set, self)

    # -- living --------------------------------------------------------------------------------------------------------

    def begin(self, main: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``main`` as the first task of the process."""
        self._main = asyncio.get_running_loop().create_task(main, name=self.name, context=self._context)
        return self._main

    def cancel_main(self) -> None:
        """End in an orderly way, as a program does that gets a signal."""
        if self._main is not None:
            self._main.cancel()

    def tasks_left(self) -> list[str]:
        """The names of the tasks that have not ended."""
        return [task.get_name() for task in self._tasks.values()]

    def spare(self) -> None:
        """Do not die at the point that was meant."""
        self._crash = None

    def call(self, work: Callable[..., T], *args: Any) -> T:
        """Call something of the process, such as the handler of a message that has come."""
        return self._context.copy().run(work, *args)

    def has_task(self, task: SimulatedTask) -> None:
        """A task was made in this process."""
        self._tasks[task.number] = task
        task.add_done_callback(lambda _: self._tasks.pop(task.number, None))
        if not self.alive:
            asyncio.get_running_loop().call_soon(task.cancel)

    def step(self) -> None:
        """A task goes on after an ``await``."""
        self._steps += 1
        if self._steps % LOOK_EVERY == 0:
            self._look()
        self._pass("await")

    def touch(self, point: Point) -> bool:
        """The process does something that others can see; false when it is dead, and they cannot."""
        self._pass(point)
        return self.alive

    def when_cut(self, cut: Callable[[], None]) -> None:
        """Call ``cut`` in the moment in which the process dies or has ended."""
        if self.alive:
            self._cut.append(cut)
        else:
            cut()

    def freeze(self, lasts_s: float) -> None:
        """Nothing of it runs for so long, as after SIGSTOP; its connections, locks and files stay as they are."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        until_s = max(loop.time() + lasts_s, self.frozen_until_s)
        loop.frozen[self] = until_s
        loop.call_at(until_s, loop.frozen.pop, self, None, context=NOBODY)

    def thaw(self) -> None:
        """It goes on at once; what would have run meanwhile runs when it was to go on."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        loop.frozen.pop(self, None)

    @property
    def frozen_until_s(self) -> float:
        """When it goes on; 0 when it is not frozen."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        return loop.frozen.get(self, 0.0)

    # -- dying ---------------------------------------------------------------------------------------------------------

    def crash(self, crash: Crash) -> None:
        """Die at a point that is still to come, or at once."""
        if not self.alive:
            return
        if crash.at == "now":
            self._die(crash)
        else:
            self._crash = crash

    def _pass(self, point: Point) -> None:
        crash = self._crash
        if crash is None or crash.at != point or not self.alive:
            return
        crash.count -= 1
        if crash.count <= 0:
            self._die(crash)

    def _die(self, crash: Crash) -> None:
        self._trace.note("dies", f"at={crash.at}", "power lost" if crash.power_lost else "killed", who=self.name)
        self.power_lost = crash.power_lost
        self._end()
        asyncio.get_running_loop().call_soon(self._cancel)

    def _end(self) -> None:
        self._crash = None
        self.thaw()
        self.alive = False
        for cut in self._cut:
            cut()
        self.died.set()

    def _cancel(self) -> None:
        for task in list(self._tasks.values()):
            task.cancel()

    async def bury(self) -> None:
        """Wait until nothing of the process runs any more. Raises ``Leak`` when something goes on for too long."""
        if self.alive:
            self._end()
        end_s = asyncio.get_running_loop().time() + BURIAL_S_MAX
        while self._tasks:
            self._cancel()
            if asyncio.get_running_loop().time() > end_s:
                names = ", ".join(task.get_name() for task in self._tasks.values())
                raise Leak(f"{self.name}: these tasks go on though they were cancelled: {names}")
            await asyncio.sleep(0.01)


class SimulatedThread:
    """A thread with its queue, in place of an ``OwnThread`` or a ``ThreadPoolExecutor`` of one: work is done in order,
    and takes its time.

    Whoever waits can be cancelled; the work is done all the same, unless the process is dead by then.
    """

    def __init__(self, *_how: object, **_named: object) -> None:
        self._free_s = 0.0

    def start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """What ``work`` gives, later."""
        loop, process = asyncio.get_running_loop(), current_process.get()
        assert process is not None
        future: asyncio.Future[T] = loop.create_future()
        takes_s = process.work_takes_s()
        begin_s = max(loop.time(), self._free_s)
        self._free_s = begin_s + takes_s
        loop.call_at(begin_s + takes_s / 2, self._do, process, work, future, self._free_s)
        return future

    def end(self, last: Callable[[], object] | None = None, *, wait: bool = False) -> None:
        """There is no thread; ``last``, which closes a file, is done at once."""
        del wait
        if last is not None:
            last()

    def shutdown(self, wait: bool = True) -> None:
        """There is no thread."""

    def _do(self, process: Process, work: Callable[[], T], future: asyncio.Future[T], done_s: float) -> None:
        if not process.alive:
            return
        error: Exception | None = None
        try:
            result = work()
        except Exception as exc:  # it is the waiting task's
            error = exc
        if not process.alive:
            return
        if error is None:
            asyncio.get_running_loop().call_at(done_s, _deliver, future, lambda: future.set_result(result))
        else:
            asyncio.get_running_loop().call_at(done_s, _deliver, future, lambda: future.set_exception(error))


def _deliver(future: asyncio.Future[T], deliver: Callable[[], None]) -> None:
    if not future.done():
        deliver()
