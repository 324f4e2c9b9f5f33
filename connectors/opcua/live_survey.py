"""A server that an engineer looks at folder by folder: nothing is asked for before somebody wants to see it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlparse

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.uaerrors import UaError

from connectors.model.error_groups import expected
from connectors.model.errors import DeviceUnavailable
from connectors.opcua.addresses import parse_node_id, plain_node_id, resolve, written_node_id
from connectors.opcua.attributes import read_attributes, read_namespaces, refusal_of
from connectors.opcua.browse_rules import OpcUaBrowse
from connectors.opcua.browsing import HAS_PROPERTY, BrowseRefused, FoundVariable, browse_nodes, children_of
from connectors.opcua.one_request import plain_cancellation
from connectors.opcua.opening import PORT_DEFAULT, keep_secure, opened
from connectors.opcua.operation_limits import OperationLimits, read_limits
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import loss_reason, status_text
from connectors.opcua.survey import UNITS, description_of, read_variables
from connectors.ports.survey import NodeRefused, SurveyedNode, SurveyedVariable
from connectors.stopping import Tasks

T = TypeVar("T")
PAGE_NODES: Final = 200
"""References of one node in one response: so many rows come at a time."""

NODES_MAX: Final = 20_000
"""Right below one node: nobody looks at more on a screen, and a server may make them up."""

STATE_EVERY_S: Final = 2.0
"""A connection that is lost is known so soon, also while nothing is asked for."""

_STATE: Final = ua.NodeId(ua.Int32(2259), ua.Int16(0))
_LOST: Final = (TimeoutError, UaError, OSError)


@contextlib.asynccontextmanager
async def live_survey(device: OpcUaDevice, rule: OpcUaBrowse) -> AsyncIterator[OpcUaLiveSurvey]:
    """A session with the server of ``device``, looked at from ``rule.under`` on, with properties if ``rule`` has them.

    Raises ``DeviceUnavailable`` with what to check when there is no session, or nothing to begin at.
    """
    async with opened(device) as client:
        try:
            limits = await read_limits(client, device.limits)
            namespaces = await read_namespaces(client)
            starts, refused = await resolve(client, {0: rule.under}, namespaces, limits)
        except _LOST as exc:
            raise _lost(device, exc) from exc
        if refused:
            raise DeviceUnavailable(f"{device.endpoint}: {rule.under}: {refused[0]}")
        yield OpcUaLiveSurvey(client, device, rule, starts[0], namespaces, limits)


class OpcUaLiveSurvey:
    """See ``connectors.ports.survey.LiveSurvey``."""

    def __init__(
        self,
        client: Client,
        device: OpcUaDevice,
        rule: OpcUaBrowse,
        start: ua.NodeId,
        namespaces: Sequence[str],
        limits: OperationLimits,
    ) -> None:
        self._client, self._device, self._rule = client, device, rule
        self._start, self._namespaces, self._limits = start, namespaces, limits

    @property
    def begins_at(self) -> str:
        """See ``LiveSurvey``."""
        return self._rule.under

    async def pages(self, node: SurveyedNode | None) -> AsyncGenerator[Sequence[SurveyedNode], None]:
        """See ``LiveSurvey``."""
        start = self._start if node is None else parse_node_id(node.at, self._namespaces)
        path = () if node is None else node.path
        (result,) = await self._asked(lambda: browse_nodes(self._client, [start], PAGE_NODES))
        count = 0
        while True:
            if not result.StatusCode.is_good():
                reason = status_text(int(result.StatusCode.value))
                raise NodeRefused(f"the server does not let it be browsed ({reason})")
            references = list(result.References or ())
            count += len(references)
            point = result.ContinuationPoint
            yield await self._asked(lambda listed=references: self._page(listed, path))  # type: ignore[misc]
            if not point:
                return
            if count >= NODES_MAX:
                await self._next(point, is_enough=True)
                raise NodeRefused(f"there are more than {count:,} nodes right below it; see --under and --match")
            (result,) = await self._next(point, is_enough=False)

    async def read(self, nodes: Sequence[SurveyedNode]) -> Sequence[SurveyedVariable]:
        """See ``LiveSurvey``."""
        found = [
            FoundVariable(parse_node_id(node.at, self._namespaces), node.path)
            for node in nodes
            if node.variable is not None
        ]
        return await self._asked(lambda: self._described(found))

    async def watch(self) -> None:
        """See ``LiveSurvey``."""
        try:
            async with Tasks() as tasks:
                tasks.create_task(keep_secure(self._client, self._device), name="browse channel")
                tasks.create_task(self._look_at_state(), name="browse state")
        except ExceptionGroup as group:
            if not (found := expected(group, *_LOST, DeviceUnavailable)):
                raise
            said = [one for one in found if isinstance(one, DeviceUnavailable)]
            raise (said[0] if said else _lost(self._device, found[0])) from group

    # ---------------------------------------------------------------------------------------------------------------

    async def _look_at_state(self) -> None:
        while True:
            await asyncio.sleep(STATE_EVERY_S)
            with contextlib.suppress(NodeRefused):  # an answer, all the same
                await self._asked(lambda: read_attributes(self._client, [_STATE], [AttributeIds.Value]))

    async def _page(self, references: Sequence[Any], path: tuple[str, ...]) -> list[SurveyedNode]:
        """What ``references`` lead to, with what their variables have now."""
        listed: list[tuple[FoundVariable, bool]] = []
        for each in references:
            is_property = each.ReferenceTypeId == HAS_PROPERTY
            if getattr(each.NodeId, "ServerIndex", 0) or (is_property and not self._rule.properties):
                continue
            found = FoundVariable(plain_node_id(each.NodeId), (*path, str(each.BrowseName.Name)), is_property)
            listed.append((found, each.NodeClass == ua.NodeClass.Variable))
        variables = [found for found, is_variable in listed if is_variable]
        read = await read_variables(self._client, self._rule, variables, {}, self._namespaces, self._limits)
        objects = [found.node for found, is_variable in listed if not is_variable]
        texts = await read_attributes(self._client, objects, [AttributeIds.Description], self._limits.reads)
        has, says = iter(read), iter(texts)
        nodes: list[SurveyedNode] = []
        for found, is_variable in listed:
            at = written_node_id(found.node, self._namespaces)
            if is_variable:
                variable = next(has)
                nodes.append(SurveyedNode(found.names, at, variable, variable.description))
            else:
                nodes.append(SurveyedNode(found.names, at, None, description_of(next(says))))
        return nodes

    async def _described(self, found: Sequence[FoundVariable]) -> list[SurveyedVariable]:
        units: dict[tuple[str, ...], ua.NodeId] = {}
        below = await children_of(self._client, [each.node for each in found], self._limits, [])
        for variable, children in zip(found, below, strict=True):
            for child in children:
                if child.ReferenceTypeId == HAS_PROPERTY and child.BrowseName.Name == UNITS:
                    units[variable.names] = plain_node_id(child.NodeId)
        return await read_variables(self._client, self._rule, found, units, self._namespaces, self._limits)

    async def _next(self, point: bytes, *, is_enough: bool) -> list[Any]:
        parameters: Any = ua.BrowseNextParameters()
        parameters.ReleaseContinuationPoints = is_enough
        parameters.ContinuationPoints = [point]
        return await self._asked(lambda: self._client.uaclient.browse_next(parameters))

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What ``ask`` has found. Raises ``NodeRefused`` where the server refuses it, else ``DeviceUnavailable``."""
        try:
            with plain_cancellation():
                return await ask()
        except BrowseRefused as exc:
            raise NodeRefused(str(exc)) from exc
        except UaError as exc:
            code = refusal_of(exc)
            if code is None:
                raise _lost(self._device, exc) from exc
            raise NodeRefused(f"the server refuses the request ({status_text(code)})") from exc
        except (TimeoutError, OSError) as exc:
            raise _lost(self._device, exc) from exc


def _lost(device: OpcUaDevice, error: BaseException) -> DeviceUnavailable:
    """Why it is over, and what to check."""
    place = urlparse(device.endpoint)
    host, port = place.hostname or "", place.port or PORT_DEFAULT
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        where = f"{host}:{port} has not answered a request within {device.timeout_s:g} s"
        return DeviceUnavailable(f"{device.name}: {where}; is the server running, and is the network?")
    return DeviceUnavailable(f"{device.name}: {loss_reason(error, host, port, device.timeout_s)}")
