"""From the node ids of a device file to nodes of the server with their types.

One bad node never stops its neighbours: whatever cannot be bound is a ``TagProblem``, and is tried again later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

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
from connectors.opcua.attributes import attributes_of_each, read_attributes, read_namespaces
from connectors.opcua.notification import DataChangeDecoder
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.said_types import contradiction, narrowed, said_of, type_in_file
from connectors.opcua.shape_finding import Unshaped, find_shapes, is_shaped
from connectors.opcua.shapes import Form, Shape
from connectors.opcua.status import tag_reason
from connectors.opcua.tag_settings import OpcUaTag
from connectors.opcua.values import shown_plain, value_of
from connectors.opcua.wire_types import BUILT_IN, WIRE_TYPES, declared_type
from connectors.opcua.write_forms import WriteForm
from connectors.ports.device import TagProblem, Value

_SUBSCRIBE_TO_EVENTS: Final = 0x01
"""Bit of EventNotifier (Part 3, 8.59)."""


class PartAbsent(ValueError):
    """A value does not have the part that a tag is, now."""


@dataclass(frozen=True, slots=True)
class BoundTag:
    """A tag with its node; ``raw`` is the type of its values, ``type`` what is reported.

    ``form`` is how it is written; ``None`` when it cannot be. With a
    ``shape`` the values of its node are for several tags, or for parts of them; it is ``led`` by another tag of the
    node when that one asks for the values.
    """

    index: int
    settings: OpcUaTag
    node: ua.NodeId
    raw: DataType
    type: TagType
    form: Form | None = None
    shape: Shape | None = None
    is_led: bool = False

    def alone(self) -> BoundTag:
        """The tag as one whose values are for no other."""
        if self.shape is None:
            return self
        outputs = tuple(output for output in self.shape.outputs if output.index == self.index)
        return replace(self, shape=replace(self.shape, outputs=outputs), is_led=False)

    @property
    def kinds(self) -> tuple[tuple[int, DataType], ...]:
        """The tags that get samples when this one is asked for, each with the type of its values."""
        if self.shape is None:
            return ((self.index, self.raw),)
        return tuple((output.index, output.datatype) for output in self.shape.outputs)

    @property
    def indices(self) -> tuple[int, ...]:
        """The tags that get samples when this one is asked for."""
        return tuple(index for index, _ in self.kinds)

    def bind_to(self, decoder: DataChangeDecoder) -> None:
        """``decoder`` is to expect the values of this tag."""
        if self.shape is None:
            decoder.bind(self.index, self.raw)
        else:
            decoder.bind_shape(self.index, self.shape)

    def value_of(self, variant: ua.Variant) -> Value:
        """The value of the tag in a value of its node.

        Raises ``PartAbsent`` when it has no such part now; ``TypeError``, ``ValueError`` or ``OverflowError`` when
        there is none of its type in it.
        """
        scale, offset = self.settings.scale, self.settings.scaling_offset
        if self.shape is None:
            return value_of(variant, self.raw, scale=scale, offset=offset)
        found = next(value for output, value, _ in self.shape.values(variant.Value) if output.index == self.index)
        if found is None:
            raise PartAbsent("there is no such part in the value")
        return shown_plain(found, self.raw, scale=scale, offset=offset)

    @property
    def alike(self) -> DataType:
        """Tags with the same one of these are asked for together: their values are decoded at once."""
        return self.raw if self.shape is None else DataType.STRING


@dataclass(frozen=True, slots=True)
class _WireType:
    """``said``: what the server says that it is, in words; empty where it is the device file that says it."""

    raw: DataType
    form: Form | None
    said: str = ""


@dataclass(slots=True)
class Binding:
    """What became of the tags that were to be bound, by index; ``doubts``: what to know of some that are bound."""

    bound: dict[int, BoundTag] = field(default_factory=dict)
    problems: dict[int, TagProblem] = field(default_factory=dict)
    doubts: dict[int, TagProblem] = field(default_factory=dict)

    def take(self, found: Binding) -> None:
        """What was found of some tags counts from now on; of others all stays as it was."""
        for index in found.bound:
            self.problems.pop(index, None)
            self.doubts.pop(index, None)
        self.bound.update(found.bound)
        self.problems.update(found.problems)
        self.doubts.update(found.doubts)

    def forget(self, index: int) -> None:
        """The tag is not there any more."""
        for each in (self.bound, self.problems, self.doubts):
            each.pop(index, None)

    def clear(self) -> None:
        """Forget all tags."""
        for each in (self.bound, self.problems, self.doubts):
            each.clear()

    def told(self) -> list[TagProblem]:
        """Why tags are not bound, and what to know of those that are, in the order of the tags."""
        doubts = {index: doubt for index, doubt in self.doubts.items() if index in self.bound}
        return [problem for _, problem in sorted({**doubts, **self.problems}.items())]


async def bind_tags(
    client: Client, tags: Sequence[OpcUaTag], chosen: Sequence[int], limits: OperationLimits
) -> Binding:
    """Bind the tags at the indices ``chosen``. Raises what asyncua raises when the connection is lost."""
    binding = Binding()
    namespaces = await read_namespaces(client)
    nodes, refused = await resolve(client, {index: tags[index].at for index in chosen}, namespaces, limits)
    for index, reason in refused.items():
        binding.problems[index] = TagProblem(TagName(tags[index].name), reason, BAD_NODE_ID_UNKNOWN)
    notifiers = {index: nodes.pop(index) for index in list(nodes) if tags[index].events is not None}
    if notifiers:
        await _bind_notifiers(client, tags, notifiers, binding, limits)
    attributes = [AttributeIds.Value, AttributeIds.DataType]
    shaped: list[Unshaped] = []
    each = attributes_of_each(client, list(nodes.items()), attributes, limits.reads)
    async for index, (value, datatype) in each:
        if is_shaped(tags[index], value):
            shaped.append(Unshaped(index, tags[index], nodes[index], value, datatype))
            continue
        found = _wire_type(tags[index], value, datatype)
        if isinstance(found, TagProblem):
            binding.problems[index] = found
        else:
            binding.bound[index] = _bound(tags[index], index, nodes[index], found)
            if found.said and (doubt := contradiction(tags[index], found.raw, found.said)) is not None:
                binding.doubts[index] = doubt
    if shaped:
        await _bind_shaped(client, shaped, binding, limits)
    return binding


async def _bind_shaped(client: Client, shaped: Sequence[Unshaped], binding: Binding, limits: OperationLimits) -> None:
    """Bind tags that are structures or parts of values; those of one node, read alike, share its values."""
    found = await find_shapes(client, shaped, limits)
    binding.problems.update(found.problems)
    binding.doubts.update(found.doubts)
    for shape, members in found.shapes:
        for number, (member, output) in enumerate(zip(members, shape.outputs, strict=True)):
            bound = _bound(member.tag, member.index, member.node, _WireType(output.datatype, output.form))
            binding.bound[member.index] = replace(bound, shape=shape, is_led=number > 0)


async def _bind_notifiers(
    client: Client, tags: Sequence[OpcUaTag], nodes: Mapping[int, ua.NodeId], binding: Binding, limits: OperationLimits
) -> None:
    """Bind tags for the events of objects: their samples are texts."""
    said = await read_attributes(client, list(nodes.values()), [AttributeIds.EventNotifier], limits.reads)
    for (index, node), value in zip(nodes.items(), said, strict=True):
        status = int(value.StatusCode.value) if value.StatusCode is not None else 0
        notifier = value.Value.Value if value.Value is not None else None
        if isinstance(notifier, int) and notifier & _SUBSCRIBE_TO_EVENTS:
            binding.bound[index] = _bound(tags[index], index, node, _WireType(DataType.STRING, None))
            continue
        is_gone = status >> 16 == BAD_NODE_ID_UNKNOWN
        reason = (
            tag_reason(status) if is_gone else "this node sends no events; name an object that does, such as i=2253"
        )
        quality = status >> 16 if is_gone else BAD_NOT_SUPPORTED
        binding.problems[index] = TagProblem(TagName(tags[index].name), reason, quality)


def _wire_type(tag: OpcUaTag, value: ua.DataValue, datatype: ua.DataValue) -> _WireType | TagProblem:
    name = TagName(tag.name)
    status = int(value.StatusCode.value) if value.StatusCode is not None else 0
    declared = declared_type(datatype.Value.Value if datatype.Value is not None else None)
    if status >> 30 == 2 and declared is None:
        return TagProblem(name, tag_reason(status), status >> 16)
    variant = value.Value
    if variant is not None and variant.Value is not None:
        built_in = int(variant.VariantType.value)
        if variant.is_array or isinstance(variant.Value, list):
            said = said_of(built_in, is_array=True)
            return _WireType(DataType.STRING, WriteForm(built_in, _rank(variant)), said)
        if built_in not in WIRE_TYPES:
            return TagProblem(name, f"values of type {variant.VariantType.name} are not supported", BAD_NOT_SUPPORTED)
        return _WireType(WIRE_TYPES[built_in].datatype, WriteForm(built_in), said_of(built_in))
    in_file = type_in_file(tag) if declared is None else narrowed(tag, datatype)
    if in_file is not None:
        return _WireType(in_file, WriteForm(BUILT_IN[in_file]))
    if declared is not None:
        return _WireType(WIRE_TYPES[declared].datatype, WriteForm(declared), said_of(declared))
    return TagProblem(
        name,
        "the server does not say the type of this value while it has none; add type: to the tag, such as type: double",
        BAD_WAITING_FOR_INITIAL_DATA,
    )


def _rank(variant: ua.Variant) -> int:
    return max(1, len(variant.Dimensions or ()))


def _bound(tag: OpcUaTag, index: int, node: ua.NodeId, wire: _WireType) -> BoundTag:
    reported = tag.reported_datatype(wire.raw)
    tag_type = TagType(index, TagName(tag.name), reported, tag.unit, tag.description, tag.limits)
    return BoundTag(index, tag, node, wire.raw, tag_type, wire.form)
