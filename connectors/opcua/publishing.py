"""The publish loop: keep requests outstanding, hand samples over, acknowledge to the server what is on disk.

It can go on with another connection, where the server has kept the subscriptions: then nothing is handed over twice,
and nothing left out that had come or was on its way.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from asyncua.client.client import Client
from asyncua.common.utils import Buffer
from asyncua.ua.uaerrors import BadTooManyPublishRequests, UaError

from connectors.model.errors import DeviceUnavailable
from connectors.model.samples import SampleBatch
from connectors.opcua.binding import BoundTag
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.events import Conditions, Events
from connectors.opcua.link_loss import LinkLost, Silent, is_of_the_link
from connectors.opcua.notification import DataChangeDecoder
from connectors.opcua.notification_message import Notification, read_publish_response
from connectors.opcua.publish_request import Ack, publish
from connectors.opcua.republishing import sent_again
from connectors.opcua.scaling import Scaling
from connectors.opcua.sequence_numbers import ASKED_MAX, SequenceNumbers
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import service_reason, status_text
from connectors.opcua.subscriptions import Subscriptions
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition
from connectors.stopping import Tasks

REQUESTS_MIN: Final = 2
REQUESTS_MAX: Final = 16
"""Publish requests kept with the server: two a subscription, so that one is there while another is on its way."""

REQUEST_RETRY_S: Final = 1.0
"""A server that holds no request at all now is asked again; the watch over its silence goes on."""

DELAY_S_MAX: Final = 0.5
"""A response that took longer than this to hand over has kept the ones behind it waiting."""


@dataclass(slots=True)
class _InHand:
    """A message that is being handed over: what is left of it."""

    numbers: SequenceNumbers
    number: int
    batches: list[SampleBatch]
    ack: Ack


class Publishing:
    """The publish loop of one connection, and of those that go on with its subscriptions."""

    def __init__(
        self, client: Client, device: OpcUaDevice, clock: Clock, acquisition: Acquisition, events: Events | None = None
    ) -> None:
        self._client = client
        self._device = device
        self._clock = clock
        self._acquisition = acquisition
        self._decoder = DataChangeDecoder(device.tags_max)
        self._scaling = Scaling(device.tags, device.tags_max)
        self.events = Events(Conditions()) if events is None else events
        self._acks: list[Ack] = []
        self._in_order = asyncio.Lock()
        self._heard_s: dict[int, float] = {}  # by subscription: when its last response came
        self._listening_s = 0.0  # responses were taken without delay since then
        self._requesting = 0
        self._numbers: dict[int, SequenceNumbers] = {}
        self._published_ns: dict[int, int] = {}  # by subscription: when its last message was sent, by the server
        self._begun_ns = clock.now_ns()
        self._subscriptions: Subscriptions | None = None
        self._in_hand: _InHand | None = None
        self._spoken: set[int] = set()
        self._to_read: set[int] = set()  # subscriptions of which present values are wanted
        self._gives_way: Callable[[Sequence[int]], Awaitable[bool]] | None = None
        self.have_all_spoken = asyncio.Event()
        """Set when each subscription has sent all that it had at first, which is what its tags have now."""
        self.newest = -math.inf, 0
        """When the newest samples were handed over, by the monotonic clock and by the agent's own."""
        self.messages_lost = 0
        """Messages of this connection that have not come, and that the server did not have any more."""

    @property
    def overflows(self) -> int:
        """Samples of this connection with the Overflow bit: before each of them the server's queue has lost some."""
        return self._decoder.overflows

    def bind(self, tag: BoundTag) -> None:
        """Values of ``tag``, or events, are expected from now on."""
        if tag.settings.events is not None:
            self.events.bind(tag)
        else:
            tag.bind_to(self._decoder)

    def unbind(self, index: int) -> None:
        """Values of the tag are not expected any more: they are passed over."""
        self._decoder.unbind(index)

    def held(self) -> asyncio.Lock:
        """While it is held, responses wait and nothing is handed over: ``async with publishing.held()``."""
        return self._in_order

    def take_mismatched(self) -> set[int]:
        """Tags whose values have come in another type than they were bound with, since the last call."""
        found, self._decoder.mismatched = self._decoder.mismatched, set()
        return found

    async def run(self, subscriptions: Subscriptions) -> None:
        """Publish until cancelled, as soon as there is a subscription.

        Raises ``DeviceUnavailable`` when a subscription is silent for too long, or is ended by the server, or what it
        sends cannot be decoded; what asyncua raises when the connection is lost.
        """
        self._subscriptions, self._requesting = subscriptions, 0
        if not subscriptions.count:  # before, a server refuses to publish (Part 4, 5.14.5: BadNoSubscription)
            self.have_all_spoken.set()
            await subscriptions.exist.wait()
        async with Tasks() as tasks:
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
                said = Silent if newest_s >= limit_s else DeviceUnavailable  # the connection is there for the others
                raise said(f"{self._device.name}: connected, but {which} for {silent_s:.0f} s, not even a keep-alive")
            await asyncio.sleep(limit_s - silent_s)

    async def _publish(self) -> None:
        """Keep one request with the server, or end when it holds fewer than that (Part 4, 5.14.5)."""
        while True:
            try:
                data = await self._answer()
                received_ns = self._clock.now_ns()
                begun_s = self._clock.monotonic_s()
                async with self._in_order:  # held, too, while polled samples are handed over, and while tags change
                    await self._handle(data, received_ns)
                    if self._clock.monotonic_s() - begun_s > DELAY_S_MAX:  # other responses have waited behind it
                        self._listening_s = self._clock.monotonic_s()
            except BadTooManyPublishRequests:
                if self._requesting > 1:
                    self._requesting -= 1
                    return
                await asyncio.sleep(REQUEST_RETRY_S)
            except UaError as exc:
                said = LinkLost if is_of_the_link(exc) else DeviceUnavailable
                raise said(f"{self._device.name}: {service_reason(exc)}") from exc

    async def _answer(self) -> Buffer:
        """The answer to a request; without one nobody knows whether the server has got the acknowledgements."""
        protocol = self._client.uaclient.protocol
        acks, self._acks = self._acks, []
        try:
            if protocol is None:
                raise LinkLost(f"{self._device.name}: the connection is closed")
            return await publish(protocol, acks)
        except BaseException:
            self._acks[:0] = acks
            raise

    def _read(self, data: Buffer) -> Notification:
        """What a response says.

        Raises ``UaError`` for a bad service result, ``DeviceUnavailable`` for what is no response, or ends a
        subscription.
        """
        try:
            notification = read_publish_response(data)
        except UaError:
            raise  # the server's own word, which the caller translates
        except DECODING_ERRORS as exc:
            raise self._unreadable(exc) from exc
        self._heard_s[notification.subscription_id] = self._clock.monotonic_s()
        if notification.status_change is not None:
            raise DeviceUnavailable(
                f"{self._device.name}: the server ended the subscription ({status_text(notification.status_change)})"
            )
        return notification

    def _unreadable(self, error: Exception) -> DeviceUnavailable:
        return DeviceUnavailable(f"{self._device.name}: a response cannot be read: {error}")

    async def _handle(self, data: Buffer, received_ns: int) -> None:
        """Hand over what a response brings; what is missing before it is asked for again, and comes first."""
        notification = self._read(data)
        subscription, number = notification.subscription_id, notification.sequence_number
        numbers = self._numbers.setdefault(subscription, SequenceNumbers())
        if not notification.is_keep_alive and numbers.is_taken(number):
            return  # it was late, and has been handed over as it was sent again
        missing, asked = numbers.missing(number, is_keep_alive=notification.is_keep_alive)
        found = 0
        for before in asked:
            again = await self._again(subscription, before)
            if again is not None:
                found += 1
                numbers.take_out_of_turn(before)
                await self._hand_over(again, numbers, received_ns)
        if found < missing:
            await self._give_way([index for tag in self._tags_of(subscription) for index in tag.indices])
            self._declare_lost(notification, missing - found, received_ns)
            self._to_read.add(subscription)
        await self._hand_over(notification, numbers, received_ns)
        numbers.settle()
        self._published_ns[subscription] = notification.published_ns or received_ns
        if self._to_read:
            await self._read_present(subscription)
        if not (self.have_all_spoken.is_set() or notification.more or numbers.is_doubtful):
            self._spoken.add(subscription)
            if self._spoken >= set(self._subscribed()):
                self.have_all_spoken.set()
                self._gives_way = None

    # -- another connection ------------------------------------------------------------------------------------------

    def go_on(self, gives_way: Callable[[Sequence[int]], Awaitable[bool]]) -> None:
        """The subscriptions go on with another connection; ``take_missed`` is called before ``run``.

        ``have_all_spoken`` is a new event. ``gives_way`` is asked when samples of tags turn out to be lost before it
        is set: whether the tags at these indices are better read from a history, with everything made anew.
        """
        self._gives_way = gives_way
        self._spoken.clear()
        self.have_all_spoken = asyncio.Event()
        for subscription in self._subscribed():
            self._numbers.setdefault(subscription, SequenceNumbers()).go_on()

    async def take_missed(self) -> None:
        """Hand over what was in hand when the connection was lost, and what the server sends again.

        What it has not sent before comes by ``run``. Raises what asyncua raises, and ``DeviceUnavailable``.
        """
        async with self._in_order:
            await self._finish()
            for subscription in self._subscribed():
                numbers = self._numbers[subscription]
                for _ in range(ASKED_MAX):
                    number = numbers.untaken
                    again = await self._again(subscription, number)
                    if again is None:
                        break
                    numbers.missing(number, is_keep_alive=False)
                    numbers.take_out_of_turn(number)
                    await self._hand_over(again, numbers, self._clock.now_ns())
                numbers.go_on()
                if subscription in self._to_read:
                    await self._read_present(subscription)

    def give_up(self) -> None:
        """No other connection goes on with this: what was in hand is lost with it."""
        if self._in_hand is not None:
            self._in_hand = None
            self.events.not_handed_over()

    async def _give_way(self, tags: Sequence[int]) -> None:
        if self._gives_way is not None and await self._gives_way(tags):
            raise DeviceUnavailable(
                f"{self._device.name}: the server could not keep all values while there was no connection; its history "
                "is read",
                retry_after_s=0.0,
            )

    # ----------------------------------------------------------------------------------------------------------------

    def _subscribed(self) -> list[int]:
        return [] if self._subscriptions is None else self._subscriptions.numbers

    def _tags_of(self, subscription: int) -> list[BoundTag]:
        return [] if self._subscriptions is None else self._subscriptions.tags_of(subscription)

    async def _again(self, subscription: int, number: int) -> Notification | None:
        try:
            return await sent_again(self._client, subscription, number)
        except UaError:
            raise
        except DECODING_ERRORS as exc:
            raise self._unreadable(exc) from exc

    def _declare_lost(self, notification: Notification, count: int, received_ns: int) -> None:
        """Say of which tags and between which times messages are lost, by the server's clock where it tells it."""
        self.messages_lost += count
        subscriptions, subscription = self._subscriptions, notification.subscription_id
        tags = [index for tag in self._tags_of(subscription) for index in tag.indices]
        if subscriptions is None or not tags:
            return
        since_ns = self._published_ns.get(subscription, self._begun_ns)
        what, them = ("1 message", "it") if count == 1 else (f"{count} messages", "them")
        self._acquisition.not_sent(
            np.array(tags, np.int32),
            since_ns - round(subscriptions.lag_s_max * 1e9),
            max(since_ns, notification.published_ns or received_ns),
            f"{what} of the server did not come, and the server cannot send {them} again",
        )

    async def _read_present(self, subscription: int) -> None:
        """A tag that has changed in the lost message alone would keep its old value until it changes again."""
        if self._subscriptions is None:
            return
        try:
            bodies = await self._subscriptions.present_values(subscription)
            batches = self._decoded(bodies, self._clock.now_ns())
        except UaError:
            raise
        except DECODING_ERRORS as exc:
            raise self._unreadable(exc) from exc
        for batch in batches:
            for part in self._scaling.apply(batch):
                await self._acquisition.put(part)
        self._to_read.discard(subscription)

    def _decoded(self, bodies: Iterable[bytes], received_ns: int) -> list[SampleBatch]:
        return [batch for body in bodies for batch in self._decoder.decode(body, received_ns)]

    async def _hand_over(self, notification: Notification, numbers: SequenceNumbers, received_ns: int) -> None:
        overflowed: list[tuple[int, int]] = []
        try:
            batches = self._decoded(notification.data_changes, received_ns)
            if notification.events:
                told, overflowed = self.events.decode(notification.events, received_ns)
                batches += [] if told is None else [told]
        except DECODING_ERRORS as exc:
            self.events.not_handed_over()
            raise self._unreadable(exc) from exc
        overflowed += self._decoder.take_overflowed()
        if overflowed:
            tags, times_ns = zip(*overflowed, strict=True)
            try:
                await self._give_way(tags)
            except BaseException:
                self.events.not_handed_over()
                raise
            self._acquisition.lost(np.array(tags, np.int32), np.array(times_ns, np.int64))
        if not notification.data_changes and not notification.events:
            return
        ack = Ack(notification.subscription_id, notification.sequence_number)
        scaled = [part for batch in batches for part in self._scaling.apply(batch)]
        if not scaled:
            self._acks.append(ack)
        self._in_hand = _InHand(numbers, notification.sequence_number, scaled, ack)
        await self._finish()

    async def _finish(self) -> None:
        """Hand over what is left of the message in hand; of a batch that was not taken to its end nothing was."""
        message = self._in_hand
        if message is None:
            return
        left = message.batches
        while left:
            committed = (lambda: self._acks.append(message.ack)) if len(left) == 1 else None
            await self._acquisition.put(left[0], committed)
            self.newest = self._clock.monotonic_s(), self._clock.now_ns()
            del left[0]
        self._in_hand = None
        message.numbers.take(message.number)
        self.events.handed_over()
        if self.events.is_refresh_required and self._subscriptions is not None:
            self.events.is_refresh_required = False
            await self._subscriptions.refresh_conditions()
