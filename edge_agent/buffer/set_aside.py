"""Damaged files of an outbox are set aside, under a name with the time (UTC); what could be read goes on without them.

A note beside the outbox says that a file is being salvaged, and which: a start that is interrupted at any point is
finished by the next one. The newest ``KEPT_MAX`` are kept for a person to look at; all of them give way before the disk
fills.
"""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

KEPT_MAX: Final = 3
_ENDS: Final = ("-wal", "")
"""A database and its write-ahead log stay together: the log leaves first, so that it never meets another database."""

_BESIDE: Final = ("-wal", "-shm", "-page1")
"""What there may be beside a database that was set aside."""


class SettingAside:
    """What lies beside one outbox because of a damage."""

    def __init__(self, outbox: Path) -> None:
        self._outbox = outbox
        self._note = outbox.with_name(outbox.name + ".salvaging")
        self.fresh = outbox.with_name(outbox.name + ".salvaged")
        """Where the new file is made."""

    def pending(self) -> tuple[Path, str] | None:
        """The file that is to be salvaged, and why, when an earlier attempt was interrupted. Raises ``OSError``."""
        try:
            name, _, reason = self._note.read_text("utf-8", "replace").partition("\n")
        except FileNotFoundError:
            return None
        if not name.startswith(f"{self._outbox.name}.damaged-"):
            self.done()  # the disk had no room for the note: nothing has been moved
            return None
        damaged = self._outbox.with_name(name)
        if damaged.exists() and self._outbox.exists():
            self.done()  # it was finished, but for this
            return None
        return damaged, reason

    def begin(self, reason: str, now_ms: int) -> Path:
        """Note that the outbox is to be salvaged; the name that it will have. Raises ``OSError``."""
        time = datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
        damaged = self._outbox.with_name(f"{self._outbox.name}.damaged-{time}")
        number = 1
        while damaged.exists():
            number += 1
            damaged = self._outbox.with_name(f"{self._outbox.name}.damaged-{time}-{number}")
        _write_synced(self._note, f"{damaged.name}\n{' '.join(reason.split())}")
        return damaged

    def move(self, damaged: Path) -> None:
        """Give the damaged files their names; those that have them already stay. Raises ``OSError``."""
        for end in _ENDS:
            source, target = _with_end(self._outbox, end), _with_end(damaged, end)
            if source.exists() and not target.exists():
                source.rename(target)
        _with_end(self._outbox, "-shm").unlink(missing_ok=True)
        _sync_folder(self._outbox.parent)

    def replace(self) -> None:
        """The new file is complete: it becomes the outbox. Raises ``OSError``."""
        descriptor = os.open(self.fresh, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.fresh.rename(self._outbox)
        _sync_folder(self._outbox.parent)
        self.done()

    def done(self) -> None:
        """Nothing is being salvaged any more."""
        with contextlib.suppress(OSError):
            self._note.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what an interrupted attempt has left of the new file. Raises ``OSError``."""
        for end in ("", "-wal", "-shm", "-journal"):
            _with_end(self.fresh, end).unlink(missing_ok=True)


def damaged_files(outbox: Path) -> list[Path]:
    """The databases that were set aside, oldest first; none when the folder cannot be read."""
    prefix = f"{outbox.name}.damaged-"
    try:
        names = [path.name for path in outbox.parent.iterdir() if path.name.startswith(prefix)]
    except OSError:
        return []
    names = [name for name in names if not name.endswith(_BESIDE)]
    return [outbox.with_name(name) for name in sorted(names, key=_by_time)]


def forget_oldest(outbox: Path, keep: int = 0) -> bool:
    """Remove the oldest file that was set aside, unless only ``keep`` are left; whether one has gone."""
    found = damaged_files(outbox)
    if len(found) <= keep:
        return False
    with contextlib.suppress(OSError):
        for end in ("", *_BESIDE):
            _with_end(found[0], end).unlink(missing_ok=True)
        return True
    return False


def _by_time(name: str) -> tuple[str, int]:
    time, _, number = name.rpartition(".damaged-")[2].partition("-")
    return time, int(number) if number.isdigit() else 0


def _with_end(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _write_synced(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode("utf-8", "replace"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make names durable, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
