"""What registers can mean besides plain numbers: orders of 64 bits, decimal digits, numbers that stand for texts."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.modbus.decode import DecodePlan
from connectors.modbus.encode import encoded_bit, encoded_registers
from connectors.modbus.plan import PlannedTag, coalesce, planned_tags
from connectors.modbus.settings import ModbusDevice
from connectors.model.errors import ConfigInvalid
from connectors.model.quality import BAD_DECODING_ERROR, BAD_DEVICE_FAILURE, GOOD, UNCERTAIN
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers

EIGHT_LETTERS = [
    "ABCDEFGH", "BADCFEHG", "CDABGHEF", "DCBAHGFE", "EFGHABCD", "FEHGBADC", "GHEFCDAB", "HGFEDCBA",
]  # fmt: skip
STATES = {0: "stopped", 1: "running", 7: "fault"}


def planned(*tags: dict[str, Any], **device: Any) -> tuple[PlannedTag, ...]:
    entries = [{"name": f"t{index}", "at": f"holding {index * 4}", **tag} for index, tag in enumerate(tags)]
    settings = {"name": "d", "driver": "modbus", "endpoint": "tcp://plc", "tags": entries, **device}
    return planned_tags(ModbusDevice.model_validate(settings))


class Unit:
    """Some tags, and what the driver makes of their registers."""

    def __init__(self, *tags: PlannedTag) -> None:
        self.plan = DecodePlan(coalesce(tags, 8, 125))

    def rows(self, registers: list[int], code: int = 0) -> list[tuple[Any, int]]:
        """Value and quality of each tag in the order of the tags."""
        data = np.frombuffer(struct.pack(f">{len(registers)}H", *registers), np.uint8)
        self.plan.area[: len(data)] = data
        rows = [row for batch in self.plan.decode([code], [0]) for row in batch.rows()]
        return [(value, quality) for _tag, _time, value, quality in sorted(rows, key=lambda row: row[0])]


@pytest.mark.parametrize("letters", EIGHT_LETTERS)
@pytest.mark.parametrize("datatype", ["uint64", "int64", "double"])
def test_the_letters_of_64_bits_name_the_bytes_as_they_arrive(letters: str, datatype: str) -> None:
    data = bytes.fromhex("3FF1 0203 0405 0607")
    (value,) = struct.unpack({"uint64": ">Q", "int64": ">q", "double": ">d"}[datatype], data)
    sent = list(struct.unpack(">4H", bytes(data["ABCDEFGH".index(letter)] for letter in letters)))
    (tag,) = planned({"type": datatype, "order": letters})
    assert Unit(tag).rows(sent) == [(value, GOOD)]
    assert encoded_registers(tag, value) == sent


def test_the_order_of_a_device_is_that_of_its_numbers_of_several_registers() -> None:
    tags = planned(
        {"type": "uint32"},
        {"type": "uint64"},
        {},
        {"type": "string"},
        {"at": "coil 0"},
        {"type": "uint32", "order": "big"},
        order="CDABGHEF",
    )
    assert [tag.order for tag in tags] == ["CDABGHEF", "CDABGHEF", "ABCD", "ABCD", "ABCD", "ABCD"]
    assert Unit(tags[0]).rows([2, 1]) == [(0x0001_0002, GOOD)]
    assert Unit(tags[1]).rows([2, 1, 4, 3]) == [(0x0001_0002_0003_0004, GOOD)]


@pytest.mark.parametrize(("datatype", "registers"), [("uint16", 1), ("uint32", 2), ("uint64", 4)])
@given(data=st.data())
def test_decimal_digits_are_read_and_written_as_the_number_that_they_show(
    data: st.DataObject, datatype: str, registers: int
) -> None:
    order = data.draw(st.sampled_from(["ABCD", "BADC", "CDAB", "DCBA"]))
    (tag,) = planned({"type": datatype, "encoding": "bcd", "order": order})
    number = data.draw(st.integers(0, 10 ** (4 * registers) - 1))
    assert Unit(tag).rows(encoded_registers(tag, number)) == [(number, GOOD)]


def test_decimal_digits_stand_in_the_halves_of_bytes() -> None:
    small, large, scaled = planned(
        {"encoding": "bcd"}, {"encoding": "bcd", "type": "uint32"}, {"encoding": "bcd", "scale": 0.5}
    )
    assert encoded_registers(small, 1234) == [0x1234]
    assert encoded_registers(large, 12_345_678) == [0x1234, 0x5678]
    assert Unit(scaled).rows([0x0099]) == [(49.5, GOOD)]


@pytest.mark.parametrize("register", [0x000A, 0x0F00, 0xFFFF, 0xA000])
def test_what_is_no_decimal_digit_makes_no_value_and_spoils_no_other(register: int) -> None:
    tags = planned({"encoding": "bcd"}, {"encoding": "bcd"}, {})
    assert Unit(*tags).rows([register, 0, 0, 0, 0x0012, 0, 0, 0, 3]) == [
        (None, BAD_DECODING_ERROR),
        (12, GOOD),
        (3, GOOD),
    ]


@given(st.floats(width=16, allow_nan=False, allow_infinity=False), st.sampled_from(["ABCD", "BADC"]), st.booleans())
def test_a_float_of_one_register_is_read_and_written(value: float, order: str, is_scaled: bool) -> None:
    scaled = {"scale": 2, "offset": 1} if is_scaled else {}
    (tag,) = planned({"type": "float16", "order": order, **scaled})
    raw = list(struct.unpack(">H" if order == "ABCD" else "<H", struct.pack(">e", value)))
    reported = value * 2 + 1 if is_scaled else value
    assert Unit(tag).rows(raw) == [(reported, GOOD)]
    assert encoded_registers(tag, value) == raw or is_scaled
    assert Unit(tag).rows(encoded_registers(tag, reported)) == [(reported, GOOD)]


def test_floats_of_one_register_and_of_two_stand_beside_each_other() -> None:
    unit = Unit(*planned({"type": "Float16"}, {"type": "float", "at": "holding 1"}, {"type": "float16", "at": 40004}))
    assert unit.rows([0x3C00, 0x3F80, 0x0000, 0xC000]) == [(1.0, GOOD), (1.0, GOOD), (-2.0, GOOD)]


def test_what_is_too_large_for_one_register_is_not_written() -> None:
    (tag,) = planned({"type": "float16"})
    with pytest.raises(ValueError, match=r"holding 0: 70000\.0 does not fit a float of 16 bits"):
        encoded_registers(tag, 70_000.0)


@given(st.floats(-60_000, 60_000))
def test_what_a_float_of_one_register_holds_of_a_value_counts_as_that_value(value: float) -> None:
    limits = {"writable": {"min": -60_000, "max": 60_000}, "type": "float16"}
    (tag,) = ModbusDevice.model_validate(
        {"name": "d", "driver": "modbus", "endpoint": "tcp://plc", "tags": [{"name": "t", "at": "holding 0", **limits}]}
    ).tags
    (planned_tag,) = planned(limits)
    ((held, _),) = Unit(planned_tag).rows(encoded_registers(planned_tag, value))
    assert abs(held - value) <= tag.rounding_of(value) <= abs(value) / 1000 + 1e-7


def test_numbers_are_reported_as_the_texts_that_they_stand_for() -> None:
    unit = Unit(*planned({"enum": STATES}, {"enum": {0: "open", 1: "closed"}, "at": "holding 4.3"}, {"type": "string"}))
    assert unit.rows([0, 0, 0, 0, 0]) == [("stopped", GOOD), ("open", GOOD), ("", GOOD)]
    assert unit.rows([7, 0, 0, 0, 8]) == [("fault", GOOD), ("closed", GOOD), ("", GOOD)]
    assert unit.rows([1, 0, 0, 0, 8]) == [("running", GOOD), ("closed", GOOD), ("", GOOD)]


def test_a_number_without_a_text_is_shown_as_it_is_and_is_uncertain() -> None:
    unit = Unit(*planned({"enum": STATES}, {"enum": STATES, "type": "int16"}))
    assert unit.rows([9, 0, 0, 0, 0xFFFF]) == [("9", UNCERTAIN), ("-1", UNCERTAIN)]
    assert unit.rows([0, 0, 0, 0, 0xFFFF]) == [("stopped", GOOD), ("-1", UNCERTAIN)]


def test_the_exception_of_a_unit_counts_more_than_what_is_left_in_the_area() -> None:
    unit = Unit(*planned({"enum": STATES}, {"encoding": "bcd", "at": "holding 1"}))
    assert unit.rows([9, 0xFFFF], code=4) == [(None, BAD_DEVICE_FAILURE)] * 2


def test_a_text_is_written_as_its_number() -> None:
    state, coil, digits = planned(
        {"enum": STATES},
        {"at": "coil 0", "enum": {0: "open", 1: "closed"}},
        {"enum": {12: "twelve"}, "encoding": "bcd"},
    )
    assert encoded_registers(state, "fault") == [7]
    assert (encoded_bit(coil, "closed"), encoded_bit(coil, "open")) == (True, False)
    assert encoded_registers(digits, "twelve") == [0x12]


@pytest.mark.parametrize("value", ["Fault", "7", 7, True])
def test_what_is_none_of_the_texts_is_not_written(value: Any) -> None:
    (state,) = planned({"enum": STATES})
    with pytest.raises(ValueError, match="is none of its texts; write 'stopped', 'running' or 'fault'"):
        encoded_registers(state, value)


def test_a_number_with_more_digits_than_there_is_room_for_is_not_written() -> None:
    (tag,) = planned({"encoding": "bcd"})
    with pytest.raises(ValueError, match="10000 has more than 4 decimal digits"):
        encoded_registers(tag, 10_000)


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ({"encoding": "bcd", "type": "int16"}, "decimal digits make no Int16"),
        ({"encoding": "bcd", "type": "float"}, "decimal digits make no Float"),
        ({"enum": STATES, "type": "float"}, "a Float stands for no texts"),
        ({"enum": {65_536: "never"}}, "no UInt16 is 65536"),
        ({"enum": {-1: "never"}}, "no UInt16 is -1"),
        ({"enum": {10_000: "never"}, "encoding": "bcd"}, "no UInt16 is 10000"),
        ({"enum": STATES, "type": "string"}, "a String stands for no texts"),
        ({"enum": STATES, "at": "coil 0"}, "a bit is 0 or 1"),
        ({"enum": STATES, "scale": 2}, "it does nothing to a String"),
        ({"enum": STATES, "writable": {"min": 0, "max": 7}}, "a String has no limits"),
        ({"enum": {0: "a", 1: "a"}, "writable": True}, "'a' stands for several numbers"),
        ({"enum": {}}, "at least 1"),
        ({"type": "uint32", "order": "CDABGHEF"}, "CDABGHEF is an order of 64 bits"),
    ],
)
def test_a_meaning_that_the_registers_cannot_have_is_refused(tag: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planned(tag)


FILE = """
agent: {group: a, name: b}
uplink: {brokers: [mqtts://b]}
devices:
  - name: meter
    driver: modbus
    endpoint: tcp://meter
    base: 1
    order: word-swap
    write_function: 23
    tags:
      - {name: power, at: 40101, type: float, order: CDAB}
      - {name: energy, at: holding 101, type: uint64}
      - {name: door, at: "40205.10", enum: {0: open, 1: closed}}
      - {name: count, at: 40300, type: uint32, encoding: bcd}
      - {name: state, at: 40400, enum: {0: off, 0x10: "on", -1: fault}, type: int16}
"""


def test_all_of_it_can_be_written_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(FILE)
    (meter,) = load_config(path, built_in_drivers()).devices
    assert isinstance(meter, ModbusDevice)
    power, energy, door, count, state = planned_tags(meter)
    assert (power.address, power.order, energy.address, energy.order) == (100, "CDAB", 100, "CDAB")
    assert (door.address, door.bit, door.texts) == (204, 10, {0: "open", 1: "closed"})
    assert (count.address, count.encoding) == (299, "bcd")
    assert state.texts == {0: "off", 16: "on", -1: "fault"}


def test_a_text_for_what_is_no_number_is_refused_in_its_line(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(FILE.replace("0x10", "ten"))
    with pytest.raises(ConfigInvalid, match=r"agent\.yaml:16:\d+: 'enum' of tag 'state': 'ten' is no whole number"):
        load_config(path, built_in_drivers())


def test_texts_that_are_said_to_be_none_are_none() -> None:
    (tag,) = planned({"enum": None})
    assert tag.texts is None
