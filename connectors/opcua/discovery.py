"""Browse rules at work: which tags a device has beside those that its file names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds

from connectors.model.datatypes import DataType
from connectors.model.quality import BAD_NODE_ID_UNKNOWN, BAD_NOT_SUPPORTED
from connectors.model.tags import TagName
from connectors.opcua.addresses import resolve, written_node_id
from connectors.opcua.attributes import read_attributes, read_namespaces
from connectors.opcua.browse_rules import OpcUaBrowse
from connectors.opcua.browsing import BrowseRefused, FoundVariable, Walk, variables_below
from connectors.opcua.globs import Globs
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import status_text
from connectors.opcua.tag_settings import OpcUaTag
from connectors.opcua.wire_types import WIRE_TYPES, declared_type
from connectors.ports.device import TagProblem
from connectors.ports.settings import usable_name

SHOWN_MAX: Final = 3
"""So many of several nodes are named in a problem."""


@dataclass(slots=True)
class Discovered:
    """The tags that browse rules have found, by name, and what is wrong with rules and names."""

    tags: dict[str, OpcUaTag] = field(default_factory=dict)
    problems: list[TagProblem] = field(default_factory=list)
    is_whole: bool = True
    """Whether all could be looked at: what was not found is not there, and not only behind some trouble."""


async def discover(client: Client, device: OpcUaDevice, limits: OperationLimits) -> Discovered:
    """Follow the browse rules of ``device``: the first one that a variable fits counts, after the file's own tags.

    Raises what asyncua raises when the connection is lost.
    """
    found = Discovered()
    namespaces = await read_namespaces(client)
    named, _ = await resolve(client, {index: tag.at for index, tag in enumerate(device.tags)}, namespaces, limits)
    starts, refused = await resolve(
        client, {index: rule.under for index, rule in enumerate(device.browse)}, namespaces, limits
    )
    taken, names = set(named.values()), {name.lower() for name in device.tag_names()}
    for index, rule in enumerate(device.browse):
        if index in refused:
            found.problems.append(_of_rule(rule, refused[index], BAD_NODE_ID_UNKNOWN))
            continue
        troubles: list[int] = []
        try:
            variables = await _variables(client, rule, starts[index], taken, limits, troubles)
        except BrowseRefused as exc:
            found.problems.append(_of_rule(rule, str(exc), BAD_NOT_SUPPORTED))
            found.is_whole = False
            continue
        if troubles:
            reason = f"the server does not let {len(troubles)} nodes be browsed now ({status_text(troubles[0])})"
            found.problems.append(_of_rule(rule, reason, troubles[0] >> 16))
            found.is_whole = False
        taken.update(variable.node for variable in variables)
        _name(found, rule, variables, namespaces, names)
    return found


async def _variables(
    client: Client,
    rule: OpcUaBrowse,
    start: ua.NodeId,
    taken: Collection[ua.NodeId],
    limits: OperationLimits,
    troubles: list[int],
) -> list[FoundVariable]:
    wanted, left_out = Globs(rule.match), Globs(rule.exclude)
    walk = Walk(rule.depth_max, lambda names: not left_out.match(names), rule.properties)
    variables = [
        each
        for each in await variables_below(client, start, walk, limits, troubles)
        if each.node not in taken and wanted.match(each.names)
    ]
    if rule.types:
        types = await _types(client, [each.node for each in variables], limits)
        variables = [each for each, datatype in zip(variables, types, strict=True) if rule.takes(datatype)]
    return variables


async def _types(client: Client, nodes: Sequence[ua.NodeId], limits: OperationLimits) -> list[DataType | None]:
    """The types of the values of ``nodes``: as declared, else of the values that they have now."""
    attributes = [AttributeIds.DataType, AttributeIds.Value]
    values = await read_attributes(client, nodes, attributes, limits.reads)
    found: list[DataType | None] = []
    for declared, value in zip(values[::2], values[1::2], strict=True):
        number = declared_type(declared.Value.Value if declared.Value is not None else None)
        variant = value.Value
        if number is None and variant is not None and not variant.is_array:
            number = int(variant.VariantType.value)
        found.append(WIRE_TYPES[number].datatype if number in WIRE_TYPES else None)
    return found


def _name(
    found: Discovered,
    rule: OpcUaBrowse,
    variables: Sequence[FoundVariable],
    namespaces: Sequence[str],
    others: set[str],
) -> None:
    """Give ``variables`` the names of their tags; of several with one name none has it: nobody could tell which.

    ``others`` are the names that are taken, in lower case, which makes no difference (Sparkplug 3.0, 5.1).
    """
    if len(variables) > rule.variables_max:
        reason = (
            f"{len(variables):,} variables fit this rule, and it allows {rule.variables_max:,}; raise its 'max', or "
            "narrow it down with 'match', 'exclude' or 'types'"
        )
        found.problems.append(_of_rule(rule, reason, BAD_NOT_SUPPORTED))
        variables = variables[: rule.variables_max]
    by_name: dict[str, list[tuple[str, str]]] = {}
    for variable in variables:
        at = written_node_id(variable.node, namespaces)
        name = rule.tag_name(variable.placeholders())
        by_name.setdefault(name.lower(), []).append((name, at))
    for key, named in by_name.items():
        name, places = named[0][0], [at for _, at in named]
        reason = _unusable(name, places, key in others)
        if reason:
            found.problems.append(TagProblem(TagName(name[:255]), reason, BAD_NOT_SUPPORTED))
        else:
            found.tags[name] = rule.tag(name, places[0])
            others.add(key)


def _unusable(name: str, places: Sequence[str], is_taken: bool) -> str:
    """Why a tag of this name cannot be had, in a sentence; empty when it can."""
    if len(places) > 1:
        shown = ", ".join(places[:SHOWN_MAX])
        return (
            f"{len(places)} variables would have this name ({shown}); write {{id}} in the 'name' of the browse rule, "
            "or leave some out with 'exclude'"
        )
    if is_taken:
        return "a browse rule finds a variable for this name, which another tag has; give the rule another 'name'"
    try:
        usable_name(name)
    except ValueError as exc:
        return f"a browse rule finds a variable that cannot have this name: {exc}"
    return "" if len(name) <= 255 else "a browse rule finds a variable with a name of more than 255 characters"


def _of_rule(rule: OpcUaBrowse, reason: str, quality: int) -> TagProblem:
    return TagProblem(TagName(f"browse {rule.under}"), reason, quality)
