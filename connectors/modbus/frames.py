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
_EXCEPTION_FLAG: Final = 0x80
_RECEIVE_BYTES: Final = (IN_FLIGHT_MAX + 1) * FRAME_BYTES_MAX
"""All replies that can be under way, and one more that nobody asked for."""
_TRANSACTION: Final = Struct(">H")

COMPLETE: Final = 0

_REQUESTS: Final[dict[int, type[ModbusPDU]]] = {
    1: ReadCoilsRequest,
    2: ReadDiscreteInputsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}
_FRAMER: Final = FramerSocket(DecodePDU(is_server=False))


class ReplyInvalid(LinesideError):
    """What arrived is not a reply: the caller closes the connection, as nothing after it can be trusted.

    Says what the unit did, to be read after "the unit". ``transaction`` is that of the request it seems to be for.
    """

    def __init__(self, message: str, transaction: int | None = None) -> None:
        super().__init__(message)
        self.transaction = transaction


class ReadFrame:
    """One read, ready to be sent: only the transaction is put before it each time. Its data go ``into``."""

    __slots__ = ("block", "function", "into", "reply_bytes", "reply_tail", "request_tail", "unit_id")

    def __init__(self, block: Block, unit_id: int, into: memoryview) -> None:
        self.block = block
        self.unit_id = unit_id
        self.into = into
        self.function = READ_FUNCTIONS[block.table]
        request = _REQUESTS[self.function](dev_id=unit_id, address=block.address, count=block.count)
        self.request_tail: bytes = _FRAMER.buildFrame(request)[2:]
        length = 3 + block.byte_count
        self.reply_tail = bytes((0, 0, length >> 8, length & 0xFF, unit_id, self.function, block.byte_count))
        self.reply_bytes = _HEAD_BYTES + block.byte_count


Read = TypeVar("Read", bound=ReadFrame)


class ReplyReader(Generic[Read]):
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
        self._expected: dict[int, Read] = {}
        self.in_flight: Mapping[int, Read] = MappingProxyType(self._expected)
        """The requests that wait for their replies, by transaction, the oldest first."""
        self.late_count = 0

    def space(self) -> memoryview:
        """Where the next bytes are to be put; never empty."""
        return self._view[self._filled :] if self._filled else self._view

    def expect(self, transaction: int, read: Read) -> None:
        """From now on the reply to ``read`` is waited for; at most ``IN_FLIGHT_MAX`` are waited for at once."""
        self._expected[transaction] = read

    def forget(self, transaction: int) -> None:
        """The reply to this request is not waited for any more: when it comes, it is late."""
        self._expected.pop(transaction, None)

    def received(self, count: int) -> Iterator[tuple[Read, int]]:
        """Take ``count`` more bytes, which were put into ``space()``, and go through the replies that are whole now.

        Each with ``COMPLETE``, when its data are where they belong, or with the exception code that the unit answered
        with. Raises ``ReplyInvalid``. To be gone through to its end before the next bytes are received.
        """
        filled = self._filled = self._filled + count
        data, view, expected = self._data, self._view, self._expected
        at = 0
        while filled - at >= _HEAD_BYTES:
            transaction: int = _TRANSACTION.unpack_from(data, at)[0]
            read = expected.get(transaction)
            if read is None or filled - at < read.reply_bytes or not data.startswith(read.reply_tail, at + 2):
                break
            end = at + read.reply_bytes
            read.into[:] = view[at + _HEAD_BYTES : end]
            at = end
            del expected[transaction]
            yield read, COMPLETE
        if at == filled:
            self._filled = 0
            return
        self._drop(at)
        yield from self._received_slowly()

    def _received_slowly(self) -> Iterator[tuple[Read, int]]:
        while self._filled > _PREFIX_BYTES:
            length = int.from_bytes(self._view[4:_PREFIX_BYTES], "big")
            if self._data[2:4] != b"\0\0" or not 2 <= length <= FRAME_BYTES_MAX - _PREFIX_BYTES:
                raise ReplyInvalid(f"sends bytes that are not Modbus/TCP ({bytes(self._view[:8]).hex(' ')} …)")
            if self._filled < _PREFIX_BYTES + length:
                return
            # pymodbus knows units whose exceptions say one byte too little in their length: give it that byte too.
            end = min(self._filled, max(_HEAD_BYTES, _PREFIX_BYTES + length))
            used, unit_id, transaction, pdu = _FRAMER.decode(bytes(self._view[:end]))
            read = self._expected.get(transaction)
            if read is None:
                self.late_count += 1
                self._counters.late_replies += 1
            else:
                code = _checked(read, transaction, unit_id, pdu)
                del self._expected[transaction]
                yield read, code
            self._drop(used)

    def _drop(self, used: int) -> None:
        rest = bytes(self._view[used : self._filled])
        self._filled = len(rest)
        self._view[: self._filled] = rest


def _checked(frame: ReadFrame, transaction: int, unit_id: int, pdu: bytes) -> int:
    if unit_id != frame.unit_id:
        raise ReplyInvalid(f"answered as unit {unit_id} to a request for unit {frame.unit_id}", transaction)
    if pdu[0] == frame.function | _EXCEPTION_FLAG:
        if len(pdu) != 2 or not pdu[1]:
            raise ReplyInvalid("answered with an exception without a code", transaction)
        return pdu[1]
    if pdu[0] != frame.function:
        raise ReplyInvalid(f"answered with function {pdu[0]} to a request with function {frame.function}", transaction)
    expected = frame.block.byte_count
    if len(pdu) != 2 + expected or pdu[1] != expected:
        raise ReplyInvalid(
            f"answered with {len(pdu) - 2} bytes of data where {frame.block.place} takes {expected}", transaction
        )
    frame.into[:] = pdu[2:]
    return COMPLETE
