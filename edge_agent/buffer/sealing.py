"""Encryption at rest: what machines say is sealed before SQLite sees it, and opened after it was read.

A sealed value is one blob: ``LSE`` and version, key id (4 bytes), lane (1 byte, 0 for what is no batch), nonce (12
random bytes), ciphertext and tag of AES-256-GCM (NIST SP 800-38D). Nothing that is stored plain begins like that, so
plain and sealed values stand side by side: encryption can be turned on, turned off, and its key changed while batches
wait.

The associated data say where a value belongs: of a batch (epoch, number, lane), of anything else its place. A blob that
was moved or swapped does not open. Which columns are sealed, and against whom: docs/decisions/0009.
"""

from __future__ import annotations

import os
import struct
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from connectors.model.errors import PayloadInvalid

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_MAGIC: Final = b"LSE\x01"
_HEAD: Final = struct.Struct("<4s4sB")
_ROW: Final = struct.Struct("<4sqqB")
_NONCE_END: Final = _HEAD.size + NONCE_BYTES
SEALED_BYTES: Final = _NONCE_END + TAG_BYTES
"""How much longer a sealed value is than a plain one."""


def definition_place(hash_: str) -> str:
    """Where the body of a definition belongs."""
    return f"definition {hash_}"


def alias_place(alias: int) -> str:
    """Where the name of an alias belongs."""
    return f"alias {alias}"


def gap_place(device: str) -> str:
    """Where the detail of an open gap belongs."""
    return f"gap {device}"


class KeyLost(PayloadInvalid):
    """A value was sealed with a key that is not configured: the caller gives it up, and says so."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"sealed with the key {key_id}, which is not configured (outbox.encryption)")
        self.key_id = key_id


def new_key() -> str:
    """A new key as the setting takes it: 32 random bytes in base64."""
    return b64encode(os.urandom(KEY_BYTES)).decode()


def key_id_of(key: bytes) -> str:
    """By what a key is called in rows and messages, 8 hexadecimal digits; nothing can be learnt of the key from it."""
    return sha256(b"Lineside outbox key id\0" + key).hexdigest()[:8]


def sealed_with(stored: object) -> str:
    """The id of the key that ``stored`` was sealed with; empty when it is plain."""
    if not isinstance(stored, bytes) or len(stored) < SEALED_BYTES or not stored.startswith(_MAGIC):
        return ""
    return stored[len(_MAGIC) : len(_MAGIC) + 4].hex()


class Sealing:
    """The keys of one outbox. It keeps no state between calls, so that several threads can share it."""

    def __init__(self, key: bytes | None = None, previous_keys: Iterable[bytes] = ()) -> None:
        """New values are sealed with ``key``, or stored plain without one; ``previous_keys`` only open older ones.

        Keys are ``KEY_BYTES`` long.
        """
        self.key_id = "" if key is None else key_id_of(key)
        self._ciphers: dict[str, AESGCM] = {}
        for known in (*previous_keys, *([] if key is None else [key])):
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # most of a MB, which a plain outbox saves

            if len(known) != KEY_BYTES:
                raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(known)}")
            self._ciphers[key_id_of(known)] = AESGCM(known)
        self._key_id = bytes.fromhex(self.key_id)
        self._cipher = self._ciphers.get(self.key_id)

    def knows(self, key_id: str) -> bool:
        """Whether values sealed with this key can be opened; plain ones (empty) always can."""
        return not key_id or key_id in self._ciphers

    def is_current(self, stored: bytes | str) -> bool:
        """Whether ``stored`` is as a new value would be: sealed with the current key, or plain without one."""
        return sealed_with(stored) == self.key_id

    def seal_batch(self, payload: bytes, epoch: int, batch: int, lane: int) -> bytes:
        """The payload of a batch as it is stored."""
        return self._seal(payload, _row_place(epoch, batch, lane), lane)

    def open_batch(self, stored: object, epoch: int, batch: int, lane: int | None) -> bytes:
        """The payload of a batch; ``lane`` is ``None`` where it is not stored beside it.

        Raises ``KeyLost``, or ``PayloadInvalid`` when the row is damaged or not at its own place.
        """
        if not isinstance(stored, bytes):
            raise PayloadInvalid("its payload is no bytes")
        if not sealed_with(stored):
            return stored
        found_lane = stored[_HEAD.size - 1]
        if lane is not None and lane != found_lane:
            raise PayloadInvalid(f"a row of lane {lane} holds what was sealed for lane {found_lane}")
        return self._open(stored, _row_place(epoch, batch, found_lane))

    def reseal_batch(self, stored: bytes, epoch: int, batch: int, lane: int | None) -> bytes:
        """The payload of a batch sealed anew, or plain without a key. Raises as ``open_batch`` does."""
        payload = self.open_batch(stored, epoch, batch, lane)
        if lane is None:
            lane = stored[_HEAD.size - 1] if sealed_with(stored) else 0
        return self.seal_batch(payload, epoch, batch, lane)

    def seal_bytes(self, data: bytes, place: str) -> bytes:
        """``data`` as it is stored at ``place``, such as ``definition 0123…``."""
        return self._seal(data, place.encode(), 0)

    def open_bytes(self, stored: object, place: str) -> bytes:
        """What ``seal_bytes`` was given. Raises ``KeyLost``, ``PayloadInvalid``."""
        if not isinstance(stored, bytes):
            raise PayloadInvalid(f"what is stored for {place} is no bytes")
        return self._open(stored, place.encode()) if sealed_with(stored) else stored

    def seal_text(self, text: str, place: str) -> str | bytes:
        """``text`` as it is stored at ``place``: a text, or sealed a blob."""
        return text if self._cipher is None else self.seal_bytes(text.encode(), place)

    def open_text(self, stored: object, place: str) -> str:
        """What ``seal_text`` was given. Raises ``KeyLost``, ``PayloadInvalid``."""
        if isinstance(stored, str):
            return stored
        if not isinstance(stored, bytes) or not sealed_with(stored):
            raise PayloadInvalid(f"the text of {place} is damaged")
        try:
            return self._open(stored, place.encode()).decode()
        except UnicodeDecodeError as exc:
            raise PayloadInvalid(f"the text of {place} is damaged") from exc

    def _seal(self, plain: bytes, place: bytes, lane: int) -> bytes:
        if self._cipher is None:
            return plain
        head = _HEAD.pack(_MAGIC, self._key_id, lane)
        nonce = os.urandom(NONCE_BYTES)
        return b"".join((head, nonce, self._cipher.encrypt(nonce, plain, head + place)))

    def _open(self, stored: bytes, place: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        cipher = self._ciphers.get(sealed_with(stored))
        if cipher is None:
            raise KeyLost(sealed_with(stored))
        head, nonce, sealed = stored[: _HEAD.size], stored[_HEAD.size : _NONCE_END], memoryview(stored)[_NONCE_END:]
        try:
            return cipher.decrypt(nonce, sealed, head + place)
        except InvalidTag as exc:
            raise PayloadInvalid("it does not open with its key: it is damaged, or belongs to another row") from exc


def _row_place(epoch: int, batch: int, lane: int) -> bytes:
    try:
        return _ROW.pack(b"row\0", epoch, batch, lane)
    except struct.error as exc:
        raise PayloadInvalid("its epoch, number or lane is none") from exc


PLAIN: Final = Sealing()
"""No encryption, and no keys."""
