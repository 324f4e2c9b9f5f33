"""Data blocks of Siemens TIA Portal, generated as sources (``.db``), by the OPC UA server of an S7-1200 or S7-1500.

That server names a member by the names on its way, each in quotes: ``s="Press"."Ram"."Force"``, and an element of an
array by its number behind: ``s="Press"."Zones"[3]``.
"""

from __future__ import annotations

import re
from typing import Final

from edge_agent.tag_lists.imported import VALUES_MAX, Imported, ListUnreadable, Row, Wanted
from edge_agent.tag_lists.tia import NAMESPACE, VALUES
from edge_agent.tag_lists.tia_sources import Member, Source, read_source

MARK: Final = re.compile(rb"^\s*(?:DATA_BLOCK|TYPE)\s+[\"\w]", re.MULTILINE)
DEPTH_MAX: Final = 10
_HOW: Final = "generate it with all dependent objects, or let edge-agent browse find them"


def read_blocks(data: bytes, wanted: Wanted) -> Imported:
    """See ``Reader``."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("windows-1252", "replace")
    source = read_source(text)
    if not source.blocks:
        raise ListUnreadable("it has no DATA_BLOCK: generate the source of a data block in TIA Portal")
    opening = _Opening(source, wanted)
    for block in source.blocks:
        members = source.types.get(block.of_type.lower()) if block.of_type else block.members
        if members is None:
            reason = f"one of {block.of_type!r}, whose parts the source does not name: {_HOW}"
            opening.found.refuse(block.place, block.name, reason)
        else:
            opening.open(members, f'"{block.name}"', block.name, block.place if block.of_type else "", 1)
    return opening.found


class _Opening:
    """Blocks, opened down to their values."""

    def __init__(self, source: Source, wanted: Wanted) -> None:
        self.found = Imported()
        self._types, self._wanted = source.types, wanted

    def open(self, members: list[Member], node: str, shown: str, place: str, depth: int) -> None:
        """All of ``members``; ``place`` is where what has them stands, when they are of a type."""
        for member in members:
            if len(self.found.rows) + len(self.found.refused) >= VALUES_MAX:
                raise ListUnreadable(f"its blocks have more than {VALUES_MAX:,} values: generate fewer of them")
            self._take(member, f'{node}."{member.name}"', f"{shown}/{member.name}", place, depth)

    def _take(self, member: Member, node: str, shown: str, outer: str, depth: int) -> None:
        place = outer or member.place
        is_own = member.kind.lower() == "struct"
        inside = member.members if is_own else self._types.get(member.kind.strip('"').lower())
        if member.is_hidden:
            self.found.refuse(place, shown, "not accessible from HMI and OPC UA: tick that in the data block")
        elif inside is None and member.kind.lower().partition("[")[0].strip() not in VALUES:
            reason = f"of the data type {member.kind}, whose parts the source does not name: {_HOW}"
            self.found.refuse(place, shown, reason)
        elif inside is None:
            settings = {"name": shown, "at": self._node_id(node)}
            if member.comment:
                settings["description"] = member.comment[:1000]
            self.found.rows.append(Row(place, settings))
        elif not inside:
            self.found.refuse(place, shown, "a structure without members")
        elif depth > DEPTH_MAX:
            self.found.refuse(place, shown, f"structures within structures, more than {DEPTH_MAX} of them")
        elif member.bounds is None:
            self.open(inside, node, shown, outer if is_own else place, depth + 1)
        elif (elements := member.elements(self._wanted.array_max)) is None:
            reason = f"an array [{member.bounds}] of structures: --array-max makes tags of each, edge-agent browse, too"
            self.found.refuse(place, shown, reason)
        else:
            for number in elements:
                self.open(inside, f"{node}[{number}]", f"{shown}/{number}", outer if is_own else place, depth + 1)

    def _node_id(self, path: str) -> str:
        return self._wanted.node.replace("{tag}", path) if self._wanted.node else f"nsu={NAMESPACE};s={path}"
