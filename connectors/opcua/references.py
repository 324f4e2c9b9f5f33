"""What nodes refer to: references of one kind, in one direction, to nodes of some classes (Part 4, 5.9.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.client.client import Client

from connectors.opcua.operation_limits import OperationLimits


@dataclass(frozen=True, slots=True)
class References:
    """Which references are asked for, and what is to be said of the nodes that they lead to.

    ``kind``: the number of a type of references in namespace 0, whose subtypes count, too; ``classes`` and ``said``:
    bits of ``NodeClass`` and ``BrowseResultMask``.
    """

    kind: int
    direction: ua.BrowseDirection
    classes: int
    said: int

    async def of(self, client: Client, nodes: Sequence[ua.NodeId], references_max: int = 0) -> list[Any]:
        """A BrowseResult of each of ``nodes``, by one request; of each at most so many references (0: all).

        Raises what asyncua raises.
        """
        parameters = ua.BrowseParameters()
        parameters.RequestedMaxReferencesPerNode = ua.UInt32(references_max)
        parameters.NodesToBrowse = [
            ua.BrowseDescription(
                NodeId=node,
                BrowseDirection=self.direction,
                ReferenceTypeId=ua.NodeId(ua.Int32(self.kind), ua.Int16(0)),
                IncludeSubtypes=True,
                NodeClassMask=ua.UInt32(self.classes),
                ResultMask=ua.UInt32(self.said),
            )
            for node in nodes
        ]
        return list(await client.uaclient.browse(parameters))

    async def of_many(self, client: Client, nodes: Sequence[ua.NodeId], limits: OperationLimits) -> list[Any]:
        """The same by as many requests as the server takes; one that is refused is a result without references.

        Raises what asyncua raises when the connection is lost.
        """

        def refused(code: int) -> Any:
            return ua.BrowseResult(StatusCode=ua.StatusCode(ua.UInt32(code)))

        return await limits.browses.ask(nodes, lambda part: self.of(client, part), refused)
