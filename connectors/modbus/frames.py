"""Requests in bytes, and replies checked against them: Modbus/TCP without I/O.

pymodbus builds the requests and takes unusual replies apart. The usual reply, whole and correct, is recognised by one
comparison of its first nine bytes, all of which are known when the request leaves: transaction, protocol, length, unit,
function and byte count (MODBUS Messaging on TCP/IP Implementation Guide 1.0b, section 3.1.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.pdu import ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from connectors.modbus.counters import ModbusCounters
from connectors.modbus.plan import READ_FUNCTIONS, Block
from connectors.modbus.settings import IN_FLIGHT_MAX
from connectors.model.errors import LinesideError

FRAME_BYTES_MAX: Final = 260
_HEAD_BYTES: Final = 9
_PREFIX_BYTES: Final = 6
"""Transaction, protocol and length; the length counts what follows."""
_PDU_AT: Final = 7
_EXCEPTION_FLAG: Final = 0x80
_RECEIVE_BYTES: Final = (IN_FLIGHT_MAX + 1) * FRAME_BYTES_MAX
"""All replies that can be under way, and one more that nobody asked for."""
_TRANSACTION: Final = Struct(">H")
_UNIT_AT: Final = 4
_FUNCTION_AT: Final = 5
"""In what follows the transaction."""

COMPLETE: Final = 0

_REQUESTS: Final[dict[int, type[ModbusPDU]]] = {
    1: ReadCoilsRequest,
    2: ReadDiscreteInputsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}
_ECHO_BYTES: Final = {5: 6, 6: 6, 15: 6, 16: 6, 22: 8}
"""What follows the length in the reply to a write (Modbus Application Protocol 1.1b3, sections 6.5, 6.6, 6.11 to 6.16):
unit, function, address, and the value, the count or both masks."""
_FRAMER: Final = FramerSocket(DecodePDU(is_server=False))


class ReplyInvalid(LinesideError):
    """What arrived is not a reply: the caller closes the connection, as nothing after it can be trusted.

    Says what the unit did, to be read after "the unit". ``transaction`` is that of the request it seems to be for.
    """

    def __init__(self, message: str, transaction: int | None = None) -> None:
        super().__init__(message)
        self.transaction = transaction


class Frame:
    """One request, ready to be sent, and what is known of its reply: only the transaction is put before each.

    ``reply_tail`` is what the reply begins with after the transaction, at least up to its ninth byte; whatever follows
    that byte goes ``into``, which has room for just that.
    """

    __slots__ = ("function", "into", "place", "reply_bytes", "reply_tail", "request_tail", "unit_id")

    def __init__(self, request_tail: bytes, reply_tail: bytes, into: memoryview, place: str) -> None:
        self.request_tail = request_tail
        self.reply_tail = reply_tail
        self.reply_bytes = _HEAD_BYTES + len(into)
        self.into = into
        self.place = place
        self.unit_id = reply_tail[_UNIT_AT]
        self.function = reply_tail[_FUNCTION_AT]


class ReadFrame(Frame):
    """The read of one block: its data go ``into``."""

    __slots__ = ("block",)

    def __init__(self, block: Block, unit_id: int, into: memoryview) -> None:
        self.block = block
        function = READ_FUNCTIONS[block.table]
        request = _REQUESTS[function](dev_id=unit_id, address=block.address, count=block.count)
        length = 3 + block.byte_count
        reply_tail = bytes((0, 0, length >> 8, length & 0xFF, unit_id, function, block.byte_count))
        super().__init__(_FRAMER.buildFrame(request)[2:], reply_tail, into, block.place)


class WriteFrame(Frame):
    """A write: its reply repeats the request, or of several registers (or coils) the part without the values."""

    __slots__ = ()

    def __init__(self, request: ModbusPDU, place: str) -> None:
        request_tail = _FRAMER.buildFrame(request)[2:]
        length = _ECHO_BYTES[request.function_code]
        reply_tail = bytes((0, 0, 0, length)) + request_tail[_UNIT_AT : _UNIT_AT + length]
        into = memoryview(bytearray(_PREFIX_BYTES + length - _HEAD_BYTES))
        super().__init__(request_tail, reply_tail, into, place)


Request = TypeVar("Request", bound=Frame)


class ReplyReader(Generic[Request]):
    """Bytes from the unit in, replies out: each to the one request in flight that has its transaction.

    The owner receives into ``space()`` and then goes through ``received``. A whole frame of any other transaction is
    a reply that comes late (or twice): it is counted and dropped. Memory is bounded: no frame is longer than 260
    bytes, and what cannot be the beginning of one is refused at once.
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

    def expect(self, transaction: int, request: Request) -> None:
        """From now on the reply to ``request`` is waited for; at most ``IN_FLIGHT_MAX`` are waited for at once."""
        self._expected[transaction] = request

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
        while filled - at >= _HEAD_BYTES:
            transaction: int = _TRANSACTION.unpack_from(data, at)[0]
            request = expected.get(transaction)
            if request is None or filled - at < request.reply_bytes or not data.startswith(request.reply_tail, at + 2):
                break
            end = at + request.reply_bytes
            request.into[:] = view[at + _HEAD_BYTES : end]
            at = end
            del expected[transaction]
            yield request, COMPLETE
        if at == filled:
            self._filled = 0
            return
        self._drop(at)
        yield from self._received_slowly()

    def _received_slowly(self) -> Iterator[tuple[Request, int]]:
        while self._filled > _PREFIX_BYTES:
            length = int.from_bytes(self._view[4:_PREFIX_BYTES], "big")
            if self._data[2:4] != b"\0\0" or not 2 <= length <= FRAME_BYTES_MAX - _PREFIX_BYTES:
                raise ReplyInvalid(f"sends bytes that are not Modbus/TCP ({bytes(self._view[:8]).hex(' ')} …)")
            if self._filled < _PREFIX_BYTES + length:
                return
            # pymodbus knows units whose exceptions say one byte too little in their length: give it that byte too.
            end = min(self._filled, max(_HEAD_BYTES, _PREFIX_BYTES + length))
            used, unit_id, transaction, pdu = _FRAMER.decode(bytes(self._view[:end]))
            request = self._expected.get(transaction)
            if request is None:
                self.late_count += 1
                self._counters.late_replies += 1
            else:
                code = _checked(request, transaction, unit_id, pdu)
                del self._expected[transaction]
                yield request, code
            self._drop(used)

    def _drop(self, used: int) -> None:
        rest = bytes(self._view[used : self._filled])
        self._filled = len(rest)
        self._view[: self._filled] = rest


