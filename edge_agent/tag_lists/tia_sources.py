"""What a source of Siemens TIA Portal (``.db``, ``.scl``) declares: data blocks, and the types that they are made of.

Read line by line, as TIA Portal writes them ("Generate source from blocks"): program code is passed over, and what
looks like no declaration is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_HEAD: Final = re.compile(
    r'(DATA_BLOCK|TYPE|FUNCTION_BLOCK|FUNCTION|ORGANIZATION_BLOCK)\s+(?:"([^"]+)"|(\w+))\s*(?:[{:].*)?', re.IGNORECASE
)
_TYPE_NAME: Final = re.compile(r'(?:"([^"]+)"|(\w+))\s*;?')
_MEMBER: Final = re.compile(
    r'(?:"(?P<quoted>[^"]+)"|(?P<plain>\w+))\s*(?:\{(?P<says>[^}]*)\})?\s*:\s*(?P<kind>[^;:=]+?)\s*(?P<value>:=.*)?;?'
)
_ARRAY: Final = re.compile(r"array\s*\[([^\]]*)\]\s*of\s+(.+)", re.IGNORECASE)
_BOUNDS: Final = re.compile(r"\s*(-?\d{1,9})\s*\.\.\s*(-?\d{1,9})\s*")
_HIDDEN: Final = re.compile(r"External(?:Accessible|Visible)\s*:=\s*'false'", re.IGNORECASE)
_QUOTED: Final = re.compile(r"""'[^']*'|"[^"]*\"""")
_SECTIONS: Final = frozenset(("STRUCT", "VAR", "VAR RETAIN", "VAR NON_RETAIN", "VAR_INPUT", "VAR_OUTPUT"))
"""What is temporary, constant or a reference (VAR_IN_OUT) is in no data block."""
_NO_TYPES: Final = frozenset(("NON_RETAIN", "RETAIN", "READ_ONLY", "UNLINKED", "KNOW_HOW_PROTECT"))


@dataclass(slots=True)
class Member:
    """A declaration; ``kind`` is its data type as it is written, of an array that of the elements."""

    place: str
    name: str
    kind: str
    comment: str
    is_hidden: bool
    bounds: str | None
    """What stands in the brackets of an array."""
    members: list[Member] = field(default_factory=list)
    """Of a structure that is declared here."""

    def elements(self, count_max: int) -> range | None:
        """The numbers of the elements of an array; ``None`` where they are more than that, or not said in numbers."""
        found = _BOUNDS.fullmatch(self.bounds or "")
        if found is None or int(found[2]) - int(found[1]) >= count_max:
            return None
        return range(int(found[1]), int(found[2]) + 1)


@dataclass(slots=True)
class Block:
    """A data block: its members, or the type (a data type, a function block) that it is one of."""

    place: str
    name: str
    members: list[Member] = field(default_factory=list)
    of_type: str = ""


@dataclass(slots=True)
class Source:
    """All of a source; types by their names in lower case, as a PLC has it."""

    blocks: list[Block] = field(default_factory=list)
    types: dict[str, list[Member]] = field(default_factory=dict)


@dataclass(slots=True)
class _Reading:
    """How far a source is read; ``open`` are the lists of members that what is declared next belongs to."""

    source: Source
    is_inside: bool = False
    block: Block | None = None
    section: list[Member] = field(default_factory=list)
    open: list[list[Member]] = field(default_factory=list)
    brackets: int = 0
    """Of a start value that goes on in the next lines."""


def read_source(text: str) -> Source:
    """All declarations of ``text``."""
    reading = _Reading(Source())
    for number, line in enumerate(text.splitlines(), 1):
        code, comment = _divided(line)
        if reading.brackets > 0:
            reading.brackets += _unclosed(code)
        elif head := _HEAD.fullmatch(code):
            _begin(reading, f"line {number}", head[1].upper(), head[2] or head[3])
        elif reading.is_inside:
            _declare(reading, f"line {number}", code, comment)
    return reading.source


def _begin(reading: _Reading, place: str, what: str, name: str) -> None:
    reading.is_inside = what in ("DATA_BLOCK", "TYPE", "FUNCTION_BLOCK")
    reading.block, reading.section, reading.open = None, [], []
    if what == "DATA_BLOCK":
        reading.block = Block(place, name, reading.section)
        reading.source.blocks.append(reading.block)
    elif reading.is_inside:
        reading.source.types[name.lower()] = reading.section


def _declare(reading: _Reading, place: str, code: str, comment: str) -> None:
    word = code.upper().rstrip("; ")
    if word == "BEGIN" or (word.startswith("END_") and word not in ("END_STRUCT", "END_VAR")):
        reading.is_inside = False
    elif word in ("END_STRUCT", "END_VAR"):
        del reading.open[-1:]
    elif not reading.open:
        if word in _SECTIONS:
            reading.open.append(reading.section)
        elif reading.block and word not in _NO_TYPES and (of_type := _TYPE_NAME.fullmatch(code)):
            reading.block.of_type = of_type[1] or of_type[2]
    elif declared := _MEMBER.fullmatch(code):
        array = _ARRAY.fullmatch(declared["kind"])
        member = Member(
            place,
            declared["quoted"] or declared["plain"],
            (array[2] if array else declared["kind"]).strip(),
            comment,
            is_hidden=_HIDDEN.search(declared["says"] or "") is not None,
            bounds=array[1] if array else None,
        )
        reading.open[-1].append(member)
        if member.kind.lower() == "struct":
            reading.open.append(member.members)
        reading.brackets = _unclosed(declared["value"] or "")


def _divided(line: str) -> tuple[str, str]:
    """Code and comment: two strokes within quotes begin none."""
    begin = 0
    while (at := line.find("//", begin)) >= 0:
        quoted = next((each for each in _QUOTED.finditer(line) if each.start() < at < each.end()), None)
        if quoted is None:
            return line[:at].strip(), line[at + 2 :].strip()
        begin = quoted.end()
    return line.strip(), ""


def _unclosed(code: str) -> int:
    plain = _QUOTED.sub("", code)
    return plain.count("(") + plain.count("[") - plain.count(")") - plain.count("]")
