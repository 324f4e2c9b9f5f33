"""The file of the outbox: opened whatever it is like, and opened anew after an error of the disk.

A damaged file is set aside and salvaged. Only a disk that takes nothing and a file of a newer version end in an error.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.model.delivery import Epoch
from connectors.model.errors import OutboxDamaged, OutboxUnavailable
from edge_agent.buffer.damage import (
    SQLITE_ERRORS,
    Finding,
    find_damage,
    header_damage,
    is_damage,
    is_unreadable,
    named_errors,
)
from edge_agent.buffer.epochs import last_number
from edge_agent.buffer.high_water import HighWater, Mark
from edge_agent.buffer.salvage import Salvage, Salvaged
from edge_agent.buffer.schema import Durability, open_outbox_file
from edge_agent.buffer.sealing import Sealing
from edge_agent.buffer.set_aside import KEPT_MAX, SettingAside, forget_oldest

READS_MAX: Final = 3
READ_AGAIN_S: Final = 0.5
"""A part of the file that cannot be read so many times is damaged, and the disk as such is not."""

_OPEN_AGAIN_CODES: Final = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL}
)

_WAITING: Final = (
    "SELECT batch, created_ms, gap_ns, EXISTS (SELECT 1 FROM given_up_batches) FROM (SELECT min(first_ns) AS gap_ns "
    "FROM (SELECT first_ns FROM gap UNION ALL SELECT first_ns FROM not_taken UNION ALL SELECT first_ns FROM given_up)) "
    "LEFT JOIN (SELECT batch, created_ms FROM outbox ORDER BY batch LIMIT 1)"
)
"""The oldest batch that waits and when it was made; since when something is missing that no record tells of yet, and
whether numbers are among it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How the file was found.

    ``salvaged`` and ``set_aside`` (a name in the same folder) when it was damaged, and ``reason``. ``to_check``: it was
    not closed, and is too large to look at every page before it is used.
    """

    salvaged: Salvaged | None = None
    set_aside: str = ""
    reason: str = ""
    to_check: bool = False


class OutboxFile:
    """One outbox on the disk. ``release``: called before it is opened anew, so that nobody else holds it open."""

    def __init__(self, path: Path, durability: Durability, sealing: Sealing, free_disk_bytes_min: int) -> None:
        self.path = path
        self.high_water = HighWater(path)
        self.release: Callable[[], None] = lambda: None
        self._durability = durability
        self._sealing = sealing
        self._free_disk_bytes_min = free_disk_bytes_min
        self._connection: sqlite3.Connection | None = None
        self._waiting: tuple[int | None, int | None, int | None, int] | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The open file. Raises ``OutboxUnavailable`` while the disk does not let it be opened anew."""
        if self._connection is None:
            raise OutboxUnavailable(f"the outbox {self.path} is closed, as the disk has failed")
        return self._connection

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def open(self, now_ms: int, suspicion: str = "", *, is_certain: bool = False) -> tuple[Mark | None, Opening]:
        """Open the file, salvaging it when it is damaged; the mark beside it, and how it was found.

        ``suspicion``: why every page is to be looked at first; ``is_certain``: not even that, it is damaged.

        Raises ``OutboxUnavailable`` when the disk does not take it, ``OutboxTooNew``.
        """
        self.close()
        mark = self.high_water.read()
        aside = SettingAside(self.path)
        with _disk_errors(self.path, "opened"):
            pending = aside.pending()
            if pending is None:
                was_closed = not _size(self.path.with_name(self.path.name + "-wal"))
                finding = Finding(suspicion) if is_certain else self._look(mark, bounded=not suspicion)
                if self._connection is not None:
                    return mark, Opening(to_check=not finding.is_complete and not was_closed)
                pending = aside.begin(finding.reason, now_ms), finding.reason
            return mark, self._salvage(aside, *pending, mark, now_ms)

    def open_again(self, last: int, epoch: Epoch) -> int:
        """After an error of the disk: open the file anew, and see what it holds; the highest number in it.

        Everything is written to the database and synced before it is believed: what a failed sync has left in memory
        only would be gone later. Raises ``OutboxUnavailable`` while the disk fails, ``OutboxDamaged`` when batches up
        to ``last`` of ``epoch`` are not there any more, or the file is damaged.
        """
        self.close_connection()
        self.release()
        with named_errors(self.path, "opened"):
            connection = open_outbox_file(self.path, self._durability)
        try:
            with named_errors(self.path, "written"):
                (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if busy:
                    raise OutboxUnavailable(f"the outbox {self.path} is held open by another program")
                finding = find_damage(connection, None)
                found = last_number(connection)
                known = connection.execute("SELECT 1 FROM epoch WHERE epoch=?", (epoch,)).fetchone() is not None
            if finding.reason:
                raise OutboxDamaged(f"the outbox {self.path} is damaged: {finding.reason}")
            if found < last or not known:
                raise OutboxDamaged(
                    f"the outbox {self.path} ends with batch {found}, and batch {last} had been committed"
                )
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return found

    def commit(self) -> None:
        """End a transaction, and see in it what waits: alone that would be one more. Raises ``sqlite3.Error``."""
        self._waiting = None
        with contextlib.suppress(sqlite3.Error):
            self._waiting = self.connection.execute(_WAITING).fetchone()
        self.connection.execute("COMMIT")

    def note(self, last: int, newest_gap: int, now_ms: int) -> None:
        """After a commit: move the mark on. Below ``newest_gap`` there may be numbers that only a row here explains."""
        if self._waiting is None:
            self.high_water.advance(last)
            return
        batch, created_ms, gap_ns, has_sums = self._waiting
        oldest, since_ms = (last + 1, now_ms) if batch is None or created_ms is None else (batch, created_ms)
        if gap_ns is not None:
            since_ms = min(since_ms, gap_ns // 1_000_000)
        self.high_water.advance(last, oldest, since_ms, may_forget=oldest > newest_gap and not has_sums)

    def close_connection(self) -> None:
        """Close the database, and nothing else."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def close(self) -> None:
        """Close everything."""
        self.close_connection()
        self.high_water.close()

    def make_way(self) -> bool:
        """The disk is full: a file that was set aside leaves; whether there was one, and it is not needed any more."""
        try:
            kept = 1 if SettingAside(self.path).pending() is not None else 0
        except OSError:
            return False
        return forget_oldest(self.path, kept)

    def _look(self, mark: Mark | None, *, bounded: bool) -> Finding:
        """Open the file if nothing is wrong with it."""
        for attempt in range(READS_MAX):
            if reason := header_damage(self.path):
                return Finding(reason)
            connection: sqlite3.Connection | None = None
            try:
                connection = open_outbox_file(self.path, self._durability)
                finding = find_damage(connection, mark, bounded=bounded)
            except OutboxDamaged as exc:
                finding = Finding(str(exc))
            except SQLITE_ERRORS as exc:
                finding = Finding(str(exc))
                if not is_damage(exc):
                    _close(connection)
                    connection = None
                    if not is_unreadable(exc):
                        raise
                    if attempt < READS_MAX - 1:
                        time.sleep(READ_AGAIN_S)
                        continue
            if finding.reason:
                _close(connection)
            else:
                self._connection = connection
            return finding
        raise AssertionError("the last attempt returns")

    def _salvage(self, aside: SettingAside, damaged: Path, reason: str, mark: Mark | None, now_ms: int) -> Opening:
        aside.move(damaged)
        aside.clear()
        room = self._room_for(_size(damaged) + _size(damaged.with_name(damaged.name + "-wal")))
        salvaged = Salvage(aside.fresh, damaged, mark, self._sealing, room).run(reason, now_ms)
        aside.replace()
        while forget_oldest(self.path, KEPT_MAX):
            pass
        while _free_bytes(self.path) < self._free_disk_bytes_min and forget_oldest(self.path):
            pass
        self._connection = open_outbox_file(self.path, self._durability)
        return Opening(salvaged, damaged.name, reason)

    def _room_for(self, size: int) -> int | None:
        """How large the new file may become beside the damaged one; ``None`` when it does not matter."""
        while _free_bytes(self.path) < size + self._free_disk_bytes_min and forget_oldest(self.path, 1):
            pass
        free = _free_bytes(self.path)
        if free >= size + self._free_disk_bytes_min:
            return None
        return max(free - self._free_disk_bytes_min, free // 2)


def is_worth_opening_again(error: sqlite3.Error) -> bool:
    """Whether a connection that has met ``error`` may know something else than the disk."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _OPEN_AGAIN_CODES and not is_unreadable(error)


@contextmanager
def _disk_errors(path: Path, verb: str) -> Iterator[None]:
    """While the file is opened, every error is one of the disk: what was damaged has been dealt with."""
    try:
        yield
    except (OSError, *SQLITE_ERRORS) as exc:
        raise OutboxUnavailable(f"the outbox {path} cannot be {verb}: {exc}") from exc


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        with contextlib.suppress(sqlite3.Error):
            connection.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _free_bytes(path: Path) -> int:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return 0
    return disk.f_bavail * disk.f_frsize
