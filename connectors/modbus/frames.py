"""Requests in bytes, and replies checked against them: Modbus/TCP without I/O.

pymodbus builds the requests and takes unusual replies apart. The usual reply, whole and correct, is recognised by one
comparison of its first nine bytes, all of which are known when the request leaves: transaction, protocol, length, unit,
function and byte count (MODBUS Messaging on TCP/IP Implementation Guide 1.0b, section 3.1.3).
"""

from __future__ import annotations

from typing import Final

from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.pdu import ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from connectors.modbus.counters import ModbusCounters
from connectors.modbus.plan import READ_FUNCTIONS, Block
from connectors.model.errors import LinesideError

FRAME_BYTES_MAX: Final = 260
_HEAD_BYTES: Final = 9
_PREFIX_BYTES: Final = 6
"""Transaction, protocol and length; the length counts what follows."""
_EXCEPTION_FLAG: Final = 0x80
_RECEIVE_BYTES: Final = 4 * FRAME_BYTES_MAX

PENDING: Final = -1
COMPLETE: Final = 0

_REQUESTS: Final[dict[int, type[ModbusPDU]]] = {
    1: ReadCoilsRequest,
    2: ReadDiscreteInputsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}
_FRAMER: Final = FramerSocket(DecodePDU(is_server=False))


class ReplyInvalid(LinesideError):
    """What arrived is not the reply: the caller closes the connection, as nothing after it can be trusted."""


class ReadFrame:
    """One read, ready to be sent: only the transaction is put before it each time."""

    __slots__ = ("block", "function", "reply_bytes", "reply_tail", "request_tail", "unit_id")

    def __init__(self, block: Block, unit_id: int) -> None:
        self.block = block
        self.unit_id = unit_id
        self.function = READ_FUNCTIONS[block.table]
        request = _REQUESTS[self.function](dev_id=unit_id, address=block.address, count=block.count)
        self.request_tail: bytes = _FRAMER.buildFrame(request)[2:]
        length = 3 + block.byte_count
        self.reply_tail = bytes((0, 0, length >> 8, length & 0xFF, unit_id, self.function, block.byte_count))
        self.reply_bytes = _HEAD_BYTES + block.byte_count


class ReplyReader:
    """Bytes from the unit in, the reply to one request at a time out.

    The owner receives into ``space()`` and then calls ``received``. A whole frame of another transaction is a reply
    that comes late (or twice): it is counted (``late_count``: since the last ``expect``) and dropped. Memory is
    bounded: no frame is longer than 260 bytes, and what cannot be the beginning of one is refused at once.
    """

    __slots__ = ("_counters", "_data", "_filled", "_frame", "_head", "_view", "late_count")

    def __init__(self, counters: ModbusCounters) -> None:
        self._counters = counters
        self._data = bytearray(_RECEIVE_BYTES)
        self._view = memoryview(self._data)
        self._filled = 0
        self._frame: ReadFrame | None = None
        self._head = b""
        self.late_count = 0

    def space(self) -> memoryview:
        """Where the next bytes are to be put; never empty."""
        return self._view[self._filled :] if self._filled else self._view

    def expect(self, frame: ReadFrame, transaction: bytes) -> None:
        """From now on the reply to ``frame``, sent with these two ``transaction`` bytes, is waited for."""
        self._frame = frame
        self.late_count = 0
        self._head = transaction + frame.reply_tail

    def forget(self) -> None:
        """No reply is waited for: whatever comes is late."""
        self._frame = None

    def received(self, count: int, into: memoryview) -> int:
        """Take ``count`` more bytes, which were put into ``space()``.

        ``COMPLETE``: the data of the reply are ``into``, which has their length; ``PENDING``: the reply is not all
        there; a positive number is the exception code that the unit answered with. Raises ``ReplyInvalid``: what the
        unit did, to be read after "the unit".
        """
        filled = self._filled = self._filled + count
        frame = self._frame
        if frame is not None and filled == frame.reply_bytes and self._data.startswith(self._head):
            into[:] = self._view[_HEAD_BYTES:filled]
            self._filled = 0
            self._frame = None
            return COMPLETE
        return self._received_slowly(into)

    def _received_slowly(self, into: memoryview) -> int:
        result = PENDING
        while self._filled > _PREFIX_BYTES:
            length = int.from_bytes(self._view[4:_PREFIX_BYTES], "big")
            if self._data[2:4] != b"\0\0" or not 2 <= length <= FRAME_BYTES_MAX - _PREFIX_BYTES:
                raise ReplyInvalid(f"sends bytes that are not Modbus/TCP ({bytes(self._view[:8]).hex(' ')} …)")
            used, unit_id, _transaction, pdu = _FRAMER.decode(bytes(self._view[: self._filled]))
            if not used:
                break
            if self._frame is None or self._data[:2] != self._head[:2]:
                self.late_count += 1
                self._counters.late_replies += 1
            else:
                result = _checked(self._frame, unit_id, pdu, into)
                self._frame = None
            self._drop(used)
        return result

    def _drop(self, used: int) -> None:
        rest = bytes(self._view[used : self._filled])
        self._filled = len(rest)
        self._view[: self._filled] = rest


def _checked(frame: ReadFrame, unit_id: int, pdu: bytes, into: memoryview) -> int:
    if unit_id != frame.unit_id:
        raise ReplyInvalid(f"answered as unit {unit_id} to a request for unit {frame.unit_id}")
    if pdu[0] == frame.function | _EXCEPTION_FLAG:
        if len(pdu) != 2 or not pdu[1]:
            raise ReplyInvalid("answered with an exception without a code")
        return pdu[1]
    if pdu[0] != frame.function:
        raise ReplyInvalid(f"answered with function {pdu[0]} to a request with function {frame.function}")
    expected = frame.block.byte_count
    if len(pdu) != 2 + expected or pdu[1] != expected:
        raise ReplyInvalid(f"answered with {len(pdu) - 2} bytes of data where {frame.block.place} takes {expected}")
    into[:] = pdu[2:]
    return COMPLETE
