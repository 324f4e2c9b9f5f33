"""An event loop whose time is not the machine's: it jumps to whatever happens next, so that an hour takes no time.

Only for code without threads and sockets; with them, time would run ahead of what they do.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
START_NS: Final = 1_795_000_000_000_000_000


class VirtualClock:
    """The ``Clock`` of the loop that runs now; ``jump_ns`` is how far the wall clock has been set since the start."""

    def __init__(self) -> None:
        self.jump_ns = 0

    def now_ns(self) -> int:
        return START_NS + self.jump_ns + round(self.monotonic_s() * 1e9)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class NothingWillHappen(Exception):
    """Every task waits for another one, for ever."""


class _Selector(selectors.DefaultSelector):
    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise NothingWillHappen
        self.now_s += timeout
        return []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s


def run(main: Coroutine[Any, Any, T]) -> T:
    """Like ``asyncio.run``, in virtual time that begins with 0."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)


def virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine test in virtual time."""

    @functools.wraps(test)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return wrapped
