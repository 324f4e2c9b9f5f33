"""The kinds of lists, and how one is recognised."""

from __future__ import annotations

from enum import Enum
from typing import Final

from edge_agent.tag_lists import kepware, own_columns, rockwell, tia, tia_blocks, tia_xml
from edge_agent.tag_lists.imported import Imported, ListUnreadable, Reader, Wanted
from edge_agent.tag_lists.nodeset import read_nodeset
from edge_agent.tag_lists.tables import headings_of

BYTES_MAX: Final = 200_000_000
HEAD_BYTES: Final = 65_536
"""What a file is stands in so much of it: types, or a list of what made it, may stand before."""


class Format(Enum):
    """What has made a list."""

    LINESIDE = "lineside"
    KEPWARE = "kepware"
    TIA = "tia"
    TIA_BLOCKS = "tia-blocks"
    TIA_XML = "tia-xml"
    L5X = "l5x"
    NODESET = "nodeset"


_READERS: Final[dict[Format, Reader]] = {
    Format.LINESIDE: own_columns.read_own,
    Format.KEPWARE: kepware.read_kepware,
    Format.TIA: tia.read_tia,
    Format.TIA_BLOCKS: tia_blocks.read_blocks,
    Format.TIA_XML: tia_xml.read_tia_xml,
    Format.L5X: rockwell.read_l5x,
    Format.NODESET: read_nodeset,
}


def recognised(data: bytes) -> Format:
    """The kind of a list, by what is in it. Raises ``ListUnreadable``."""
    head = data[:HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        raise ListUnreadable("it is empty")
    if head.startswith(b"<"):
        for format_, mark in ((Format.L5X, b"RSLogix5000Content"), (Format.NODESET, b"UANodeSet")):
            if mark in head:
                return format_
        if tia_xml.MARK.search(head):
            return Format.TIA_XML
        raise ListUnreadable("this XML is neither an L5X export, a tag table of TIA Portal nor a NodeSet2 file")
    if tia_blocks.MARK.search(head):
        return Format.TIA_BLOCKS
    for headings in headings_of(data):
        for format_, needed in (
            (Format.KEPWARE, kepware.NEEDED), (Format.TIA, tia.NEEDED), (Format.LINESIDE, own_columns.NEEDED),
        ):  # fmt: skip
            if headings.issuperset(needed):
                return format_
    raise ListUnreadable(
        "it is not known what this is: a table needs headings such as 'name' and 'at' (Lineside), 'Tag Name' and "
        "'Address' (Kepware), 'Name' and 'Logical Address' (TIA Portal)"
    )


def read_list(data: bytes, format_: Format | None, wanted: Wanted) -> tuple[Format, Imported]:
    """All of a list, and its kind. Raises ``ListUnreadable``."""
    if len(data) > BYTES_MAX:
        raise ListUnreadable(f"it has more than {BYTES_MAX // 1_000_000} MB")
    found = recognised(data) if format_ is None else format_
    return found, _READERS[found](data, wanted)
