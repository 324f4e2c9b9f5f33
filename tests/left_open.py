"""What a test leaves open is told of that test, and not of another one, during which the garbage collector finds it.

A socket or a coroutine that is part of a cycle is noticed when it is collected. That can be minutes later, and says
nothing of the test that happens to run then.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def _told() -> Iterator[list[str]]:
    """What is told meanwhile by finalizers that fail, as those of open sockets do where warnings are errors."""
    told: list[str] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda found: told.append(f"{found.exc_value or found.object!r}")
    try:
        yield told
    finally:
        sys.unraisablehook = before


def fail_for_what_is_open() -> None:
    """Collect what the test has left, and fail where something of it is open; what is left then is looked at no more.

    That makes it cheap: a test pays for what it has made itself.
    """
    with _told() as told:
        gc.collect()
    gc.freeze()
    if told:
        pytest.fail(f"left open, found by the garbage collector: {'; '.join(told)}", pytrace=False)
