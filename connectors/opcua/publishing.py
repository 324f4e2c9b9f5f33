"""The publish loop: keep requests outstanding, hand samples over, acknowledge to the server what is on disk."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import numpy as np
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.uaerrors import BadTooManyPublishRequests, UaError

from connectors.model.errors import DeviceUnavailable
from connectors.model.samples import SampleBatch
from connectors.opcua.attributes import read_state
from connectors.opcua.binding import BoundTag
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.notification import DataChangeDecoder, Notification, read_publish_response
from connectors.opcua.scaling import Scaling
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import service_reason, status_text
from connectors.opcua.subscriptions import Subscriptions
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition

REQUESTS_MIN: Final = 2
REQUESTS_MAX: Final = 16
"""Publish requests kept with the server: two a subscription, so that one is there while another is on its way."""

REQUEST_RETRY_S: Final = 1.0
"""A server that holds no request at all now is asked again; the watch over its silence goes on."""

SIGN_OF_LIFE_S_MAX: Final = 20.0
"""A session without any subscription asks for a sign of life this often: well within the timeout of a session."""

DELAY_S_MAX: Final = 0.5
"""A response that took longer than this to hand over has kept the ones behind it waiting."""


class Publishing:
    """The publish loop of one connection."""

    def __init__(self, client: Client, device: OpcUaDevice, clock: Clock, acquisition: Acquisition) -> None:
        self._client = client
        self._device = device
        self._clock = clock
        self._acquisition = acquisition
        self._decoder = DataChangeDecoder(len(device.tags))
        self._scaling = Scaling(device.tags)
        self._acks: list[ua.SubscriptionAcknowledgement] = []
        self._in_order = asyncio.Lock()
        self._heard_s: dict[int, float] = {}  # by subscription: when its last response came
        self._listening_s = 0.0  # responses were taken without delay since then
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
        """Publish until cancelled, as soon as there is a subscription.

        Raises ``DeviceUnavailable`` when a subscription is silent for too long, or is ended by the server, or what it
        sends cannot be decoded; what asyncua raises when the connection is lost.
        """
        await self._until_subscribed(subscriptions)
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

    async def _until_subscribed(self, subscriptions: Subscriptions) -> None:
        """Wait for the first subscription: before, a server refuses to publish (Part 4, 5.14.5: BadNoSubscription).

        Meanwhile a read from time to time keeps the session, and shows that the server is there.
        """
        while not subscriptions.count:
            try:
                async with asyncio.timeout(min(self._device.silence_s_max, SIGN_OF_LIFE_S_MAX)):
                    await subscriptions.exist.wait()
            except TimeoutError:
                await read_state(self._client)

    async def _watch_silence(self, subscriptions: Subscriptions) -> None:
        """Every subscription speaks for itself: one may be dead on the server while the others go on."""
        self._listening_s = self._clock.monotonic_s()
        while True:
            limit_s = max(self._device.silence_s_max, 2 * subscriptions.keep_alive_s)
            now_s = self._clock.monotonic_s()
            if self._in_order.locked():  # a response waits for room on this side: the server is not the silent one
                self._listening_s = now_s
            since_s = self._listening_s
            heard_s = [max(since_s, self._heard_s.setdefault(number, now_s)) for number in subscriptions.numbers]
            silent_s = now_s - min(heard_s, default=since_s)
            if silent_s >= limit_s:
                newest_s = now_s - max(heard_s, default=since_s)
                which = "nothing has come" if newest_s >= limit_s else "one subscription has sent nothing"
                raise DeviceUnavailable(
                    f"{self._device.name}: connected, but {which} for {silent_s:.0f} s, not even a keep-alive"
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
                    begun_s = self._clock.monotonic_s()
                    await self._handle(data, received_ns)
                    if self._clock.monotonic_s() - begun_s > DELAY_S_MAX:  # other responses have waited behind it
                        self._listening_s = self._clock.monotonic_s()
            except BadTooManyPublishRequests:
                self._acks[:0] = acks
                if self._requesting > 1:
                    self._requesting -= 1
                    return
                await asyncio.sleep(REQUEST_RETRY_S)
            except UaError as exc:
                raise DeviceUnavailable(f"{self._device.name}: {service_reason(exc)}") from exc

    def _read(self, data: Any, received_ns: int) -> tuple[Notification, list[SampleBatch]]:
        """What a response says.

        Raises ``UaError`` for a bad service result, ``DeviceUnavailable`` for what is no response, or ends a
        subscription.
        """
        batches: list[SampleBatch] = []
        try:
            notification = read_publish_response(data)
            for body in notification.data_changes:
                batches += self._decoder.decode(body, received_ns)
        except UaError:
            raise  # the server's own word, which the caller translates
        except DECODING_ERRORS as exc:
            raise DeviceUnavailable(f"{self._device.name}: a response cannot be read: {exc}") from exc
        self._heard_s[notification.subscription_id] = self._clock.monotonic_s()
        if notification.status_change is not None:
            raise DeviceUnavailable(
                f"{self._device.name}: the server ended the subscription ({status_text(notification.status_change)})"
            )
        return notification, batches

    async def _handle(self, data: Any, received_ns: int) -> None:
        notification, batches = self._read(data, received_ns)
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
        scaled = [part for batch in batches for part in self._scaling.apply(batch)]
        for batch in scaled[:-1]:
            await self._acquisition.put(batch)
        if scaled:
            await self._acquisition.put(scaled[-1], lambda: self._acks.append(ack))
        else:
            self._acks.append(ack)
