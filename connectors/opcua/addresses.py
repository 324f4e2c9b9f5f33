"""From what a device file writes under ``at`` to nodes of the server that is connected now.

Nothing of it is kept between connections: a server may have other indices for its namespaces, and other node ids behind
its browse paths, after each start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.status_codes import StatusCodes

from connectors.opcua.browse_paths import BrowseName, is_path, parse_path, path_of
from connectors.opcua.node_ids import parse_written
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.status import status_text

HIERARCHICAL_REFERENCES: Final = ua.NodeId(ua.Int32(33), ua.Int16(0))
_ROOT: Final = ua.NodeId(ua.Int32(84), ua.Int16(0))
_WHOLE_PATH: Final = 0xFFFF_FFFF
"""The remaining path index of a target that the whole path leads to (Part 4, 5.9.4.2)."""

EXPLAINED_MAX: Final = 20
"""So many paths that lead nowhere are followed to see where they end; the others are said to be wrong as they are."""


async def resolve(
    client: Client, written: Mapping[int, str], namespaces: Sequence[str], limits: OperationLimits
) -> tuple[dict[int, ua.NodeId], dict[int, str]]:
    """The node of each of ``written``, and of the others why there is none, in a sentence; by the same numbers.

    Raises what asyncua raises when the connection is lost.
    """
    nodes: dict[int, ua.NodeId] = {}
    refused: dict[int, str] = {}
    paths: dict[int, tuple[BrowseName, ...]] = {}
    for number, at in written.items():
        try:
            if is_path(at):
                paths[number] = _with_indices(parse_path(at), namespaces)
            else:
                nodes[number] = parse_node_id(at, namespaces)
        except ValueError as exc:
            refused[number] = str(exc)
    if paths:
        await _follow(client, paths, limits, nodes, refused)
    return dict(sorted(nodes.items())), refused


def parse_node_id(at: str, namespaces: Sequence[str]) -> ua.NodeId:
    """The node id that ``at`` writes; ``nsu=`` is looked up among the server's ``namespaces``.

    Raises ``ValueError`` with a sentence when the server has no such namespace, or the text is no node id.
    """
    written = parse_written(at)
    identifier: Any = written.identifier  # asyncua's own types are subclasses that nothing asks for
    return ua.NodeId(identifier, ua.Int16(_index_of(written.namespace, namespaces)))


def plain_node_id(node: Any) -> ua.NodeId:
    """A node id without the server and the namespace that an expanded one can name."""
    return ua.NodeId(node.Identifier, node.NamespaceIndex, node.NodeIdType)


def written_node_id(node: ua.NodeId, namespaces: Sequence[str]) -> str:
    """The node id as a device file would write it, by the URI of its namespace."""
    index, text = int(node.NamespaceIndex), node.to_string()
    if index == 0 or index >= len(namespaces):
        return text
    return f"nsu={namespaces[index]};{text.partition(';')[2]}"


def _index_of(namespace: int | str, namespaces: Sequence[str]) -> int:
    if isinstance(namespace, int):
        return namespace
    if namespace not in namespaces:
        known = ", ".join(repr(known) for known in namespaces[1:9])
        raise ValueError(f"the server has no namespace {namespace!r}; it has {known}")
    return namespaces.index(namespace)


def _with_indices(names: tuple[BrowseName, ...], namespaces: Sequence[str]) -> tuple[BrowseName, ...]:
    return tuple(BrowseName(_index_of(each.namespace, namespaces), each.name) for each in names)


async def _follow(
    client: Client,
    paths: Mapping[int, tuple[BrowseName, ...]],
    limits: OperationLimits,
    nodes: dict[int, ua.NodeId],
    refused: dict[int, str],
) -> None:
    answers = await _translate(client, list(paths.values()), limits)
    lost: dict[int, tuple[BrowseName, ...]] = {}
    for (number, path), answer in zip(paths.items(), answers, strict=True):
        targets = answer.Targets or []
        if answer.StatusCode.value == StatusCodes.BadNoMatch or (answer.StatusCode.is_good() and not targets):
            lost[number] = path
        elif not answer.StatusCode.is_good():
            refused[number] = f"the server cannot follow this browse path ({status_text(int(answer.StatusCode.value))})"
        elif any(target.RemainingPathIndex != _WHOLE_PATH for target in targets):
            refused[number] = "this browse path leads to another server"
        elif len({plain_node_id(target.TargetId) for target in targets}) > 1:
            refused[number] = f"this browse path leads to {len(targets)} nodes; write the node id of the one you mean"
        else:
            nodes[number] = plain_node_id(targets[0].TargetId)
    explained = dict(list(lost.items())[:EXPLAINED_MAX])
    refused.update(dict.fromkeys(lost, "the server has nothing at this browse path"))
    refused.update(await _where_they_end(client, explained, limits))


async def _where_they_end(
    client: Client, lost: Mapping[int, tuple[BrowseName, ...]], limits: OperationLimits
) -> dict[int, str]:
    """Up to which of their names the server can follow paths that lead nowhere, in a sentence each."""
    beginnings = [(number, path[:length]) for number, path in lost.items() for length in range(1, len(path))]
    answers = await _translate(client, [path for _, path in beginnings], limits)
    reached = dict.fromkeys(lost, 0)
    for (number, path), answer in zip(beginnings, answers, strict=True):
        if answer.StatusCode.is_good() and answer.Targets:
            reached[number] = max(reached[number], len(path))
    found: dict[int, str] = {}
    for number, path in lost.items():
        missing = path[reached[number]]
        below = path_of(path[: reached[number]]) or "the root"
        found[number] = (
            f"the server has nothing named {missing.namespace}:{missing.name} below {below}; check the spelling and "
            "the namespace"
        )
    return found


async def _translate(
    client: Client, paths: Sequence[tuple[BrowseName, ...]], limits: OperationLimits
) -> list[ua.BrowsePathResult]:
    async def send(part: Sequence[tuple[BrowseName, ...]]) -> list[ua.BrowsePathResult]:
        return await client.uaclient.translate_browsepaths_to_nodeids([_browse_path(path) for path in part])

    def refused(code: int) -> ua.BrowsePathResult:
        return ua.BrowsePathResult(StatusCode=ua.StatusCode(ua.UInt32(code)))

    return await limits.translations.ask(paths, send, refused)


def _browse_path(path: tuple[BrowseName, ...]) -> ua.BrowsePath:
    return ua.BrowsePath(StartingNode=_ROOT, RelativePath=ua.RelativePath(Elements=[_element(each) for each in path]))


def _element(each: BrowseName) -> ua.RelativePathElement:
    element: Any = ua.RelativePathElement()
    element.ReferenceTypeId = HIERARCHICAL_REFERENCES
    element.IsInverse, element.IncludeSubtypes = False, True
    element.TargetName = ua.QualifiedName(each.name, ua.UInt16(int(each.namespace)))
    return element  # type: ignore[no-any-return]
