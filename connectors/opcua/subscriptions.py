"""Subscriptions and monitored items: which values the server is to send, grouped so that they decode in bulk."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import UaError

from connectors.model.datatypes import DataType, is_numeric
from connectors.model.tags import TagName
from connectors.opcua.attributes import refusal_of
from connectors.opcua.binding import BoundTag
from connectors.opcua.events import event_item, refresh_conditions
from connectors.opcua.model_changes import model_changes_item
from connectors.opcua.operation_limits import OperationLimits
from connectors.opcua.present_values import present_values
from connectors.opcua.ranges import deadband_filter, spans_of
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import tag_reason
from connectors.ports.device import TagProblem

NOTIFICATIONS_PER_PUBLISH_MAX: Final = 50_000
LIFETIME_KEEP_ALIVES: Final = 10
"""A subscription whose client takes nothing lives on for so many keep-alive intervals (Part 4, 5.14.2: at least 3)."""

LIFETIME_MARGIN_S: Final = 10.0
"""A subscription outlives its session, so that another one can take it over."""

LIFETIME_MAX: Final = (1 << 32) - 1

_FILTER_REFUSALS: Final = {
    StatusCodes.BadMonitoredItemFilterUnsupported,
    StatusCodes.BadFilterNotAllowed,
    StatusCodes.BadMonitoredItemFilterInvalid,
    StatusCodes.BadDeadbandFilterInvalid,
}
_NO_MORE_SUBSCRIPTIONS: Final = {
    StatusCodes.BadTooManySubscriptions,
    StatusCodes.BadOutOfMemory,
    StatusCodes.BadResourceUnavailable,
}
_NO_RANGE: Final = (
    "the server says no range (EURange) of which this deadband could be a part, or keeps none; write the deadband in "
    "units of the value, such as 0.5"
)
TOO_MANY_ITEMS: Final = StatusCodes.BadTooManyMonitoredItems >> 16


class _Created(NamedTuple):
    """What became of a monitored item: the status code, its number, and how often the server looks at the value."""

    code: int
    item: int = 0
    sampling_s: float = 0.0

    @classmethod
    def of(cls, result: ua.MonitoredItemCreateResult) -> _Created:
        code = int(result.StatusCode.value)
        return cls(code, int(result.MonitoredItemId), result.RevisedSamplingInterval / 1000.0)


class Subscriptions:
    """The subscriptions of one connection: one for all values, one for events, and more where one has no more room.

    Each response costs as much as some hundred values in it, so there are to be few. Tags of one raw data type are
    monitored one after the other: so a server sends them, and then they decode as one.
    """

    def __init__(self, client: Client, device: OpcUaDevice, limits: OperationLimits) -> None:
        self._client = client
        self._device = device
        self._limits = limits
        self._of_values: int | None = None  # the one that takes the next items
        self._is_full = False  # even a new subscription has taken no item
        self._items = 0
        self._tags: dict[int, dict[int, BoundTag]] = {}  # by subscription and monitored item
        self._of_events: int | None = None
        self.numbers: list[int] = []
        """The ids that the server gave them."""
        self.exist = asyncio.Event()
        """Set when the first of them has been created."""
        self._sampling_s_max = 0.0
        self.lifetime_s = math.inf
        """For so long the server keeps one of which it hears nothing, as it has revised that."""
        self.keep_alive_s = 0.0  # the longest that a living server lets pass without a response
        self._publishing_s = 0.0

    @property
    def count(self) -> int:
        """How many subscriptions there are."""
        return len(self.numbers)

    def give_up(self) -> None:
        """Forget which tags are monitored: the connection is over."""
        self._tags.clear()

    def tags_of(self, number: int) -> list[BoundTag]:
        """The tags whose values the subscription ``number`` sends."""
        return list(self._tags.get(number, {}).values())

    async def present_values(self, number: int) -> list[bytes]:
        """The values that the tags of the subscription ``number`` have now, as bodies of its notifications.

        Conditions are told anew in messages of their own. Raises what ``present_values`` raises.
        """
        if number == self._of_events:
            await self.refresh_conditions()
            return []
        return await present_values(self._client, self.tags_of(number), self._limits.reads)

    @property
    def lag_s_max(self) -> float:
        """How long a change may take until the server sends it, as the server has revised the intervals."""
        return self._publishing_s + self._sampling_s_max

    async def add(self, tags: Iterable[BoundTag]) -> dict[int, TagProblem]:
        """Monitor ``tags``; those that the server refuses, by index. Raises what asyncua raises."""
        groups: dict[DataType, list[BoundTag]] = {}
        notifiers: list[BoundTag] = []
        for tag in tags:
            (groups.setdefault(tag.alike, []) if tag.settings.events is None else notifiers).append(tag)
        problems = await self._add_notifiers(notifiers) if notifiers else {}
        problems.update(await self._add_values([tag for group in groups.values() for tag in group]))
        return problems

    async def _add_values(self, tags: list[BoundTag]) -> dict[int, TagProblem]:
        """Monitor tags in this order; what one subscription has no room for goes into others."""
        tags, beyond = self._allowed(tags)
        problems = {tag.index: self._beyond(tag) for tag in beyond}
        if not tags:
            return problems
        if self._of_values is None:
            self._of_values = await self._subscription()
        found = await self._monitor(self._of_values, tags)
        while left := [tag for tag in tags if tag.index in found and found[tag.index].quality == TOO_MANY_ITEMS]:
            if self._is_full or len(self.numbers) == self._device.limits.subscriptions:
                break
            before = len(self.numbers)
            self._of_values = await self._subscription()
            again = await self._monitor(self._of_values, left)
            for tag in left:
                found.pop(tag.index)
            found.update(again)
            self._is_full = len(self.numbers) == before or len(again) == len(left)
        self._items += len(tags) - len(found)
        return problems | found

    async def refresh_conditions(self) -> None:
        """Have the server tell all conditions that need attention. Raises what ``refresh_conditions`` raises."""
        if self._of_events is not None:
            await refresh_conditions(self._client, self._of_events)

    async def _add_notifiers(self, tags: list[BoundTag]) -> dict[int, TagProblem]:
        """Monitor the events of ``tags``, in a subscription of their own: conditions are told anew for a whole one."""
        tags, beyond = self._allowed(tags)
        problems = {tag.index: self._beyond(tag) for tag in beyond}
        if tags:
            if self._of_events is None:
                self._of_events = await self._subscription()
            found = await self._monitor(self._of_events, tags)
            self._items += len(tags) - len(found)
            problems |= found
            await self.refresh_conditions()
        return problems

    async def watch_model(self) -> None:
        """Have the server say when nodes come or go. Where it does not, or has no room for that, nothing follows.

        Raises what asyncua raises when the connection is lost.
        """
        most = self._device.limits.monitored_items
        if most is not None and self._items >= most:
            return
        try:
            number = await self._subscription() if self._of_events is None else self._of_events
            params = ua.CreateMonitoredItemsParameters(
                SubscriptionId=ua.UInt32(number), TimestampsToReturn=ua.TimestampsToReturn.Both
            )
            params.ItemsToCreate = [model_changes_item()]
            (result,) = await self._client.uaclient.create_monitored_items(params)
        except UaError as exc:
            if refusal_of(exc) is None:
                raise
            return
        self._items += bool(result.StatusCode.is_good())

    async def remove(self, indices: Iterable[int]) -> None:
        """Monitor these tags no more. Raises what asyncua raises when the connection is lost."""
        gone = set(indices)
        for subscription, tags in self._tags.items():
            items = [item for item, tag in tags.items() if tag.index in gone]

            async def send(part: Sequence[int], subscription: int = subscription) -> list[ua.StatusCode]:
                params = ua.DeleteMonitoredItemsParameters(SubscriptionId=ua.UInt32(subscription))
                params.MonitoredItemIds = [ua.UInt32(item) for item in part]
                return await self._client.uaclient.delete_monitored_items(params)

            await self._limits.items.ask(items, send)
            self._items -= len(items)
            for item in items:
                del tags[item]

    def _allowed(self, tags: list[BoundTag]) -> tuple[list[BoundTag], list[BoundTag]]:
        """The tags that the device file allows to be monitored, and the others."""
        most = self._device.limits.monitored_items
        room = len(tags) if most is None else max(0, most - self._items)
        return tags[:room], tags[room:]

    def _beyond(self, tag: BoundTag) -> TagProblem:
        reason = (
            f"limits.monitored_items allows {self._device.limits.monitored_items} monitored items; let tags that "
            "may be slower be polled, with poll: 1s"
        )
        return TagProblem(TagName(tag.settings.name), reason, TOO_MANY_ITEMS)

    async def _subscription(self) -> int:
        """A new subscription; where there can be no more, the newest one."""
        most = self._device.limits.subscriptions
        if most is not None and len(self.numbers) >= most:
            return self.numbers[-1]
        try:
            number = await self._create_subscription()
        except UaError as exc:
            if getattr(exc, "code", None) not in _NO_MORE_SUBSCRIPTIONS or not self.numbers:
                raise
            return self.numbers[-1]
        self.numbers.append(number)
        self.exist.set()
        return number

    async def _create_subscription(self) -> int:
        device = self._device
        keep_alives = self._keep_alives(device.publishing_s)
        request = ua.CreateSubscriptionRequest()
        request.Parameters = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=device.publishing_s * 1000.0,
            RequestedLifetimeCount=ua.UInt32(self._lifetime(keep_alives, device.publishing_s)),
            RequestedMaxKeepAliveCount=ua.UInt32(keep_alives),
            MaxNotificationsPerPublish=ua.UInt32(NOTIFICATIONS_PER_PUBLISH_MAX),
            PublishingEnabled=True,
            Priority=ua.Byte(0),
        )
        response = struct_from_binary(ua.CreateSubscriptionResponse, await self._send(request))
        response.ResponseHeader.ServiceResult.check()
        revised = response.Parameters
        if revised.RevisedMaxKeepAliveCount > self._keep_alives(revised.RevisedPublishingInterval / 1000.0):
            revised = await self._with_fewer_keep_alives(revised)
        publishing_s = revised.RevisedPublishingInterval / 1000.0
        self._publishing_s = max(self._publishing_s, publishing_s)
        self.keep_alive_s = max(self.keep_alive_s, publishing_s * revised.RevisedMaxKeepAliveCount)
        self.lifetime_s = min(self.lifetime_s, publishing_s * revised.RevisedLifetimeCount)
        return int(response.Parameters.SubscriptionId)

    async def _with_fewer_keep_alives(self, created: ua.CreateSubscriptionResult) -> Any:
        """Ask for signs of life as often as before, of a server that publishes more slowly than it was asked to."""
        keep_alives = self._keep_alives(created.RevisedPublishingInterval / 1000.0)
        request = ua.ModifySubscriptionRequest()
        request.Parameters = ua.ModifySubscriptionParameters(
            SubscriptionId=created.SubscriptionId,
            RequestedPublishingInterval=created.RevisedPublishingInterval,
            RequestedLifetimeCount=ua.UInt32(self._lifetime(keep_alives, created.RevisedPublishingInterval / 1000.0)),
            RequestedMaxKeepAliveCount=ua.UInt32(keep_alives),
            MaxNotificationsPerPublish=ua.UInt32(NOTIFICATIONS_PER_PUBLISH_MAX),
            Priority=ua.Byte(0),
        )
        response = struct_from_binary(ua.ModifySubscriptionResponse, await self._send(request))
        return response.Parameters if response.ResponseHeader.ServiceResult.is_good() else created

    def _keep_alives(self, publishing_s: float) -> int:
        """After how many publishing intervals without a change the server says that it lives."""
        return max(1, int(self._device.silence_s_max / 3 / max(publishing_s, 0.001)))

    def _lifetime(self, keep_alives: int, publishing_s: float) -> int:
        """After how many publishing intervals without a request the server ends it: not before the session ends."""
        intervals = math.ceil((self._device.session_s + LIFETIME_MARGIN_S) / max(publishing_s, 0.001))
        return min(LIFETIME_MAX, max(keep_alives * LIFETIME_KEEP_ALIVES, intervals))

    async def _send(self, request: Any) -> Any:
        protocol = self._client.uaclient.protocol
        if protocol is None:
            raise ConnectionError("the connection is closed")
        return await protocol.send_request(request)

    async def _monitor(self, subscription: int, tags: Sequence[BoundTag]) -> dict[int, TagProblem]:
        results = await self._create_items(subscription, tags, {})
        again = [tag for tag, result in zip(tags, results, strict=True) if _is_deadband_refused(tag, result)]
        if again:
            spans = await spans_of(self._client, [tag for tag in again if _is_of_range(tag)], self._limits)
            # A deadband in units is then kept by the agent alone: it is asked for without.
            without = {tag.index: None for tag in again if not _is_of_range(tag)}
            second = [tag for tag in again if tag.index in without or tag.index in spans]
            retried = dict(zip(second, await self._create_items(subscription, second, spans, without), strict=True))
            results = [retried.get(tag, result) for tag, result in zip(tags, results, strict=True)]
        problems: dict[int, TagProblem] = {}
        for tag, result in zip(tags, results, strict=True):
            name = TagName(tag.settings.name)
            if _is_deadband_refused(tag, result):
                problems[tag.index] = TagProblem(name, _NO_RANGE, result.code >> 16)
            elif result.code >> 30 == 0:
                self._tags.setdefault(subscription, {})[result.item] = tag
                self._sampling_s_max = max(self._sampling_s_max, result.sampling_s)
            else:
                problems[tag.index] = TagProblem(name, tag_reason(result.code), result.code >> 16)
        return problems

    async def _create_items(
        self,
        subscription: int,
        tags: Sequence[BoundTag],
        spans: Mapping[int, float],
        without: Collection[int] = (),
    ) -> list[_Created]:
        async def send(part: Sequence[BoundTag]) -> list[_Created]:
            params = ua.CreateMonitoredItemsParameters(
                SubscriptionId=ua.UInt32(subscription), TimestampsToReturn=ua.TimestampsToReturn.Both
            )
            params.ItemsToCreate = [
                self._item(tag, None if tag.index in without else _filter_of(tag, spans)) for tag in part
            ]
            return [_Created.of(result) for result in await self._client.uaclient.create_monitored_items(params)]

        return await self._limits.items.ask(tags, send, _Created)

    def _item(self, tag: BoundTag, wanted: ua.DataChangeFilter | None) -> ua.MonitoredItemCreateRequest:
        settings = tag.settings
        if settings.events is not None:
            return event_item(tag)
        sampling_s = self._device.sampling_s if settings.sampling_s is None else settings.sampling_s
        queue_size = self._device.queue_size if settings.queue_size is None else settings.queue_size
        parameters = ua.MonitoringParameters(
            ClientHandle=ua.UInt32(tag.index),
            SamplingInterval=sampling_s * 1000.0,
            QueueSize=ua.UInt32(queue_size),
            DiscardOldest=True,
        )
        if wanted is not None:
            parameters.Filter = wanted
        return ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=tag.node, AttributeId=AttributeIds.Value),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=parameters,
        )


def _filter_of(tag: BoundTag, spans: Mapping[int, float]) -> ua.DataChangeFilter | None:
    if tag.shape is not None or not is_numeric(tag.raw):
        return None
    return deadband_filter(tag.settings, spans, tag.index)


def _is_of_range(tag: BoundTag) -> bool:
    deadband = tag.settings.deadband
    return deadband is not None and deadband.percent_of_range > 0


def _is_deadband_refused(tag: BoundTag, result: _Created) -> bool:
    return result.code in _FILTER_REFUSALS and _filter_of(tag, {}) is not None
