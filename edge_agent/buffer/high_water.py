"""How far the numbers of the outbox went, in a file of its own beside it: a second witness.

A write-ahead log can be lost, a file come back older than it was or not at all: the database itself cannot say what it
has forgotten. The mark is moved on after a commit and before anybody hears of its numbers, so no number that ever left
the outbox is above it. It is not synced: after a loss of power it may be some seconds old, and then says less.

Layout (little-endian): a head, moved on by every commit (magic, epoch, first batch, started_ms, last batch, oldest
batch that waits, since_ms, highest alias, CRC-32), and at ``_LIST_AT`` the earlier starts of the agent, written at a
start (number of them, the epoch that they are earlier than, then epoch, first batch and started_ms of each, CRC-32).
"""

from __future__ import annotations

import contextlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

from connectors.model.delivery import EPOCH_MAX, Epoch

_MAGIC: Final = b"LSmark1\n"
_HEAD: Final = struct.Struct("<8s7q")
_ENTRY: Final = struct.Struct("<3q")
_LIST: Final = struct.Struct("<Iq")
_CRC: Final = struct.Struct("<I")
_LIST_AT: Final = 512
_EARLIER_MAX: Final = 100
_SIZE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class EpochBegun:
    """A start of the agent: its epoch, the first batch number that it gave, and when it was."""

    epoch: Epoch
    first: int
    started_ms: int


@dataclass(frozen=True, slots=True)
class Mark:
    """What the file says.

    ``last``: no higher number was ever given. ``oldest``: what is below has left, and the cloud knows how.
    ``since_ms``: nothing that the cloud does not know is older, neither a batch nor a gap. ``alias``: no higher one was
    ever given. ``earlier``: starts before ``newest``, oldest first; ``is_complete``: all that there were.
    """

    newest: EpochBegun
    last: int
    oldest: int
    since_ms: int
    alias: int
    earlier: tuple[EpochBegun, ...] = ()
    is_complete: bool = True

    @property
    def epochs(self) -> tuple[EpochBegun, ...]:
        """All starts, oldest first."""
        return (*self.earlier, self.newest)


class HighWater:
    """The file of the mark. What the disk does not take is left out: the next start then knows less, and no worse."""

    def __init__(self, outbox: Path) -> None:
        self._path = outbox.with_name(outbox.name + ".mark")
        self._descriptor: int | None = None
        self._mark: Mark | None = None

    def read(self) -> Mark | None:
        """The mark; ``None`` when there is none that can be believed."""
        try:
            data = self._path.read_bytes()
            *head, crc = struct.unpack_from(_HEAD.format + "I", data)
        except (OSError, struct.error):
            return None
        magic, epoch, first, started_ms, last, oldest, since_ms, alias = head
        if magic != _MAGIC or crc != crc32(data[: _HEAD.size]):
            return None
        newest, earlier = EpochBegun(Epoch(epoch), first, started_ms), _read_list(data, epoch)
        is_complete = earlier is not None and len(earlier) < _EARLIER_MAX
        mark = Mark(newest, last, oldest, since_ms, alias, earlier or (), is_complete)
        return mark if _is_sound(mark) else None

    def begin(self, mark: Mark) -> None:
        """A start of the agent: write all of the mark."""
        self.close()
        entries = mark.earlier[-_EARLIER_MAX:]
        packed = b"".join(_ENTRY.pack(each.epoch, each.first, each.started_ms) for each in entries)
        listed = _LIST.pack(len(entries), mark.newest.epoch) + packed
        data = _head(mark).ljust(_LIST_AT, b"\0") + listed + _CRC.pack(crc32(listed))
        with contextlib.suppress(OSError):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._descriptor, data.ljust(_SIZE_BYTES, b"\0"), 0)
            os.fsync(self._descriptor)
        self._mark = mark

    def advance(
        self, last: int, oldest: int = 0, since_ms: int | None = None, *, alias: int = 0, may_forget: bool = False
    ) -> None:
        """Numbers up to ``last`` were given; only with ``may_forget`` the cloud knows all that is before ``oldest``."""
        mark = self._mark
        if mark is None:
            return
        if since_ms is None:
            since_ms = mark.since_ms
        elif not may_forget:
            since_ms = min(since_ms, mark.since_ms)
        oldest = max(oldest, mark.oldest) if may_forget else mark.oldest
        last, alias = max(last, mark.last), max(alias, mark.alias)
        changed = Mark(mark.newest, last, oldest, since_ms, alias, mark.earlier, mark.is_complete)
        if changed == mark or self._descriptor is None:
            return
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, _head(changed), 0)
        self._mark = changed

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = None


def _head(mark: Mark) -> bytes:
    newest = mark.newest
    head = _HEAD.pack(
        _MAGIC, newest.epoch, newest.first, newest.started_ms, mark.last, mark.oldest, mark.since_ms, mark.alias
    )
    return head + _CRC.pack(crc32(head))


def _read_list(data: bytes, newest: int) -> tuple[EpochBegun, ...] | None:
    """The starts before ``newest``; ``None`` when the list is damaged, or that of another start."""
    try:
        count, of = _LIST.unpack_from(data, _LIST_AT)
        end = _LIST_AT + _LIST.size + count * _ENTRY.size
        (crc,) = _CRC.unpack_from(data, end)
    except struct.error:
        return None
    if count > _EARLIER_MAX or of != newest or crc != crc32(data[_LIST_AT:end]):
        return None
    entries = _ENTRY.iter_unpack(data[_LIST_AT + _LIST.size : end])
    return tuple(EpochBegun(Epoch(epoch), first, started_ms) for epoch, first, started_ms in entries)


def _is_sound(mark: Mark) -> bool:
    return 0 < mark.newest.epoch <= EPOCH_MAX and 0 < mark.newest.first <= mark.last + 1 < EPOCH_MAX
