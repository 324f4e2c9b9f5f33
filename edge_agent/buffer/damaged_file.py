"""A damaged outbox, read as far as SQLite can: from both ends towards each damage, and around it.

Where the first page is destroyed, which almost every commit rewrites, that of a new outbox stands in for it: tables are
always made in the same order, so they begin where they would in a new one.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from edge_agent.buffer.damage import HEADER_BYTES, SMALL_TABLES, SQLITE_ERRORS, is_damage, is_unreadable
from edge_agent.buffer.schema import PAGE_BYTES, open_damaged_file

PROBES_MAX: Final = 100_000
PROBES_IN_VAIN_MAX: Final = 2000
"""So many ranges of rows are looked into, the largest first; fewer when so many in turn hold nothing to be read."""


class DamagedFile:
    """A database that was set aside. ``suspect``: the tables that could not be read to their end."""

    def __init__(self, path: Path, first_page: bytes) -> None:
        """``first_page``: that of a new outbox. Raises ``OSError``."""
        self.suspect: set[str] = set()
        self._breaks = 0
        self._path = path
        self._connection = self._open()
        if self._connection is None and self._has_more_pages():
            self._mend_first_page(first_page)
            self._connection = self._open()
            self.suspect.update(SMALL_TABLES)
        if self._connection is None:
            self.suspect.update((*SMALL_TABLES, "outbox", "refused"))
        else:
            self._look()

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
        with contextlib.suppress(OSError):  # SQLite makes them even to read
            self._path.with_name(self._path.name + "-shm").unlink(missing_ok=True)
            wal = self._path.with_name(self._path.name + "-wal")
            if not wal.stat().st_size:
                wal.unlink()

    def columns(self, table: str) -> list[str]:
        """The columns of ``table`` in their order; none when it cannot be read."""
        return [str(name) for (name,) in self._rows(table, "SELECT name FROM pragma_table_xinfo(?)", (table,))]

    def rows(self, table: str, columns: str = "*") -> Iterator[tuple[Any, ...]]:
        """The rows of a small table from its beginning, and where that breaks off, from its end."""
        keys = [str(key) for (key,) in self._rows(table, _KEYS, (table,))]
        breaks = self._breaks
        yield from self._rows(table, f"SELECT {columns} FROM {table}")  # noqa: S608
        if self._breaks > breaks and keys:
            backwards = ",".join(f"{key} DESC" for key in keys)
            yield from self._rows(table, f"SELECT {columns} FROM {table} ORDER BY {backwards}")  # noqa: S608

    def batches(self, columns: str, below: int) -> Iterator[tuple[Any, ...]]:
        """The rows of the outbox with numbers below ``below``, ``columns`` of each with ``batch`` first.

        Not in order where something is damaged, and then some of them perhaps twice.
        """
        ranges = [(0, -1, below)]  # the negative size, and the bounds, which do not belong to it
        in_vain = 0
        for _ in range(PROBES_MAX):
            if not ranges or in_vain > PROBES_IN_VAIN_MAX:
                return
            _, low, high = heapq.heappop(ranges)
            in_vain += 1
            for order in ("ASC", "DESC"):
                breaks = self._breaks
                query = f"SELECT {columns} FROM outbox WHERE batch>? AND batch<? ORDER BY batch {order}"  # noqa: S608
                for row in self._rows("outbox", query, (low, high)):
                    in_vain = 0
                    low, high = (max(low, row[0]), high) if order == "ASC" else (low, min(high, row[0]))
                    yield row
                if self._breaks == breaks:
                    break
            else:
                middle = (low + high) // 2
                for begin, end in ((low, middle + 1), (middle, high)):
                    if low < middle and end - begin > 1:
                        heapq.heappush(ranges, (begin - end, begin, end))

    def _rows(self, table: str, query: str, bound: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows until the damage, if there is one. Raises ``sqlite3.Error`` when it is the disk that fails."""
        if self._connection is None:
            return
        try:
            yield from self._connection.execute(query, bound)
        except SQLITE_ERRORS as exc:
            if not is_damage(exc) and not is_unreadable(exc):
                raise
            self.suspect.add(table)
            self._breaks += 1

    def _open(self) -> sqlite3.Connection | None:
        """A connection that finds the tables; ``None`` when there is none."""
        try:
            if self._path.stat().st_size < PAGE_BYTES:
                return None
            connection = open_damaged_file(self._path)
        except (OSError, *SQLITE_ERRORS):
            return None
        try:
            connection.execute("SELECT batch, epoch, payload FROM outbox LIMIT 0")
        except SQLITE_ERRORS:
            connection.close()
            return None
        return connection

    def _has_more_pages(self) -> bool:
        wal = self._path.with_name(self._path.name + "-wal")
        return self._path.exists() and (wal.exists() or self._path.stat().st_size > PAGE_BYTES)

    def _mend_first_page(self, first_page: bytes) -> None:
        """Let the first page of a new outbox stand in for this one's, which is kept beside it."""
        with self._path.open("r+b") as file:
            old = file.read(PAGE_BYTES)
            self._path.with_name(self._path.name + "-page1").write_bytes(old)
            pages = max(1, os.fstat(file.fileno()).st_size // PAGE_BYTES)
            file.seek(0)
            file.write(_with_header(first_page, pages))
            if len(old) < PAGE_BYTES:
                file.truncate(PAGE_BYTES)

    def _look(self) -> None:
        """Note which of the small tables are damaged."""
        assert self._connection is not None  # noqa: S101  only called with one
        for table in SMALL_TABLES:
            try:
                (answer,) = self._connection.execute(f"PRAGMA integrity_check('{table}')").fetchone()
            except SQLITE_ERRORS:
                answer = "it cannot be read"
            if answer != "ok":
                self.suspect.add(table)


_KEYS: Final = "SELECT name FROM pragma_table_xinfo(?) WHERE pk ORDER BY pk"


def _with_header(first_page: bytes, pages: int) -> bytes:
    """A first page that says how large the file is, and that no page of it is free."""
    header = bytearray(first_page[:HEADER_BYTES])
    header[18:20] = b"\2\2"  # with a write-ahead log
    header[28:32] = pages.to_bytes(4, "big")
    header[32:40] = bytes(8)
    header[92:96] = header[24:28]
    return bytes(header) + first_page[HEADER_BYTES:]
