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
from connectors.opcua.attributes import read_attributes, refusal_of
from connectors.opcua.binding import BoundTag
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.history_response import NodeHistory, history_request, read_history_response
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

_HISTORY_READ: Final = 0x04
"""Bit of AccessLevel (Part 3, 8.57)."""
_GOOD_NO_DATA: Final = StatusCodes.GoodNoData
_FULL: Final = (StatusCodes.BadNoContinuationPoints, StatusCodes.BadTooManyOperations)
_START_TIME: Final = ua.NodeId(ua.Int32(2257), ua.Int16(0))
_CURRENT_TIME: Final = ua.NodeId(ua.Int32(2258), ua.Int16(0))
_I32_SIZE: Final = 4


class _Ended(Exception):
    """The server gives no more history in this connection; the text says why."""


@dataclass(slots=True)
class _Asked:
    """One tag: up to where its history has come, and where the server goes on."""

    tag: BoundTag
    reached_ns: int
    continuation: bytes | None = None


async def historized(
    client: Client, device: OpcUaDevice, tags: Sequence[BoundTag], limits: OperationLimits
) -> list[BoundTag]:
    """The tags of which the server keeps history that this user may read. Raises what asyncua raises."""
    if device.history.use == "always" or not tags:
        return list(tags)
    attributes = [AttributeIds.UserAccessLevel, AttributeIds.Historizing]
    values = await read_attributes(client, [tag.node for tag in tags], attributes, limits.reads)
    said = [None if value.Value is None else value.Value.Value for value in values]
    return [
        tag
        for tag, level, is_kept in zip(tags, said[::2], said[1::2], strict=True)
        if isinstance(level, int) and level & _HISTORY_READ and is_kept
    ]


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
        self._unfilled: dict[tuple[int, int, str], list[int]] = {}
        self._first_ns = self._last_ns = 0

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
        await self._fill_all(asked)
        await self._acquisition.restored(
            [Unfilled(tuple(each), *span_and_reason) for span_and_reason, each in self._unfilled.items()]
        )

    async def _fill_all(self, tags: Sequence[BoundTag]) -> None:
        left = sorted(tags, key=lambda tag: (tag.raw, tag.index))  # alike values are decoded together
        while left:
            part = left[: self._limits.histories.size]
            try:
                again = await self._fill(part)
            except _Ended as exc:
                reason = str(exc)
                self._leave([tag.index for tag in left], self._first_ns, self._last_ns, reason)
                return
            left = again + left[len(part) :]

    async def _fill(self, tags: Sequence[BoundTag]) -> list[BoundTag]:
        """Restore the history of ``tags``; those for which the server wants to be asked in smaller numbers."""
        has_before = await self._have_before(tags)
        asked = [_Asked(tag, self._first_ns) for tag in tags]
        again: list[BoundTag] = []
        first = True
        while asked:
            answers = await self._ask(
                [(one.tag.node, one.continuation) for one in asked], self._first_ns, self._last_ns
            )
            going_on: list[_Asked] = []
            bodies: list[tuple[BoundTag, NodeHistory]] = []
            for one, answer in zip(asked, answers, strict=True):
                if answer.status >> 30 == 2:
                    if answer.status in _FULL and len(tags) > 1 and first:
                        again.append(one.tag)
                    else:
                        self._leave([one.tag.index], one.reached_ns, self._last_ns, status_text(answer.status))
                    continue
                bodies.append((one.tag, answer))
                if answer.continuation is not None:
                    going_on.append(_Asked(one.tag, one.reached_ns, answer.continuation))
            reached = await self._restore(bodies)
            if first:
                known = [tag for tag, _ in bodies if tag.index not in has_before]
                for tag in known:
                    until_ns = reached.get(tag.index, (self._last_ns, 0))[0]
                    self._leave([tag.index], self._first_ns, until_ns, "the history of the server begins later")
            for one in going_on:
                one.reached_ns = reached.get(one.tag.index, (0, one.reached_ns))[1]
            asked, first = going_on, False
        if again:
            self._limits.histories.size = max(1, len(tags) // 2)
        return again

    async def _restore(self, bodies: Sequence[tuple[BoundTag, NodeHistory]]) -> dict[int, tuple[int, int]]:
        """Hand the samples over; by tag the times of the first and the last of them."""
        parts = [
            with_handles(answer.data, _I32_SIZE, np.full(answer.count, tag.index, "<u4"))[_I32_SIZE:]
            for tag, answer in bodies
            if answer.count
        ]
        count = sum(answer.count for _, answer in bodies)
        batches = self._decoder.decode(count.to_bytes(_I32_SIZE, "little") + b"".join(parts), self._last_ns)
        found: dict[int, tuple[int, int]] = {}
        for batch in batches:
            _note_times(found, batch)
            for part in self._scaling.apply(batch):
                await self._acquisition.restore(part)
        return found

    async def _have_before(self, tags: Sequence[BoundTag]) -> set[int]:
        """Of which tags the history has a value that is older than what is missing."""
        answers = await self._ask([(tag.node, None) for tag in tags], None, self._first_ns, values_max=1)
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
        values_max: int = VALUES_PER_NODE_MAX,
    ) -> list[NodeHistory]:
        """Ask for ``nodes``, in one request or in smaller ones. Raises ``_Ended`` when the server does not give it."""

        async def send(part: Sequence[tuple[ua.NodeId, bytes | None]]) -> list[NodeHistory]:
            protocol = self._client.uaclient.protocol
            if protocol is None:
                raise DeviceUnavailable(f"{self._device.name}: the connection is closed")
            request: Any = history_request(part, first_ns, last_ns, values_max)
            return read_history_response(await protocol.send_request(request, timeout=ANSWER_S_MAX))

        try:
            return await self._limits.histories.ask(nodes, send)
        except TimeoutError as exc:
            raise _Ended(f"the server's history does not answer within {ANSWER_S_MAX:g} s") from exc
        except UaError as exc:
            if refusal_of(exc) is None:
                raise
            raise _Ended(service_reason(exc)) from exc
        except DECODING_ERRORS as exc:
            raise _Ended(f"the server's history cannot be read: {exc}") from exc

    async def _server_times(self) -> tuple[int, int]:
        """When the server started, and what time it has; by the agent's clock where it does not say."""
        nodes = [_START_TIME, _CURRENT_TIME]
        values = await read_attributes(self._client, nodes, [AttributeIds.Value], self._limits.reads)
        started, now = (None if value.Value is None else value.Value.Value for value in values)
        return (0 if started is None else one_to_ns(started)), (self._clock.now_ns() if now is None else one_to_ns(now))

    def _leave(self, tags: Sequence[int], first_ns: int, last_ns: int, reason: str) -> None:
        if first_ns < last_ns and tags:
            self._unfilled.setdefault((first_ns, last_ns, reason), []).extend(tags)


def _note_times(found: dict[int, tuple[int, int]], batch: SampleBatch) -> None:
    tags, first = np.unique(batch.tag, return_index=True)
    _, from_end = np.unique(batch.tag[::-1], return_index=True)
    last = len(batch.tag) - 1 - from_end
    for tag, begin_ns, end_ns in zip(
        tags.tolist(), batch.time_ns[first].tolist(), batch.time_ns[last].tolist(), strict=True
    ):
        known = found.get(tag)
        found[tag] = (begin_ns if known is None else known[0], end_ns)
