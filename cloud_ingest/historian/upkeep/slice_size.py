"""How much one statement of the upkeep takes on, so that it ends well within the limit of a statement."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

QUICK_S: Final = 0.3
SLOW_S: Final = 3.0
SHRINKING: Final = 8


class SliceSize:
    """``count`` things a statement: more after a quick one, fewer after a slow one."""

    def __init__(self, first: int, largest: int) -> None:
        self.count = first
        self._largest = largest

    @contextmanager
    def measured(self) -> Iterator[None]:
        """A statement; when it raises, ``count`` stays (see ``shrinks``)."""
        begun_s = time.monotonic()
        yield
        took_s = time.monotonic() - begun_s
        if took_s < QUICK_S:
            self.count = min(self._largest, self.count * 2)
        elif took_s > SLOW_S:
            self.count = max(1, self.count // 2)

    def shrinks(self) -> bool:
        """The statement was too much: try again with a part of it. False when there is no smaller one."""
        if self.count == 1:
            return False
        self.count = max(1, self.count // SHRINKING)
        return True
