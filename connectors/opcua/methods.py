"""Methods of a server: which object has one, and what it is to be given (Part 3, 5.7; Part 4, 5.11.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.uaprotocol_auto import Argument as DecodedArgument

from connectors.opcua.addresses import parse_node_id, plain_node_id, resolve
from connectors.opcua.attributes import read_attributes
from connectors.opcua.browse_paths import is_path, parse_path, path_of
from connectors.opcua.method_names import OF_CONDITIONS
from connectors.opcua.node_ids import split_method
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.references import References
from connectors.opcua.values import variant_of
from connectors.opcua.wire_types import declared_type
from connectors.ports.device import Value

HAS_SUBTYPE: Final = 45
HAS_PROPERTY: Final = 46
HAS_COMPONENT: Final = 47
BASE_DATA_TYPE: Final = 24
SUBTYPES_MAX: Final = 16
"""So far a data type may be from the built-in type that carries it."""
_OF_CONDITION: Final = ("condition", "event", "comment")
_BYTE_STRING, _LOCALIZED_TEXT = 15, 21
_SCALAR_RANKS: Final = frozenset({-1, -2, -3})
"""Scalar, Any, ScalarOrOneDimension (Part 3, 8.6)."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One input argument: ``built_in`` is the type that carries it, ``None`` that of an array."""

    name: str
    built_in: int | None


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the object ``owner``."""

    written: str
    owner: ua.NodeId
    node: ua.NodeId
    arguments: tuple[Argument, ...]


async def find_method(client: Client, written: str, namespaces: Sequence[str]) -> Method:
    """The method that ``object / method`` names, or ``method`` alone, or the browse path through its object.

    Raises ``ValueError`` with a sentence when it is not there or cannot be called, and what asyncua raises.
    """
    if is_path(written):
        owner, node = await _by_path(client, written, namespaces)
        return Method(written, owner, node, await _arguments(client, node))
    owner_written, method_written = split_method(written)
    node = parse_node_id(method_written, namespaces)
    if owner_written is not None:
        owner = parse_node_id(owner_written, namespaces)
    else:
        owner = await _owner_of(client, node, method_written)
    return Method(written, owner, node, await _arguments(client, node))


def condition_call(written: str, values: Sequence[Value], namespaces: Sequence[str]) -> ua.CallMethodRequest:
    """The call by which a person answers an alarm: of a condition, for one of its events, with a comment.

    Raises ``ValueError`` with a sentence when ``values`` are others than these three.
    """
    if len(values) != len(_OF_CONDITION) or not all(isinstance(value, str) for value in values):
        raise ValueError(
            f"{written} takes the node id of a condition, the id of an event and a comment, all of them texts"
        )
    condition, event, comment = values
    return ua.CallMethodRequest(
        ObjectId=parse_node_id(str(condition), namespaces),
        MethodId=ua.NodeId(ua.Int32(OF_CONDITIONS[written]), ua.Int16(0)),
        InputArguments=[variant_of(event, _BYTE_STRING), variant_of(comment, _LOCALIZED_TEXT)],
    )


async def _by_path(client: Client, written: str, namespaces: Sequence[str]) -> tuple[ua.NodeId, ua.NodeId]:
    names = parse_path(written)
    paths = {0: path_of(names[:-1]), 1: written}
    nodes, refused = await resolve(client, paths, namespaces, OperationLimits())
    for number in paths:
        if number in refused:
            raise ValueError(f"{written}: {refused[number]}")
    return nodes[0], nodes[1]


def arguments_of(method: Method, values: Sequence[Value]) -> list[ua.Variant]:
    """``values`` as the method takes them. Raises ``ValueError`` when they are too many, too few, or do not fit."""
    if len(values) != len(method.arguments):
        names = ", ".join(argument.name for argument in method.arguments) or "none"
        raise ValueError(f"{method.written} takes {len(method.arguments)} arguments ({names}), and not {len(values)}")
    variants: list[ua.Variant] = []
    for argument, value in zip(method.arguments, values, strict=True):
        try:
            variants.append(variant_of(value, argument.built_in))
        except ValueError as exc:
            raise ValueError(f"argument {argument.name} of {method.written}: {exc}") from exc
    return variants


async def _owner_of(client: Client, method: ua.NodeId, written: str) -> ua.NodeId:
    found = await _references(client, method, HAS_COMPONENT, ua.BrowseDirection.Inverse, ua.NodeClass.Object)
    if len(found) != 1:
        how_many = "no object has" if not found else f"{len(found)} objects have"
        raise ValueError(f"{how_many} the method {written}; write the object too, as object / method")
    return plain_node_id(found[0].NodeId)


async def _arguments(client: Client, method: ua.NodeId) -> tuple[Argument, ...]:
    properties = await _references(client, method, HAS_PROPERTY, ua.BrowseDirection.Forward, ua.NodeClass.Variable)
    for reference in properties:
        name = reference.BrowseName
        if (name.Name, name.NamespaceIndex) != ("InputArguments", 0):
            continue
        (value,) = await read_attributes(client, [plain_node_id(reference.NodeId)], [AttributeIds.Value])
        found = value.Value.Value if value.Value is not None else None
        if not isinstance(found, list) or not all(isinstance(each, DecodedArgument) for each in found):
            raise ValueError("the server does not say which arguments the method takes")
        return tuple([Argument(str(each.Name), await _built_in(client, each)) for each in found])
    return ()


async def _built_in(client: Client, argument: Any) -> int | None:
    """The built-in type of an argument. Raises ``ValueError`` when it may have any type, or one of its own shape."""
    if int(argument.ValueRank) not in _SCALAR_RANKS:
        return None
    node = argument.DataType
    for _ in range(SUBTYPES_MAX):
        built_in = declared_type(node)
        if built_in is not None:
            return built_in
        above = await _references(client, node, HAS_SUBTYPE, ua.BrowseDirection.Inverse, ua.NodeClass.DataType)
        if not above:
            break
        node = plain_node_id(above[0].NodeId)
    raise ValueError(f"the argument {argument.Name} has no type that a single value can be given in")


async def _references(
    client: Client, node: ua.NodeId, kind: int, direction: ua.BrowseDirection, node_class: ua.NodeClass
) -> list[Any]:
    """References of ``node`` to nodes of this server. Raises ``ValueError`` when the server has no such node."""
    references = References(kind, direction, int(node_class), int(ua.BrowseResultMask.All))
    (result,) = await references.of(client, [node])
    if not result.StatusCode.is_good():
        raise ValueError(f"the server cannot say anything about the node {node.to_string()} ({result.StatusCode.name})")
    return list(result.References or ())
