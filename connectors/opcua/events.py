"""Events and conditions as samples: each is a text in JSON, at its own time, of the tag that its object is read by.

A condition is a state that lasts, such as an alarm. After each connect the server is asked to tell all that need
attention (ConditionRefresh, Part 9, 5.5.7): those that were told before in the same state are passed over, and one that
was told before and is not told now has ended meanwhile, which is said in its place.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import UaError

from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch, batch_of_rows
from connectors.opcua.attributes import refusal_of
from connectors.opcua.binding import BoundTag
from connectors.opcua.event_fields import Event, read_events, select_clauses
from connectors.opcua.model_changes import HANDLE as MODEL_CHANGES

CONDITIONS_MAX: Final = 10_000
"""States that are remembered of one device, those of the conditions that were told last."""

QUEUE_SIZE: Final = 1000
"""Events that the server is asked to keep for one tag between two publishes, where its entry names no number."""

_TEXT_BYTES_MAX: Final = 16_000
_LOST: Final = "lost"
_REFRESH: Final = {
    int(ObjectIds.RefreshStartEventType): "start",
    int(ObjectIds.RefreshEndEventType): "end",
    int(ObjectIds.RefreshRequiredEventType): "required",
    int(ObjectIds.EventQueueOverflowEventType): _LOST,
}


class Conditions:
    """What was told of the conditions of one device; it lasts for as long as its driver."""

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[int, str, str], dict[str, Any]] = OrderedDict()
        self._refreshing: dict[int, set[tuple[int, str, str]]] = {}
        self._before: list[tuple[tuple[int, str, str], dict[str, Any] | None]] = []  # of what is not handed over yet

    def handed_over(self) -> None:
        """All that was news is in the agent's hands: from now on it was told before."""
        self._before.clear()

    def not_handed_over(self) -> None:
        """What was news since ``handed_over`` is lost with its connection: it is news when it is told again."""
        while self._before:
            key, before = self._before.pop()
            if before is None:
                self._told.pop(key, None)
            else:
                self._told[key] = before

    def news(self, event: Event) -> dict[str, Any] | None:
        """The fields of ``event`` where they are news, and ``None`` where they were told before."""
        if event.condition is None:
            return event.fields
        key = (event.tag, *event.condition)
        if event.tag in self._refreshing:
            self._refreshing[event.tag].add(key)
        before = self._told.pop(key, None)
        self._before.append((key, before))
        self._told[key] = event.fields
        if len(self._told) > CONDITIONS_MAX:
            self._told.popitem(last=False)
        return None if before is not None and before.get("id") == event.fields.get("id") else event.fields

    def begin_refresh(self, tag: int) -> None:
        """All conditions that need attention are told from now on."""
        self._refreshing[tag] = set()

    def end_refresh(self, tag: int) -> list[dict[str, Any]]:
        """They have been told; the fields of those that have ended since they were told last."""
        seen = self._refreshing.pop(tag, None)
        if seen is None:
            return []
        gone = [key for key, told in self._told.items() if key[0] == tag and told.get("retain") and key not in seen]
        ended = []
        self._before += [(key, self._told[key]) for key in gone]
        for key in gone:
            kept = {name: value for name, value in self._told.pop(key).items() if name not in ("active", "acked")}
            ended.append(kept | {"retain": False, "ended": "it was not among those that the server has told anew"})
        return ended


class Events:
    """The events of one connection, decoded."""

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._severity_min: dict[int, int] = {}
        self.namespaces: Sequence[str] = ()
        """Of the server; node ids are told with their URIs."""
        self.is_refresh_required = False
        """The server has said that it may have lost states of conditions, and wants to be asked."""
        self.model_changed = asyncio.Event()
        """Set when the server has said that nodes have come or gone."""

    def handed_over(self) -> None:
        """See ``Conditions``."""
        self._conditions.handed_over()

    def not_handed_over(self) -> None:
        """See ``Conditions``."""
        self._conditions.not_handed_over()

    def bind(self, tag: BoundTag) -> None:
        """Events come for ``tag`` from now on."""
        settings = tag.settings.events
        self._severity_min[tag.index] = 0 if settings is None else settings.severity_min

    def decode(self, bodies: Iterable[bytes], received_ns: int) -> tuple[SampleBatch | None, list[tuple[int, int]]]:
        """The samples of notifications, and (tag, time) before which events were lost on the server.

        Raises any of ``DECODING_ERRORS``.
        """
        rows: list[tuple[int, int, Any, int]] = []
        lost: list[tuple[int, int]] = []
        for body in bodies:
            for event in read_events(body, self.namespaces, received_ns):
                if event.tag == MODEL_CHANGES:
                    self.model_changed.set()
                if event.tag not in self._severity_min:
                    continue
                match _REFRESH.get(event.type or 0):
                    case None:
                        self._take(event, rows)
                    case "start":
                        self._conditions.begin_refresh(event.tag)
                    case "end":
                        ended = self._conditions.end_refresh(event.tag)
                        rows += [(event.tag, received_ns, _text(fields), 0) for fields in ended]
                    case "required":
                        self.is_refresh_required = True
                    case _:
                        lost.append((event.tag, event.time_ns))
        return (batch_of_rows(DataType.STRING, rows) if rows else None), lost

    def _take(self, event: Event, rows: list[tuple[int, int, Any, int]]) -> None:
        severity = event.fields.get("severity")
        if isinstance(severity, int) and severity < self._severity_min[event.tag]:
            return
        news = self._conditions.news(event)
        if news is not None:
            rows.append((event.tag, event.time_ns, _text(news), 0))


def _text(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    if len(text) > _TEXT_BYTES_MAX:  # a comment or message as long as a book: the rest says more
        short = {name: value[:200] if isinstance(value, str) else value for name, value in fields.items()}
        text = json.dumps(short, ensure_ascii=False, separators=(",", ":"))
    return text


def event_item(tag: BoundTag) -> ua.MonitoredItemCreateRequest:
    """All events of an object, with the fields that are told; what is less severe than asked for is left out here."""
    size = tag.settings.queue_size
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=tag.node, AttributeId=AttributeIds.EventNotifier),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=ua.UInt32(tag.index),
            SamplingInterval=0.0,
            QueueSize=ua.UInt32(QUEUE_SIZE if size is None else size),
            DiscardOldest=True,
            Filter=ua.EventFilter(SelectClauses=select_clauses()),
        ),
    )


async def refresh_conditions(client: Client, subscription: int) -> None:
    """Ask the server to tell all conditions that need attention, in ``subscription``.

    A server without conditions refuses that, and nothing follows from it. Raises what asyncua raises when the session
    or the connection is lost.
    """
    protocol = client.uaclient.protocol
    if protocol is None:
        raise ConnectionError("the connection is closed")
    request = ua.CallRequest()
    request.Parameters.MethodsToCall = [
        ua.CallMethodRequest(
            ObjectId=ua.NodeId(ua.Int32(ObjectIds.ConditionType), ua.Int16(0)),
            MethodId=ua.NodeId(ua.Int32(ObjectIds.ConditionType_ConditionRefresh), ua.Int16(0)),
            InputArguments=[ua.Variant(subscription, ua.VariantType.UInt32)],
        )
    ]
    try:
        response = struct_from_binary(ua.CallResponse, await protocol.send_request(request))
        response.ResponseHeader.ServiceResult.check()
    except UaError as exc:
        if refusal_of(exc) is None:
            raise
