"""One request in bytes, and what is known of its reply, without I/O; ``Framing``, what a connection asks of the rest.

pymodbus builds the requests. Both are kept as Modbus/TCP has them after the transaction: protocol, length, unit, and
then what is the same on every kind of connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.pdu import ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    ReadWriteMultipleRegistersRequest,
)

from connectors.modbus.plan import READ_FUNCTIONS, Block
from connectors.model.errors import LinesideError

HEAD_BYTES: Final = 9
PREFIX_BYTES: Final = 6
"""Transaction, protocol and length; the length counts what follows."""
PDU_AT: Final = 7
EXCEPTION_FLAG: Final = 0x80
UNIT_AT: Final = 4
FUNCTION_AT: Final = 5
"""In what follows the transaction."""

COMPLETE: Final = 0
READ_WRITE: Final = 23

_REQUESTS: Final[dict[int, type[ModbusPDU]]] = {
    1: ReadCoilsRequest,
    2: ReadDiscreteInputsRequest,
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}
_ECHO_BYTES: Final = {5: 6, 6: 6, 15: 6, 16: 6, 22: 8}
"""What follows the length in the reply to a write (Modbus Application Protocol 1.1b3, sections 6.5, 6.6, 6.11 to 6.16):
unit, function, address, and the value, the count or both masks."""
FRAMER: Final = FramerSocket(DecodePDU(is_server=False))


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
        self.reply_bytes = HEAD_BYTES + len(into)
        self.into = into
        self.place = place
        self.unit_id = reply_tail[UNIT_AT]
        self.function = reply_tail[FUNCTION_AT]


class ReadFrame(Frame):
    """The read of one block: its data go ``into``."""

    __slots__ = ("block",)

    def __init__(self, block: Block, unit_id: int, into: memoryview) -> None:
        self.block = block
        function = READ_FUNCTIONS[block.table]
        request = _REQUESTS[function](dev_id=unit_id, address=block.address, count=block.count)
        length = 3 + block.byte_count
        reply_tail = bytes((0, 0, length >> 8, length & 0xFF, unit_id, function, block.byte_count))
        super().__init__(FRAMER.buildFrame(request)[2:], reply_tail, into, block.place)


class WriteFrame(Frame):
    """A write: its reply repeats the request, or of several registers (or coils) the part without the values."""

    __slots__ = ()

    def __init__(self, request: ModbusPDU, place: str) -> None:
        request_tail = FRAMER.buildFrame(request)[2:]
        length = _ECHO_BYTES[request.function_code]
        reply_tail = bytes((0, 0, 0, length)) + request_tail[UNIT_AT : UNIT_AT + length]
        into = memoryview(bytearray(PREFIX_BYTES + length - HEAD_BYTES))
        super().__init__(request_tail, reply_tail, into, place)


class ReadWriteFrame(WriteFrame):
    """Function 23: registers are written, and what they have then is in the reply (section 6.17)."""

    __slots__ = ()

    def __init__(self, address: int, words: Sequence[int], unit_id: int, place: str) -> None:
        request = ReadWriteMultipleRegistersRequest(
            read_address=address,
            read_count=len(words),
            write_address=address,
            write_registers=words,
            dev_id=unit_id,
        )
        byte_count = 2 * len(words)
        reply_tail = bytes((0, 0, 0, 3 + byte_count, unit_id, READ_WRITE, byte_count))
        Frame.__init__(self, FRAMER.buildFrame(request)[2:], reply_tail, memoryview(bytearray(byte_count)), place)


def checked_reply(frame: Frame, transaction: int, unit_id: int, pdu: bytes) -> int:
    """What a reply to ``frame`` says: ``COMPLETE``, its data are where they belong; else the exception code.

    Raises ``ReplyInvalid``.
    """
    if unit_id != frame.unit_id:
        raise ReplyInvalid(f"answered as unit {unit_id} to a request for unit {frame.unit_id}", transaction)
    if pdu[0] == frame.function | EXCEPTION_FLAG:
        if len(pdu) != 2 or not pdu[1]:
            raise ReplyInvalid("answered with an exception without a code", transaction)
        return pdu[1]
    if pdu[0] != frame.function:
        raise ReplyInvalid(f"answered with function {pdu[0]} to a request with function {frame.function}", transaction)
    known = frame.reply_tail[FUNCTION_AT:]
    if len(pdu) != HEAD_BYTES - PDU_AT + len(frame.into) or not pdu.startswith(known):
        raise ReplyInvalid(_difference(frame, pdu), transaction)
    frame.into[:] = pdu[HEAD_BYTES - PDU_AT :]
    return COMPLETE


def _difference(frame: Frame, pdu: bytes) -> str:
    if frame.function in _REQUESTS or frame.function == READ_WRITE:
        return f"answered with {len(pdu) - 2} bytes of data where {frame.place} takes {len(frame.into)}"
    asked = frame.reply_tail[FUNCTION_AT:].hex(" ")
    return f"answered a write of {frame.place} with {pdu.hex(' ')} and not with {asked}, which was asked for"


Request = TypeVar("Request", bound=Frame)


class Framing(Protocol[Request]):
    """How requests and replies are wrapped on one connection: bytes in, replies out, without I/O.

    The owner receives into ``space()`` and then goes through ``received``. Memory is bounded.
    """

    in_flight: Mapping[int, Request]
    """The requests that wait for their replies, by transaction, the oldest first."""
    late_count: int
    """Replies that were for no request in flight."""

    def strange_bytes(self) -> str:
        """The beginning of what has come since the last request and is no reply, in hexadecimal; empty: nothing."""
        ...

    def space(self) -> memoryview:
        """Where the next bytes are to be put; never empty."""
        ...

    def encode(self, requests: Iterable[Request], first_transaction: int) -> bytes:
        """The bytes of ``requests``, whose transactions count up from the first; from now on they are waited for."""
        ...

    def forget(self, transaction: int) -> None:
        """The reply to this request is not waited for any more: when it comes, it is late."""
        ...

    def received(self, count: int) -> Iterator[tuple[Request, int]]:
        """Take ``count`` more bytes, which were put into ``space()``, and go through the replies that are whole now.

        Each with ``COMPLETE``, when its data are where they belong, or with the exception code that the unit answered
        with. Raises ``ReplyInvalid``. To be gone through to its end before the next bytes are received.
        """
        ...
