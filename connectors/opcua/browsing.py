"""Variables below a node, found by browsing (Part 4, 5.9.2 and 5.9.3), each once, on its shortest path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.status_codes import StatusCodes

from connectors.opcua.addresses import plain_node_id
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.references import References
from connectors.opcua.status import status_text

VISITED_MAX: Final = 200_000
"""Nodes that are looked at below one node: more is a loop that makes new nodes, or a rule for the wrong node."""
REFERENCES_MAX: Final = 1000
"""Of one node in one response: the others come with the next one."""

CONTINUATIONS_MAX: Final = 10_000
HAS_PROPERTY: Final = ua.NodeId(ua.Int32(46), ua.Int16(0))
_SAID: Final = ua.BrowseResultMask
_BELOW: Final = References(
    33,
    ua.BrowseDirection.Forward,
    int(ua.NodeClass.Object) | int(ua.NodeClass.Variable),
    int(_SAID.ReferenceTypeId) | int(_SAID.NodeClass) | int(_SAID.BrowseName),
)
"""HierarchicalReferences, to what may have variables below it."""

_LASTING: Final = frozenset(
    {
        StatusCodes.BadNodeIdUnknown,
        StatusCodes.BadNodeIdInvalid,
        StatusCodes.BadUserAccessDenied,
        StatusCodes.BadServiceUnsupported,
        StatusCodes.BadNotSupported,
        StatusCodes.BadNotImplemented,
    }
)
"""Why a node has nothing below it for this client. Other refusals are trouble that may pass."""


@dataclass(frozen=True, slots=True)
class FoundVariable:
    """One variable: its node, and the names of the path to it from the node below which it was found."""

    node: ua.NodeId
    names: tuple[str, ...]
    is_property: bool = False

    def placeholders(self) -> dict[str, str]:
        """What the name of its tag may be made of; see ``OpcUaBrowse``."""
        return {"path": "/".join(self.names), "name": self.names[-1], "id": self.identifier}

    @property
    def identifier(self) -> str:
        """The node id without its namespace and the letter of its kind."""
        text = self.node.to_string()
        return (text.partition(";")[2] if self.node.NamespaceIndex else text).partition("=")[2]


class BrowseRefused(Exception):
    """The server does not let a node be browsed, or there is no end to what is below; says why, in a sentence."""


@dataclass(frozen=True, slots=True)
class Walk:
    """How far to go: ``enters`` says of the names of a path whether what is below it matters."""

    depth_max: int
    enters: Callable[[tuple[str, ...]], bool]
    properties: bool


async def variables_below(
    client: Client, start: ua.NodeId, walk: Walk, limits: OperationLimits, troubles: list[int] | None = None
) -> list[FoundVariable]:
    """The variables below ``start``, level by level, in each level by path and node id.

    A node that can be reached by several paths, or by a loop, is there once. ``troubles`` gets the codes of nodes
    that could not be browsed now: what is below them is not found. Raises ``BrowseRefused``, and what asyncua raises
    when the connection is lost.
    """
    found: list[FoundVariable] = []
    troubles, seen = [] if troubles is None else troubles, {start}
    level: list[tuple[ua.NodeId, tuple[str, ...]]] = [(start, ())]
    for depth in range(walk.depth_max):
        below: list[tuple[tuple[str, ...], str, ua.NodeId, bool, bool]] = []
        answers = await children_of(client, [node for node, _ in level], limits, troubles if depth else None)
        for (_, names), children in zip(level, answers, strict=True):
            for child in children:
                node, path = plain_node_id(child.NodeId), (*names, str(child.BrowseName.Name))
                if getattr(child.NodeId, "ServerIndex", 0) or not walk.enters(path):
                    continue
                is_property = child.ReferenceTypeId == HAS_PROPERTY
                if is_property and not walk.properties:
                    continue
                is_variable = child.NodeClass == ua.NodeClass.Variable
                below.append((path, node.to_string(), node, is_variable, is_property))
        below.sort(key=lambda each: each[:2])
        level = []
        for path, _, node, is_variable, is_property in below:
            if node in seen:
                continue
            seen.add(node)
            level.append((node, path))
            if is_variable:
                found.append(FoundVariable(node, path, is_property))
        if len(seen) > VISITED_MAX:
            raise BrowseRefused(f"there are more than {VISITED_MAX:,} nodes below it; name a node further down")
        if not level:
            break
    return found


async def children_of(
    client: Client, nodes: Sequence[ua.NodeId], limits: OperationLimits, troubles: list[int] | None
) -> list[list[Any]]:
    """The references of each of ``nodes`` to what is below it.

    One that cannot be browsed has none; why goes to ``troubles`` when it may pass. Without ``troubles`` it has to be
    browsed: raises ``BrowseRefused``. Servers keep few places in lists at a time: what has none left is browsed again,
    alone.
    """

    def refused(code: int) -> list[Any]:
        if troubles is None:
            raise BrowseRefused(f"the server does not let it be browsed ({status_text(code)})")
        if code not in _LASTING:
            troubles.append(code)
        return []

    async def send(part: Sequence[ua.NodeId]) -> list[list[Any]]:
        results = await browse_nodes(client, part)
        lists = await _to_the_end(client, results)
        for index, result in enumerate(results):
            if result.StatusCode.value == StatusCodes.BadNoContinuationPoints and len(part) > 1:
                lists[index] = (await send([part[index]]))[0]
            elif not result.StatusCode.is_good():
                lists[index] = refused(int(result.StatusCode.value))
        return lists

    return await limits.browses.ask(nodes, send, refused)


async def browse_nodes(client: Client, nodes: Sequence[ua.NodeId], references_max: int = REFERENCES_MAX) -> list[Any]:
    """One Browse request: of each node the references to what is below it, at most so many.

    Raises what asyncua raises.
    """
    return await _BELOW.of(client, nodes, references_max)


async def _to_the_end(client: Client, results: Sequence[Any]) -> list[list[Any]]:
    """All references of ``results``, of which a server may have given the first ones only."""
    lists = [list(result.References or ()) for result in results]
    points = {index: result.ContinuationPoint for index, result in enumerate(results) if result.ContinuationPoint}
    for _ in range(CONTINUATIONS_MAX):
        if not points:
            return lists
        parameters: Any = ua.BrowseNextParameters()
        parameters.ReleaseContinuationPoints = False
        parameters.ContinuationPoints = list(points.values())
        more = await client.uaclient.browse_next(parameters)
        if len(more) != len(points):
            raise ConnectionError(f"the server went on with {len(more)} lists when asked for {len(points)}")
        for index, result in zip(list(points), more, strict=True):
            lists[index] += result.References or ()
            if result.ContinuationPoint:
                points[index] = result.ContinuationPoint
            else:
                del points[index]
    raise BrowseRefused("a list of what is below a node has no end")
