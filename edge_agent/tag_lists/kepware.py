"""Tags as Kepware (KEPServerEX) exports them to CSV: of Modbus devices, or read by way of its OPC UA server."""

from __future__ import annotations

import re
from typing import Any, Final

from edge_agent.tag_lists.imported import Imported, Row, Wanted
from edge_agent.tag_lists.tables import read_table

NEEDED: Final = ("tag name", "address", "data type")
NODE: Final = "nsu=KEPServerEX;s=Channel1.Device1.{tag}"
"""Where Kepware's OPC UA server has a tag: channel, device, groups and name, joined by dots."""
_TYPES: Final = {
    "boolean": "bool", "short": "int16", "word": "uint16", "long": "int32", "dword": "uint32", "llong": "int64",
    "qword": "uint64", "float": "float", "double": "double", "string": "string",
}  # fmt: skip
_TABLES: Final = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_ADDRESS: Final = re.compile(r"([0134])(\d{4,5})(?:\.(\d{1,2}))?")
_LOW_WORD: Final = (
    "Kepware reads values of 32 bits with the low word first unless 'First Word Low' was switched off in the device: "
    "if values are nonsense, change 'order: CDAB' of the tags to ABCD."
)


def read_kepware(data: bytes, wanted: Wanted) -> Imported:
    """See ``Reader``."""
    found = Imported()
    for place, cells in read_table(data, NEEDED):
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
    wide = [row for row in found.rows if row.settings.get("order")]
    if wide:
        found.notes.append(_LOW_WORD)
    return found


def _opcua(cells: dict[str, str], wanted: Wanted) -> dict[str, Any]:
    if "array" in cells.get("data type", "").lower():
        raise ValueError("an array: Lineside's tags have one value")
    return {"at": (wanted.node or NODE).replace("{tag}", cells.get("tag name", ""))}


def _modbus(cells: dict[str, str]) -> dict[str, Any]:
    address, kind = cells.get("address", ""), cells.get("data type", "").lower()
    place = _ADDRESS.fullmatch(address)
    if place is None or not 1 <= int(place[2]) <= 65_536:
        raise ValueError(f"the address {address!r} is none of Modbus, such as 400101 or 40101")
    table, number, bit = _TABLES[place[1]], int(place[2]) - 1, place[3]
    if kind not in _TYPES:
        raise ValueError(f"the data type {cells.get('data type', '')!r} has no counterpart in Modbus tags")
    if kind == "string":
        raise ValueError("a text: write it by hand, with 'type: string' and its 'length'")
    settings: dict[str, Any] = {"at": f"{table} {number}" + (f".{int(bit)}" if bit else "")}
    if table in ("coil", "discrete") or bit:
        if kind != "boolean":
            raise ValueError(f"the address {address!r} is a bit, and the data type {kind}")
        return settings
    if kind == "boolean":
        raise ValueError(f"the address {address!r} is a register, and the data type Boolean: name the bit, as 400101.3")
    settings["type"] = _TYPES[kind]
    if kind not in ("short", "word"):
        settings["order"] = "CDAB"
    return settings | _scaling(cells)


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
    found = {"scale": float(f"{scale:.12g}"), "offset": float(f"{offset:.12g}")}
    return {key: value for key, value in found.items() if value != (1 if key == "scale" else 0)}
