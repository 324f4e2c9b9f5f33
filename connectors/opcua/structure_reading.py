"""Asks a server for the structures and enumerations that its values are of (Part 3, 5.8.3 and 8.48 to 8.52)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds

from connectors.opcua.addresses import plain_node_id
from connectors.opcua.attributes import read_attributes
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.references import References
from connectors.opcua.structures import EXTENSION_OBJECT, VARIANT, Field, Structure, StructureTypes, ValueType
from connectors.opcua.wire_types import declared_type

TYPES_MAX: Final = 2000
ROUNDS_MAX: Final = 20
"""So deep structures may be within each other, and types below other types."""
_HAS_ENCODING, _HAS_SUBTYPE = 38, 45
_ENUMERATION: Final = ua.NodeId(ua.Int32(29), ua.Int16(0))
_ABSTRACT: Final = {24: VARIANT, 22: EXTENSION_OBJECT, 26: VARIANT, 27: VARIANT, 28: VARIANT}
"""BaseDataType, Structure, Number, Integer, UInteger: a field of one of them carries its type (Part 6, 5.2.2)."""

_OTHERS: Final = (18, 23, 25)
"""ExpandedNodeId, DataValue, DiagnosticInfo: no tag can be one of them, and fields can."""


class DataTypes:
    """What is known of the data types of one server."""

    def __init__(self) -> None:
        self.structures = StructureTypes()
        self._types: dict[ua.NodeId, ValueType] = {}
        self._definitions: dict[ua.NodeId, Any] = {}  # as the server has them; of others ``None``
        self._names: dict[ua.NodeId, str] = {}  # their browse names, for people
        self._above: dict[ua.NodeId, ua.NodeId | None] = {}  # what those that are no structures are subtypes of

    def of(self, datatype: ua.NodeId | None) -> ValueType:
        """The type; one without anything in it when nothing is known."""
        if datatype is None:
            return ValueType()
        built_in = _built_in(datatype)
        return self._types.get(datatype, ValueType()) if built_in is None else ValueType(built_in=built_in)

    async def learn(
        self, client: Client, datatypes: Iterable[ua.NodeId], encodings: Iterable[ua.NodeId], limits: OperationLimits
    ) -> None:
        """Read these data types, those of these encodings, and all that they are made of.

        What the server does not describe stays unknown. Raises what asyncua raises when the connection is lost.
        """
        unknown = [each for each in encodings if each not in self.structures.by_encoding]
        owners = await _targets(client, unknown, _HAS_ENCODING, limits)
        wanted = {*datatypes, *(owner for owner in owners if owner is not None)}
        for _ in range(ROUNDS_MAX):
            wanted = {each for each in wanted if each not in self._definitions and _built_in(each) is None}
            if not wanted or len(self._definitions) > TYPES_MAX:
                break
            wanted = await self._read(client, sorted(wanted, key=str), limits)
        made: dict[ua.NodeId, ValueType] = {}
        for datatype in self._definitions:
            self._types[datatype] = self._type(datatype, made, 0)
            structure = self._types[datatype].structure
            if structure is not None and structure.encoding is not None:  # some servers have no node of the encoding
                self.structures.by_encoding.setdefault(structure.encoding, structure)
        for encoding, owner in zip(unknown, owners, strict=True):
            structure = self.of(owner).structure
            if structure is not None:
                self.structures.by_encoding[encoding] = structure

    async def _read(self, client: Client, datatypes: Sequence[ua.NodeId], limits: OperationLimits) -> set[ua.NodeId]:
        """Read the definitions of ``datatypes``; which others they name."""
        attributes = [AttributeIds.DataTypeDefinition, AttributeIds.BrowseName]
        values = await read_attributes(client, datatypes, attributes, limits.reads)
        said = [None if value.Value is None else value.Value.Value for value in values]
        named: set[ua.NodeId] = set()
        others: list[ua.NodeId] = []
        for datatype, found, name in zip(datatypes, said[::2], said[1::2], strict=True):
            self._definitions[datatype] = found
            if isinstance(name, ua.QualifiedName) and name.Name:
                self._names[datatype] = name.Name
            if isinstance(found, ua.StructureDefinition):
                named |= {each.DataType for each in found.Fields or ()}
            else:
                others.append(datatype)
        above = await _targets(client, others, _HAS_SUBTYPE, limits)
        self._above.update(zip(others, above, strict=True))
        return named | {each for each in above if each is not None}

    def _type(self, datatype: ua.NodeId, made: dict[ua.NodeId, ValueType], depth: int) -> ValueType:
        if datatype in made:
            return made[datatype]
        built_in, found = _built_in(datatype), self._definitions.get(datatype)
        if built_in is not None:
            return ValueType(built_in=built_in)
        if isinstance(found, ua.StructureDefinition):
            known = ua.extension_objects_by_typeid.get(found.DefaultEncodingId)
            if datatype.NamespaceIndex == 0 and known is not None:
                return ValueType(known=known)
            structure = Structure(
                self._names.get(datatype, str(datatype.Identifier)), ua.StructureType(found.StructureType)
            )
            structure.encoding = None if found.DefaultEncodingId.is_null() else found.DefaultEncodingId
            made[datatype] = ValueType(structure=structure)  # before its fields: it may have itself among them
            for each in found.Fields or ():
                rank = max(0, int(each.ValueRank)) if each.ValueRank is not None else 0
                of = self._type(each.DataType, made, depth)
                structure.fields.append(Field(str(each.Name), of, rank, bool(each.IsOptional)))
        else:
            above = self._above.get(datatype)
            of = self._type(above, made, depth + 1) if above is not None and depth < ROUNDS_MAX else ValueType()
            if isinstance(found, ua.EnumDefinition) and above == _ENUMERATION:  # of others the names are those of bits
                of = ValueType(built_in=6, names={int(each.Value): str(each.Name) for each in found.Fields or ()})
            made[datatype] = of
        return made[datatype]


def _built_in(datatype: ua.NodeId) -> int | None:
    number = datatype.Identifier if datatype.NamespaceIndex == 0 else None
    if not isinstance(number, int):
        return None
    return _ABSTRACT.get(number) or (number if number in _OTHERS else declared_type(datatype))


async def _targets(
    client: Client, nodes: Sequence[ua.NodeId], kind: int, limits: OperationLimits
) -> list[ua.NodeId | None]:
    """Of each of ``nodes`` the first one that a reference of this kind comes from."""
    mask = int(ua.BrowseResultMask.None_)
    references = References(kind, ua.BrowseDirection.Inverse, int(ua.NodeClass.DataType), mask)
    results = await references.of_many(client, nodes, limits)
    return [plain_node_id(result.References[0].NodeId) if result.References else None for result in results]
