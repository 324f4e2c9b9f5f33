"""Tags that are read at a fixed rate, beside those that are subscribed to: in few requests, decoded in columns.

For servers whose subscriptions are slow or few, and for values that nobody needs more often. Nodes are registered where
the server lets them be (Part 4, 5.9.5): a controller then looks their names up once, and not at each read.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError

from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.fixed_rate import FixedRate
from connectors.model.late_polls import LatePoll, PollTimes
from connectors.model.samples import SampleBatch, batch_of_rows
from connectors.opcua.attributes import refusal_of
from connectors.opcua.binding import BoundTag
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.link_loss import LinkLost
from connectors.opcua.notification import DataChangeDecoder
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.read_response import read_read_response
from connectors.opcua.scaling import Scaling
from connectors.opcua.settings import OpcUaDevice
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition
from connectors.stopping import Tasks

_UNKNOWN: Final = (StatusCodes.BadNodeIdUnknown >> 16, StatusCodes.BadNodeIdInvalid >> 16)
Decoded = list[SampleBatch]


def _alike_together(tag: BoundTag) -> tuple[DataType, int]:
    """The order in which tags are asked for: alike values that follow each other are decoded at once."""
    return tag.alike, tag.index


@dataclass(slots=True)
class _Class:
    """The tags with one interval, alike ones together.

    ``asked`` by index where it is not by their own node ids, ``apart`` those that are asked for alone.
    """

    interval_s: float
    tags: list[BoundTag] = field(default_factory=list)
    asked: dict[int, ua.NodeId] = field(default_factory=dict)
    apart: set[int] = field(default_factory=set)


class Polling:
    """The polled tags of one connection."""

    def __init__(
        self,
        client: Client,
        device: OpcUaDevice,
        clock: Clock,
        acquisition: Acquisition,
        limits: OperationLimits,
        in_order: asyncio.Lock,
    ) -> None:
        """``in_order`` is held while samples are handed over."""
        self._in_order = in_order
        self._client = client
        self._device = device
        self._clock = clock
        self._acquisition = acquisition
        self._limits = limits
        is_needed = bool(device.browse) or any(tag.poll_s is not None for tag in device.tags)
        count = device.tags_max if is_needed else 0  # columns of thousands of tags, most of which are subscribed to
        self._decoder = DataChangeDecoder(count)
        self._scaling = Scaling(device.tags if is_needed else (), count)
        self._times = PollTimes.of_none(count)
        self._classes: dict[float, _Class] = {}
        self._followers: dict[int, tuple[int, ...]] = {}  # of tags whose values are for several
        self._changed = asyncio.Event()
        self._registers = device.registered_reads

    def take_mismatched(self) -> set[int]:
        """Tags whose values have come in another type than they were bound with, since the last call."""
        found, self._decoder.mismatched = self._decoder.mismatched, set()
        return found

    def add(self, tags: Iterable[BoundTag]) -> None:
        """Poll ``tags`` from now on, each at the interval of its settings."""
        new: dict[float, dict[int, BoundTag]] = {}
        for tag in tags:
            interval_s = tag.settings.poll_s
            if interval_s is None:
                raise ValueError(f"{tag.settings.name} is not polled")
            new.setdefault(interval_s, {})[tag.index] = tag
            tag.bind_to(self._decoder)
            if tag.shape is not None:
                self._followers[tag.index] = tag.indices
        for interval_s, of_class in new.items():
            scan = self._classes.setdefault(interval_s, _Class(interval_s))
            known = {tag.index: tag for tag in scan.tags}
            scan.tags = sorted((known | of_class).values(), key=_alike_together)
            for index in of_class:
                scan.asked.pop(index, None)
            self._times.expect(list(of_class), interval_s)
        self._changed.set()

    def remove(self, indices: Iterable[int]) -> None:
        """Poll these tags no more; those that are not polled do not matter."""
        gone = set(indices)
        for scan in self._classes.values():
            found = [tag.index for tag in scan.tags if tag.index in gone]
            if found:
                scan.tags = [tag for tag in scan.tags if tag.index not in gone]
                self._times.expect(found, math.inf)  # an answer that is on its way is no poll of theirs any more
            for index in found:
                scan.asked.pop(index, None)
                self._decoder.unbind(index)

    def give_up(self) -> None:
        """Forget which tags are polled: the connection is over."""
        self._classes.clear()
        self._followers.clear()

    @property
    def tags(self) -> list[BoundTag]:
        """All that are polled."""
        return [tag for scan in self._classes.values() for tag in scan.tags]

    def forget_registrations(self) -> None:
        """The session is another one: it knows none of the nodes that were registered."""
        for scan in self._classes.values():
            scan.asked.clear()

    def tell_behind(self, pushed_s: float, pushed_ns: int) -> None:
        """The connection has ended, and its gap begins with the newest sample: tell of tags that were late before that.

        The newest one of the subscriptions came at ``pushed_s`` and ``pushed_ns``, by the agent's two clocks.
        """
        late = self._times.behind(pushed_s, pushed_ns)
        if late is not None:
            self._declare(late)
            self._times.told(late, pushed_s)

    async def run(self) -> None:
        """Poll until cancelled. Raises ``DeviceUnavailable``, and what asyncua raises when the connection is lost."""
        async with Tasks() as tasks:
            running: set[float] = set()
            while True:
                self._changed.clear()
                for interval_s, scan in self._classes.items():
                    if interval_s not in running:
                        running.add(interval_s)
                        tasks.create_task(self._poll(scan), name=f"{self._device.name} poll {interval_s:g} s")
                await self._changed.wait()

    async def _poll(self, scan: _Class) -> None:
        rate = FixedRate(scan.interval_s, self._clock.monotonic_s())
        while True:
            await self._register(scan)
            await self._poll_once(scan)
            wait_s, _missed = rate.advance(self._clock.monotonic_s())
            await asyncio.sleep(wait_s)

    async def _poll_once(self, scan: _Class) -> None:
        """Read all tags of ``scan`` once, and hand over what has come, request by request.

        Tags for whose sake the server refuses a whole request are asked for alone, until they are answered; unless it
        refuses all of them, which says nothing of each.
        """
        tags, apart = scan.tags, scan.apart
        order = [tag for tag in tags if tag.index not in apart]
        codes = await self._read(scan, order)
        for tag in tags:
            if tag.index in apart:
                order.append(tag)
                codes += await self._read(scan, [tag])
        refused = {tag.index: code for tag, code in zip(order, codes, strict=True) if code}
        scan.apart = set(refused) if len(refused) < len(order) else set()
        if refused:
            await self._hand_over_refused([tag for tag in order if tag.index in refused], refused)

    async def _read(self, scan: _Class, tags: Sequence[BoundTag]) -> list[int]:
        """Read ``tags``: of each 0, or the code with which the server has refused to read it."""
        return await self._limits.reads.ask(tags, lambda part: self._ask(scan, part), lambda code: code)

    async def _hand_over_refused(self, tags: Sequence[BoundTag], codes: Mapping[int, int]) -> None:
        rows: dict[DataType, list[tuple[int, int, None, int]]] = {}
        now_ns = self._clock.now_ns()
        async with self._in_order:
            polled = [tag for tag in tags if self._decoder.datatypes[tag.index] is not None]
            for tag in polled:
                for index, raw in tag.kinds:
                    rows.setdefault(raw, []).append((index, now_ns, None, codes[tag.index] >> 16))
            batches = [batch_of_rows(raw, of_type) for raw, of_type in rows.items()]
            await self._hand_over(polled, batches, self._clock.monotonic_s())

    async def _ask(self, scan: _Class, tags: Sequence[BoundTag]) -> list[int]:
        """Read ``tags`` in one request and hand their samples over; of each 0, as they have all been answered."""
        request = ua.ReadRequest()
        request.Parameters.MaxAge = 0.0
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.Parameters.NodesToRead = [
            ua.ReadValueId(NodeId=scan.asked.get(tag.index, tag.node), AttributeId=AttributeIds.Value) for tag in tags
        ]
        protocol = self._client.uaclient.protocol
        if protocol is None:
            raise LinkLost(f"{self._device.name}: the connection is closed")
        data = await protocol.send_request(request)
        received_ns, received_s = self._clock.now_ns(), self._clock.monotonic_s()
        handles = np.array([tag.index for tag in tags], "<u4")
        async with self._in_order:
            try:
                batches = self._decoder.decode(read_read_response(data, handles), received_ns)
            except UaError:
                raise  # the server's own word
            except DECODING_ERRORS as exc:
                raise DeviceUnavailable(f"{self._device.name}: an answer cannot be read: {exc}") from exc
            self._decoder.take_overflowed()  # a queue that lost values is none of a Read, whatever the server says
            self._forget_registrations(scan, batches)
            await self._hand_over(tags, batches, received_s)
        return [0] * len(tags)

    async def _hand_over(self, tags: Sequence[BoundTag], batches: Decoded, at_s: float) -> None:
        index = np.array([tag.index for tag in tags], np.int32)
        at_ns = np.full(len(index), self._clock.now_ns(), np.int64)
        for batch in batches:
            for part in self._scaling.apply(batch):
                await self._acquisition.put(part)
        self._declare(self._times.read(index, np.full(len(index), at_s), at_ns))  # what was not taken was not read

    def _declare(self, late: LatePoll | None) -> None:
        if late is not None:
            detail = f"nothing was read for {late.longest_s:.1f} s"
            tags = [index for leader in late.tags.tolist() for index in self._followers.get(leader, (leader,))]
            self._acquisition.polled_late(np.array(tags, np.int32), late.first_ns, late.last_ns, detail)

    async def _register(self, scan: _Class) -> None:
        """Register the nodes of ``scan`` that are not yet; a server that does not let them be is not asked again."""
        if not self._registers or len(scan.asked) == len(scan.tags):
            return
        new = [tag for tag in scan.tags if tag.index not in scan.asked]

        async def send(part: Sequence[ua.NodeId]) -> list[ua.NodeId]:
            return await self._client.uaclient.register_nodes(list(part))

        try:
            found = await self._limits.registrations.ask([tag.node for tag in new], send)
        except UaError as exc:
            if refusal_of(exc) is None:
                raise
            self._registers = False
            return
        for tag, node in zip(new, found, strict=True):
            scan.asked[tag.index] = node

    def _forget_registrations(self, scan: _Class, batches: Decoded) -> None:
        """Ask by their own ids for nodes whose registered ones the server does not know (any more)."""
        own = {tag.index: tag.node for tag in scan.tags}
        for batch in batches:
            if batch.quality is None:
                continue
            unknown = np.isin(batch.quality, _UNKNOWN)
            scan.asked.update((index, own[index]) for index in batch.tag[unknown].tolist() if index in scan.asked)
