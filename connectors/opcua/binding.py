"""From the node ids of a device file to nodes of the server with their types.

One bad node never stops its neighbours: whatever cannot be bound is a ``TagProblem``, and is tried again later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds

from connectors.model.datatypes import DataType
from connectors.model.quality import (
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_SUPPORTED,
    BAD_WAITING_FOR_INITIAL_DATA,
)
from connectors.model.tags import TagName, TagType
from connectors.opcua.addresses import resolve
from connectors.opcua.attributes import read_attributes, read_namespaces
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.status import tag_reason
from connectors.opcua.tag_settings import OpcUaTag
from connectors.opcua.wire_types import ABSTRACT_AND_DERIVED, BUILT_IN, WIRE_TYPES
from connectors.ports.device import TagProblem


@dataclass(frozen=True, slots=True)
class BoundTag:
    """A tag with its node; ``raw`` is the type of its values, ``type`` what is reported.

    ``built_in`` is the type that the server itself gives them (Part 6, 5.1.2); ``None`` when they are arrays.
    """

    index: int
    settings: OpcUaTag
    node: ua.NodeId
    raw: DataType
    type: TagType
    built_in: int | None = None


@dataclass(frozen=True, slots=True)
class _WireType:
    raw: DataType
    built_in: int | None


@dataclass(slots=True)
class Binding:
    """What became of the tags that were to be bound, by index."""

    bound: dict[int, BoundTag] = field(default_factory=dict)
    problems: dict[int, TagProblem] = field(default_factory=dict)


async def bind_tags(
    client: Client, tags: Sequence[OpcUaTag], chosen: Sequence[int], limits: OperationLimits
) -> Binding:
    """Bind the tags at the indices ``chosen``. Raises what asyncua raises when the connection is lost."""
    binding = Binding()
    namespaces = await read_namespaces(client)
    nodes, refused = await resolve(client, {index: tags[index].at for index in chosen}, namespaces, limits)
    for index, reason in refused.items():
        binding.problems[index] = TagProblem(TagName(tags[index].name), reason, BAD_NODE_ID_UNKNOWN)
    attributes = [AttributeIds.Value, AttributeIds.DataType]
    values = await read_attributes(client, list(nodes.values()), attributes, limits.reads)
    for (index, node), value, datatype in zip(nodes.items(), values[::2], values[1::2], strict=True):
        found = _wire_type(tags[index], value, datatype)
        if isinstance(found, TagProblem):
            binding.problems[index] = found
        else:
            binding.bound[index] = _bound(tags[index], index, node, found)
    return binding


def _wire_type(tag: OpcUaTag, value: ua.DataValue, datatype: ua.DataValue) -> _WireType | TagProblem:
    name = TagName(tag.name)
    status = int(value.StatusCode.value) if value.StatusCode is not None else 0
    declared = declared_type(datatype.Value.Value if datatype.Value is not None else None)
    if status >> 30 == 2 and declared is None:
        return TagProblem(name, tag_reason(status), status >> 16)
    variant = value.Value
    if variant is not None and variant.Value is not None:
        if variant.is_array or isinstance(variant.Value, list):
            return _WireType(DataType.STRING, None)
        built_in = int(variant.VariantType.value)
        if built_in not in WIRE_TYPES:
            return TagProblem(name, f"values of type {variant.VariantType.name} are not supported", BAD_NOT_SUPPORTED)
        return _WireType(WIRE_TYPES[built_in].datatype, built_in)
    if declared is not None:
        return _WireType(WIRE_TYPES[declared].datatype, declared)
    if tag.datatype is not None:
        return _WireType(tag.datatype, BUILT_IN[tag.datatype])
    return TagProblem(
        name,
        "the server does not say the type of this value while it has none; add type: to the tag, such as type: double",
        BAD_WAITING_FOR_INITIAL_DATA,
    )


def declared_type(node: Any) -> int | None:
    """The built-in type behind the data type ``node``, or ``None`` when it is none that is well known."""
    if not isinstance(node, ua.NodeId) or node.NamespaceIndex != 0 or not isinstance(node.Identifier, int):
        return None
    number = ABSTRACT_AND_DERIVED.get(node.Identifier, node.Identifier)
    return number if number in WIRE_TYPES else None


def _bound(tag: OpcUaTag, index: int, node: ua.NodeId, wire: _WireType) -> BoundTag:
    reported = tag.reported_datatype(wire.raw)
    tag_type = TagType(index, TagName(tag.name), reported, tag.unit, tag.description)
    return BoundTag(index, tag, node, wire.raw, tag_type, wire.built_in)
