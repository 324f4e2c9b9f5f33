"""How much one request may ask of a server, and how many things it keeps for one session (Part 5, 6.3.2 and 6.3.11).

A server says its limits, and not all of them do; a device file can say them in its place. A server that then refuses
a request as too large is asked for half as much, from then on: a limit that nobody has said costs one request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from connectors.opcua.attributes import PER_REQUEST_MAX, Batches, read_attributes
from connectors.opcua.settings import OpcUaLimits

HISTORIES_MAX: Final = 20
"""Nodes in one HistoryRead request: each of them may bring many values."""

_SAID: Final = {
    "reads": ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    "browses": ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
    "registrations": ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRegisterNodes,
    "translations": ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds,
    "histories": ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadData,
    "items": ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
}


class OperationLimits:
    """How requests to one server are cut; learns while the connection lasts."""

    def __init__(self, said: dict[str, int] | None = None) -> None:
        """``said``: the limits that are known, by name."""
        known = said or {}
        self.reads = Batches(known.get("reads", PER_REQUEST_MAX))
        self.browses = Batches(known.get("browses", PER_REQUEST_MAX))
        self.registrations = Batches(known.get("registrations", PER_REQUEST_MAX))
        self.translations = Batches(known.get("translations", PER_REQUEST_MAX))
        self.items = Batches(known.get("items", PER_REQUEST_MAX))
        self.histories = Batches(min(known.get("histories", HISTORIES_MAX), HISTORIES_MAX))


async def read_limits(client: Client, configured: OpcUaLimits) -> OperationLimits:
    """The server's limits; those that the device file names count instead, those that nobody says are Lineside's own.

    Raises what asyncua raises.
    """
    said: dict[str, int] = {}
    for number, value in zip(_SAID, await _values(client, list(_SAID.values())), strict=True):
        if value > 0:
            said[number] = min(value, PER_REQUEST_MAX)
    said.update({name: size for name, size in configured.per_request().items() if size is not None})
    return OperationLimits(said)


async def _values(client: Client, numbers: Sequence[int]) -> list[int]:
    nodes = [ua.NodeId(ua.Int32(number), ua.Int16(0)) for number in numbers]
    values = await read_attributes(client, nodes, [AttributeIds.Value], Batches())
    found = [value.Value.Value if value.Value is not None else 0 for value in values]
    return [value if isinstance(value, int) and not isinstance(value, bool) else 0 for value in found]
