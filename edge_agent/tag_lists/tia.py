"""PLC tags of Siemens TIA Portal (the tag table, exported to XLSX), by the OPC UA server of an S7-1200 or S7-1500.

That server names a tag by its name in quotes: ``s="Motor_Speed"``, in its own namespace. What stands in data blocks is
not in a tag table: see ``tia_blocks``; for tables in XML see ``tia_xml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_agent.tag_lists.imported import Imported, Row, Wanted
from edge_agent.tag_lists.tables import read_table

NEEDED: Final = ("name", "data type", "logical address")
NAMESPACE: Final = "http://www.siemens.com/simatic-s7-opcua"
NODE: Final = f'nsu={NAMESPACE};s="{{tag}}"'
VALUES: Final = frozenset(
    (
        "bool", "byte", "word", "dword", "lword", "sint", "usint", "int", "uint", "dint", "udint", "lint", "ulint",
        "real", "lreal", "char", "wchar", "string", "wstring", "time", "ltime", "date", "time_of_day", "tod",
        "ltime_of_day", "ltod", "date_and_time", "dt", "ldt", "s5time",
    )
)  # fmt: skip


def read_tia(data: bytes, wanted: Wanted) -> Imported:
    """See ``Reader``."""
    found = Imported()
    for place, cells, _ in read_table(data, NEEDED, ("PLC Tags",)):
        tag = TiaTag(
            place,
            cells.get("name", ""),
            cells.get("data type", ""),
            cells.get("path", ""),
            cells.get("comment", ""),
            is_hidden=cells.get("hmi accessible", "true").lower() == "false",
        )
        take_tag(tag, wanted, found)
    return found


@dataclass(frozen=True, slots=True)
class TiaTag:
    """One tag of a PLC tag table; ``table`` is the name of that, with its folders."""

    place: str
    name: str
    datatype: str
    table: str
    comment: str
    is_hidden: bool


def take_tag(tag: TiaTag, wanted: Wanted, found: Imported) -> None:
    """``tag`` by the PLC's own OPC UA server, or why it is none there."""
    name, kind = tag.name, tag.datatype
    if not name:
        found.refuse(tag.place, "", "it has no name")
    elif kind.lower() in ("timer", "counter"):
        found.refuse(tag.place, name, f"a {kind}: no value that OPC UA has")
    elif kind.lower().partition("[")[0] not in VALUES:
        found.refuse(tag.place, name, f"of the data type {kind!r}, whose parts the table does not name")
    elif tag.is_hidden:
        found.refuse(tag.place, name, "not accessible from HMI and OPC UA: tick that in the tag table")
    else:
        group = "" if tag.table.lower() in ("", "default tag table") else f"{tag.table.replace(chr(92), '/')}/"
        settings = {"name": group + name, "at": (wanted.node or NODE).replace("{tag}", name)}
        if tag.comment:
            settings["description"] = tag.comment[:1000]
        found.rows.append(Row(tag.place, settings))
