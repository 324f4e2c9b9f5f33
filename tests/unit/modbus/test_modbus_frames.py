"""Only the whole, right reply to the request that is out counts as its answer, however the bytes come."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.modbus.counters import ModbusCounters
from connectors.modbus.frames import COMPLETE, PENDING, ReadFrame, ReplyInvalid, ReplyReader
from connectors.modbus.plan import coalesce, planned_tags
from connectors.modbus.settings import ModbusDevice

TRANSACTION = b"\x12\x34"


def frame(place: str = "holding 4", kind: str = "uint32", unit_id: int = 9) -> ReadFrame:
    device = ModbusDevice.model_validate(
        {
            "name": "d",
            "driver": "modbus",
            "endpoint": "tcp://plc.local",
            "tags": [{"name": "t", "at": place, "type": kind}],
        }
    )
    return ReadFrame(coalesce(planned_tags(device), 8, 125)[0], unit_id)


def reply(pdu: bytes, transaction: bytes = TRANSACTION, unit_id: int = 9) -> bytes:
    return transaction + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes((unit_id,)) + pdu


def feed(reader: ReplyReader, data: bytes, into: bytearray) -> list[int]:
    results = []
    while data:
        space = reader.space()
        count = min(len(space), len(data))
        assert count > 0
        space[:count] = data[:count]
        results.append(reader.received(count, memoryview(into)))
        data = data[count:]
    return results


GOOD = reply(b"\x03\x04\x01\x02\x03\x04")


def expecting(out: ReadFrame | None = None) -> ReplyReader:
    reader = ReplyReader(ModbusCounters())
    reader.expect(out or frame(), TRANSACTION)
    return reader


@pytest.mark.parametrize(
    ("place", "kind", "pdu"),
    [
        ("coil 3", "bool", "01 0003 0001"),
        ("discrete 300", "bool", "02 012C 0001"),
        ("holding 4", "uint32", "03 0004 0002"),
        ("input 65532", "double", "04 FFFC 0004"),
    ],
)
def test_requests_are_as_the_specification_has_them(place: str, kind: str, pdu: str) -> None:
    assert TRANSACTION + frame(place, kind).request_tail == bytes.fromhex(f"1234 0000 0006 09 {pdu}")


def test_a_whole_reply_is_complete_at_once() -> None:
    into = bytearray(4)
    assert feed(expecting(), GOOD, into) == [COMPLETE]
    assert into == b"\x01\x02\x03\x04"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.binary(min_size=2, max_size=2), st.binary(min_size=1, max_size=252)), max_size=6),
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
    st.sampled_from([(GOOD, COMPLETE), (reply(b"\x83\x06"), 6)]),
)
def test_late_replies_and_any_division_into_packets_change_nothing(
    late: list[tuple[bytes, bytes]], sizes: list[int], answer: tuple[bytes, int]
) -> None:
    others = [reply(b"\x03" + data, transaction) for transaction, data in late if transaction != TRANSACTION]
    data = b"".join(others) + answer[0]
    reader, into, results = expecting(), bytearray(4), []
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        results += feed(reader, data[at : at + size], into)
        at, turn = at + size, turn + 1
    assert results == [PENDING] * (len(results) - 1) + [answer[1]]
    assert reader.late_count == len(others)
    if answer[1] == COMPLETE:
        assert into == b"\x01\x02\x03\x04"


def test_what_follows_a_reply_belongs_to_no_request() -> None:
    reader, into = expecting(), bytearray(4)
    assert feed(reader, GOOD + GOOD, into) == [COMPLETE]
    assert reader.late_count == 1
    assert feed(reader, GOOD, into) == [PENDING]
    assert reader.late_count == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (reply(b"\x04\x04\x01\x02\x03\x04"), "function 4 to a request with function 3"),
        (reply(b"\x84\x02"), "function 132"),
        (reply(b"\x03\x04\x01\x02\x03\x04", unit_id=8), "unit 8 to a request for unit 9"),
        (reply(b"\x03\x02\x01\x02"), "2 bytes of data where holding 4 to 5 takes 4"),
        (reply(b"\x03\x06\x01\x02\x03\x04"), "4 bytes of data"),
        (reply(b"\x03\x04\x01\x02\x03\x04\x05"), "5 bytes of data"),
        (reply(b"\x03"), "bytes of data"),
        (reply(b"\x83\x00"), "without a code"),
        (reply(b"\x83\x02\x00"), "without a code"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not Modbus/TCP"),
        (TRANSACTION + b"\0\0\xff\xff\x09\x03", "not Modbus/TCP"),
        (TRANSACTION + b"\0\0\0\x01\x09", "not Modbus/TCP"),
        (TRANSACTION + b"\0\x01\0\x07\x09\x03\x04\x01\x02\x03\x04", "not Modbus/TCP"),
    ],
)
def test_a_wrong_reply_is_refused_with_a_sentence(data: bytes, reason: str) -> None:
    with pytest.raises(ReplyInvalid, match=reason):
        feed(expecting(), data, bytearray(4))


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=3000))
def test_no_bytes_are_too_much_and_none_are_taken_for_a_value(data: bytes) -> None:
    reader, into = expecting(), bytearray(4)
    try:
        results = feed(reader, data, into)
    except ReplyInvalid:
        results = []
    if COMPLETE in results:
        assert TRANSACTION in data
    else:
        assert into == bytes(4)
