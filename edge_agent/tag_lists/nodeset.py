"""Variables of an OPC UA model (NodeSet2 XML, OPC 10000-6 Annex F): those of instances, with their paths as names."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Final

from edge_agent.tag_lists.imported import Imported, ListUnreadable, Row, Wanted, whole_number

_NS: Final = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
_KINDS: Final = (
    "UAObject",
    "UAVariable",
    "UAMethod",
    "UAObjectType",
    "UAVariableType",
    "UADataType",
    "UAReferenceType",
)
_FORWARD: Final = ("HasComponent", "Organizes", "HasOrderedComponent", "HasProperty", "i=47", "i=35", "i=49", "i=46")
_PROPERTY: Final = ("HasProperty", "i=46")
_PATH_MAX: Final = 50


@dataclass(slots=True)
class _Node:
    kind: str
    name: str
    element: ET.Element
    parent: str = ""
    is_property: bool = False


def read_nodeset(data: bytes, wanted: Wanted) -> Imported:  # noqa: ARG001  a Reader
    """See ``Reader``."""
    try:
        root = ET.fromstring(data)  # noqa: S314  expat 2.4.1 and later bound what entities expand to
    except ET.ParseError as exc:
        raise ListUnreadable(f"it is no XML: {exc}") from exc
    if root.tag != f"{_NS}UANodeSet":
        raise ListUnreadable("it is no NodeSet2 file: its root is no UANodeSet")
    uris = [uri.text or "" for uri in root.iterfind(f"{_NS}NamespaceUris/{_NS}Uri")]
    nodes = _nodes(root)
    found = Imported()
    for node_id, node in nodes.items():
        if node.kind != "UAVariable":
            continue
        path = _path(node_id, nodes)
        reason = _why_not(node, path, node_id, nodes)
        at = _with_uri(node_id, uris)
        if reason is None and at is None:
            reason = "its namespace is none of the file"
        if reason is not None:
            found.refuse(node_id, "/".join(path), reason)
            continue
        settings = {"name": "/".join(path), "at": at}
        description = " ".join((node.element.findtext(f"{_NS}Description") or "").split())
        found.rows.append(Row(node_id, settings | ({"description": description[:1000]} if description else {})))
    return found


def _nodes(root: ET.Element) -> dict[str, _Node]:
    nodes: dict[str, _Node] = {}
    for element in root:
        kind = element.tag.removeprefix(_NS)
        if kind in _KINDS:
            name = element.get("BrowseName", "").partition(":")
            plain = name[2] if name[1] and name[0].isdecimal() else element.get("BrowseName", "")
            nodes[element.get("NodeId", "")] = _Node(kind, plain, element)
    for node_id, node in nodes.items():
        for reference in node.element.iterfind(f"{_NS}References/{_NS}Reference"):
            if reference.get("ReferenceType") not in _FORWARD:
                continue
            target = (reference.text or "").strip()
            is_property = reference.get("ReferenceType") in _PROPERTY
            if reference.get("IsForward") == "false":
                node.parent, node.is_property = node.parent or target, node.is_property or is_property
            elif target in nodes:
                below = nodes[target]
                below.parent, below.is_property = below.parent or node_id, below.is_property or is_property
        node.parent = node.parent or node.element.get("ParentNodeId", "")
    return nodes


def _path(node_id: str, nodes: dict[str, _Node]) -> list[str]:
    path: list[str] = []
    while node_id in nodes and len(path) < _PATH_MAX:
        path.insert(0, nodes[node_id].name)
        node_id = nodes[node_id].parent
    return path


def _why_not(node: _Node, path: list[str], node_id: str, nodes: dict[str, _Node]) -> str | None:
    if node.is_property:
        return "a property: what the server says of something, seldom a value that changes"
    if len(path) >= _PATH_MAX:
        return "its parents form a circle"
    while node_id in nodes:
        if nodes[node_id].kind not in ("UAObject", "UAVariable"):
            return f"part of the {nodes[node_id].kind.removeprefix('UA')} {nodes[node_id].name!r}, and no instance"
        node_id = nodes[node_id].parent
    if not whole_number(node.element.get("AccessLevel", ""), 1) & 1:
        return "nobody can read it (AccessLevel)"
    return None


def _with_uri(node_id: str, uris: list[str]) -> str | None:
    if not node_id.startswith("ns="):
        return node_id
    index, _, rest = node_id.removeprefix("ns=").partition(";")
    number = whole_number(index, 0)
    return f"nsu={uris[number - 1]};{rest}" if 1 <= number <= len(uris) else None
