"""Ids of commands that were refused because the journal could not be written, kept where a full disk does not matter.

A refusal is final: what the cloud was told is refused must not be done when it comes again, not even after a crash. So
the ids stand in a small file of which every byte was written in better times; writing over them needs no room.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from connectors.commands.envelope import Envelope

SLOTS: Final = 1000
_SLOT_BYTES: Final = 48
"""The id (26), a space, when it expires (16 digits), and a line feed; what is left is spaces."""
_FREE: Final = b" " * (_SLOT_BYTES - 1) + b"\n"


class TurnedAway:
    """See the module. Every method may raise ``OSError``."""

    def __init__(self, path: Path) -> None:
        """Open the file, and make it as long as it will ever be."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        content = os.pread(self._descriptor, SLOTS * _SLOT_BYTES, 0)
        self._slots: dict[str, tuple[int, int]] = {}
        for slot in range(len(content) // _SLOT_BYTES):
            words = content[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES].split()
            if len(words) == 2 and words[1].isdigit():
                self._slots[words[0].decode("ascii", "replace")] = (slot, int(words[1]))
        if len(content) < SLOTS * _SLOT_BYTES:
            missing = SLOTS - len(content) // _SLOT_BYTES
            os.pwrite(self._descriptor, _FREE * missing, len(content) // _SLOT_BYTES * _SLOT_BYTES)
            os.fsync(self._descriptor)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._slots

    def add(self, envelopes: Iterable[Envelope], latest_ms: float) -> list[str]:
        """Keep the ids of these; those that are on disk now. Ids that have expired at ``latest_ms`` give their places.

        There is none for more than ``SLOTS``.
        """
        for id_ in [id_ for id_, (_, expires_ms) in self._slots.items() if expires_ms < latest_ms]:
            del self._slots[id_]
        taken = {slot for slot, _ in self._slots.values()}
        free = (slot for slot in range(SLOTS) if slot not in taken)
        kept: dict[str, tuple[int, int]] = {}
        for envelope, slot in zip(envelopes, free, strict=False):
            text = f"{envelope.id} {envelope.expires_ms:016d}".ljust(_SLOT_BYTES - 1) + "\n"
            os.pwrite(self._descriptor, text.encode(), slot * _SLOT_BYTES)
            kept[envelope.id] = (slot, envelope.expires_ms)
        os.fsync(self._descriptor)
        self._slots |= kept
        return list(kept)

    def remove(self, ids: Iterable[str]) -> None:
        """The journal has these now."""
        gone = [id_ for id_ in ids if id_ in self._slots]
        for id_ in gone:
            os.pwrite(self._descriptor, _FREE, self._slots[id_][0] * _SLOT_BYTES)
        if gone:
            os.fsync(self._descriptor)
        for id_ in gone:
            del self._slots[id_]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
