"""RTU frames: a reply is found by what is known of it, whatever stands before it on the line."""

from __future__ import annotations

import pytest
from pymodbus.framer import FramerRTU
from pymodbus.pdu.register_message import WriteSingleRegisterRequest

from connectors.modbus.counters import ModbusCounters
from connectors.modbus.frames import Frame, ReadFrame, ReplyInvalid, WriteFrame
from connectors.modbus.plan import block_of, planned_tags
from connectors.modbus.rtu import RtuReader
from connectors.modbus.settings import ModbusDevice

UNIT = 0x11
REQUEST = bytes.fromhex("11 03 00 6b 00 03 76 87")
REPLY = bytes.fromhex("11 03 06 ae 41 56 52 43 40 49 ad")
"""An example that manuals of many units print."""


def with_checksum(*body: int) -> bytes:
    return bytes(body) + FramerRTU.compute_CRC(bytes(body)).to_bytes(2, "big")


def read_frame() -> ReadFrame:
    tags = [{"name": f"t{at}", "at": f"holding {107 + at}"} for at in range(3)]
    device = {"name": "d", "driver": "modbus", "endpoint": "serial:///dev/ttyS0", "tags": tags}
    block = block_of(planned_tags(ModbusDevice.model_validate(device)))
    return ReadFrame(block, UNIT, memoryview(bytearray(block.byte_count)))


def asked(request: Frame | None = None, *, has_echo: bool = False) -> tuple[RtuReader[Frame], Frame]:
    """A reader that waits for the reply to ``request``."""
    reader: RtuReader[Frame] = RtuReader(ModbusCounters(), has_echo=has_echo)
    request = request or read_frame()
    assert reader.encode([request], 7) == REQUEST or not isinstance(request, ReadFrame)
    return reader, request


def taken(reader: RtuReader[Frame], data: bytes, parts: int = 1) -> list[tuple[Frame, int]]:
    found: list[tuple[Frame, int]] = []
    size = -(-len(data) // parts)
    at = 0
    while at < len(data):
        space = reader.space()
        piece = data[at : at + min(size, len(space))]
        space[: len(piece)] = piece
        found += list(reader.received(len(piece)))
        at += len(piece)
    return found


@pytest.mark.parametrize("parts", [1, 2, 11])
def test_request_and_reply_are_those_of_the_specification(parts: int) -> None:
    reader, request = asked()
    assert taken(reader, REPLY, parts) == [(request, 0)]
    assert bytes(request.into) == bytes.fromhex("ae 41 56 52 43 40")
    assert (dict(reader.in_flight), reader.strange_bytes()) == ({}, "")


@pytest.mark.parametrize(
    "before",
    [
        b"\0",
        b"\xff\xff\xff",
        bytes((UNIT,)),
        bytes((UNIT, 3, 6)),
        with_checksum(9, 3, 6, 1, 2, 3, 4, 5, 6),
        with_checksum(UNIT, 3, 2, 1, 2),
        with_checksum(UNIT, 4, 6, 1, 2, 3, 4, 5, 6),
        REPLY[:-1] + b"\0",
    ],
    ids=[
        "stray byte",
        "stray bytes",
        "its own unit id",
        "its own beginning",
        "another unit",
        "another length",
        "another function",
        "checksum",
    ],
)
def test_what_stands_before_the_reply_is_dropped(before: bytes) -> None:
    reader, request = asked()
    assert taken(reader, before) == []
    assert reader.strange_bytes() == before[:8].hex(" ") + (" …" if len(before) > 8 else "")
    assert taken(reader, REPLY, 3) == [(request, 0)]


def test_a_refusal_is_an_answer() -> None:
    reader, request = asked()
    assert taken(reader, with_checksum(UNIT, 0x83, 2), 5) == [(request, 2)]


def test_a_refusal_without_a_code_is_none() -> None:
    reader, _ = asked()
    with pytest.raises(ReplyInvalid, match="exception without a code"):
        taken(reader, with_checksum(UNIT, 0x83, 0))


def test_a_write_is_answered_by_its_own_echo_only() -> None:
    write = WriteFrame(WriteSingleRegisterRequest(address=1, registers=[3], dev_id=UNIT), "holding 1")
    reader, request = asked(write)
    assert taken(reader, with_checksum(UNIT, 6, 0, 1, 0, 4)) == []
    assert taken(reader, with_checksum(UNIT, 6, 0, 1, 0, 3)) == [(request, 0)]


def test_what_comes_while_nothing_is_asked_is_late() -> None:
    reader, request = asked()
    reader.forget(7)
    assert taken(reader, REPLY) == []
    assert reader.late_count == 1
    reader.encode([request], 8)
    assert list(reader.in_flight) == [8]
    assert taken(reader, REPLY) == [(request, 0)]


def test_the_rest_of_a_late_reply_is_not_taken_into_the_next_one() -> None:
    reader, request = asked()
    assert taken(reader, REPLY[:4]) == []
    reader.encode([request], 8)
    assert taken(reader, REPLY[4:]) == []
    assert taken(reader, REPLY) == [(request, 0)]


def test_noise_without_end_fills_no_memory_and_the_reply_after_it_is_found() -> None:
    reader, request = asked()
    for _ in range(50):
        assert len(reader.space()) > 0
        assert taken(reader, bytes(100)) == []
    assert taken(reader, REPLY) == [(request, 0)]


@pytest.mark.parametrize("parts", [1, 4, 19])
def test_the_echo_of_the_request_is_taken_off_the_reply(parts: int) -> None:
    reader, request = asked(has_echo=True)
    assert taken(reader, REQUEST + REPLY, parts) == [(request, 0)]


def test_the_echo_of_a_write_is_not_its_answer() -> None:
    write = WriteFrame(WriteSingleRegisterRequest(address=1, registers=[3], dev_id=UNIT), "holding 1")
    reader, request = asked(write, has_echo=True)
    answer = with_checksum(UNIT, 6, 0, 1, 0, 3)
    assert taken(reader, answer) == []
    assert taken(reader, answer) == [(request, 0)]


def test_an_echo_that_is_not_what_was_sent_is_a_second_master() -> None:
    reader, _ = asked(has_echo=True)
    with pytest.raises(ReplyInvalid, match="another device was on the line at the same time") as why:
        taken(reader, REQUEST[:3] + b"\x55")
    assert why.value.transaction == 7
