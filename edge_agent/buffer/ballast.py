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


class Ballast:
    """A file beside the outbox that holds nothing but its place."""

    def __init__(self, outbox: Path, size_bytes: int) -> None:
        self._path = outbox.with_name(outbox.name + ".ballast")
        self._size_bytes = size_bytes
        self.is_held = self._path.exists()

    def give_up(self) -> bool:
        """Free the space; false when there was none."""
        if not self.is_held:
            return False
        self.is_held = False
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def restore(self, free_disk_bytes: int, keep_free_bytes: int) -> None:
        """Take the space again, if the disk can spare it; a disk that refuses is asked again later."""
        if self.is_held or not self._size_bytes:
            return
        if free_disk_bytes < keep_free_bytes + RESTORE_ROOM * self._size_bytes:
            return
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(descriptor, 0, self._size_bytes)
            self.is_held = True
        except OSError:
            with contextlib.suppress(OSError):
                self._path.unlink()
        finally:
            os.close(descriptor)
