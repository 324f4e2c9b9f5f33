"""The type of a tag as its device file says it (``type``), against what the server says of the node.

The server counts: its values are what they are. Where it says nothing, or only that it is some number, the file does.
"""

from __future__ import annotations

from typing import Final

from asyncua import ua

from connectors.model.datatypes import DataType
from connectors.model.quality import GOOD
from connectors.model.tags import TagName
from connectors.opcua.structures import VARIANT
from connectors.opcua.tag_settings import OpcUaTag
from connectors.opcua.wire_types import WIRE_TYPES
from connectors.ports.device import TagProblem

_SIGNED: Final = frozenset({DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64})
_UNSIGNED: Final = frozenset({DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64})
_ABSTRACT: Final = {26: _SIGNED | _UNSIGNED | {DataType.FLOAT, DataType.DOUBLE}, 27: _SIGNED, 28: _UNSIGNED}
"""What a value may be of which a server says no more than Number, Integer or UInteger (Part 5, 12.2.9 to 12.2.11)."""


def type_in_file(tag: OpcUaTag) -> DataType | None:
    """What the file says that values are of; every text of OPC UA is a String."""
    return DataType.STRING if tag.datatype is DataType.TEXT else tag.datatype


def narrowed(tag: OpcUaTag, declared: ua.DataValue) -> DataType | None:
    """The type of the file, where the data type of the node (``declared``) leaves it open and lets it be this one."""
    node = None if declared.Value is None else declared.Value.Value
    if not isinstance(node, ua.NodeId) or node.NamespaceIndex != 0 or not isinstance(node.Identifier, int):
        return None
    said = type_in_file(tag)
    return said if said in _ABSTRACT.get(node.Identifier, ()) else None


def contradiction(tag: OpcUaTag, raw: DataType, said: str) -> TagProblem | None:
    """What to know of a tag whose file says another type than the server; its values are those of the server.

    ``raw``: of its values as they come; ``said``: what the server says that they are. ``None`` where the file says
    nothing, the same, or the type that values have once they are scaled.
    """
    in_file = type_in_file(tag)
    if in_file is None or in_file in (raw, tag.reported_datatype(raw)):
        return None
    reason = (
        f"the device file says 'type: {in_file.label.lower()}', and the server says that {tag.at} is {said}; that "
        f"counts, and values come as {tag.reported_datatype(raw).label}: remove 'type', or correct 'at'"
    )
    return TagProblem(TagName(tag.name), reason, GOOD)


def said_of(built_in: int | None, *, is_array: bool = False, has_names: bool = False) -> str:
    """What the server says by a built-in type (``None``: none has it), in words.

    ``has_names``: the names of an enumeration stand for its numbers.
    """
    if has_names:
        return "an enumeration, whose names 'enum_names' asks for"
    if built_in == VARIANT:
        return "of whatever type its value has"
    name = "structures" if built_in not in WIRE_TYPES else ua.VariantType(built_in).name
    return f"an array of {name}" if is_array else "a structure" if built_in not in WIRE_TYPES else _article(name)


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "AEIO" else f"a {name}"
