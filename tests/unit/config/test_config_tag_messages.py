"""A tag that its driver cannot read, or with a setting that would do nothing, is named before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_config_files import OVEN, PRESS, Case, said_of

from connectors.modbus.settings import ModbusTag
from connectors.model.datatypes import DataType
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers

CASES: dict[str, Case] = {
    "a device without tags": (OVEN % "", ["4:62: 'tags' of device 'oven' needs at least 1 entry."]),
    "an index that no namespace can have": (
        PRESS.replace("ns=2;i=1", "ns=70000;i=5") % "",
        [
            "8:27: 'at' of tag 'force': 'ns=70000;i=5': the index of a namespace goes from 0 to 65535. Write the one "
            "that the server has given it, or nsu=<namespace uri>."
        ],
    ),
    "a number that no node can have": (
        PRESS.replace("ns=2;i=1", "ns=2;i=99999999999") % "",
        [
            "8:27: 'at' of tag 'force': 'ns=2;i=99999999999': after i= comes a number from 0 to 4294967295. Write s= "
            "before a text."
        ],
    ),
    "a GUID that is none": (
        PRESS.replace("ns=2;i=1", "ns=2;g=xyz") % "",
        [
            "8:27: 'at' of tag 'force': 'ns=2;g=xyz': after g= comes a GUID. Write it with all its digits, such as "
            "g=09087e75-8e5e-499b-954f-f2a9603db28a."
        ],
    ),
    "a type with a name that has two meanings": (
        OVEN % "{name: x, at: holding 1, type: INT}",
        [
            "4:94: 'type' of tag 'x': the data type 'INT' may have 16 bits, as in IEC 61131-3, or 32. "
            "Write int16 or int32."
        ],
    ),
    "a type that no register has is not suggested": (
        OVEN % "{name: x, at: holding 1, type: int9}",
        ["4:94: 'type' of tag 'x': there is no data type 'int9'. Did you mean 'int64'?"],
    ),
    "a type that no register has": (
        OVEN % "{name: x, at: holding 1, type: byte}",
        [
            "4:94: 'type' of tag 'x': a register cannot hold the type UInt8. Write double, float, int16, int32, int64, "
            "uint16, uint32, uint64 or string."
        ],
    ),
    "a bit that is written as a register": (
        OVEN % "{name: x, at: holding 100, type: bool}",
        [
            "4:77: 'at' of tag 'x': 'holding 100' is a register, and 'type' says that it is a bit. Write holding 100.0 "
            "for its lowest bit, up to holding 100.15."
        ],
    ),
    "a value beyond the last register": (
        OVEN % "{name: x, at: holding 65535, type: float}",
        [
            "4:77: 'at' of tag 'x': a Float at 'holding 65535' reaches beyond the last register, 65535. Write an "
            "address up to holding 65534, or 'base: 1' if the manual counts from 1."
        ],
    ),
    "the last one of a table that is counted from 1": (
        OVEN % "{name: x, at: holding 65536}",
        [
            "4:77: 'at' of tag 'x': a UInt16 at 'holding 65536' reaches beyond the last register, 65535. Write an "
            "address up to holding 65535, or 'base: 1' if the manual counts from 1."
        ],
    ),
    "intervals that exclude each other": (
        OVEN % "{name: x, at: holding 1, min_interval: 10s, max_interval: 5s}",
        [
            "4:102: 'min_interval' of tag 'x': a value cannot be reported at least as often as 'max_interval' says, "
            "and at most as often as this. Make it shorter than 'max_interval', or leave one of the two out."
        ],
    ),
    "an interval that the device's own excludes": (
        OVEN % "{name: x, at: holding 1, min_interval: 5m}",
        [
            "4:102: 'min_interval' of tag 'x': a value is reported at least every 60 s, as 'max_interval' of device "
            "'oven' says, and cannot be reported at most as often as this. Make it shorter, or give the tag a "
            "'max_interval' of its own."
        ],
    ),
    "a scale of a bit": (
        OVEN % "{name: x, at: holding 1.3, scale: 2}",
        ["4:97: 'scale' of tag 'x': it does nothing to a Boolean. Remove it."],
    ),
    "an order of a bit": (
        OVEN % "{name: x, at: coil 1, order: ABCD}",
        ["4:92: 'order' of tag 'x': a bit has no order of its words. Remove it."],
    ),
    "an order of words of a bit in a register": (
        OVEN % "{name: x, at: holding 1.3, order: CDAB}",
        ["4:97: 'order' of tag 'x': a bit has no order of its words. Remove it."],
    ),
    "a deadband of a string": (
        OVEN % "{name: x, at: holding 1, type: string, length: 8, deadband: 1}",
        ["4:123: 'deadband' of tag 'x': it does nothing to a String. Remove it."],
    ),
    "an offset of a string of OPC UA": (
        PRESS % "type: string, offset: 1",
        ["8:59: 'offset' of tag 'force': it does nothing to a String. Remove it."],
    ),
    "a length of a number": (
        OVEN % "{name: x, at: holding 1, length: 8}",
        ["4:96: 'length' of tag 'x': only a string has a length. Remove it, or write 'type: string'."],
    ),
    "a deadband where every poll is reported": (
        OVEN % "{name: x, at: holding 1, report: always, deadband: 1}",
        [
            "4:114: 'deadband' of tag 'x': with 'report: always' a value is reported after every poll, however little "
            "it moved. Leave one of the two out."
        ],
    ),
    "a shortest interval where every poll is reported": (
        OVEN % "{name: x, at: holding 1, report: always, min_interval: 5s}",
        [
            "4:118: 'min_interval' of tag 'x': with 'report: always' a value is reported after every poll. Leave one "
            "of the two out, or give the tag a longer 'poll'."
        ],
    ),
}


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("text", "lines"), CASES.values(), ids=CASES)
def test_a_tag_that_cannot_be_as_it_is_written_is_named_with_its_place(text: str, lines: list[str]) -> None:
    assert said_of(text) == [f"agent.yaml:{line}" for line in lines]


@pytest.mark.parametrize(
    ("written", "datatype"),
    [
        ("real", DataType.FLOAT),
        ("LREAL", DataType.DOUBLE),
        ("single", DataType.FLOAT),
        ("Word", DataType.UINT16),
        ("DINT", DataType.INT32),
        ("udint", DataType.UINT32),
        ("dword", DataType.UINT32),
        ("LINT", DataType.INT64),
        ("ulint", DataType.UINT64),
        ("lword", DataType.UINT64),
    ],
)
def test_a_type_may_be_named_as_plc_programs_name_it(written: str, datatype: DataType) -> None:
    Path("agent.yaml").write_text(OVEN % f"{{name: x, at: holding 1, type: {written}}}")
    (device,) = load_config(Path("agent.yaml"), built_in_drivers()).devices
    (tag,) = device.tags
    assert isinstance(tag, ModbusTag)
    assert tag.datatype is datatype
