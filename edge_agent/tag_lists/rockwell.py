"""Tags of a Rockwell Logix program (L5X of Studio 5000), read by way of an OPC UA server for it.

Structures are opened down to values: the data types and add-on instructions of the program, timers, counters.
Everything is named as the controller names it, ``Program:Main.Press.Force``; the node id is made of that by a pattern,
as servers differ.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Final, NamedTuple

from edge_agent.tag_lists.imported import VALUES_MAX, Imported, ListUnreadable, Row, Wanted, whole_number

NODE: Final = "ns=2;s={tag}"
DEPTH_MAX: Final = 10
DIMENSION_UNKNOWN: Final = 1_000_000_000
_VALUES: Final = frozenset(
    ("BOOL", "BIT", "SINT", "INT", "DINT", "LINT", "USINT", "UINT", "UDINT", "ULINT", "REAL", "LREAL", "STRING")
)
_BUILT_IN: Final = {
    "TIMER": ("PRE", "ACC", "EN", "TT", "DN"),
    "COUNTER": ("PRE", "ACC", "CU", "CD", "DN", "OV", "UN"),
    "CONTROL": ("LEN", "POS", "EN", "EU", "DN", "EM", "ER", "UL", "IN", "FD"),
}
_POINT_OF_MODULE: Final = re.compile(r"[^.]+:[^.]*\..+")
"""What of a module's data is one value, such as ``Local:1:I.Data.3``: the file has no tag of it but its alias."""
_NOT_READ: Final = "its external access is None: no server can read it"


class _Member(NamedTuple):
    name: str
    """Empty: the structure is one value, such as a text of a length of its own."""
    kind: str
    elements: int
    """0: no array."""
    description: str
    is_readable: bool


Types = dict[str, list[_Member]]


def read_l5x(data: bytes, wanted: Wanted) -> Imported:
    """See ``Reader``."""
    try:
        root = ET.fromstring(data)  # noqa: S314  expat 2.4.1 and later bound what entities expand to
    except ET.ParseError as exc:
        raise ListUnreadable(f"it is no XML: {exc}") from exc
    controller = root.find("Controller")
    if root.tag != "RSLogix5000Content" or controller is None:
        raise ListUnreadable("it is no L5X export of a controller: it has no RSLogix5000Content with a Controller")
    found, types = Imported(), _types(controller)
    programs = controller.findall("Programs/Program")
    scopes = [("", controller.find("Tags"))]
    scopes += [(f"Program:{program.get('Name', '')}.", program.find("Tags")) for program in programs]
    for prefix, tags in scopes:
        for tag in () if tags is None else tags.iterfind("Tag"):
            _take(tag, prefix, types, wanted, found)
    if not wanted.node:
        found.notes.append(
            f"The node ids are made by the pattern {NODE!r}: give the one of your OPC UA server with --node, such as "
            "'nsu=urn:my-server;s=[PLC]{tag}'; edge-agent browse shows how it names them."
        )
    return found


def _types(controller: ET.Element) -> Types:
    types: Types = {}
    for kind in controller.iterfind("DataTypes/DataType"):
        members = [
            _member(each, "Dimension")
            for each in kind.iterfind("Members/Member")
            if each.get("Hidden") != "true" and each.get("Name")
        ]
        is_text = kind.get("Family") == "StringFamily"
        types[kind.get("Name", "")] = [_Member("", "STRING", 0, "", True)] if is_text else members
    for instruction in controller.iterfind("AddOnInstructionDefinitions/*"):
        types[instruction.get("Name", "")] = [
            _member(each, "Dimensions")
            for each in (*instruction.iterfind("Parameters/Parameter"), *instruction.iterfind("LocalTags/LocalTag"))
            if each.get("Name") and each.get("Usage") != "InOut" and _is_seen(each)
        ]
    return types


def _member(element: ET.Element, dimensions: str) -> _Member:
    return _Member(
        element.get("Name", ""),
        element.get("DataType", "") if element.get("TagType") != "Alias" else "BOOL",
        whole_number(element.get(dimensions, ""), DIMENSION_UNKNOWN if " " in element.get(dimensions, "") else 0),
        _description(element),
        element.get("ExternalAccess") != "None",
    )


def _is_seen(element: ET.Element) -> bool:
    """Local tags of an instruction are its own business unless somebody says otherwise."""
    return element.tag != "LocalTag" or element.get("ExternalAccess", "None") != "None"


def _take(tag: ET.Element, prefix: str, types: Types, wanted: Wanted, found: Imported) -> None:
    name = prefix + tag.get("Name", "")
    kind = tag.get("DataType", "")
    if tag.get("TagType") == "Alias":
        if not _POINT_OF_MODULE.fullmatch(target := tag.get("AliasFor", "?")):
            how = "edge-agent browse finds its parts" if ":" in target else "import that"
            found.refuse(name, name, f"an alias of {target}: {how}")
            return
        kind = "BOOL"  # or a number: OPC UA says which
    if tag.get("ExternalAccess") == "None":
        found.refuse(name, name, _NOT_READ)
        return
    dimensions = tag.get("Dimensions", "").split()
    if len(dimensions) > 1:
        found.refuse(name, name, f"an array of {len(dimensions)} dimensions")
        return
    count = whole_number(dimensions[0], DIMENSION_UNKNOWN) if dimensions else 0
    for path, of_type, description in _opened(name, kind, count, _description(tag), types, wanted, 0):
        if len(found.rows) + len(found.refused) >= VALUES_MAX:
            raise ListUnreadable(f"its tags have more than {VALUES_MAX:,} values: export fewer of them")
        if of_type not in _VALUES:
            found.refuse(name, path, of_type)
            continue
        plain = re.sub(r"\[(\d+)\]", r"/\1", path.removeprefix("Program:"))
        settings = {"name": plain.replace(".", "/"), "at": (wanted.node or NODE).replace("{tag}", path)}
        if description:
            settings["description"] = description
        found.rows.append(Row(name, settings))


def _opened(
    path: str, kind: str, count: int, description: str, types: Types, wanted: Wanted, depth: int
) -> Iterator[tuple[str, str, str]]:
    """(path, data type, description) of each value below; in place of the type a sentence where there is none."""
    if depth > DEPTH_MAX:
        yield path, f"structures in structures, more than {DEPTH_MAX} deep", ""
    elif count:
        if count > wanted.array_max:
            yield path, f"an array of {count} elements; --array-max {count} makes a tag of each", ""
            return
        for at in range(count):
            yield from _opened(f"{path}[{at}]", kind, 0, description, types, wanted, depth + 1)
    elif kind in _VALUES:
        yield path, kind, description
    elif kind in _BUILT_IN:
        yield from ((f"{path}.{member}", "DINT", description) for member in _BUILT_IN[kind])
    elif types.get(kind):
        for member in types[kind]:
            below = f"{path}.{member.name}" if member.name else path
            if not member.is_readable:
                yield below, _NOT_READ, ""
                continue
            said = member.description or description
            yield from _opened(below, member.kind, member.elements, said, types, wanted, depth + 1)
    else:
        yield path, f"the file does not say what the data type {kind!r} is made of", ""


def _description(element: ET.Element) -> str:
    """The first one that is not empty: a project of several languages has one for each."""
    said = element.find("Description")
    texts = () if said is None else said.itertext()
    return next((words for text in texts if (words := " ".join(text.split()))), "")[:1000]
