"""HistoryRead for the time in which the agent was away from a server: what its historian has of it (Part 11, 6.4.3).

A tag is asked for where its node says that it is historized and may be read; its history counts as whole where there is
a value before the time that is missing, and the server has not started within it. All else is said to be unfilled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError

from connectors.model.errors import DeviceUnavailable
from connectors.model.samples import SampleBatch
from connectors.opcua.attributes import OF_THE_SERVICE, attributes_of_each, read_attributes, refusal_of
from connectors.opcua.binding import BoundTag
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.history_response import NO_VALUES, NodeHistory, history_request, read_history_response
from connectors.opcua.notification import DataChangeDecoder
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.read_response import with_handles
from connectors.opcua.scaling import Scaling
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import service_reason, status_text
from connectors.opcua.wire_types import one_to_ns
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, Missing, Unfilled

VALUES_PER_NODE_MAX: Final = 1000
ANSWER_S_MAX: Final = 30.0
"""A historian may have to look on a disk; one that takes longer is not asked again in this connection."""

VALUES_PER_NODE_MIN: Final = 10
"""A server that finds fewer values than this too much does not give its history."""
FAILURES_MAX: Final = 3
"""So often a server is asked for what may come a moment later, without anything new in between."""
REFUSED_IN_A_ROW_MAX: Final = 10
"""So many requests refused, without an answer in between: it is the server, and not what it is asked for."""
PAUSE_S: Final = 2.0

_HISTORY_READ: Final = 0x04
"""Bit of AccessLevel (Part 3, 8.57)."""
_GOOD_NO_DATA: Final = StatusCodes.GoodNoData
_FULL: Final = (StatusCodes.BadNoContinuationPoints, StatusCodes.BadTooManyOperations)
_TOO_LARGE: Final = (
    StatusCodes.BadResponseTooLarge,
    StatusCodes.BadEncodingLimitsExceeded,
    StatusCodes.BadTcpMessageTooLarge,
)
_PASSING: Final = (
    *_FULL,
    StatusCodes.BadContinuationPointInvalid,
    StatusCodes.BadDataUnavailable,
    StatusCodes.BadInternalError,
    StatusCodes.BadNoCommunication,
    StatusCodes.BadOutOfMemory,
    StatusCodes.BadRequestTimeout,
    StatusCodes.BadResourceUnavailable,
    StatusCodes.BadServerTooBusy,
    StatusCodes.BadTcpServerTooBusy,
    StatusCodes.BadUnexpectedError,
)
"""What a server may be out of for a moment: asked again, from where its history had come to."""

_START_TIME: Final = ua.NodeId(ua.Int32(2257), ua.Int16(0))
_CURRENT_TIME: Final = ua.NodeId(ua.Int32(2258), ua.Int16(0))
_I32_SIZE: Final = 4


class _Ended(Exception):
    """The server gives no more history in this connection; the text says why. ``may_pass``: it may, a moment later."""

    def __init__(self, reason: str, *, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.may_pass = may_pass


@dataclass(slots=True)
class _Reading:
    """One tag: up to where its history has come, and how often it was asked for in vain since then."""

    tag: BoundTag
    reached_ns: int
    failures: int = 0
    was_asked: bool = False
    is_done: bool = False


async def historized(
    client: Client, device: OpcUaDevice, tags: Sequence[BoundTag], limits: OperationLimits
) -> list[BoundTag]:
    """The tags of which the server keeps history that this user may read. Raises what asyncua raises."""
    if device.history.use == "always" or not tags:
        return list(tags)
    attributes = [AttributeIds.UserAccessLevel, AttributeIds.Historizing]
    kept: list[BoundTag] = []
    asked = [(tag, tag.node) for tag in tags]
    async for tag, of_node in attributes_of_each(client, asked, attributes, limits.reads):
        level, is_kept = (None if value.Value is None else value.Value.Value for value in of_node)
        if isinstance(level, int) and level & _HISTORY_READ and is_kept:
            kept.append(tag)
    return kept


class HistoryFill:
    """One filling of an outage. ``run`` is called once."""

    def __init__(
        self, client: Client, device: OpcUaDevice, clock: Clock, acquisition: Acquisition, limits: OperationLimits
    ) -> None:
        self._client = client
        self._device = device
        self._clock = clock
        self._acquisition = acquisition
        self._limits = limits
        self._decoder = DataChangeDecoder(device.tags_max)
        self._scaling = Scaling(device.tags, device.tags_max)
        self._first_ns = self._last_ns = 0
        self._values_max = VALUES_PER_NODE_MAX
        self._refused_in_a_row = 0

    async def run(self, missing: Missing, every: Sequence[int], asked: Sequence[BoundTag]) -> None:
        """Restore what the history of ``asked`` has since ``missing``; ``every``: the indices of all tags there are.

        Raises ``DeviceUnavailable`` and what asyncua raises when the connection is lost; what else goes wrong leaves
        tags unfilled.
        """
        await asyncio.sleep(self._device.history.wait_s)  # a historian may be a moment behind its server
        for tag in asked:
            tag.bind_to(self._decoder)
        started_ns, self._last_ns = await self._server_times()
        span_ns = round(self._device.history.span_s_max * 1e9)
        self._first_ns = max(missing.first_ns, self._last_ns - span_ns)
        self._leave(every, missing.first_ns, self._first_ns, f"history is read for {span_ns / 3.6e12:g} h at most")
        self._leave(every, missing.first_ns, min(started_ns, self._last_ns), "the server was not running")
        without = set(every) - {tag.index for tag in asked}
        self._leave(tuple(sorted(without)), missing.first_ns, self._last_ns, "the server keeps no history of them")
        readings = []
        for tag in asked:
            known_ns = int(missing.newest_ns[tag.index]) if tag.index < len(missing.newest_ns) else 0
            readings.append(_Reading(tag, min(max(self._first_ns, known_ns), self._last_ns)))
        await self._fill_all(readings)
        await self._acquisition.restored()

    async def _fill_all(self, readings: Sequence[_Reading]) -> None:
        # alike values are decoded together, and a request has one begin for all of its nodes
        left = sorted(readings, key=lambda one: (one.tag.raw, one.reached_ns, one.tag.index))
        failures = 0
        while left:
            part = left[: self._limits.histories.size]
            try:
                await self._fill(part)
                failures = 0
            except _Ended as exc:
                failures += 1
                if not exc.may_pass or failures >= FAILURES_MAX:
                    for one in left:
                        if not one.is_done:
                            self._leave([one.tag.index], one.reached_ns, self._last_ns, str(exc))
                    return
                await asyncio.sleep(PAUSE_S)
            left = [one for one in left if not one.is_done]

    async def _fill(self, part: Sequence[_Reading]) -> None:
        """Restore the history of ``part``, as far as the server gives it at once; what is done says so."""
        first_ns = min(one.reached_ns for one in part)
        new = [one for one in part if not one.was_asked]
        has_before = await self._have_before([one.tag for one in new], first_ns) if new else set()
        if len(new) < len(part):
            self._acquisition.again([one.tag.index for one in part if one.was_asked])
        later = {one.tag.index for one in new} - has_before  # of these the history begins after what is missing
        asked: list[tuple[_Reading, bytes | None]] = [(one, None) for one in part]
        is_first, is_full, may_pass = True, False, False
        while asked:
            nodes = [(one.tag.node, continuation) for one, continuation in asked]
            answers = await self._ask(nodes, first_ns, self._last_ns)
            bodies: list[tuple[_Reading, NodeHistory]] = []
            for (one, _), answer in zip(asked, answers, strict=True):
                if answer.status >> 30 != 2:
                    bodies.append((one, answer))
                elif answer.status in _FULL and len(part) > 1 and is_first:
                    is_full = True
                else:
                    may_pass |= self._failed(one, answer.status)
            await self._restore(bodies, later)
            asked = [(one, answer.continuation) for one, answer in bodies if answer.continuation is not None]
            is_first = False
        if is_full:
            self._limits.histories.size = max(1, len(part) // 2)
        if may_pass:
            await asyncio.sleep(PAUSE_S)

    def _failed(self, one: _Reading, status: int) -> bool:
        """The server has refused the history of a tag, or broken it off; whether it is asked for again."""
        one.failures += 1
        if status in _PASSING and one.failures < FAILURES_MAX:
            return True
        self._leave([one.tag.index], one.reached_ns, self._last_ns, status_text(status))
        one.is_done = True
        return False

    async def _restore(self, bodies: Sequence[tuple[_Reading, NodeHistory]], later: set[int]) -> None:
        """Hand the samples over; ``later``: the tags of which nothing is known before their first sample."""
        parts = [
            with_handles(answer.data, _I32_SIZE, np.full(answer.count, one.tag.index, "<u4"))[_I32_SIZE:]
            for one, answer in bodies
            if answer.count
        ]
        count = sum(answer.count for _, answer in bodies)
        try:
            batches = list(self._decoder.decode(count.to_bytes(_I32_SIZE, "little") + b"".join(parts), self._last_ns))
        except DECODING_ERRORS as exc:
            raise _Ended(f"the server's history cannot be read: {exc}") from exc
        found: dict[int, tuple[int, int]] = {}
        for batch in batches:
            _note_times(found, batch)
        for one, _ in bodies:
            one.was_asked = True
            if one.tag.index in later:
                later.discard(one.tag.index)
                until_ns = found.get(one.tag.index, (self._last_ns, 0))[0]
                self._leave([one.tag.index], one.reached_ns, until_ns, "the history of the server begins later")
        for batch in batches:
            for part in self._scaling.apply(batch):
                await self._acquisition.restore(part)
        for one, answer in bodies:
            last_ns = found.get(one.tag.index, (0, 0))[1]
            if last_ns > one.reached_ns:
                one.reached_ns, one.failures = last_ns, 0
            one.is_done = answer.continuation is None
        self._acquisition.filled([one.tag.index for one, _ in bodies if one.is_done], self._last_ns)

    async def _have_before(self, tags: Sequence[BoundTag], first_ns: int) -> set[int]:
        """Of which tags the history has a value that is older than what is missing."""
        answers = await self._ask([(tag.node, None) for tag in tags], None, first_ns, values_max=1)
        return {
            tag.index
            for tag, answer in zip(tags, answers, strict=True)
            if answer.status >> 30 != 2 and answer.status != _GOOD_NO_DATA and answer.count
        }

    async def _ask(
        self,
        nodes: Sequence[tuple[ua.NodeId, bytes | None]],
        first_ns: int | None,
        last_ns: int,
        values_max: int | None = None,
    ) -> list[NodeHistory]:
        """Ask for ``nodes``, in one request or in smaller ones. Raises ``_Ended`` when the server does not give it."""

        async def send(part: Sequence[tuple[ua.NodeId, bytes | None]]) -> list[NodeHistory]:
            protocol = self._client.uaclient.protocol
            if protocol is None:
                raise DeviceUnavailable(f"{self._device.name}: the connection is closed")
            request: Any = history_request(part, first_ns, last_ns, values_max or self._values_max)
            return read_history_response(await protocol.send_request(request, timeout=ANSWER_S_MAX))

        while True:
            try:
                found = await self._limits.histories.ask(nodes, send)
                self._refused_in_a_row = 0
                return found
            except TimeoutError as exc:
                raise _Ended(f"the server's history does not answer within {ANSWER_S_MAX:g} s") from exc
            except UaError as exc:
                code = refusal_of(exc)
                if code is None:
                    raise
                if code in _TOO_LARGE and values_max is None and self._values_max > VALUES_PER_NODE_MIN:
                    self._values_max //= 4
                    continue
                self._refused_in_a_row += 1
                if code in _PASSING or code in OF_THE_SERVICE or self._refused_in_a_row > REFUSED_IN_A_ROW_MAX:
                    raise _Ended(service_reason(exc), may_pass=code in _PASSING) from exc
            except DECODING_ERRORS as exc:
                raise _Ended(f"the server's history cannot be read: {exc}") from exc
            if len(nodes) == 1:
                return [NodeHistory(code, None, NO_VALUES)]
            half = len(nodes) // 2  # what is to blame is asked for alone
            ends = (nodes[:half], nodes[half:])
            return [each for part in ends for each in await self._ask(part, first_ns, last_ns, values_max)]

    async def _server_times(self) -> tuple[int, int]:
        """When the server started, and what time it has; by the agent's clock where it does not say."""
        nodes = [_START_TIME, _CURRENT_TIME]
        values = await read_attributes(self._client, nodes, [AttributeIds.Value], self._limits.reads)
        started, now = (None if value.Value is None else value.Value.Value for value in values)
        return (0 if started is None else one_to_ns(started)), (self._clock.now_ns() if now is None else one_to_ns(now))

    def _leave(self, tags: Sequence[int], first_ns: int, last_ns: int, reason: str) -> None:
        if first_ns < last_ns and tags:
            self._acquisition.unfilled(Unfilled(tuple(tags), first_ns, last_ns, reason))


def _note_times(found: dict[int, tuple[int, int]], batch: SampleBatch) -> None:
    tags, first = np.unique(batch.tag, return_index=True)
    _, from_end = np.unique(batch.tag[::-1], return_index=True)
    last = len(batch.tag) - 1 - from_end
    for tag, begin_ns, end_ns in zip(
        tags.tolist(), batch.time_ns[first].tolist(), batch.time_ns[last].tolist(), strict=True
    ):
        known = found.get(tag)
        found[tag] = (begin_ns if known is None else known[0], end_ns)
