"""Modbus/TCP frames: a header with a transaction before each request and reply (MBAP), without I/O.

pymodbus takes unusual replies apart. The usual reply, whole and correct, is recognised by one comparison of its first
nine bytes, all of which are known when the request leaves: transaction, protocol, length, unit, function and byte count
(MODBUS Messaging on TCP/IP Implementation Guide 1.0b, section 3.1.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from struct import Struct
from types import MappingProxyType
from typing import Final, Generic

from connectors.modbus.counters import ModbusCounters
from connectors.modbus.frames import COMPLETE, FRAMER, HEAD_BYTES, PREFIX_BYTES, ReplyInvalid, Request, checked_reply
from connectors.modbus.settings import IN_FLIGHT_MAX

FRAME_BYTES_MAX: Final = 260
_RECEIVE_BYTES: Final = (IN_FLIGHT_MAX + 1) * FRAME_BYTES_MAX
"""All replies that can be under way, and one more that nobody asked for."""
_TRANSACTION: Final = Struct(">H")


class MbapReader(Generic[Request]):
    """See ``Framing``. Each reply belongs to the one request in flight that has its transaction.

    A whole frame of any other transaction is a reply that comes late (or twice): it is counted and dropped. No frame is
    longer than 260 bytes, and what cannot be the beginning of one is refused at once.
    """

    __slots__ = ("_counters", "_data", "_expected", "_filled", "_view", "in_flight", "late_count")

    def __init__(self, counters: ModbusCounters) -> None:
        self._counters = counters
        self._data = bytearray(_RECEIVE_BYTES)
        self._view = memoryview(self._data)
        self._filled = 0
        self._expected: dict[int, Request] = {}
        self.in_flight: Mapping[int, Request] = MappingProxyType(self._expected)
        """The requests that wait for their replies, by transaction, the oldest first."""
        self.late_count = 0

    def space(self) -> memoryview:
        """Where the next bytes are to be put; never empty."""
        return self._view[self._filled :] if self._filled else self._view

    def strange_bytes(self) -> str:
        """See ``Framing``: what is no reply is refused when it comes."""
        return ""

    def encode(self, requests: Iterable[Request], first_transaction: int) -> bytes:
        """See ``Framing``; transactions are counted modulo 65536. At most ``IN_FLIGHT_MAX`` are waited for at once."""
        parts: list[bytes] = []
        for number, request in enumerate(requests, first_transaction):
            transaction = number & 0xFFFF
            self._expected[transaction] = request
            parts += (transaction.to_bytes(2, "big"), request.request_tail)
        return b"".join(parts)

    def forget(self, transaction: int) -> None:
        """The reply to this request is not waited for any more: when it comes, it is late."""
        self._expected.pop(transaction, None)

    def received(self, count: int) -> Iterator[tuple[Request, int]]:
        """Take ``count`` more bytes, which were put into ``space()``, and go through the replies that are whole now.

        Each with ``COMPLETE``, when its data are where they belong, or with the exception code that the unit answered
        with. Raises ``ReplyInvalid``. To be gone through to its end before the next bytes are received.
        """
        filled = self._filled = self._filled + count
        data, view, expected = self._data, self._view, self._expected
        at = 0
        while filled - at >= HEAD_BYTES:
            transaction: int = _TRANSACTION.unpack_from(data, at)[0]
            request = expected.get(transaction)
            if request is None or filled - at < request.reply_bytes or not data.startswith(request.reply_tail, at + 2):
                break
            end = at + request.reply_bytes
            request.into[:] = view[at + HEAD_BYTES : end]
            at = end
            del expected[transaction]
            yield request, COMPLETE
        if at == filled:
            self._filled = 0
            return
        self._drop(at)
        yield from self._received_slowly()

    def _received_slowly(self) -> Iterator[tuple[Request, int]]:
        while self._filled > PREFIX_BYTES:
            length = int.from_bytes(self._view[4:PREFIX_BYTES], "big")
            if self._data[2:4] != b"\0\0" or not 2 <= length <= FRAME_BYTES_MAX - PREFIX_BYTES:
                raise ReplyInvalid(f"sends bytes that are not Modbus/TCP ({bytes(self._view[:8]).hex(' ')} …)")
            if self._filled < PREFIX_BYTES + length:
                return
            # pymodbus knows units whose exceptions say one byte too little in their length: give it that byte too.
            end = min(self._filled, max(HEAD_BYTES, PREFIX_BYTES + length))
            used, unit_id, transaction, pdu = FRAMER.decode(bytes(self._view[:end]))
            request = self._expected.get(transaction)
            if request is None:
                self.late_count += 1
                self._counters.late_replies += 1
            else:
                code = checked_reply(request, transaction, unit_id, pdu)
                del self._expected[transaction]
                yield request, code
            self._drop(used)

    def _drop(self, used: int) -> None:
        rest = bytes(self._view[used : self._filled])
        self._filled = len(rest)
        self._view[: self._filled] = rest
