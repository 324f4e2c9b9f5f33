"""The publish loop: keep requests outstanding, hand samples over, acknowledge to the server what is on disk."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import numpy as np
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.uaerrors import BadTooManyPublishRequests, UaError
from numpy.typing import NDArray

from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.samples import SampleBatch
from connectors.opcua.binding import BoundTag
from connectors.opcua.notification import DECODING_ERRORS, DataChangeDecoder, Notification, read_publish_response
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import service_reason, status_name
from connectors.opcua.subscriptions import Subscriptions
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition

REQUESTS_MIN: Final = 2
REQUESTS_MAX: Final = 16
"""Publish requests kept with the server: two a subscription, so that one is there while another is on its way."""

REQUEST_RETRY_S: Final = 1.0
"""A server that holds no request at all now is asked again; the watch over its silence goes on."""


class Publishing:
    """The publish loop of one connection."""

    def __init__(self, client: Client, device: OpcUaDevice, clock: Clock, acquisition: Acquisition) -> None:
        self._client = client
        self._device = device
        self._clock = clock
        self._acquisition = acquisition
        self._decoder = DataChangeDecoder(len(device.tags))
        self._scale, self._offset = _scaling(device)
        self._is_scaled = np.array([tag.is_scaled for tag in device.tags], np.bool_)
        self._scales_any = bool(self._is_scaled.any())
        self._acks: list[ua.SubscriptionAcknowledgement] = []
        self._in_order = asyncio.Lock()
        self._heard_s = clock.monotonic_s()
        self._requesting = 0

    @property
    def overflows(self) -> int:
        """Samples of this connection with the Overflow bit: before each of them the server's queue has lost some."""
        return self._decoder.overflows

    def bind(self, tag: BoundTag) -> None:
        """Values of ``tag`` are expected from now on."""
        self._decoder.bind(tag.index, tag.raw)

    def take_mismatched(self) -> set[int]:
        """Tags whose values have come in another type than they were bound with, since the last call."""
        found, self._decoder.mismatched = self._decoder.mismatched, set()
        return found

    async def run(self, subscriptions: Subscriptions) -> None:
        """Publish until cancelled.

        Raises ``DeviceUnavailable`` when the server is silent for too long, ends a subscription, or sends what cannot
        be decoded; what asyncua raises when the connection is lost.
        """
        self._heard_s = self._clock.monotonic_s()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_silence(subscriptions), name=f"{self._device.name} silence")
            running = 0
            while True:
                wanted = min(REQUESTS_MAX, max(REQUESTS_MIN, 2 * subscriptions.count))
                for number in range(running, wanted):
                    self._requesting += 1
                    tasks.create_task(self._publish(), name=f"{self._device.name} publish {number}")
                running = max(running, wanted)
                await asyncio.sleep(self._device.silence_s_max)

    async def _watch_silence(self, subscriptions: Subscriptions) -> None:
        while True:
            limit_s = max(self._device.silence_s_max, 2 * subscriptions.keep_alive_s)
            if self._in_order.locked():  # a response waits for room on this side: the server is not the silent one
                self._heard_s = self._clock.monotonic_s()
            silent_s = self._clock.monotonic_s() - self._heard_s
            if silent_s >= limit_s:
                raise DeviceUnavailable(
                    f"{self._device.name}: connected, but nothing has come for {silent_s:.0f} s, not even a keep-alive"
                )
            await asyncio.sleep(limit_s - silent_s)

    async def _publish(self) -> None:
        """Keep one request with the server, or end when it holds fewer than that (Part 4, 5.14.5)."""
        while True:
            request = ua.PublishRequest()
            acks, self._acks = self._acks, []
            request.Parameters.SubscriptionAcknowledgements = acks
            protocol = self._client.uaclient.protocol
            if protocol is None:
                raise DeviceUnavailable(f"{self._device.name}: the connection is closed")
            try:
                data = await protocol.send_request(request, timeout=0)
                received_ns = self._clock.now_ns()
                async with self._in_order:
                    await self._handle(read_publish_response(data), received_ns)
                self._heard_s = self._clock.monotonic_s()
            except BadTooManyPublishRequests:
                self._acks[:0] = acks
                if self._requesting > 1:
                    self._requesting -= 1
                    return
                await asyncio.sleep(REQUEST_RETRY_S)
            except UaError as exc:
                raise DeviceUnavailable(f"{self._device.name}: {service_reason(exc)}") from exc
            except DECODING_ERRORS as exc:
                raise DeviceUnavailable(f"{self._device.name}: a response cannot be read: {exc}") from exc

    async def _handle(self, notification: Notification, received_ns: int) -> None:
        if notification.status_change is not None:
            raise DeviceUnavailable(
                f"{self._device.name}: the server ended the subscription ({status_name(notification.status_change)})"
            )
        batches: list[SampleBatch] = []
        for body in notification.data_changes:
            batches += self._decoder.decode(body, received_ns)
        overflowed = self._decoder.take_overflowed()
        if overflowed:
            tags, times_ns = zip(*overflowed, strict=True)
            self._acquisition.lost(np.array(tags, np.int32), np.array(times_ns, np.int64))
        if not notification.data_changes:
            return
        ack = ua.SubscriptionAcknowledgement(
            SubscriptionId=ua.UInt32(notification.subscription_id),
            SequenceNumber=ua.UInt32(notification.sequence_number),
        )
        scaled = [part for batch in batches for part in self._scaled(batch)]
        for batch in scaled[:-1]:
            await self._acquisition.put(batch)
        if scaled:
            await self._acquisition.put(scaled[-1], lambda: self._acks.append(ack))
        else:
            self._acks.append(ack)

    def _scaled(self, batch: SampleBatch) -> list[SampleBatch]:
        if not self._scales_any or batch.value.dtype.kind not in "iuf" or batch.datatype is DataType.DATETIME:
            return [batch]
        scaled = self._is_scaled[batch.tag]
        if not scaled.any():
            return [batch]
        if scaled.all():
            return [self._scale_all(batch)]
        return [batch.select(~scaled), self._scale_all(batch.select(scaled))]

    def _scale_all(self, batch: SampleBatch) -> SampleBatch:
        value = batch.value.astype(np.float64) * self._scale[batch.tag] + self._offset[batch.tag]
        return SampleBatch(DataType.DOUBLE, batch.tag, batch.time_ns, value, batch.quality, batch.null)


def _scaling(device: OpcUaDevice) -> tuple[NDArray[Any], NDArray[Any]]:
    return (
        np.array([tag.scale for tag in device.tags], np.float64),
        np.array([tag.scaling_offset for tag in device.tags], np.float64),
    )
