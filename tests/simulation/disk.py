"""The disk of one agent's box: real files in a memory file system, and what of them survives which accident.

* A process that is killed leaves what it has written: that is in the page cache.
* A loss of power leaves what was synced, and of the rest whatever 512-byte sectors happened to be on the disk already.
* A sync that fails may have written nothing, and what it did not write counts as clean afterwards (as Linux has it).
* A full disk takes no write beyond the end of a file.
* A backup that comes back is an older copy of all files; without its write-ahead log a database is as old as the last
  checkpoint.

Not simulated: a file whose making or removal the folder forgets, and a disk that gives back wrong bytes.
"""

from __future__ import annotations

import errno
import os
import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.simulation import sqlite_hooks
from tests.simulation.sqlite_hooks import FULL, IO_ERROR_SYNC, IO_ERROR_WRITE, OK

SECTOR_BYTES: Final = 512
OUTBOX: Final = "outbox.db"
WAL: Final = "outbox.db-wal"
Files = dict[str, bytes]


@dataclass(slots=True)
class _Synced:
    """What a file is for certain, what was written to it since, and how large that makes it."""

    durable: bytearray
    size_bytes: int
    written: list[tuple[int, bytes]] = field(default_factory=list)  # a truncation is no bytes at its new end

    def synced(self) -> None:
        for offset, data in self.written:
            _write(self.durable, offset, data)
        self.written.clear()


class Disk:
    """One mount of the disk: from a start of the agent's process to its end. ``touch`` is asked before each change."""

    def __init__(self, folder: Path, files: Files, touch: Callable[[], bool], draw: random.Random) -> None:
        self.folder = folder
        self.is_full = False
        self.failing_syncs = 0
        self._touch = touch
        self._draw = draw
        self._synced: dict[int, _Synced] = {}  # by inode: files are renamed
        self._left: Files | None = None
        self._connections: list[sqlite3.Connection] = []
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
            self.opened(folder / name)
        sqlite_hooks.hook(folder, self)

    def connect(self, path: str, options: dict[str, Any]) -> sqlite3.Connection:
        """Open a database in the folder, with the hooks."""
        separator = "&" if "?" in path else "?"
        prefix = "" if path.startswith("file:") else "file:"
        connection = sqlite3.connect(
            f"{prefix}{path}{separator}vfs={sqlite_hooks.VFS_NAME}", **{**options, "uri": True}
        )
        self._connections.append(connection)
        return connection

    # -- what SQLite and the agent do to files -------------------------------------------------------------------------

    def opened(self, path: Path) -> int:
        """A file was opened, or made; its inode. What is in it when that is first heard of is on the disk."""
        inode = path.stat().st_ino
        if inode not in self._synced:
            content = path.read_bytes()
            self._synced[inode] = _Synced(bytearray(content), len(content))
        return inode

    def write(self, inode: int, offset: int, data: bytes) -> int:
        if self._left is not None or not self._touch():
            return IO_ERROR_WRITE
        file, end = self._synced[inode], offset + len(data)
        if end > file.size_bytes:
            if self.is_full:
                return FULL
            file.size_bytes = end
        file.written.append((offset, data))
        return OK

    def truncate(self, inode: int, size_bytes: int) -> int:
        if self._left is not None or not self._touch():
            return IO_ERROR_WRITE
        self._synced[inode].size_bytes = size_bytes
        self._synced[inode].written.append((size_bytes, b""))
        return OK

    def sync(self, inode: int) -> int:
        if self._left is not None or not self._touch():
            return IO_ERROR_SYNC
        file = self._synced[inode]
        if self.failing_syncs:
            self.failing_syncs -= 1
            file.written = [write for write in file.written if self._draw.random() < 0.5]
            file.synced()
            return IO_ERROR_SYNC
        file.synced()
        return OK

    # -- what is left of it --------------------------------------------------------------------------------------------

    def image(self) -> Files:
        """A copy of all files as they are."""
        kept = (path for path in sorted(self.folder.iterdir()) if path.is_file() and not path.name.endswith("-shm"))
        return {path.name: path.read_bytes() for path in kept}

    def cut(self, *, power_lost: bool) -> None:
        """The process is dead: this is what the next one will find; nothing changes it any more."""
        if self._left is None:
            files = self.image()
            if power_lost:
                files = {name: self._after_power_loss(self.folder / name, content) for name, content in files.items()}
            self._left = files

    def taken_apart(self) -> Files:
        """What the files are, for the next mount; this one is gone."""
        if self._left is None:  # the process has ended in an orderly way, and closed its connections
            self.close_connections()
            self._left = self.image()
        else:
            self.close_connections()
        sqlite_hooks.unhook(self.folder)
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()
        return self._left

    def close_connections(self) -> None:
        """Close what a dead process has left open."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def _after_power_loss(self, path: Path, written: bytes) -> bytes:
        file = self._synced.get(path.stat().st_ino)
        if file is None:
            return written
        content = file.durable.copy()
        part = self._draw.choice((0.0, 0.5, 0.9, 1.0))
        for offset, data in file.written:
            if not data:
                if self._draw.random() < part:
                    _write(content, offset, data)
                continue
            for at in range(0, len(data), SECTOR_BYTES):
                if self._draw.random() < part:
                    _write(content, offset + at, data[at : at + SECTOR_BYTES])
        return bytes(content)


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if not data:
        del content[offset:]
        return
    if offset > len(content):
        content += bytes(offset - len(content))
    content[offset : offset + len(data)] = data


def knows_machines(files: Files, folder: Path, machines: int) -> bool:
    """Whether an outbox of these files is whole, and knows each machine's last sample. ``folder`` is for a trial."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    connection = sqlite3.connect(folder / OUTBOX)
    try:
        (whole,) = connection.execute("PRAGMA integrity_check").fetchone()
        query = "SELECT count(*) FROM device_state WHERE last_source_ns IS NOT NULL"
        return bool(whole == "ok" and connection.execute(query).fetchone()[0] == machines)
    except sqlite3.Error:
        return False
    finally:
        connection.close()
        for left in folder.iterdir():
            left.unlink()
        folder.rmdir()


class SimulatedOs:
    """Stands in for the module ``os`` where the agent writes to files beside its database."""

    def __init__(self) -> None:
        self._files: dict[int, tuple[sqlite_hooks.FileHooks, int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = os.open(path, flags, mode)
        disk = sqlite_hooks.hooks_of(str(path))
        self._files.pop(descriptor, None)
        if disk is not None and path.is_file():
            self._files[descriptor] = (disk, disk.opened(path))
            if flags & os.O_TRUNC:
                _raise_for(disk.truncate(self._files[descriptor][1], 0))
        return descriptor

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        if (file := self._files.get(descriptor)) is not None:
            _raise_for(file[0].write(file[1], offset, data))
        return os.pwrite(descriptor, data, offset)

    def write(self, descriptor: int, data: bytes) -> int:
        if (file := self._files.get(descriptor)) is not None:
            _raise_for(file[0].write(file[1], os.lseek(descriptor, 0, os.SEEK_CUR), data))
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        if (file := self._files.get(descriptor)) is not None:
            _raise_for(file[0].sync(file[1]))

    def close(self, descriptor: int) -> None:
        self._files.pop(descriptor, None)
        os.close(descriptor)

    def close_all(self) -> None:
        """Close what dead processes have left open."""
        for descriptor in list(self._files):
            self.close(descriptor)


def _raise_for(code: int) -> None:
    if code != OK:
        number = errno.ENOSPC if code == FULL else errno.EIO
        raise OSError(number, os.strerror(number))
