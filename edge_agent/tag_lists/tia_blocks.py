"""Data blocks of Siemens TIA Portal, generated as sources (``.db``), by the OPC UA server of an S7-1200 or S7-1500.

That server names a member by the names on its way, each in quotes: ``s="Press"."Ram"."Force"``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from edge_agent.tag_lists.imported import Imported, ListUnreadable, Row, Wanted
from edge_agent.tag_lists.tia import NAMESPACE, VALUES

MARK: Final = re.compile(rb"^\s*DATA_BLOCK\b", re.MULTILINE)
_BLOCK: Final = re.compile(r'DATA_BLOCK\s+"?([^"{]+?)"?\s*(?:\{.*)?')
_MEMBER: Final = re.compile(
    r'(?:"(?P<quoted>[^"]+)"|(?P<plain>\w+))\s*(?:\{(?P<says>[^}]*)\})?\s*:\s*(?P<kind>[^;:]+?)\s*(?::=.*)?;?'
)
_ARRAY: Final = re.compile(r"array\s*\[[^\]]*\]\s*of\s+(.+)", re.IGNORECASE)
_HIDDEN: Final = re.compile(r"External(?:Accessible|Visible)\s*:=\s*'false'", re.IGNORECASE)
_BEGINS: Final = ("struct", "var", "var retain", "var non_retain")
DEPTH_MAX: Final = 10


@dataclass(slots=True)
class _Reading:
    """How far a source is read: the names of the structures that are open; ``None`` is one that is passed over."""

    block: str = ""
    open: list[str | None] = field(default_factory=list)
    is_declaring: bool = False

    @property
    def is_passed_over(self) -> bool:
        return None in self.open


def read_blocks(data: bytes, wanted: Wanted) -> Imported:
    """See ``Reader``."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("windows-1252", "replace")
    found, reading, blocks = Imported(), _Reading(), 0
    for number, line in enumerate(text.splitlines(), 1):
        code, _, comment = line.partition("//")
        code = code.strip()
        if begun := _BLOCK.fullmatch(code):
            reading, blocks = _Reading(begun[1]), blocks + 1
        elif code.lower() in _BEGINS and not reading.open:
            reading.is_declaring = True
        elif code.upper() in ("BEGIN", "END_VAR", "END_DATA_BLOCK"):
            reading.is_declaring = False
        elif code.upper().rstrip("; ") == "END_STRUCT":
            if reading.open:
                reading.open.pop()
            else:
                reading.is_declaring = False
        elif reading.is_declaring and (member := _MEMBER.fullmatch(code)):
            _take(member, comment.strip(), f"line {number}", reading, wanted, found)
    if not blocks:
        raise ListUnreadable("it has no DATA_BLOCK: generate the source of a data block in TIA Portal")
    return found


def _take(member: re.Match[str], comment: str, place: str, reading: _Reading, wanted: Wanted, found: Imported) -> None:
    name, kind = member["quoted"] or member["plain"], member["kind"].strip()
    names = [reading.block, *(each for each in reading.open if each is not None), name]
    shown = "/".join(names)
    array = _ARRAY.fullmatch(kind)
    of = (array[1] if array else kind).strip()
    is_structure = of.lower() == "struct"
    is_hidden = _HIDDEN.search(member["says"] or "") is not None
    refusal = ""
    if reading.is_passed_over:
        pass
    elif is_hidden:
        refusal = "not accessible from HMI and OPC UA: tick that in the data block"
    elif is_structure and array:
        refusal = "an array of structures: edge-agent browse finds its parts"
    elif is_structure and len(reading.open) >= DEPTH_MAX:
        refusal = f"structures within structures, more than {DEPTH_MAX} of them"
    elif not is_structure and of.lower().partition("[")[0].strip() not in VALUES:
        refusal = f"of the data type {of}, whose parts the source does not name: edge-agent browse finds them"
    elif not is_structure:
        settings = {"name": shown, "at": _node(names, wanted)}
        if comment:
            settings["description"] = comment[:1000]
        found.rows.append(Row(place, settings))
    if refusal:
        found.refuse(place, shown, refusal)
    if is_structure:
        reading.open.append(None if refusal or reading.is_passed_over else name)


def _node(names: list[str], wanted: Wanted) -> str:
    path = ".".join(f'"{name}"' for name in names)
    return wanted.node.replace("{tag}", path) if wanted.node else f"nsu={NAMESPACE};s={path}"
