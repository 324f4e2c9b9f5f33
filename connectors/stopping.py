"""What it takes that a stop ends everything, and that nothing ends unless it was stopped.

A stop is a cancellation, which asyncio loses in two ways, and libraries make some that nobody has asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import Context
from types import TracebackType
from typing import Any, Final, TypeVar

from connectors.model.error_groups import leaves
from connectors.model.errors import LinesideError

THREADS_S_MAX: Final = 3.0
"""So long a program that has done everything waits for threads that are still looking up a name, and the like."""

COURTESY_S_MAX: Final = 3.0
COURTESY_S_MIN: Final = 0.1
"""A server that answers needs less; one that does not costs no more when the grace is over."""

_T = TypeVar("_T")


class Grace:
    """The time that a process which is to end has for courtesies, all together: what a server that hangs makes wait.

    That is to close connections in an orderly way, roll back, give locks back, say that it leaves: nothing is lost
    without it, as servers undo what belongs to a connection when that ends. Before the end begins, each has a time of
    its own.
    """

    def __init__(self) -> None:
        self._until_s = math.inf

    def begin(self, longest_s: float = COURTESY_S_MAX) -> None:
        """The process is to end: from now on, all courtesies together have so long."""
        self._until_s = time.monotonic() + longest_s

    def at_most(self, longest_s: float) -> float:
        """How long a courtesy may take that otherwise may take ``longest_s``."""
        return max(min(longest_s, self._until_s - time.monotonic()), min(longest_s, COURTESY_S_MIN))


GRACE: Final = Grace()
"""Of this process."""


class CancelledByNobody(Exception):
    """A library has cancelled what it was asked for. Nobody has stopped the task that asked: it has a defect."""


async def not_silently(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of ``work``. Raises ``CancelledByNobody`` where it was cancelled, and this task was not.

    Else the task would end as one that was stopped, which nobody misses.
    """
    try:
        return await work
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise CancelledByNobody(str(exc) or "a library has cancelled what it was asked for") from exc


class Tasks(asyncio.TaskGroup):
    """A group of tasks that passes a stop on, and in which no task ends silently (see ``not_silently``).

    Before Python 3.13 (gh-116720) a group that ends because of a failure raises that alone, also when it was cancelled
    before all of its tasks had ended: whoever waits then for what has failed, and tries again, was never stopped. Here
    the cancellation counts. What has failed besides is logged, unless it was expected: nobody else hears of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stops_before = 0

    async def __aenter__(self) -> Tasks:
        """See ``asyncio.TaskGroup``."""
        self._stops_before = _stops()
        await super().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See ``asyncio.TaskGroup``."""
        was_aborted = self._is_aborted
        try:
            await super().__aexit__(kind, error, trace)
        except ExceptionGroup as group:
            if self._is_aborted and not was_aborted:
                _take_back_own()
            if _stops() <= self._stops_before:
                raise
            if not all(isinstance(one, LinesideError) for one in leaves(group)):
                said = {"message": "tasks have failed while they were stopped", "exception": group}
                asyncio.get_running_loop().call_exception_handler(said)
            raise asyncio.CancelledError from group

    @property
    def _is_aborted(self) -> bool:
        """Whether asyncio has cancelled the task that waits here, as one of the group has failed."""
        return bool(getattr(self, "_parent_cancel_requested", False))

    def create_task(  # type: ignore[override]  # nobody makes tasks of generators
        self, coro: Coroutine[Any, Any, _T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[_T]:
        """See ``asyncio.TaskGroup``."""
        task = super().create_task(not_silently(coro), name=name, context=context)
        task.add_done_callback(lambda _: coro.close())  # it may have been cancelled before it had begun
        return task


def in_free_thread(work: Callable[[], None], name: str) -> asyncio.Future[None]:
    """Call ``work``, which may block for long, in a thread that no end of the program waits for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def call() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as exc:  # whoever waits for it gets it
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for it any more
            loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=call, name=name, daemon=True).start()
    return done


def end_within(longest_s: float, exit_code: int = 0) -> None:
    """Everything is done, and this process is to end: after so long it does, whatever its threads are waiting for."""
    timer = threading.Timer(longest_s, os._exit, [exit_code])
    timer.daemon = True
    timer.start()


def _take_back_own() -> None:
    """A cancellation by the group itself while its end was waited for: before Python 3.13, it goes on to count."""
    if sys.version_info < (3, 13) and (task := asyncio.current_task()) is not None:
        task.uncancel()


def _stops() -> int:
    """How often this task was cancelled."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