def _checked(frame: Frame, transaction: int, unit_id: int, pdu: bytes) -> int:
    if unit_id != frame.unit_id:
        raise ReplyInvalid(f"answered as unit {unit_id} to a request for unit {frame.unit_id}", transaction)
    if pdu[0] == frame.function | _EXCEPTION_FLAG:
        if len(pdu) != 2 or not pdu[1]:
            raise ReplyInvalid("answered with an exception without a code", transaction)
        return pdu[1]
    if pdu[0] != frame.function:
        raise ReplyInvalid(f"answered with function {pdu[0]} to a request with function {frame.function}", transaction)
    known = frame.reply_tail[_FUNCTION_AT:]
    if len(pdu) != _HEAD_BYTES - _PDU_AT + len(frame.into) or not pdu.startswith(known):
        raise ReplyInvalid(_difference(frame, pdu), transaction)
    frame.into[:] = pdu[_HEAD_BYTES - _PDU_AT :]
    return COMPLETE


def _difference(frame: Frame, pdu: bytes) -> str:
    if frame.function in _REQUESTS:
        return f"answered with {len(pdu) - 2} bytes of data where {frame.place} takes {len(frame.into)}"
    asked = frame.reply_tail[_FUNCTION_AT:].hex(" ")
    return f"answered a write of {frame.place} with {pdu.hex(' ')} and not with {asked}, which was asked for"
