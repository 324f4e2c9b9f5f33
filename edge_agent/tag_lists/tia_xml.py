"""PLC tag tables of TIA Portal in XML: as the tag editor exports them, and as Openness does (SimaticML)."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Final

from edge_agent.tag_lists.imported import Imported, ListUnreadable, Wanted
from edge_agent.tag_lists.tia import TiaTag, take_tag

MARK: Final = re.compile(rb"<(?:Tagtable|SW\.Tags\.PlcTag(?:Table)?)[\s>]")
_TABLE: Final = "SW.Tags.PlcTagTable"
_TAG: Final = "SW.Tags.PlcTag"


def read_tia_xml(data: bytes, wanted: Wanted) -> Imported:
    """See ``Reader``."""
    try:
        root = ET.fromstring(data)  # noqa: S314  expat 2.4.1 and later bound what entities expand to
    except ET.ParseError as exc:
        raise ListUnreadable(f"it is no XML: {exc}") from exc
    tables = list(root.iter("Tagtable"))
    if not tables and next(root.iter(_TAG), None) is None:
        raise ListUnreadable("it has no PLC tags of TIA Portal: neither a Tagtable nor SW.Tags.PlcTag")
    found = Imported()
    for tag in (*_of_editor(tables), *_of_openness(root)):
        take_tag(tag, wanted, found)
    return found


def _of_editor(tables: list[ET.Element]) -> Iterator[TiaTag]:
    for table in tables:
        for number, tag in enumerate(table.iterfind("Tag"), 1):
            yield TiaTag(
                f"tag {number}",
                _words(tag.text),
                tag.get("type", ""),
                table.get("name", ""),
                _words(tag.get("remark")),
                is_hidden=tag.get("hmiAccessible", "True").lower() == "false",
            )


def _of_openness(root: ET.Element) -> Iterator[TiaTag]:
    tables = {id(tag): _said(table, "Name") for table in root.iter(_TABLE) for tag in table.iter(_TAG)}
    for number, tag in enumerate(root.iter(_TAG), 1):
        yield TiaTag(
            f"tag {number}",
            _said(tag, "Name"),
            _said(tag, "DataTypeName"),
            tables.get(id(tag), ""),
            _comment(tag),
            is_hidden=_said(tag, "ExternalAccessible").lower() == "false",
        )


def _said(element: ET.Element, name: str) -> str:
    return _words(element.findtext(f"AttributeList/{name}"))


def _comment(tag: ET.Element) -> str:
    """The first comment that is not empty, of those in several languages."""
    texts = tag.iterfind("ObjectList/MultilingualText[@CompositionName='Comment']//Text")
    return next((words for text in texts if (words := _words(text.text))), "")


def _words(text: str | None) -> str:
    return " ".join((text or "").split())
