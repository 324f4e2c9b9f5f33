"""RTU frames: unit, request or reply, and a checksum, on a serial line or over TCP; without I/O.

pymodbus computes the checksums. No reply says which request it is for: one request is in flight at a time, and what is
known of its reply tells it from anything else that comes (MODBUS over Serial Line V1.02, sections 2.4 and 2.5.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, Generic

from pymodbus.framer import FramerRTU

from connectors.modbus.counters import ModbusCounters
from connectors.modbus.frames import (
    EXCEPTION_FLAG,
    HEAD_BYTES,
    PREFIX_BYTES,
    UNIT_AT,
    ReplyInvalid,
    Request,
    checked_reply,
)

FRAME_BYTES_MAX: Final = 256
CHECKSUM_BYTES: Final = 2
_EXCEPTION_BYTES: Final = 3 + CHECKSUM_BYTES
_RECEIVE_BYTES: Final = 4 * FRAME_BYTES_MAX
_SHOWN_BYTES_MAX: Final = 8


class RtuReader(Generic[Request]):
    """See ``Framing``. A reply is found by its unit, its function, its length and its checksum.

    What stands before it is dropped: converters and drivers that are switched over leave stray bytes on a line, and the
    late reply of another unit is no reason to give up this one. What comes while nothing is asked is a late reply.
    """

    __slots__ = ("_counters", "_data", "_echo", "_expected", "_filled", "_has_echo", "_view", "in_flight", "late_count")

    def __init__(self, counters: ModbusCounters, *, has_echo: bool = False) -> None:
        """``has_echo``: the converter sends every request back before the reply."""
        self._counters = counters
        self._data = bytearray(_RECEIVE_BYTES)
        self._view = memoryview(self._data)
        self._filled = 0
        self._has_echo = has_echo
        self._echo = b""
        """The request that is to come back, as long as it has not."""
        self._expected: dict[int, Request] = {}
        self.in_flight: Mapping[int, Request] = MappingProxyType(self._expected)
        self.late_count = 0

    def space(self) -> memoryview:
        """See ``Framing``."""
        if self._filled == len(self._data):  # nothing in it was a reply, and the beginning of one is shorter
            self._drop(self._filled - FRAME_BYTES_MAX)
        return self._view[self._filled :]

    def encode(self, requests: Iterable[Request], first_transaction: int) -> bytes:
        """See ``Framing``; of one request. What came before it is dropped."""
        (request,) = requests
        self._filled = 0
        self._expected.clear()
        self._expected[first_transaction & 0xFFFF] = request
        body = request.request_tail[UNIT_AT:]
        data = body + FramerRTU.compute_CRC(body).to_bytes(CHECKSUM_BYTES, "big")
        self._echo = data if self._has_echo else b""
        return data

    def forget(self, transaction: int) -> None:
        """See ``Framing``."""
        self._expected.pop(transaction, None)

    def strange_bytes(self) -> str:
        """See ``Framing``."""
        if not self._filled:
            return ""
        shown = bytes(self._view[: min(self._filled, _SHOWN_BYTES_MAX)]).hex(" ")
        return shown + (" …" if self._filled > _SHOWN_BYTES_MAX else "")

    def received(self, count: int) -> Iterator[tuple[Request, int]]:
        """See ``Framing``."""
        self._filled += count
        if self._echo and not self._take_echo():
            return
        if not self._filled:
            return
        if not self._expected:
            self._filled = 0
            self.late_count += 1
            self._counters.late_replies += 1
            return
        ((transaction, request),) = self._expected.items()
        found = self._find(request)
        if found is None:
            return
        at, size = found
        pdu = bytes(self._view[at + 1 : at + size - CHECKSUM_BYTES])
        self._filled = 0  # whatever follows the one reply on the wire is none
        code = checked_reply(request, transaction, request.unit_id, pdu)
        del self._expected[transaction]
        yield request, code

    def _find(self, request: Request) -> tuple[int, int] | None:
        """Where the reply to ``request`` begins, and its size with the checksum."""
        head = request.reply_tail[UNIT_AT:]
        refusal = bytes((request.unit_id, request.function | EXCEPTION_FLAG))
        size = HEAD_BYTES - PREFIX_BYTES + len(request.into) + CHECKSUM_BYTES
        for at in range(self._filled - _EXCEPTION_BYTES + 1):
            if self._data.startswith(refusal, at) and self._has_checksum(at, _EXCEPTION_BYTES):
                return at, _EXCEPTION_BYTES
            if self._data.startswith(head, at) and self._has_checksum(at, size):
                return at, size
        return None

    def _has_checksum(self, at: int, size: int) -> bool:
        if at + size > self._filled:
            return False
        end = at + size - CHECKSUM_BYTES
        return bool(FramerRTU.check_CRC(bytes(self._view[at:end]), int.from_bytes(self._view[end : at + size], "big")))

    def _take_echo(self) -> bool:
        """Whether the request has come back as it was sent; false while it is under way. Raises ``ReplyInvalid``."""
        size = min(self._filled, len(self._echo))
        if self._view[:size] != self._echo[:size]:
            transaction = next(iter(self._expected), None)
            raise ReplyInvalid(
                "did not get what was sent: another device was on the line at the same time, or the converter sends "
                "nothing back (then remove 'echo')",
                transaction,
            )
        if size < len(self._echo):
            return False
        self._echo = b""
        self._drop(size)
        return True

    def _drop(self, used: int) -> None:
        rest = bytes(self._view[used : self._filled])
        self._filled = len(rest)
        self._view[: self._filled] = rest
