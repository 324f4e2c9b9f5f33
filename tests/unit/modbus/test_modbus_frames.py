"""Only the whole, right reply to a request in flight counts as its answer, however the bytes come."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.modbus.counters import ModbusCounters
from connectors.modbus.frames import COMPLETE, ReadFrame, ReplyInvalid
from connectors.modbus.mbap import MbapReader
from connectors.modbus.plan import coalesce, planned_tags
from connectors.modbus.settings import IN_FLIGHT_MAX, ModbusDevice

TRANSACTION = 0x1234


def frame(place: str = "holding 4", kind: str = "uint32", unit_id: int = 9) -> ReadFrame:
    device = ModbusDevice.model_validate(
        {
            "name": "d",
            "driver": "modbus",
            "endpoint": "tcp://plc.local",
            "tags": [{"name": "t", "at": place, "type": kind}],
        }
    )
    block = coalesce(planned_tags(device), 8, 125)[0]
    return ReadFrame(block, unit_id, memoryview(bytearray(block.byte_count)))


def reply(pdu: bytes, transaction: int = TRANSACTION, unit_id: int = 9) -> bytes:
    return transaction.to_bytes(2, "big") + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes((unit_id,)) + pdu


def feed(reader: MbapReader[ReadFrame], data: bytes) -> list[tuple[ReadFrame, int]]:
    replies: list[tuple[ReadFrame, int]] = []
    while data:
        space = reader.space()
        count = min(len(space), len(data))
        assert count > 0
        space[:count] = data[:count]
        replies += reader.received(count)
        data = data[count:]
    return replies


HEAD = TRANSACTION.to_bytes(2, "big")
DATA = b"\x01\x02\x03\x04"
GOOD = reply(b"\x03\x04" + DATA)


def expecting(*transactions: int) -> tuple[MbapReader[ReadFrame], list[ReadFrame]]:
    """A reader that waits for replies to one read each, and these reads."""
    reader: MbapReader[ReadFrame] = MbapReader(ModbusCounters())
    reads = [frame() for _ in transactions or (TRANSACTION,)]
    for transaction, read in zip(transactions or (TRANSACTION,), reads, strict=True):
        reader.encode([read], transaction)
    return reader, reads


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
    assert TRANSACTION.to_bytes(2, "big") + frame(place, kind).request_tail == bytes.fromhex(f"1234 0000 0006 09 {pdu}")


def test_a_whole_reply_is_complete_at_once() -> None:
    reader, (read,) = expecting()
    assert feed(reader, GOOD) == [(read, COMPLETE)]
    assert bytes(read.into) == DATA
    assert not reader.in_flight


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(min_size=1, max_size=252)), max_size=6),
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
    st.sampled_from([(GOOD, COMPLETE), (reply(b"\x83\x06"), 6)]),
)
def test_late_replies_and_any_division_into_packets_change_nothing(
    late: list[tuple[int, bytes]], sizes: list[int], answer: tuple[bytes, int]
) -> None:
    others = [reply(b"\x03" + data, transaction) for transaction, data in late if transaction != TRANSACTION]
    data = b"".join(others) + answer[0]
    reader, (read,) = expecting()
    replies: list[tuple[ReadFrame, int]] = []
    at = turn = 0
    while at < len(data):
        assert replies == []
        size = sizes[turn % len(sizes)]
        replies += feed(reader, data[at : at + size])
        at, turn = at + size, turn + 1
    assert replies == [(read, answer[1])]
    assert reader.late_count == len(others)
    if answer[1] == COMPLETE:
        assert bytes(read.into) == DATA


def test_transactions_begin_anew_after_the_last_one() -> None:
    reader: MbapReader[ReadFrame] = MbapReader(ModbusCounters())
    reads = [frame() for _ in range(4)]
    sent = reader.encode(reads, 0x1FFFE)  # whoever counts need not know of the limit
    size = len(sent) // len(reads)
    assert [sent[at : at + 2].hex() for at in range(0, len(sent), size)] == ["fffe", "ffff", "0000", "0001"]
    answers = b"".join(reply(b"\x03\x04" + DATA, number) for number in (1, 0, 0xFFFF, 0xFFFE))
    assert feed(reader, answers) == [(read, COMPLETE) for read in reversed(reads)]


def test_what_follows_a_reply_belongs_to_no_request() -> None:
    reader, (read,) = expecting()
    assert feed(reader, GOOD + GOOD) == [(read, COMPLETE)]
    assert reader.late_count == 1
    assert feed(reader, GOOD) == []
    assert reader.late_count == 2


def test_a_reply_to_a_forgotten_request_is_late() -> None:
    reader, (first, second) = expecting(1, 2)
    reader.forget(1)
    reader.forget(7)
    assert feed(reader, reply(b"\x03\x04" + DATA, 1) + reply(b"\x03\x04" + DATA, 2)) == [(second, COMPLETE)]
    assert (reader.late_count, bytes(first.into)) == (1, bytes(4))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, bytes, int]]]:
    """Transactions in flight, and what comes: (transaction, PDU, code), out of order, doubled, missing, unknown."""
    sent = draw(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=IN_FLIGHT_MAX, unique=True))
    answers: list[tuple[int, bytes, int]] = []
    for transaction in draw(st.permutations(sent)):
        code = draw(st.sampled_from([COMPLETE, COMPLETE, 2, 6, 11]))
        pdu = bytes((0x83, code)) if code else b"\x03\x04" + transaction.to_bytes(4, "big")
        answers += [(transaction, pdu, code)] * draw(st.sampled_from([0, 1, 1, 1, 2]))
    for unknown in draw(st.lists(st.integers(0, 0xFFFF).filter(lambda number: number not in sent), max_size=3)):
        place = draw(st.integers(0, len(answers)))
        answers.insert(place, (unknown, b"\x03" + draw(st.binary(min_size=1, max_size=252)), COMPLETE))
    return sent, answers


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(conversations(), st.data())
def test_every_reply_finds_its_own_request_in_any_order_and_division(
    conversation: tuple[list[int], list[tuple[int, bytes, int]]], data: st.DataObject
) -> None:
    sent, answers = conversation
    stream = b"".join(reply(pdu, transaction) for transaction, pdu, _code in answers)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    reader, reads = expecting(*sent)
    replies: list[tuple[ReadFrame, int]] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        replies += feed(reader, stream[begin:end])
    by_transaction = dict(zip(sent, reads, strict=True))
    expected: dict[int, tuple[ReadFrame, int]] = {}
    for transaction, _pdu, code in answers:
        if transaction in by_transaction and transaction not in expected:
            expected[transaction] = (by_transaction[transaction], code)
    assert replies == list(expected.values())
    assert reader.late_count == len(answers) - len(expected)
    assert list(reader.in_flight) == [transaction for transaction in sent if transaction not in expected]
    for transaction, read in by_transaction.items():
        answered = expected.get(transaction, (read, 1))[1] == COMPLETE
        assert bytes(read.into) == (transaction.to_bytes(4, "big") if answered else bytes(4))


def test_replies_that_are_cut_at_any_byte_are_the_same() -> None:
    stream = b"".join(
        (
            reply(b"\x03\x04" + DATA, 3),
            reply(b"\x83\x0b", 1),
            reply(b"\x03\x04" + DATA, 99),
            reply(b"\x03\x04" + DATA, 2),
        )
    )
    for cut in range(len(stream) + 1):
        reader, (first, second, third) = expecting(1, 2, 3)
        replies = feed(reader, stream[:cut]) + feed(reader, stream[cut:])
        assert replies == [(third, COMPLETE), (first, 11), (second, COMPLETE)]
        assert (bytes(third.into), bytes(first.into), bytes(second.into), reader.late_count) == (
            DATA,
            bytes(4),
            DATA,
            1,
        )
    reader, (first, second, third) = expecting(1, 2, 3)
    singly = [each for at in range(len(stream)) for each in feed(reader, stream[at : at + 1])]
    assert singly == [(third, COMPLETE), (first, 11), (second, COMPLETE)]


def test_what_came_before_a_wrong_reply_is_taken_and_the_request_at_fault_is_named() -> None:
    reader, (first, _second, third) = expecting(1, 2, 3)
    stream = reply(b"\x03\x04" + DATA, 3) + reply(b"\x83\x04", 1) + reply(b"\x04\x04" + DATA, 2)
    reader.space()[: len(stream)] = stream
    replies = reader.received(len(stream))
    assert [next(replies), next(replies)] == [(third, COMPLETE), (first, 4)]
    with pytest.raises(ReplyInvalid, match="function 4 to a request with function 3") as caught:
        next(replies)
    assert caught.value.transaction == 2


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
        (HEAD + b"\0\0\xff\xff\x09\x03", "not Modbus/TCP"),
        (HEAD + b"\0\0\0\x01\x09", "not Modbus/TCP"),
        (HEAD + b"\0\x01\0\x07\x09\x03\x04\x01\x02\x03\x04", "not Modbus/TCP"),
    ],
)
def test_a_wrong_reply_is_refused_with_a_sentence(data: bytes, reason: str) -> None:
    with pytest.raises(ReplyInvalid, match=reason):
        feed(expecting()[0], data)


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(st.binary(min_size=1, max_size=3000))
def test_no_bytes_are_too_much_and_none_are_taken_for_a_value(data: bytes) -> None:
    reader, (read,) = expecting()
    try:
        replies = feed(reader, data)
    except ReplyInvalid:
        replies = []
    if (read, COMPLETE) in replies:
        assert HEAD in data
    else:
        assert bytes(read.into) == bytes(4)


def test_an_exception_whose_length_is_one_too_small_is_read_all_the_same() -> None:
    reader, (read,) = expecting()
    assert feed(reader, HEAD + b"\0\0\0\x02\x09\x83\x02") == [(read, 2)]
