"""Structures and enumerations that a server has made itself: their types, and their values in bytes (Part 6, 5.2.6).

The server describes them (DataTypeDefinition, Part 3, 5.8.3). Nothing of the description is ever run: bytes are walked
through as it says, within their length.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import Primitives, from_binary, unpack_uatype

from connectors.model.errors import PayloadInvalid
from connectors.opcua.wire_types import finite

DEPTH_MAX: Final = 20
EXTENSION_OBJECT: Final = 22
VARIANT: Final = 24
_KNOWN_NUMBERS: Final = range(1, 26)
"""Boolean to DiagnosticInfo (Part 6, 5.1.2): all that a field may be without a type of its own."""


class Enumerated(int):
    """A number of an enumeration, which knows its name."""

    text: str

    def __new__(cls, number: int, names: Mapping[int, str]) -> Enumerated:
        """A number without a name is called by itself."""
        made = super().__new__(cls, number)
        made.text = names.get(number, str(number))
        return made


@dataclass(frozen=True, slots=True)
class ValueType:
    """One of: a built-in type, perhaps with the names of its numbers; a structure; a class of asyncua's own."""

    built_in: int | None = None
    names: Mapping[int, str] | None = None
    structure: Structure | None = None
    known: type | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a structure; ``rank``: how many dimensions its array has, 0 for a single value."""

    name: str
    type: ValueType
    rank: int = 0
    is_optional: bool = False


@dataclass(slots=True)
class Structure:
    """A structure or union; its fields are filled in when their own types are known.

    ``encoding``: the node id of its binary encoding, where the server says it.
    """

    name: str
    kind: ua.StructureType = ua.StructureType.Structure
    fields: list[Field] = field(default_factory=list)
    encoding: ua.NodeId | None = None


class StructureTypes:
    """The structures of one server, by the node ids of their binary encodings."""

    def __init__(self) -> None:
        self.by_encoding: dict[ua.NodeId, Structure] = {}

    def tree(self, value: Any, names: Mapping[int, str] | None = None, depth: int = 0) -> Any:
        """``value`` of a Variant with structures as dictionaries; numbers with ``names`` know them.

        Raises ``PayloadInvalid`` when the bytes of a structure are not as its type says, or its type is not known.
        """
        if isinstance(value, list):
            return [self.tree(each, names, depth) for each in value]
        if isinstance(value, ua.ExtensionObject) and type(value) is ua.ExtensionObject:
            return self._decoded(value, depth)
        if isinstance(value, enum.IntEnum):
            return Enumerated(int(value), {each.value: each.name for each in type(value)})
        if isinstance(value, ua.Variant | ua.DataValue):
            return self.tree(value.Value, None, depth + 1) if depth < DEPTH_MAX else None
        if dataclasses.is_dataclass(value) and not isinstance(value, _TEXTS):
            return {each.name: self.tree(getattr(value, each.name), None, depth) for each in dataclasses.fields(value)}
        if names is not None and isinstance(value, int) and not isinstance(value, bool):
            return Enumerated(value, names)
        return value

    def _decoded(self, value: ua.ExtensionObject, depth: int) -> Any:
        if value.Body is None:
            return None
        structure = self.by_encoding.get(value.TypeId)
        if structure is None:
            raise PayloadInvalid(f"the type of a structure is not known ({value.TypeId.to_string()})")
        try:
            return _read_structure(self, structure, Buffer(value.Body), depth)
        except (AttributeError, KeyError, MemoryError, RecursionError, TypeError) as exc:
            raise PayloadInvalid(f"the structure {structure.name} cannot be read: {exc}") from exc


_TEXTS: Final = (ua.LocalizedText, ua.QualifiedName, ua.NodeId, ua.StatusCode)


def _read_structure(types: StructureTypes, structure: Structure, data: Buffer, depth: int) -> dict[str, Any]:
    if depth > DEPTH_MAX:
        raise PayloadInvalid(f"structures within structures, more than {DEPTH_MAX} of them")
    kind = structure.kind
    if kind in (ua.StructureType.Union, ua.StructureType.UnionWithSubtypedValues):
        chosen = Primitives.UInt32.unpack(data)
        if chosen > len(structure.fields):
            raise PayloadInvalid(f"the union {structure.name} has no choice {chosen}")
        fields = [structure.fields[chosen - 1]] if chosen else []
        return {each.name: _read_field(types, each, data, depth, kind) for each in fields}
    present = Primitives.UInt32.unpack(data) if kind is ua.StructureType.StructureWithOptionalFields else 0
    found: dict[str, Any] = {}
    for each in structure.fields:
        if kind is ua.StructureType.StructureWithOptionalFields and each.is_optional:
            is_present, present = present & 1, present >> 1
            if not is_present:
                continue
        found[each.name] = _read_field(types, each, data, depth, kind)
    return found


def _read_field(types: StructureTypes, each: Field, data: Buffer, depth: int, kind: ua.StructureType) -> Any:
    return read_field(types, type_in(kind, each), each.rank, data, depth)


def type_in(kind: ua.StructureType, each: Field) -> ValueType:
    """The type that a field has in the bytes of a structure of this kind.

    A value that may be of a subtype says itself which one (Part 3, 8.51).
    """
    if kind in _WITH_SUBTYPES and each.is_optional:
        return ValueType(built_in=EXTENSION_OBJECT if each.type.built_in is None else VARIANT)
    return each.type


def read_field(types: StructureTypes, of: ValueType, rank: int, data: Buffer, depth: int = 0) -> Any:
    """Take a field of this type and so many dimensions from ``data``. Raises any of ``DECODING_ERRORS``."""
    if rank == 0:
        return _read_value(types, of, data, depth)
    sizes = [_length(data)]
    if rank > 1:
        sizes = [_length(data) for _ in range(max(0, sizes[0]))]
        if math.prod(max(0, size) for size in sizes) > len(data):  # of values without bytes there would be no end
            raise PayloadInvalid(f"an array of {sizes} values is longer than the structure that carries it")
    return _read_array(types, of, data, depth, sizes)


_WITH_SUBTYPES: Final = (
    ua.StructureType.StructureWithSubtypedValues,
    ua.StructureType.UnionWithSubtypedValues,
)


def _length(data: Buffer) -> int:
    length = int(Primitives.Int32.unpack(data))
    if length > len(data):
        raise PayloadInvalid(f"an array of {length} values is longer than the structure that carries it")
    return length


def _read_array(types: StructureTypes, of: ValueType, data: Buffer, depth: int, sizes: list[int]) -> list[Any] | None:
    if not sizes or sizes[0] < 0:
        return None
    if len(sizes) == 1:
        return [_read_value(types, of, data, depth) for _ in range(sizes[0])]
    return [_read_array(types, of, data, depth, sizes[1:]) for _ in range(sizes[0])]


def _read_value(types: StructureTypes, of: ValueType, data: Buffer, depth: int) -> Any:
    if of.structure is not None:
        return _read_structure(types, of.structure, data, depth + 1)
    if of.known is not None:
        return types.tree(from_binary(of.known, data), None, depth + 1)
    if of.built_in is None or of.built_in not in _KNOWN_NUMBERS:
        raise PayloadInvalid("a field of a structure has no type that is known")
    return types.tree(unpack_uatype(ua.VariantType(of.built_in), data), of.names, depth + 1)


def structure_of(known: type) -> Structure:
    """A structure of namespace 0 that asyncua decodes itself, as its classes describe it."""
    made = Structure(known.__name__)
    for each in dataclasses.fields(known):
        text = str(each.type)
        is_array = text.startswith("list[")
        name = text.removeprefix("list[").removesuffix("]").rpartition("ua.")[2].strip("'\" ")
        made.fields.append(Field(each.name, _type_called(name), 1 if is_array else 0))
    return made


def plain_structure(of: ValueType) -> Structure | None:
    """The structure that ``of`` is; ``None`` for others, and for those of asyncua that are more than their fields."""
    if of.known is None:
        return of.structure
    names = {each.name for each in dataclasses.fields(of.known)}
    return structure_of(of.known) if "Encoding" not in names and not hasattr(of.known, "_union_types") else None


def _type_called(name: str) -> ValueType:
    if name in ua.VariantType.__members__:
        return ValueType(built_in=int(ua.VariantType[name].value))
    if name in ("CharArray", "LocaleId"):
        return ValueType(built_in=int(ua.VariantType.String.value))
    found = getattr(ua, name, None)
    if isinstance(found, type) and issubclass(found, enum.IntEnum):
        return ValueType(built_in=6, names={each.value: each.name for each in found})
    if isinstance(found, type) and dataclasses.is_dataclass(found):
        return ValueType(known=found)
    return ValueType()


def json_ready(tree: Any, *, has_names: bool) -> Any:
    """``tree`` as JSON can say it: what it has no numbers and types for is text (after Part 6, 5.4)."""
    if isinstance(tree, dict):
        return {name: json_ready(each, has_names=has_names) for name, each in tree.items()}
    if isinstance(tree, list):
        return [json_ready(each, has_names=has_names) for each in tree]
    if isinstance(tree, Enumerated):
        return tree.text if has_names else int(tree)
    if isinstance(tree, float):
        return finite(tree)
    if isinstance(tree, bytes):
        return base64.b64encode(tree).decode()
    return int(tree.value) if isinstance(tree, ua.StatusCode) else tree
