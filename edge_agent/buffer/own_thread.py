"""One thread that does what the event loop asks for, one thing after the other.

``ThreadPoolExecutor`` with one thread does the same by two futures for each call, one of them with a lock and a
condition, which took a tenth of what a commit costs the processor.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class OwnThread:
    """See the module. Whoever uses it bounds how much waits: each caller awaits what it has asked for.

    What was begun is ended also when nobody waits for it any more; what has not begun by then is left out. The end of
    the program does not wait for the thread.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._last: Callable[[], object] = _nothing
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do ``work`` after all that was asked for before; the future has what it returns, or raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((work, future, loop))
        return future

    def end(self, last: Callable[[], object] | None = None, *, wait: bool = False) -> None:
        """End after all that was asked for is done, and ``last``; ``wait`` for that, which blocks."""
        self._last = last or _nothing
        self._jobs.put(None)
        if wait:
            self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            _do(*job)
            del job  # else it would keep what was done while nothing is to do
        self._last()


def _nothing() -> None:
    pass


def _do(work: Callable[[], Any], future: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> None:
    if future.cancelled():
        return
    result, error = None, None
    try:
        result = work()
    except BaseException as exc:  # it is whoever waits that has to deal with it
        error = exc
    with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
        loop.call_soon_threadsafe(_settle, future, result, error)
    del error  # a circle: its traceback has this frame


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
