"""A look at a server before there are tags: its variables with types, values and units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds

from connectors.model.errors import DeviceUnavailable
from connectors.model.texts import storable
from connectors.opcua.addresses import resolve, written_node_id
from connectors.opcua.attributes import read_attributes, read_namespaces
from connectors.opcua.browse_rules import OpcUaBrowse
from connectors.opcua.browsing import BrowseRefused, FoundVariable, Walk, variables_below
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.globs import Globs
from connectors.opcua.opening import opened
from connectors.opcua.operation_limits import OperationLimits, read_limits
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.shape_finding import encodings_in
from connectors.opcua.status import status_name, tag_reason
from connectors.opcua.structure_reading import DataTypes
from connectors.opcua.structures import json_ready
from connectors.opcua.values import shown_value
from connectors.opcua.wire_types import WIRE_TYPES, json_text
from connectors.ports.survey import Survey, SurveyedVariable

UNITS: Final = "EngineeringUnits"
_ATTRIBUTES: Final = (
    AttributeIds.Value,
    AttributeIds.DataType,
    AttributeIds.ValueRank,
    AttributeIds.UserAccessLevel,
    AttributeIds.Description,
)
_READ: Final = 0x01
_WRITE: Final = 0x02
"""CurrentRead and CurrentWrite in an access level (Part 3, 8.57)."""


async def survey(device: OpcUaDevice, rule: OpcUaBrowse) -> Survey:
    """The variables of the server of ``device`` that ``rule`` means, at most as many as it allows.

    Raises ``DeviceUnavailable`` with what to check when there is no session, or nothing to begin at.
    """
    async with opened(device) as client:
        limits = await read_limits(client, device.limits)
        namespaces = await read_namespaces(client)
        starts, refused = await resolve(client, {0: rule.under}, namespaces, limits)
        if refused:
            raise DeviceUnavailable(f"{device.endpoint}: {rule.under}: {refused[0]}")
        try:
            found = await _variables(client, rule, starts[0], limits)
        except BrowseRefused as exc:
            raise DeviceUnavailable(f"{device.endpoint}: {rule.under}: {exc}") from exc
        chosen, units = found
        variables = await read_variables(client, rule, chosen[: rule.variables_max], units, namespaces, limits)
        if rule.types:
            wanted = {datatype.label for datatype in rule.types}
            variables = [each for each in variables if each.type in wanted]
    return Survey(device.endpoint, rule.under, tuple(variables), max(0, len(chosen) - rule.variables_max))


async def _variables(
    client: Client, rule: OpcUaBrowse, start: ua.NodeId, limits: OperationLimits
) -> tuple[list[FoundVariable], dict[tuple[str, ...], ua.NodeId]]:
    """The variables that ``rule`` means, tree by tree, and the properties with engineering units by their paths."""
    wanted, left_out = Globs(rule.match), Globs(rule.exclude)
    walk = Walk(rule.depth_max + 1, lambda names: not left_out.match(names), properties=True)
    every = await variables_below(client, start, walk, limits)
    units = {each.names[:-1]: each.node for each in every if each.is_property and each.names[-1] == UNITS}
    chosen = [
        each
        for each in every
        if len(each.names) <= rule.depth_max and wanted.match(each.names) and (rule.properties or not each.is_property)
    ]
    return sorted(chosen, key=lambda each: each.names), units


async def read_variables(
    client: Client,
    rule: OpcUaBrowse,
    found: Sequence[FoundVariable],
    units: Mapping[tuple[str, ...], ua.NodeId],
    namespaces: Sequence[str],
    limits: OperationLimits,
) -> list[SurveyedVariable]:
    """What each of ``found`` has now, named apart; ``units``: the nodes that have their units.

    Raises what asyncua raises.
    """
    size = len(_ATTRIBUTES)
    attributes = await read_attributes(client, [each.node for each in found], _ATTRIBUTES, limits.reads)
    texts = await _units(client, [units[each.names] for each in found if each.names in units], limits)
    kinds = await _type_names(client, attributes[1::size], limits)
    names = [rule.tag_name(each.placeholders()) for each in found]
    often = Counter(name.lower() for name in names)
    types = DataTypes()
    structures = {encoding for value in attributes[::size] for encoding in encodings_in(_plain(value))}
    await types.learn(client, (), sorted(structures, key=str), limits)
    variables: list[SurveyedVariable] = []
    for index, each in enumerate(found):
        value, datatype, rank, access, about = attributes[index * size : (index + 1) * size]
        status = 0 if value.StatusCode is None else int(value.StatusCode.value)
        name = names[index] if often[names[index].lower()] == 1 else f"{names[index]} {each.identifier}"
        variables.append(
            SurveyedVariable(
                each.names,
                name,
                written_node_id(each.node, namespaces),
                _type(value, _node(datatype), rank, kinds),
                _shown(value, types),
                texts.get(units[each.names], "") if each.names in units else "",
                description_of(about),
                bool((_plain(access) or 0) & _WRITE),
                status_name(status) if status >> 30 else "",
                tag_reason(status) if status >> 30 else "",
                bool((1 if _plain(access) is None else _plain(access)) & _READ),
            )
        )
    return variables


async def _units(client: Client, nodes: Sequence[ua.NodeId], limits: OperationLimits) -> dict[ua.NodeId, str]:
    """What EUInformation calls the units (Part 8, 5.6.3)."""
    values = await read_attributes(client, nodes, [AttributeIds.Value], limits.reads)
    found = [getattr(_plain(value), "DisplayName", None) for value in values]
    return {node: _unit(text) for node, text in zip(nodes, found, strict=True)}


def _unit(text: Any) -> str:
    return storable((text.Text or "").strip())[:40] if isinstance(text, ua.LocalizedText) else ""


async def _type_names(
    client: Client, datatypes: Sequence[ua.DataValue], limits: OperationLimits
) -> dict[ua.NodeId, str]:
    """The names of the data types that are none of the built-in ones."""
    nodes = {_node(datatype) for datatype in datatypes} - {None}
    foreign = [node for node in nodes if node is not None and _built_in(node) is None]
    names = await read_attributes(client, foreign, [AttributeIds.BrowseName], limits.reads)
    return {node: str(getattr(_plain(name), "Name", "")) for node, name in zip(foreign, names, strict=True)}


def _type(value: ua.DataValue, datatype: ua.NodeId | None, rank: ua.DataValue, kinds: Mapping[ua.NodeId, str]) -> str:
    variant = value.Value
    number = None if datatype is None else _built_in(datatype)
    name = "" if datatype is None else kinds.get(datatype, "")
    if number is not None:
        name = WIRE_TYPES[number].datatype.label
    elif variant is not None and int(variant.VariantType.value) in WIRE_TYPES and not name:
        name = WIRE_TYPES[int(variant.VariantType.value)].datatype.label
    is_array = variant.is_array if variant is not None and variant.Value is not None else (_plain(rank) or -1) >= 0
    return f"{name or '?'}{'[]' if is_array else ''}"


def _built_in(datatype: ua.NodeId) -> int | None:
    number = datatype.Identifier if datatype.NamespaceIndex == 0 else None
    return number if isinstance(number, int) and number in WIRE_TYPES else None


def _shown(value: ua.DataValue, types: DataTypes) -> Any:
    """The value for a person: a structure is JSON, as far as the server describes it."""
    variant = value.Value
    if variant is None or variant.Value is None:
        return None
    if variant.VariantType != ua.VariantType.ExtensionObject:
        return shown_value(variant)
    try:
        return json_text(json_ready(types.structures.tree(variant.Value), has_names=True))
    except (TypeError, *DECODING_ERRORS):
        return "a structure that the server does not describe"


def _plain(value: ua.DataValue) -> Any:
    return None if value.Value is None else value.Value.Value


def _node(value: ua.DataValue) -> ua.NodeId | None:
    node = _plain(value)
    return node if isinstance(node, ua.NodeId) else None


def description_of(value: ua.DataValue) -> str:
    """The text of a Description attribute, in one line."""
    text = _plain(value)
    return storable(" ".join((text.Text or "").split()))[:1000] if isinstance(text, ua.LocalizedText) else ""
