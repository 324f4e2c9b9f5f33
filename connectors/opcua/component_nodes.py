"""Fields of structures that a server also has as variables of their own: components of the variable (Part 3, 5.6.4).

Written by themselves they leave their neighbours alone, whoever else writes at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds

from connectors.opcua.addresses import plain_node_id
from connectors.opcua.attributes import read_attributes
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.references import References

_COMPONENTS: Final = References(
    47, ua.BrowseDirection.Forward, int(ua.NodeClass.Variable), int(ua.BrowseResultMask.BrowseName)
)
"""HasComponent, to variables."""

_CURRENT_WRITE: Final = 0x02
"""Bit of AccessLevel (Part 3, 8.57)."""


@dataclass(frozen=True, slots=True)
class Component:
    """A variable that this user may write, and what the server says of its values."""

    node: ua.NodeId
    datatype: ua.NodeId
    is_scalar: bool


async def components(
    client: Client, fields: Mapping[int, tuple[ua.NodeId, Sequence[str]]], limits: OperationLimits
) -> dict[int, Component]:
    """The variables that are fields of others: of each the variable, and the names of fields from the outside in.

    A field that has no such variable, or several, or one that may not be written, is not among them. Raises what
    asyncua raises when the connection is lost.
    """
    at = {key: node for key, (node, _) in fields.items()}
    for depth in range(max((len(names) for _, names in fields.values()), default=0)):
        deeper = [key for key in at if depth < len(fields[key][1])]
        found = await _named(client, [(at[key], fields[key][1][depth]) for key in deeper], limits)
        for key, node in zip(deeper, found, strict=True):
            if node is None:
                del at[key]
            else:
                at[key] = node
    attributes = [AttributeIds.UserAccessLevel, AttributeIds.DataType, AttributeIds.ValueRank]
    values = await read_attributes(client, list(at.values()), attributes, limits.reads)
    said = [None if value.Value is None else value.Value.Value for value in values]
    return {
        key: Component(node, datatype, rank == -1)
        for (key, node), level, datatype, rank in zip(at.items(), said[::3], said[1::3], said[2::3], strict=True)
        if isinstance(level, int) and level & _CURRENT_WRITE and isinstance(datatype, ua.NodeId)
    }


async def _named(
    client: Client, wanted: Sequence[tuple[ua.NodeId, str]], limits: OperationLimits
) -> list[ua.NodeId | None]:
    """Of each node the one component with this name."""
    results = await _COMPONENTS.of_many(client, [node for node, _ in wanted], limits)
    found: list[ua.NodeId | None] = []
    for (_, name), result in zip(wanted, results, strict=True):
        same = [plain_node_id(each.NodeId) for each in result.References or () if each.BrowseName.Name == name]
        found.append(same[0] if len(same) == 1 and not result.ContinuationPoint else None)
    return found
