"""PLC tags of Siemens TIA Portal (the tag table, exported to XLSX), read by the OPC UA server of an S7-1200 or S7-1500.

That server names a tag by its name in quotes: ``s="Motor_Speed"``, in its own namespace. What stands in data blocks is
not in a tag table: see ``tia_blocks``.
"""

from __future__ import annotations

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
    for place, cells in read_table(data, NEEDED, ("PLC Tags",)):
        name, kind = cells.get("name", ""), cells.get("data type", "")
        if not name:
            found.refuse(place, "", "it has no name")
        elif kind.lower() in ("timer", "counter"):
            found.refuse(place, name, f"a {kind}: no value that OPC UA has")
        elif kind.lower().partition("[")[0] not in VALUES:
            found.refuse(place, name, f"of the data type {kind!r}, whose parts the table does not name")
        elif cells.get("hmi accessible", "true").lower() == "false":
            found.refuse(place, name, "not accessible from HMI and OPC UA: tick that in the tag table")
        else:
            folder = cells.get("path", "")
            group = "" if folder.lower() in ("", "default tag table") else f"{folder.replace(chr(92), '/')}/"
            settings = {"name": group + name, "at": (wanted.node or NODE).replace("{tag}", name)}
            if comment := cells.get("comment"):
                settings["description"] = comment[:1000]
            found.rows.append(Row(place, settings))
    return found
