"""Attributes of nodes, read in requests that are as large as the server takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

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
_OF_THE_SESSION: Final = frozenset(
    {
        StatusCodes.BadSessionIdInvalid,
        StatusCodes.BadSessionClosed,
        StatusCodes.BadSessionNotActivated,
        StatusCodes.BadSecureChannelIdInvalid,
        StatusCodes.BadSecureChannelClosed,
        StatusCodes.BadConnectionClosed,
        StatusCodes.BadConnectionRejected,
        StatusCodes.BadCommunicationError,
        StatusCodes.BadServerHalted,
        StatusCodes.BadServerNotConnected,
        StatusCodes.BadShutdown,
        StatusCodes.BadTimeout,
        StatusCodes.BadUserAccessDenied,
        StatusCodes.BadIdentityTokenInvalid,
        StatusCodes.BadIdentityTokenRejected,
        StatusCodes.BadSecurityChecksFailed,
        StatusCodes.BadTooManySessions,
        StatusCodes.BadSubscriptionIdInvalid,
    }
)
OF_THE_SERVICE: Final = frozenset(
    {StatusCodes.BadServiceUnsupported, StatusCodes.BadNotSupported, StatusCodes.BadNotImplemented}
)
"""Refusals of a request whatever it asks for: smaller ones would be refused as well."""
REFUSED_IN_A_ROW_MAX: Final = 100
"""So many things refused one by one, without an answer in between: it is the server, and not what it is asked for."""

_NAMESPACES: Final = ua.NodeId(ua.Int32(2255), ua.Int16(0))


def refusal_of(error: UaError) -> int | None:
    """The code with which a server has refused what one request asked for; ``None`` when it says another thing.

    What it says of its session or connection is no refusal: the connection is to be made anew.
    """
    code = getattr(error, "code", None)
    return None if not isinstance(code, int) or code in _OF_THE_SESSION else code


class Batches:
    """Requests of one kind that name many things: as few as the server takes, which is learned while it is asked."""

    def __init__(self, size: int = PER_REQUEST_MAX) -> None:
        self.size = max(1, size)

    async def ask(
        self,
        things: Sequence[T],
        send: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        refused: Callable[[int], R] | None = None,
    ) -> list[R]:
        """The answer to each of ``things``, in their order; ``send`` sends one request.

        A request that is refused as too large is made half as large, from then on. With ``refused`` one that is refused
        for another reason is sent in halves, so that what is to blame is asked for alone: its answer is what
        ``refused`` makes of the status code, and no limit is learned from it. Raises what ``send`` raises otherwise;
        ``ConnectionError`` when a server answers for more or fewer than it was asked.
        """
        return await _Asking(self, send, refused).all(things)


class _Asking(Generic[T, R]):
    """One call of ``Batches.ask``."""

    def __init__(
        self,
        batches: Batches,
        send: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        refused: Callable[[int], R] | None,
    ) -> None:
        self._batches = batches
        self._send = send
        self._refused = refused
        self._refusals = 0
        self._in_a_row = 0

    async def all(self, things: Sequence[T]) -> list[R]:
        answers: list[R] = []
        while len(answers) < len(things):
            answers += await self._part(things[len(answers) : len(answers) + self._batches.size])
        return answers

    async def _part(self, things: Sequence[T]) -> list[R]:
        """The answers to ``things``, in one request where the server takes it."""
        try:
            answered = await self._send(things)
        except UaError as exc:
            return await self._in_halves(things, exc)
        if len(answered) != len(things):
            raise ConnectionError(f"the server answered {len(answered)} results when asked for {len(things)}")
        self._in_a_row = 0
        return list(answered)

    async def _in_halves(self, things: Sequence[T], error: UaError) -> list[R]:
        code, half = refusal_of(error), len(things) // 2
        if code is None or (self._refused is None and (code not in _TOO_MUCH or not half)):
            raise error
        is_the_end = not half or code in OF_THE_SERVICE or self._in_a_row >= REFUSED_IN_A_ROW_MAX
        if self._refused is not None and is_the_end:
            self._refusals += len(things)
            self._in_a_row += len(things)
            return [self._refused(code) for _ in things]
        before = self._refusals
        answers = [*await self.all(things[:half]), *await self.all(things[half:])]
        if code in _TOO_MUCH and self._refusals == before:
            self._batches.size = min(self._batches.size, half)
        return answers


async def read_attributes(
    client: Client, nodes: Sequence[ua.NodeId], attributes: Sequence[AttributeIds], batches: Batches | None = None
) -> list[ua.DataValue]:
    """Each attribute of each node, without times; in one request without ``batches``, with which no node costs another.

    Raises what asyncua raises.
    """
    wanted = [ua.ReadValueId(NodeId=node, AttributeId=attribute) for node in nodes for attribute in attributes]

    async def read(part: Sequence[ua.ReadValueId]) -> list[ua.DataValue]:
        params = ua.ReadParameters(TimestampsToReturn=ua.TimestampsToReturn.Neither)
        params.NodesToRead = list(part)
        return await client.uaclient.read(params)

    if batches is None:
        return await read(wanted)
    return await batches.ask(wanted, read, lambda code: ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(code))))


async def attributes_of_each(
    client: Client, asked: Sequence[tuple[T, ua.NodeId]], attributes: Sequence[AttributeIds], batches: Batches
) -> AsyncIterator[tuple[T, tuple[ua.DataValue, ...]]]:
    """What ``read_attributes`` reads of each node, with whom it was asked for, in their order.

    The answers to one request are held at a time: they take twenty times the memory of what is kept of them, and those
    for thousands of nodes at once would leave a heap full of holes. Raises what asyncua raises.
    """
    at_once = max(1, PER_REQUEST_MAX // len(attributes))
    for first in range(0, len(asked), at_once):
        part = asked[first : first + at_once]
        values = iter(await read_attributes(client, [node for _, node in part], attributes, batches))
        for (whom, _), of_node in zip(part, zip(*[values] * len(attributes), strict=True), strict=True):
            yield whom, of_node


async def read_namespaces(client: Client) -> list[str]:
    """The namespaces of the server, by index. Raises what asyncua raises."""
    (value,) = await read_attributes(client, [_NAMESPACES], [AttributeIds.Value])
    names = value.Value.Value if value.Value is not None else None
    if not isinstance(names, list):
        return ["http://opcfoundation.org/UA/"]
    return [str(name) for name in names[: NAMESPACE_INDEX_MAX + 1]]
