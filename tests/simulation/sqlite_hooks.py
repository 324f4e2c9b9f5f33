"""Hooks under SQLite: every write, truncation and sync of a database file passes here before the file system has it.

The library is the one that Python's ``sqlite3`` has loaded, and its own VFS does the work; of each file that it opens
only the three methods that change it are replaced. So the product's code runs as it is, with real files, locks and
shared memory, and a commit costs a few microseconds more. A trial of the alternatives (SQLite 3.40): apsw brings a
second SQLite, whose API is not ``sqlite3``'s, and its VFS cannot do shared memory, so that a write-ahead log would need
another locking mode than the product uses; copies of the file between commits see no write inside of a commit.
"""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

VFS_NAME: Final = "lineside-simulated"
OK: Final = 0
FULL: Final = 13
IO_ERROR_WRITE: Final = 10 | (3 << 8)
IO_ERROR_SYNC: Final = 10 | (4 << 8)
IO_ERROR_TRUNCATE: Final = 10 | (6 << 8)


class FileHooks(Protocol):
    """What a disk decides about a file, by its inode; only with the answer ``OK`` the file system is asked."""

    def opened(self, path: Path) -> int: ...
    def write(self, inode: int, offset: int, data: bytes) -> int: ...
    def truncate(self, inode: int, size_bytes: int) -> int: ...
    def sync(self, inode: int) -> int: ...


class _IoMethods(c.Structure):
    """``sqlite3_io_methods`` (sqlite3.h)."""

    _fields_ = [
        ("iVersion", c.c_int),
        *((name, c.c_void_p) for name in (
            "xClose", "xRead", "xWrite", "xTruncate", "xSync", "xFileSize", "xLock", "xUnlock", "xCheckReservedLock",
            "xFileControl", "xSectorSize", "xDeviceCharacteristics", "xShmMap", "xShmLock", "xShmBarrier", "xShmUnmap",
            "xFetch", "xUnfetch",
        )),
    ]  # fmt: skip


class _File(c.Structure):
    """``sqlite3_file``."""

    _fields_ = [("pMethods", c.POINTER(_IoMethods))]


class _Vfs(c.Structure):
    """``sqlite3_vfs``."""

    _fields_ = [
        ("iVersion", c.c_int),
        ("szOsFile", c.c_int),
        ("mxPathname", c.c_int),
        ("pNext", c.c_void_p),
        ("zName", c.c_char_p),
        ("pAppData", c.c_void_p),
        *((name, c.c_void_p) for name in (
            "xOpen", "xDelete", "xAccess", "xFullPathname", "xDlOpen", "xDlError", "xDlSym", "xDlClose", "xRandomness",
            "xSleep", "xCurrentTime", "xGetLastError", "xCurrentTimeInt64", "xSetSystemCall", "xGetSystemCall",
            "xNextSystemCall",
        )),
    ]  # fmt: skip


_Open: Final = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.POINTER(_File), c.c_int, c.c_void_p)
_Write: Final = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_int, c.c_int64)
_Truncate: Final = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int64)
_Sync: Final = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int)


