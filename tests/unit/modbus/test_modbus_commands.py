"""A command is a few requests, each sent once: what is sent next follows from the answer, and nothing comes between."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.modbus.command import Command, CommandRequest
from connectors.modbus.counters import ModbusCounters
from connectors.modbus.frames import ReplyInvalid
from connectors.modbus.mbap import MbapReader
from connectors.modbus.plan import planned_tags
from connectors.modbus.request_queue import Priority, RequestQueue
from connectors.modbus.settings import ModbusDevice, ModbusTag
from connectors.modbus.writes import write_steps
from connectors.model.errors import DeviceUnavailable, WriteRefused, WriteUncertain

UNIT = 9


def command(value: Any, **tag: Any) -> Command:
    device = {"name": "d", "driver": "modbus", "endpoint": "tcp://plc", "tags": [{"name": "t"} | tag]}
    return Command(write_steps(planned_tags(ModbusDevice.model_validate(device))[0], value, UNIT))


def next_of(it: Command) -> CommandRequest:
    (request,) = it.unasked
    it.unasked.clear()
    return request


def pdu(request: CommandRequest) -> str:
    """Function and what follows; before it stand protocol, length and unit, which are checked."""
    tail = request.request_tail
    assert tail[:2] == b"\0\0"
    assert int.from_bytes(tail[2:4], "big") == len(tail) - 4
    assert tail[4] == UNIT
    return tail[5:].hex(" ")


@pytest.mark.parametrize(
    ("tag", "value", "sent", "echo"),
    [
        ({"at": "coil 172"}, True, "05 00 ac ff 00", "05 00 ac ff 00"),
        ({"at": "coil 172"}, False, "05 00 ac 00 00", "05 00 ac 00 00"),
        ({"at": "holding 1"}, 3, "06 00 01 00 03", "06 00 01 00 03"),
        ({"at": "holding 1", "type": "uint32"}, 0x000A0102, "10 00 01 00 02 04 00 0a 01 02", "10 00 01 00 02"),
        ({"at": "holding 4.2"}, True, "16 00 04 ff fb 00 04", "16 00 04 ff fb 00 04"),
        ({"at": "holding 4.2"}, False, "16 00 04 ff fb 00 00", "16 00 04 ff fb 00 00"),
    ],
)
def test_the_frames_are_those_of_the_specification(tag: dict[str, Any], value: Any, sent: str, echo: str) -> None:
    it = command(value, **tag)
    request = next_of(it)
    assert (pdu(request), request.is_write) == (sent, True)
    assert request.reply_tail[5:].hex(" ") == echo
    assert request.answered(0, 1, 1.0) is False
    assert (it.has_ended, it.failure, list(it.unasked)) == (True, None, [])


def received(request: CommandRequest, reply: bytes, parts: int = 1) -> list[tuple[CommandRequest, int]]:
    reader: MbapReader[CommandRequest] = MbapReader(ModbusCounters())
    reader.encode([request], 0x0102)
    found = []
    size = -(-len(reply) // parts)
    for at in range(0, len(reply), size):
        piece = reply[at : at + size]
        reader.space()[: len(piece)] = piece
        found += list(reader.received(len(piece)))
    return found


@pytest.mark.parametrize("parts", [1, 2, 12])
def test_the_echo_is_the_answer_however_it_comes(parts: int) -> None:
    for tag, value in (
        ({"at": "holding 1"}, 3),
        ({"at": "holding 4.2"}, True),
        ({"at": "holding 1", "type": "double"}, 1.0),
    ):
        request = next_of(command(value, **tag))
        assert received(request, b"\x01\x02" + request.reply_tail, parts) == [(request, 0)]


def test_an_echo_of_something_else_is_no_answer() -> None:
    request = next_of(command(3, at="holding 1"))
    for at in range(6, 10):
        other = bytearray(b"\x01\x02" + request.reply_tail)
        other[at + 2] ^= 1
        with pytest.raises(ReplyInvalid, match=r"answered a write of holding 1 with 06 .* and not with 06 00 01 00 03"):
            received(request, bytes(other))
    with pytest.raises(ReplyInvalid, match="answered a write"):
        received(request, b"\x01\x02\0\0\0\x07" + request.reply_tail[4:] + b"\0")
    assert received(request, bytes((1, 2, 0, 0, 0, 3, UNIT, 0x86, 4))) == [(request, 4)]


def test_a_bit_without_mask_is_read_and_written_in_one_go() -> None:
    it = command(True, at="holding 4.9")
    assert next_of(it).answered(1, 1, 1.0) is True
    reading = next_of(it)
    assert (pdu(reading), reading.is_write) == ("03 00 04 00 01", False)
    reading.into[:] = b"\x80\x01"
    assert reading.answered(0, 2, 2.0) is True
    writing = next_of(it)
    assert (pdu(writing), writing.is_write) == ("06 00 04 82 01", True)
    assert writing.answered(1, 3, 3.0) is True  # some units only know how to write several
    several = next_of(it)
    assert pdu(several) == "10 00 04 00 01 02 82 01"
    assert several.answered(0, 4, 4.0) is False
    assert (it.has_ended, it.failure) == (True, None)


def test_only_an_unknown_function_is_followed_by_another_request() -> None:
    for code in (2, 3, 4, 5, 6, 7, 8, 10, 11, 200):
        for tag, value in (({"at": "coil 1"}, True), ({"at": "holding 4.9"}, True), ({"at": "holding 4"}, 1)):
            it = command(value, **tag)
            assert next_of(it).answered(code, 1, 1.0) is False
            assert it.has_ended
            assert type(it.failure) is (WriteUncertain if code in (4, 5, 11) else WriteRefused)


def test_what_was_not_answered_is_uncertain_when_it_was_a_write_and_ends_the_command() -> None:
    it = command(True, at="holding 4.9")
    writing = next_of(it)
    assert writing.failed("no answer") is True
    assert (it.has_ended, list(it.unasked), type(it.failure)) == (True, [], WriteUncertain)
    it = command(True, at="holding 4.9")
    next_of(it).answered(1, 1, 1.0)
    assert next_of(it).failed("no answer") is True
    assert (it.has_ended, type(it.failure)) == (True, DeviceUnavailable)
    it.abandon("closed")
    assert str(it.failure) == "no answer (read of holding 4); nothing was written"


def test_a_command_that_goes_on_is_before_all_others_even_those_that_have_waited_for_long() -> None:
    queue: RequestQueue[str] = RequestQueue()
    for job, priority in (("scan", Priority.POLL), ("probe", Priority.PROBE), ("second", Priority.COMMAND)):
        queue.add(job, priority)
    for _ in range(50):
        queue.add_first("first", Priority.COMMAND)
        assert (queue.next(), queue.commands) == ("first", 2)
        queue.remove("first")
    assert sorted(queue.clear()) == ["probe", "scan", "second"]


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ({"at": "input 4"}, "nobody can write to the tables input and discrete"),
        ({"at": "input 4.2"}, "nobody can write to the tables input and discrete"),
        ({"at": "discrete 4"}, "nobody can write to the tables input and discrete"),
        (
            {"at": "holding 4", "type": "string", "length": 247},
            "the tag takes 124 registers, and one request can write 123; the unit would see it in parts",
        ),
        ({"at": "holding 4", "type": "string", "length": 246}, ""),
        ({"at": "holding 4.2"}, ""),
        ({"at": "coil 4"}, ""),
    ],
)
def test_what_nobody_can_write_is_said_by_the_settings_and_before_anything_is_sent(
    tag: dict[str, Any], reason: str
) -> None:
    settings = ModbusTag.model_validate({"name": "t"} | tag)
    value = "text" if settings.length > 2 else settings.is_bit or 1
    assert settings.unwritable_reason == reason
    if not reason:
        assert len(command(value, **tag).unasked) == 1
        return
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole sentence is compared
        command(value, **tag)
    assert str(caught.value) == f"{settings.at}: {reason}"
