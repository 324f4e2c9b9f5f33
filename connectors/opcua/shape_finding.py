"""Which tags are structures, parts of values or names of numbers, and what their values are on this server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from asyncua import ua
from asyncua.client.client import Client

from connectors.model.quality import BAD_NOT_SUPPORTED, BAD_WAITING_FOR_INITIAL_DATA
from connectors.model.tags import TagName
from connectors.opcua.component_nodes import Component, components
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.open_types import held_type, typed_tree
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.parts import Part, parse_part
from connectors.opcua.said_types import contradiction, said_of, type_in_file
from connectors.opcua.shapes import Form, Output, Shape, datatype_of, type_of_part
from connectors.opcua.status import tag_reason
from connectors.opcua.structure_forms import encoding_of, form_of
from connectors.opcua.structure_reading import DataTypes
from connectors.opcua.structures import VARIANT, ValueType
from connectors.opcua.tag_settings import OpcUaTag
from connectors.opcua.wire_types import BUILT_IN
from connectors.opcua.write_forms import WriteForm, form_of_part
from connectors.ports.device import TagProblem


@dataclass(frozen=True, slots=True)
class Unshaped:
    """A tag with its node, and the value and data type that the server says of it."""

    index: int
    tag: OpcUaTag
    node: ua.NodeId
    value: ua.DataValue
    datatype: ua.DataValue

    @property
    def declared(self) -> ua.NodeId | None:
        """The data type of the variable."""
        found = self.datatype.Value.Value if self.datatype.Value is not None else None
        return found if isinstance(found, ua.NodeId) else None

    @property
    def part(self) -> Part:
        """Which part of the value the tag is."""
        return parse_part(self.tag.part) if self.tag.part else ()


@dataclass(slots=True)
class FoundShapes:
    """Shapes with the tags that each is for, in the order of its outputs; and what is wrong with the others.

    ``doubts``: what to know of tags that have one.
    """

    shapes: list[tuple[Shape, list[Unshaped]]] = field(default_factory=list)
    problems: dict[int, TagProblem] = field(default_factory=dict)
    doubts: dict[int, TagProblem] = field(default_factory=dict)


def is_shaped(tag: OpcUaTag, value: ua.DataValue) -> bool:
    """Whether this tag is more than one value that stands for itself."""
    variant = value.Value
    is_structure = variant is not None and variant.VariantType == ua.VariantType.ExtensionObject
    return bool(tag.part) or tag.enum_names or is_structure


async def find_shapes(client: Client, tags: Sequence[Unshaped], limits: OperationLimits) -> FoundShapes:
    """What the values of ``tags`` are. Raises what asyncua raises when the connection is lost."""
    types = DataTypes()
    encodings = {encoding for each in tags for encoding in encodings_in(_plain(each.value))}
    declared = {each.declared for each in tags if each.declared is not None}
    await types.learn(client, declared, sorted(encodings, key=str), limits)
    alone = await _components(client, tags, types, limits)
    found = FoundShapes()
    groups: dict[Any, list[tuple[Unshaped, Output]]] = {}
    for each in tags:
        try:
            of, rank = _type(each, types)
            part_type, part_rank = type_of_part(of, rank, each.part)
            shown_type, shown_rank = _closed(each, types, part_type, part_rank)
        except DECODING_ERRORS as exc:
            found.problems[each.index] = TagProblem(TagName(each.tag.name), *_reason(each, str(exc)))
            continue
        names = each.tag.enum_names
        if names and not each.part and part_type.names is None and part_type.structure is None:
            reason = "the server gives the values of this variable no names; remove 'enum_names'"
            found.problems[each.index] = TagProblem(TagName(each.tag.name), reason, BAD_NOT_SUPPORTED)
            continue
        datatype = datatype_of(shown_type, shown_rank, has_names=names)
        has_names = names and part_type.names is not None
        said = said_of(shown_type.built_in, is_array=shown_rank > 0, has_names=has_names)
        if (doubt := contradiction(each.tag, datatype, said)) is not None:
            found.doubts[each.index] = doubt
        form = _form(each, types, (of, rank), (part_type, part_rank), alone.get(each.index))
        output = Output(each.index, each.part, datatype, names, form)
        asked = (each.node, each.tag.poll_s, each.tag.sampling_s, each.tag.queue_size)
        groups.setdefault(asked, []).append((each, output))
    for members in groups.values():
        declared_of = types.of(members[0][0].declared)
        shape = Shape(types.structures, tuple(output for _, output in members), declared_of.names)
        found.shapes.append((shape, [each for each, _ in members]))
    return found


async def _components(
    client: Client, tags: Sequence[Unshaped], types: DataTypes, limits: OperationLimits
) -> dict[int, Component]:
    """By the index of a writable tag that is a field: the variable that the server has for this field alone."""
    wanted = {
        each.index: (each.node, [str(step) for step in each.part])
        for each in tags
        if each.tag.writable is not None and each.part and all(isinstance(step, str) for step in each.part)
    }
    found = await components(client, wanted, limits) if wanted else {}
    await types.learn(client, {each.datatype for each in found.values()}, (), limits)
    return found


def _form(
    each: Unshaped,
    types: DataTypes,
    whole: tuple[ValueType, int],
    part: tuple[ValueType, int],
    component: Component | None,
) -> Form | None:
    """How the part of a value is written that a tag is; ``whole`` and ``part``: types and dimensions."""
    (of, rank), (part_type, part_rank) = whole, part
    names = part_type.names if each.tag.enum_names else None
    if of.structure is None and of.known is None:
        return form_of_part(each.part, part_rank, part_type.built_in, names)
    is_single = part_rank == 0 and part_type.built_in is not None
    if is_single and component is not None and component.is_scalar and types.of(component.datatype) == part_type:
        return WriteForm(part_type.built_in, names=names, node=component.node)
    encoding = encoding_of(of, _plain(each.value))
    return form_of(types.structures, of, rank, each.part, encoding=encoding, has_names=each.tag.enum_names)


def _type(each: Unshaped, types: DataTypes) -> tuple[ValueType, int]:
    """The type of a whole value, and its dimensions. Raises ``ValueError`` when nothing is known of it."""
    variant, declared = each.value.Value, types.of(each.declared)
    value = _plain(each.value)
    rank = _rank(value)
    first = value
    while isinstance(first, list) and first:
        first = first[0]
    if first is None or isinstance(first, list):
        if declared == ValueType():
            raise ValueError("the server does not say what this value is while it has none")
        return declared, max(rank, sum(1 for _ in takewhile(lambda step: isinstance(step, int), each.part)))
    if type(first) is ua.ExtensionObject:
        structure = types.structures.by_encoding.get(first.TypeId)
        if structure is None:
            raise ValueError(
                f"the server does not describe the type of this structure (DataTypeDefinition of {_name(each, first)})"
            )
        return ValueType(structure=structure), rank
    if variant is not None and variant.VariantType == ua.VariantType.ExtensionObject:
        return ValueType(known=type(first)), rank
    number = None if variant is None else int(variant.VariantType.value)
    return ValueType(built_in=number, names=declared.names), rank


def _closed(each: Unshaped, types: DataTypes, of: ValueType, rank: int) -> tuple[ValueType, int]:
    """``of``; of a part whose type its value chooses that of the value that is there now, else of the device file.

    Raises ``ValueError`` where neither says it, else ``DECODING_ERRORS``.
    """
    if of.built_in != VARIANT or rank or not each.part:
        return of, rank
    held = held_type(typed_tree(types.structures, _plain(each.value)), each.part)
    if held is not None:
        return ValueType(built_in=held[0]), held[1]
    if (in_file := type_in_file(each.tag)) is None:
        raise ValueError("the type of this field is that of its value, and it has none; add type: to the tag")
    return ValueType(built_in=BUILT_IN[in_file]), 0


def _rank(value: Any) -> int:
    rank = 0
    while isinstance(value, list):
        rank, value = rank + 1, value[0] if value else None
    return rank


def encodings_in(value: Any) -> Iterator[ua.NodeId]:
    """The encodings of the structures in a value that asyncua does not know."""
    if isinstance(value, list):
        for each in value:
            yield from encodings_in(each)
    elif type(value) is ua.ExtensionObject and value.Body is not None:
        yield value.TypeId


def _plain(value: ua.DataValue) -> Any:
    return None if value.Value is None else value.Value.Value


def _name(each: Unshaped, value: ua.ExtensionObject) -> str:
    return (each.declared or value.TypeId).to_string()


def _reason(each: Unshaped, reason: str) -> tuple[str, int]:
    """Why the tag cannot be had; a server that has no good value says so itself."""
    status = 0 if each.value.StatusCode is None else int(each.value.StatusCode.value)
    if status >> 30 == 2:
        return tag_reason(status), status >> 16
    is_late = _plain(each.value) is None
    return reason, BAD_WAITING_FOR_INITIAL_DATA if is_late else BAD_NOT_SUPPORTED
