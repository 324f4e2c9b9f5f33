"""What is asked of a connected server beside its subscriptions: write, read and call, one node at a time.

It goes on the same connection at once: the server holds Publish requests back and answers these, and what they wait for
on this side is their own answer, not a response that waits for room.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.uaerrors import UaError

from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import (
    BAD,
    BAD_INDEX_RANGE_NO_DATA,
    BAD_TYPE_MISMATCH,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    is_good,
)
from connectors.opcua.attributes import read_namespaces
from connectors.opcua.binding import Binding, PartAbsent
from connectors.opcua.link_loss import LinkLost
from connectors.opcua.method_names import OF_CONDITIONS
from connectors.opcua.methods import Method, arguments_of, condition_call, find_method
from connectors.opcua.one_request import NoAnswer, judge, plain_cancellation, result_of
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import service_reason
from connectors.opcua.tag_settings import OpcUaTag
from connectors.opcua.values import shown_value
from connectors.opcua.wire_types import one_to_ns
from connectors.opcua.writes import Writes
from connectors.ports.clock import Clock
from connectors.ports.device import Reading, Value

T = TypeVar("T")


class OpcUaSession:
    """The session of one connection. All methods are called in one event loop."""

    def __init__(
        self, client: Client, device: OpcUaDevice, tags: Sequence[OpcUaTag], clock: Clock, binding: Binding
    ) -> None:
        self._client = client
        self._device = device
        self._clock = clock
        self._binding = binding
        self._settings = tags
        self._writes = Writes(tags, binding)
        self._one_write = asyncio.Lock()
        self._methods: dict[str, Method] = {}  # as many as the commands of the device file name
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def go_on(self) -> None:
        """The connection has been made anew: an answer that did not come is forgotten with it."""
        self._lost = asyncio.get_running_loop().create_future()

    async def watch(self) -> None:
        """Wait until a request has got no answer. Raises ``LinkLost``: the connection is to be made anew."""
        raise LinkLost(await asyncio.shield(self._lost), retry_after_s=0.0)

    async def write(self, index: int, value: Value) -> None:
        """See ``DeviceDriver``; one at a time, as a field of a structure is written with all of the structure."""
        settings, tag = self._settings[index], self._binding.bound.get(index)
        what = f"{self._device.name}: write of {settings.at}"
        if tag is None:
            raise DeviceUnavailable(f"{what}: {self._problem(index)[0]}; nothing was sent")
        async with self._one_write:
            request = ua.WriteRequest()
            written = await self._writes.of(tag, value, what, lambda asked: self._read(asked, what))
            request.Parameters.NodesToWrite = [written]
            status = await self._result_of(request, ua.WriteResponse, what)
            judge(int(status.value), what)

    async def read(self, index: int) -> Reading:
        """See ``DeviceDriver``."""
        settings, tag = self._settings[index], self._binding.bound.get(index)
        if tag is None:
            return Reading(None, self._problem(index)[1], self._clock.now_ns())
        if settings.events is not None:  # its object has no value; what it tells comes by itself
            return Reading("", GOOD, self._clock.now_ns())
        asked = ua.ReadValueId(NodeId=tag.node, AttributeId=AttributeIds.Value)
        data = await self._read(asked, f"{self._device.name}: read of {settings.at}")
        when = data.SourceTimestamp or data.ServerTimestamp
        time_ns = self._clock.now_ns() if when is None else one_to_ns(when)
        quality = 0 if data.StatusCode is None else int(data.StatusCode.value) >> 16
        if data.Value is None or data.Value.Value is None:
            return Reading(None, BAD if is_good(quality) else quality, time_ns)
        try:
            value = tag.value_of(data.Value)
        except PartAbsent:
            return Reading(None, BAD_INDEX_RANGE_NO_DATA if is_good(quality) else quality, time_ns)
        except (TypeError, ValueError, OverflowError):
            return Reading(None, BAD_TYPE_MISMATCH, time_ns)
        return Reading(value, quality, time_ns)

    async def _read(self, asked: ua.ReadValueId, what: str) -> ua.DataValue:
        """What the server has now, and not what it has kept of it."""
        parameters = ua.ReadParameters(MaxAge=0.0, TimestampsToReturn=ua.TimestampsToReturn.Both)
        parameters.NodesToRead = [asked]
        (data,) = await self._asked(lambda: self._client.uaclient.read(parameters), what)
        return data

    async def call(self, written: str, values: Sequence[Value]) -> tuple[Value, ...]:
        """See ``DeviceDriver``.

        ``written`` is ``object / method``, the method alone where one object has it, its browse path, or one of
        ``OF_CONDITIONS``.
        """
        what = f"{self._device.name}: call of {written}"
        request = ua.CallRequest()
        request.Parameters.MethodsToCall = [await self._method_call(written, values, what)]
        result = await self._result_of(request, ua.CallResponse, what)
        judge(int(result.StatusCode.value), what)
        return tuple(shown_value(output) for output in result.OutputArguments or ())

    async def _method_call(self, written: str, values: Sequence[Value], what: str) -> ua.CallMethodRequest:
        if written in OF_CONDITIONS:
            namespaces = await self._asked(lambda: read_namespaces(self._client), what)
            return condition_call(written, values, namespaces)
        method = self._methods.get(written)
        if method is None:  # a server that changes its methods ends the session, or refuses the call
            namespaces = await self._asked(lambda: read_namespaces(self._client), what)
            method = await self._asked(lambda: find_method(self._client, written, namespaces), what)
            self._methods[written] = method
        return ua.CallMethodRequest(
            ObjectId=method.owner, MethodId=method.node, InputArguments=arguments_of(method, values)
        )

    def _problem(self, index: int) -> tuple[str, int]:
        """Why a tag is not bound, and the quality that this gives it."""
        problem = self._binding.problems.get(index)
        if problem is None:
            return "the tag is not known yet", BAD_WAITING_FOR_INITIAL_DATA
        return problem.reason, problem.quality

    async def _result_of(self, request: Any, response_type: type[Any], what: str) -> Any:
        try:
            return await result_of(self._client, request, response_type, what, self._device.timeout_s)
        except NoAnswer as exc:
            self._lose(exc.reason)
            raise
        except asyncio.CancelledError:
            self._lose(f"{what}: it was given up while there was no answer")
            raise

    def _lose(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)

    async def _asked(self, ask: Callable[[], Awaitable[T]], what: str) -> T:
        """What ``ask``, which changes nothing, has found. Raises ``DeviceUnavailable`` where there was no answer."""
        try:
            with plain_cancellation():
                return await ask()
        except (TimeoutError, UaError, OSError) as exc:
            is_late = isinstance(exc, TimeoutError)
            reason = f"no answer within {self._device.timeout_s:g} s" if is_late else service_reason(exc)
            raise DeviceUnavailable(f"{what}: {reason}; nothing was changed") from exc
