"""Ballast: disk space that is held in good times, so that there is some to work with on a full disk.

Deleting from a database takes space too: SQLite writes what it deletes to its log first.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

RESTORE_ROOM: Final = 2
"""Ballast is taken again when this many times its size stays free beside what is to be kept free."""


CLOSING_BYTES: Final = 1024 * 1024
"""Held when an outbox is closed without ballast: the next start needs it for the log of its first transaction."""


class Ballast:
    """A file beside the outbox that holds nothing but its place."""

    def __init__(self, outbox: Path, size_bytes: int) -> None:
        self._path = outbox.with_name(outbox.name + ".ballast")
        self._size_bytes = size_bytes
        try:
            self._held_bytes = self._path.stat().st_size
        except OSError:
            self._held_bytes = 0

    @property
    def is_held(self) -> bool:
        """Whether there is something to give up."""
        return self._held_bytes > 0

    def give_up(self) -> bool:
        """Free the space; false when there was none."""
        if not self._held_bytes:
            return False
        self._held_bytes = 0
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def restore(self, free_disk_bytes: int, keep_free_bytes: int) -> None:
        """Take the space again, if the disk can spare it; a disk that refuses is asked again later."""
        if self._held_bytes >= self._size_bytes:
            return
        if free_disk_bytes >= keep_free_bytes + RESTORE_ROOM * self._size_bytes:
            self._hold(self._size_bytes)

    def hold_some(self) -> None:
        """The outbox was closed, which has freed its log: keep a little of that, even where the disk is full."""
        size = min(self._size_bytes, CLOSING_BYTES)
        while size >= CLOSING_BYTES // 8 and not self._held_bytes:
            self._hold(size)
            size //= 2

    def _hold(self, size_bytes: int) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
            self._held_bytes = size_bytes
        except OSError:
            self._held_bytes = 0
            with contextlib.suppress(OSError):
                self._path.unlink()
        finally:
            os.close(descriptor)
