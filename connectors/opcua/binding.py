"""From the node ids of a device file to nodes of the server with their types.

One bad node never stops its neighbours: whatever cannot be bound is a ``TagProblem``, and is tried again later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

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
from connectors.opcua.node_ids import NAMESPACE_INDEX_MAX, parse_written
from connectors.opcua.settings import OpcUaTag
from connectors.opcua.status import tag_reason
from connectors.opcua.wire_types import ABSTRACT_AND_DERIVED, BUILT_IN, WIRE_TYPES
from connectors.ports.device import TagProblem

T = TypeVar("T")
NODES_PER_CALL_MAX: Final = 1000
"""Nodes in one request to a server that names no limit of its own."""

_SERVER_STATE: Final = ua.NodeId(ua.Int32(2259), ua.Int16(0))
_MAX_NODES_PER_READ: Final = ua.NodeId(ua.Int32(11705), ua.Int16(0))
_MAX_ITEMS_PER_CALL: Final = ua.NodeId(ua.Int32(11714), ua.Int16(0))


@dataclass(frozen=True, slots=True)
class OperationLimits:
    """How many nodes one request may name (Part 5, 6.3.11 OperationLimitsType)."""

    nodes_per_read: int = NODES_PER_CALL_MAX
    items_per_call: int = NODES_PER_CALL_MAX


@dataclass(frozen=True, slots=True)
class BoundTag:
    """A tag with its node; ``raw`` is the type of its values, ``type`` what is reported.

    ``built_in`` is the type that the server itself gives them (Part 6, 5.1.2); ``None`` when they are arrays.
    """

    index: int
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


async def read_limits(client: Client) -> OperationLimits:
    """The server's operation limits; those it does not name, or sets to 0 (no limit), are Lineside's own."""
    values = await read_attributes(client, [_MAX_NODES_PER_READ, _MAX_ITEMS_PER_CALL], [AttributeIds.Value])
    found = [
        value.Value.Value if value.Value is not None and isinstance(value.Value.Value, int) else 0 for value in values
    ]
    reads, items = (min(limit, NODES_PER_CALL_MAX) if limit > 0 else NODES_PER_CALL_MAX for limit in found)
    return OperationLimits(reads, items)


async def read_state(client: Client) -> None:
    """Ask the server for its state, whatever it says: a sign of life. Raises what asyncua raises when none comes."""
    await read_attributes(client, [_SERVER_STATE], [AttributeIds.Value])


async def bind_tags(
    client: Client, tags: Sequence[OpcUaTag], chosen: Sequence[int], limits: OperationLimits
) -> Binding:
    """Bind the tags at the indices ``chosen``. Raises what asyncua raises when the connection is lost."""
    binding = Binding()
    namespaces = await read_namespaces(client)
    nodes: dict[int, ua.NodeId] = {}
    for index in chosen:
        try:
            nodes[index] = parse_node_id(tags[index].at, namespaces)
        except ValueError as exc:
            binding.problems[index] = TagProblem(TagName(tags[index].name), str(exc), BAD_NODE_ID_UNKNOWN)
    attributes = [AttributeIds.Value, AttributeIds.DataType]
    for part in chunks(list(nodes.items()), max(1, limits.nodes_per_read // len(attributes))):
        values = await read_attributes(client, [node for _, node in part], attributes)
        for (index, node), value, datatype in zip(part, values[::2], values[1::2], strict=True):
            found = _wire_type(tags[index], value, datatype)
            if isinstance(found, TagProblem):
                binding.problems[index] = found
            else:
                binding.bound[index] = _bound(tags[index], index, node, found)
    return binding


def parse_node_id(at: str, namespaces: Sequence[str]) -> ua.NodeId:
    """The node id that ``at`` writes; ``nsu=`` is looked up among the server's ``namespaces``.

    Raises ``ValueError`` with a sentence when the server has no such namespace, or the text is no node id.
    """
    written = parse_written(at)
    namespace = written.namespace
    if isinstance(namespace, str):
        if namespace not in namespaces:
            known = ", ".join(repr(known) for known in namespaces[1:9])
            raise ValueError(f"the server has no namespace {namespace!r}; it has {known}")
        namespace = namespaces.index(namespace)
    identifier: Any = written.identifier  # asyncua's own types are subclasses that nothing asks for
    return ua.NodeId(identifier, ua.Int16(namespace))


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """``items`` in pieces of at most ``size``."""
    for at in range(0, len(items), size):
        yield items[at : at + size]


async def read_namespaces(client: Client) -> list[str]:
    """The namespaces of the server, by index. Raises what asyncua raises."""
    (value,) = await read_attributes(client, [ua.NodeId(ua.Int32(2255), ua.Int16(0))], [AttributeIds.Value])
    names = value.Value.Value if value.Value is not None else None
    if not isinstance(names, list):
        return ["http://opcfoundation.org/UA/"]
    return [str(name) for name in names[: NAMESPACE_INDEX_MAX + 1]]


async def read_attributes(
    client: Client, nodes: Sequence[ua.NodeId], attributes: Sequence[AttributeIds]
) -> list[ua.DataValue]:
    """Each attribute of each node, without times. Raises what asyncua raises."""
    params = ua.ReadParameters(TimestampsToReturn=ua.TimestampsToReturn.Neither)
    params.NodesToRead = [
        ua.ReadValueId(NodeId=node, AttributeId=attribute) for node in nodes for attribute in attributes
    ]
    return await client.uaclient.read(params)


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
    return BoundTag(index, node, wire.raw, tag_type, wire.built_in)
