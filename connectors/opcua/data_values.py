"""DataValues in bytes (OPC UA Part 6, 5.2.2.17): how long one is, and where its parts are.

Publish responses carry them behind client handles, Read responses one after the other.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary
from asyncua.ua.uaerrors import UaError
from numpy.typing import NDArray

from connectors.model.errors import PayloadInvalid
from connectors.opcua.wire_types import STRING, WIRE_TYPES, one_tick_to_ns

HAS_VALUE, HAS_STATUS, HAS_SOURCE_TIME, HAS_SERVER_TIME = 0x01, 0x02, 0x04, 0x08
HAS_SOURCE_PICO, HAS_SERVER_PICO = 0x10, 0x20
IS_ARRAY, HAS_DIMENSIONS = 0x80, 0x40
"""In the first byte of a Variant, above its type (Part 6, 5.2.2.16)."""

OPTIONAL_SIZES: Final = (
    (HAS_STATUS, 4),
    (HAS_SOURCE_TIME, 8),
    (HAS_SOURCE_PICO, 2),
    (HAS_SERVER_TIME, 8),
    (HAS_SERVER_PICO, 2),
)
DECODING_ERRORS: Final = (PayloadInvalid, UaError, struct.error, IndexError, ValueError)
"""What a malformed response can raise on its way through these functions."""

_I32: Final = struct.Struct("<i")


def leading(flags: NDArray[np.bool_]) -> int:
    """How many flags are true before the first that is not."""
    return len(flags) if np.count_nonzero(flags) == len(flags) else int(flags.argmin())


def fixed_size(mask: int, code: int) -> int:
    """The bytes of a DataValue with this mask and first byte of its value; 0 when that does not say it."""
    wire = WIRE_TYPES.get(code)
    if not mask & HAS_VALUE or wire is None or wire.dtype is None:
        return 0
    return 2 + wire.dtype.itemsize + TAILS[mask & TAIL_BITS].size


def value_at(body: bytes, at: int) -> tuple[int, str | ua.Variant | None]:
    """(position after it, value) of the Variant at ``at``: a text as it is, everything else by asyncua's decoder."""
    if body[at] != STRING:
        _check_array(body, at)
        buffer = Buffer(body, at)
        try:
            variant = variant_from_binary(buffer)
        except (AttributeError, KeyError, MemoryError, RecursionError, TypeError) as exc:
            raise PayloadInvalid(f"a value cannot be read: {exc}") from exc
        return buffer.cur_pos, variant
    length = _I32.unpack_from(body, at + 1)[0]
    start = at + 5
    if length < 0:
        return start, None
    if start + length > len(body):
        raise PayloadInvalid("a text is longer than the notification that carries it")
    return start + length, body[start : start + length].decode("utf-8", "replace")


def _check_array(body: bytes, at: int) -> None:
    """Refuse an array that cannot be there: asyncua's decoder believes the length, and would count to it."""
    if not body[at] & IS_ARRAY:
        if body[at] & HAS_DIMENSIONS:
            raise PayloadInvalid("a single value has the dimensions of an array")
        return
    length = _I32.unpack_from(body, at + 1)[0]
    if length > len(body) - at or (length > 0 and not body[at] & ~(IS_ARRAY | HAS_DIMENSIONS)):
        raise PayloadInvalid(f"an array of {length} values is longer than the notification that carries it")


def rest_of_item(body: bytes, start: int, at: int, mask: int, received_ns: int) -> tuple[int, int, int]:
    """(bytes of the whole item, status code, time) from the optional fields, which begin at ``at``."""
    fields = TAILS[mask & TAIL_BITS]
    if at + fields.size > len(body):
        raise PayloadInvalid("a notification breaks off")
    status, ticks = fields.status_and_ticks(body, at)
    return at + fields.size - start, status, one_tick_to_ns(ticks) if ticks else received_ns


class Tail:
    """The optional fields of a DataValue after its value, for one mask: read in one step."""

    __slots__ = ("_status", "_times", "_unpack", "has_time", "size")

    def __init__(self, mask: int) -> None:
        letters = {
            HAS_STATUS: "I",
            HAS_SOURCE_TIME: "q",
            HAS_SOURCE_PICO: "H",
            HAS_SERVER_TIME: "q",
            HAS_SERVER_PICO: "H",
        }
        present = [bit for bit, _ in OPTIONAL_SIZES if mask & bit]
        layout = struct.Struct("<" + "".join(letters[bit] for bit in present))
        self.size = layout.size
        self._unpack = layout.unpack_from
        self._status = HAS_STATUS in present
        self._times = [present.index(bit) for bit in (HAS_SOURCE_TIME, HAS_SERVER_TIME) if bit in present]
        self.has_time = bool(self._times)

    def status_and_ticks(self, body: bytes, at: int) -> tuple[int, int]:
        """(status code, ticks of the source's time if it has one, else of the server's, else 0)."""
        fields = self._unpack(body, at)
        status = fields[0] if self._status else 0
        for index in self._times:
            if fields[index] > 0:
                return status, fields[index]
        return status, 0


TAIL_BITS: Final = HAS_STATUS | HAS_SOURCE_TIME | HAS_SERVER_TIME | HAS_SOURCE_PICO | HAS_SERVER_PICO
TAILS: Final = [Tail(mask) for mask in range(TAIL_BITS + 1)]
