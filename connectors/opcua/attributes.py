"""Attributes of nodes, read in requests that are as large as the server takes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError

from connectors.opcua.node_ids import NAMESPACE_INDEX_MAX

T = TypeVar("T")
R = TypeVar("R")
PER_REQUEST_MAX: Final = 1000
"""Things in one request to a server that names no limit of its own, and at most to any."""

_TOO_MUCH: Final = frozenset(
    {
        StatusCodes.BadTooManyOperations,
        StatusCodes.BadEncodingLimitsExceeded,
        StatusCodes.BadRequestTooLarge,
        StatusCodes.BadResponseTooLarge,
        StatusCodes.BadTcpMessageTooLarge,
    }
)
_NAMESPACES: Final = ua.NodeId(ua.Int32(2255), ua.Int16(0))


class Batches:
    """Requests of one kind that name many things: as few as the server takes, which is learned while it is asked."""

    def __init__(self, size: int = PER_REQUEST_MAX) -> None:
        self.size = max(1, size)

    async def ask(self, things: Sequence[T], send: Callable[[Sequence[T]], Awaitable[Sequence[R]]]) -> list[R]:
        """The answer to each of ``things``, in their order; ``send`` sends one request.

        A request that is refused as too large is made half as large, from then on. Raises what ``send`` raises
        otherwise; ``ConnectionError`` when a server answers for more or fewer than it was asked.
        """
        answers: list[R] = []
        while len(answers) < len(things):
            part = things[len(answers) : len(answers) + self.size]
            try:
                answered = await send(part)
            except UaError as exc:
                if getattr(exc, "code", None) not in _TOO_MUCH or len(part) == 1:
                    raise
                self.size = len(part) // 2
                continue
            if len(answered) != len(part):
                raise ConnectionError(f"the server answered {len(answered)} results when asked for {len(part)}")
            answers += answered
        return answers


async def read_attributes(
    client: Client, nodes: Sequence[ua.NodeId], attributes: Sequence[AttributeIds], batches: Batches | None = None
) -> list[ua.DataValue]:
    """Each attribute of each node, without times; in one request without ``batches``. Raises what asyncua raises."""
    wanted = [ua.ReadValueId(NodeId=node, AttributeId=attribute) for node in nodes for attribute in attributes]

    async def read(part: Sequence[ua.ReadValueId]) -> list[ua.DataValue]:
        params = ua.ReadParameters(TimestampsToReturn=ua.TimestampsToReturn.Neither)
        params.NodesToRead = list(part)
        return await client.uaclient.read(params)

    return await read(wanted) if batches is None else await batches.ask(wanted, read)


async def read_namespaces(client: Client) -> list[str]:
    """The namespaces of the server, by index. Raises what asyncua raises."""
    (value,) = await read_attributes(client, [_NAMESPACES], [AttributeIds.Value])
    names = value.Value.Value if value.Value is not None else None
    if not isinstance(names, list):
        return ["http://opcfoundation.org/UA/"]
    return [str(name) for name in names[: NAMESPACE_INDEX_MAX + 1]]