class _Hooks:
    """The VFS of this process."""

    def __init__(self) -> None:
        self.folders: dict[str, FileHooks] = {}
        self._files: dict[int, tuple[FileHooks, int]] = {}
        self._tables: dict[int, _IoMethods] = {}
        self._kept: list[Any] = []  # what C code holds pointers to
        library = _loaded_library()
        library.sqlite3_vfs_find.restype = c.POINTER(_Vfs)
        real = library.sqlite3_vfs_find(None)
        self._real = c.cast(real, c.c_void_p)
        self._open_really = _Open(real.contents.xOpen)
        own = _Vfs()
        c.pointer(own)[0] = real.contents
        own.pNext = None
        own.zName = VFS_NAME.encode()
        own.xOpen = self._pointer(_Open(self._open))
        self._kept.append(own)
        if library.sqlite3_vfs_register(c.byref(own), 0) != OK:
            raise RuntimeError("SQLite does not take another VFS")

    def _open(self, _vfs: int, name: int | None, file: Any, flags: int, out_flags: int) -> int:
        # the name is passed on where it lies: SQLite keeps the pointer, and more behind its end
        code: int = self._open_really(self._real, name, file, flags, out_flags)
        try:
            address = c.addressof(file.contents)
            self._files.pop(address, None)
            path = None if name is None else Path(c.string_at(name).decode())
            disk = None if path is None else self.folders.get(str(path.parent))
            if code == OK and path is not None and disk is not None:
                self._files[address] = (disk, disk.opened(path))
                file.contents.pMethods = c.pointer(self._table(file.contents.pMethods))
        except BaseException as exc:  # no exception passes through C
            self._failed(exc)
        return code

    def _table(self, real: Any) -> _IoMethods:
        """The methods of a file with ours among them; SQLite has a few tables, by the way in which it locks."""
        address = c.addressof(real.contents)
        known = self._tables.get(address)
        if known is None:
            known = self._tables[address] = _IoMethods()
            c.pointer(known)[0] = real.contents
            self._hook(known)
        return known

    def _hook(self, table: _IoMethods) -> None:
        write, truncate, sync = _Write(table.xWrite), _Truncate(table.xTruncate), _Sync(table.xSync)
        files = self._files

        def on_write(file: int, data: int, size: int, offset: int) -> int:
            disk, inode = files[file]
            code = self._asked(IO_ERROR_WRITE, lambda: disk.write(inode, offset, c.string_at(data, size)))
            return code or int(write(file, data, size, offset))

        def on_truncate(file: int, size: int) -> int:
            disk, inode = files[file]
            return self._asked(IO_ERROR_TRUNCATE, lambda: disk.truncate(inode, size)) or int(truncate(file, size))

        def on_sync(file: int, flags: int) -> int:
            disk, inode = files[file]
            return self._asked(IO_ERROR_SYNC, lambda: disk.sync(inode)) or int(sync(file, flags))

        table.xWrite = self._pointer(_Write(on_write))
        table.xTruncate = self._pointer(_Truncate(on_truncate))
        table.xSync = self._pointer(_Sync(on_sync))

    def _asked(self, code: int, ask: Callable[[], int]) -> int:
        try:
            return ask()
        except BaseException as exc:  # no exception passes through C
            self._failed(exc)
            return code

    def _failed(self, exc: BaseException) -> None:
        failures.append(exc)

    def _pointer(self, function: Any) -> int | None:
        self._kept.append(function)
        return c.cast(function, c.c_void_p).value


failures: Final[list[BaseException]] = []
"""Defects of a hook, which cannot be raised where they happen."""

_hooks: list[_Hooks] = []


def hook(folder: Path, disk: FileHooks) -> None:
    """From now on, files in ``folder`` that are opened with the VFS ``VFS_NAME`` ask ``disk``."""
    if not _hooks:
        _hooks.append(_Hooks())
    _hooks[0].folders[str(folder)] = disk


def unhook(folder: Path) -> None:
    """The folder is gone."""
    _hooks[0].folders.pop(str(folder), None)


def hooks_of(path: str) -> FileHooks | None:
    """Whom a file is to ask that is opened without SQLite."""
    return _hooks[0].folders.get(os.path.dirname(path)) if _hooks else None


def _loaded_library() -> Any:
    """The SQLite that Python's ``sqlite3`` uses: what its extension module is linked to."""
    import _sqlite3

    library = c.CDLL(getattr(_sqlite3, "__file__", None))
    if not hasattr(library, "sqlite3_vfs_find"):
        raise RuntimeError(
            "this Python has SQLite built in, and hides it; the simulation needs one that loads it as a library, "
            "such as the one of the Linux distribution"
        )
    return library
