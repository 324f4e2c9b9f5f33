"""How a value gets into the coils and registers of a unit: which requests, and what the replies to them mean.

Pure. pymodbus builds the requests. A write that the unit has understood is never followed by another one: a second
request is made only when the first was answered with exception 1, so that it was not carried out.
"""

from __future__ import annotations

from typing import Final

from pymodbus.pdu.bit_message import WriteMultipleCoilsRequest, WriteSingleCoilRequest
from pymodbus.pdu.pdu import ModbusPDU
from pymodbus.pdu.register_message import (
    MaskWriteRegisterRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

from connectors.modbus.command import Steps
from connectors.modbus.encode import encoded_bit, encoded_registers, register_bit
from connectors.modbus.exception_codes import ILLEGAL_FUNCTION, UNDECIDED, refusal_sentence, write_sentence
from connectors.modbus.frames import COMPLETE, READ_WRITE, ReadFrame, ReadWriteFrame, WriteFrame
from connectors.modbus.plan import READ_FUNCTIONS, PlannedTag, block_of
from connectors.modbus.tag_settings import why_unwritable
from connectors.model.errors import WriteRefused, WriteUncertain
from connectors.ports.device import Value

_REGISTER_MAX: Final = 0xFFFF
_READ_WRITE_REGISTERS_MAX: Final = 121
"""Modbus Application Protocol 1.1b3, section 6.17."""


def write_steps(tag: PlannedTag, value: Value, unit_id: int, function: int | None = None) -> Steps:
    """The requests that write ``value`` to ``tag``, registers by ``function`` where one is named; see ``Steps``."""
    if reason := why_unwritable(tag.table, tag.count):
        raise ValueError(f"{tag.place}: {reason}")
    if tag.table == "coil":
        return _coil(tag, encoded_bit(tag, value), unit_id)
    if tag.bit is not None:
        return _bit(tag, encoded_bit(tag, value), unit_id)
    return _registers(tag, encoded_registers(tag, value), unit_id, function)


def _coil(tag: PlannedTag, value: bool, unit_id: int) -> Steps:
    single = WriteSingleCoilRequest(address=tag.address, bits=[value], dev_id=unit_id)
    several = WriteMultipleCoilsRequest(address=tag.address, bits=[value], dev_id=unit_id)
    return _first_known(tag, single, several)


def _registers(tag: PlannedTag, words: list[int], unit_id: int, function: int | None) -> Steps:
    if function == READ_WRITE and len(words) <= _READ_WRITE_REGISTERS_MAX:
        return _read_write(tag, words, unit_id)
    several = WriteMultipleRegistersRequest(address=tag.address, registers=words, dev_id=unit_id)
    if len(words) > 1 or function is not None:
        return _first_known(tag, several)
    return _first_known(tag, WriteSingleRegisterRequest(address=tag.address, registers=words, dev_id=unit_id), several)


def _read_write(tag: PlannedTag, words: list[int], unit_id: int) -> Steps:
    code = yield ReadWriteFrame(tag.address, words, unit_id, tag.place)
    _judge(tag, READ_WRITE, unit_id, code)


def _first_known(tag: PlannedTag, *requests: ModbusPDU) -> Steps:
    """Send the first of ``requests``; the next one only when the unit does not know the function."""
    *others, last = requests
    for request in others:
        code = yield WriteFrame(request, tag.place)
        if code != ILLEGAL_FUNCTION:
            _judge(tag, request.function_code, request.dev_id, code)
            return
    code = yield WriteFrame(last, tag.place)
    _judge(tag, last.function_code, last.dev_id, code)


def _bit(tag: PlannedTag, value: bool, unit_id: int) -> Steps:
    """Change one bit and no other: by mask, or where the unit knows no mask, by reading the register before."""
    mask = 1 << register_bit(tag)
    by_mask = MaskWriteRegisterRequest(
        address=tag.address, and_mask=_REGISTER_MAX & ~mask, or_mask=mask if value else 0, dev_id=unit_id
    )
    code = yield WriteFrame(by_mask, tag.place)
    if code != ILLEGAL_FUNCTION:
        _judge(tag, by_mask.function_code, unit_id, code)
        return
    block = block_of([tag])
    data = bytearray(block.byte_count)
    code = yield ReadFrame(block, unit_id, memoryview(data))
    if code != COMPLETE:
        reason = refusal_sentence(tag.place, READ_FUNCTIONS[tag.table], code, unit_id)
        raise WriteRefused(f"{reason}; without the other bits of the register this one cannot be written")
    before = int.from_bytes(data, "big")
    word = before | mask if value else before & ~mask
    whole = WriteSingleRegisterRequest(address=tag.address, registers=[word], dev_id=unit_id)
    several = WriteMultipleRegistersRequest(address=tag.address, registers=[word], dev_id=unit_id)
    yield from _first_known(tag, whole, several)


def _judge(tag: PlannedTag, function: int, unit_id: int, code: int) -> None:
    """Return when the unit has done it. Raises ``WriteRefused`` or ``WriteUncertain``."""
    if code == COMPLETE:
        return
    sentence = write_sentence(tag.place, function, code, unit_id)
    raise WriteUncertain(sentence) if code in UNDECIDED else WriteRefused(sentence)
