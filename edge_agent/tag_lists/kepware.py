"""Tags as Kepware (KEPServerEX) exports them to CSV: of Modbus devices, or read by way of its OPC UA server."""

from __future__ import annotations

import re
from typing import Any, Final

from edge_agent.tag_lists.imported import Imported, Row, Wanted
from edge_agent.tag_lists.tables import read_table

NEEDED: Final = ("tag name", "address", "data type")
NODE: Final = "nsu=KEPServerEX;s=Channel1.Device1.{tag}"
"""Where Kepware's OPC UA server has a tag: channel, device, groups and name, joined by dots."""
_WHICH_NODE: Final = (
    f"The node ids are made by the pattern {NODE!r}, as the file does not say which channel and device its tags are "
    "of: give yours with --node, such as 'nsu=KEPServerEX;s=Line3.PLC.{tag}'."
)
_TYPES: Final = {
    "boolean": "bool", "short": "int16", "word": "uint16", "long": "int32", "dword": "uint32", "llong": "int64",
    "qword": "uint64", "float": "float", "double": "double", "string": "string",
}  # fmt: skip
_TABLES: Final = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_BCD: Final = {"bcd": "uint16", "lbcd": "uint32"}
_ADDRESS: Final = re.compile(r"([0134])(\d{4,5})(?:\.(\d{1,2}))?")
_TEXT_ADDRESS: Final = re.compile(r"([34])(\d{4,5})\.(\d{1,3})([HL])", re.IGNORECASE)
"""A text: so many characters, the high or the low byte of each register first."""
_IN_ARRAY: Final = re.compile(r"[0134]\d{4,5}\s*\[.*\]")
_LOW_WORD: Final = (
    "Kepware reads values of 32 bits with the low word first unless 'First Word Low' was switched off in the device: "
    "if values are nonsense, change 'order: CDAB' of the tags to ABCD."
)


def read_kepware(data: bytes, wanted: Wanted) -> Imported:
    """See ``Reader``."""
    found = Imported()
    for place, cells, _ in read_table(data, NEEDED):
        name = cells.get("tag name", "")
        try:
            settings = _modbus(cells) if wanted.driver == "modbus" else _opcua(cells, wanted)
        except ValueError as exc:
            found.refuse(place, name, str(exc))
            continue
        settings = {"name": name.replace(".", "/"), **settings}
        for key, column in (("unit", "eng units"), ("description", "description")):
            if column in cells:
                settings[key] = cells[column]
        found.rows.append(Row(place, settings))
    if wanted.driver == "modbus" and any(row.settings.get("order") == "CDAB" for row in found.rows):
        found.notes.append(_LOW_WORD)
    if wanted.driver == "opcua" and not wanted.node:
        found.notes.append(_WHICH_NODE)
    return found


def _opcua(cells: dict[str, str], wanted: Wanted) -> dict[str, Any]:
    return {"at": (wanted.node or NODE).replace("{tag}", cells.get("tag name", ""))}


def _modbus(cells: dict[str, str]) -> dict[str, Any]:
    address, kind = cells.get("address", ""), cells.get("data type", "").lower()
    if kind.endswith("array") or _IN_ARRAY.fullmatch(address):
        raise ValueError("an array: a tag of a Modbus unit has one value; write a tag for each element")
    if text := _TEXT_ADDRESS.fullmatch(address):
        order = {"order": "BADC"} if text[4] in "lL" else {}
        return {"at": _register(text[1], text[2], address), "type": "string", "length": int(text[3]), **order}
    place = _ADDRESS.fullmatch(address)
    if place is None:
        raise ValueError(f"the address {address!r} is none of Modbus, such as 400101 or 40101")
    at, bit = _register(place[1], place[2], address), place[3]
    is_bit = place[1] in "01" or bit is not None
    if kind == "default":
        kind = "boolean" if is_bit else "word"
    if kind not in _TYPES and kind not in _BCD:
        raise ValueError(f"the data type {cells.get('data type', '')!r} has no counterpart in Modbus tags")
    if kind == "string":
        raise ValueError(f"a text, and the address {address!r} does not say its length, as 400101.20H does")
    if is_bit and kind != "boolean":
        raise ValueError(f"the address {address!r} is a bit, and the data type {kind}")
    if is_bit:
        return {"at": at if bit is None else f"{at}.{int(bit)}"}
    if kind == "boolean":
        raise ValueError(f"the address {address!r} is a register, and the data type Boolean: name the bit, as 400101.3")
    settings: dict[str, Any] = {"at": at, "type": _BCD.get(kind) or _TYPES[kind]}
    if kind not in ("short", "word", "bcd"):
        settings["order"] = "CDAB"
    if kind in _BCD:
        settings["encoding"] = "bcd"
    return settings | _scaling(cells)


def _register(table: str, number: str, address: str) -> str:
    if not 1 <= int(number) <= 65_536:
        raise ValueError(f"the address {address!r} is none of Modbus: registers are counted from 1 to 65536")
    return f"{_TABLES[table]} {int(number) - 1}"


def _scaling(cells: dict[str, str]) -> dict[str, Any]:
    scaling = cells.get("scaling", "None").lower()
    if scaling in ("none", ""):
        return {}
    if scaling != "linear":
        raise ValueError(f"its scaling is {cells['scaling']!r}; Lineside has value = raw * scale + offset")
    try:
        raw_low, raw_high, low, high = (
            float(cells[key].replace(",", ".")) for key in ("raw low", "raw high", "scaled low", "scaled high")
        )
        scale = (high - low) / (raw_high - raw_low)
    except (KeyError, ValueError, ZeroDivisionError):
        raise ValueError("its linear scaling is not complete: raw low, raw high, scaled low, scaled high") from None
    offset = low - raw_low * scale
    if cells.get("negate value", "0").lower() in ("1", "true", "yes"):
        scale, offset = -scale, -offset
    found = {"scale": float(f"{scale:.12g}"), "offset": float(f"{offset:.12g}")}
    return {key: value for key, value in found.items() if value != (1 if key == "scale" else 0)}
