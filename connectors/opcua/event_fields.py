"""The fields of events and conditions, as they are asked for and as they come (Part 5, 6.4.2; Part 9, 5.5 to 5.8)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import struct_from_binary

from connectors.model.errors import PayloadInvalid
from connectors.model.texts import storable
from connectors.opcua.wire_types import one_to_ns

_BASE: Final = ObjectIds.BaseEventType
_CONDITION: Final = ObjectIds.ConditionType
_ACKNOWLEDGEABLE: Final = ObjectIds.AcknowledgeableConditionType
_ALARM: Final = ObjectIds.AlarmConditionType
_FIELDS: Final[tuple[tuple[str, int, tuple[str, ...]], ...]] = (
    ("id", _BASE, ("EventId",)),
    ("type", _BASE, ("EventType",)),
    ("time", _BASE, ("Time",)),
    ("source", _BASE, ("SourceName",)),
    ("source_node", _BASE, ("SourceNode",)),
    ("message", _BASE, ("Message",)),
    ("severity", _BASE, ("Severity",)),
    ("condition", _CONDITION, ()),
    ("name", _CONDITION, ("ConditionName",)),
    ("branch", _CONDITION, ("BranchId",)),
    ("retain", _CONDITION, ("Retain",)),
    ("enabled", _CONDITION, ("EnabledState", "Id")),
    ("comment", _CONDITION, ("Comment",)),
    ("user", _CONDITION, ("ClientUserId",)),
    ("acked", _ACKNOWLEDGEABLE, ("AckedState", "Id")),
    ("confirmed", _ACKNOWLEDGEABLE, ("ConfirmedState", "Id")),
    ("active", _ALARM, ("ActiveState", "Id")),
    ("suppressed", _ALARM, ("SuppressedOrShelved",)),
)
"""Name in the text of a sample, type that has the field, and where it is below that; without a place its node id."""

_STANDARD_TYPES: Final = {
    value: name for name, value in vars(ObjectIds).items() if isinstance(value, int) and name.endswith("EventType")
} | {value: name for name, value in vars(ObjectIds).items() if isinstance(value, int) and name.endswith("AlarmType")}
EVENTS_MAX: Final = 100_000
"""In one message; a number above it cannot be right, and asyncua would count to it."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: the tag whose item it came for, its time, and its fields that have a value, by their names."""

    tag: int
    time_ns: int
    type: int | None
    fields: dict[str, Any]

    @property
    def condition(self) -> tuple[str, str] | None:
        """The condition and its branch whose newest state this is; ``None`` for an event that is no condition."""
        condition = self.fields.get("condition")
        return None if condition is None else (condition, self.fields.get("branch", ""))


def select_clauses() -> list[ua.SimpleAttributeOperand]:
    """What each event is to come with, in this order."""
    return [
        ua.SimpleAttributeOperand(
            TypeDefinitionId=ua.NodeId(ua.Int32(kind), ua.Int16(0)),
            BrowsePath=[ua.QualifiedName(name, ua.UInt16(0)) for name in path],
            AttributeId=AttributeIds.Value if path else AttributeIds.NodeId,
        )
        for _, kind, path in _FIELDS
    ]


def read_events(body: bytes, namespaces: Sequence[str], received_ns: int) -> list[Event]:
    """The events of one EventNotificationList. Raises any of ``DECODING_ERRORS`` when the bytes are none."""
    if int.from_bytes(body[:4], "little", signed=True) > min(EVENTS_MAX, len(body)):
        raise PayloadInvalid("there are more events than bytes for them")
    try:
        lists = struct_from_binary(ua.EventNotificationList, Buffer(body)).Events
    except (AttributeError, KeyError, MemoryError, RecursionError, TypeError) as exc:
        raise PayloadInvalid(f"an event cannot be read: {exc}") from exc
    return [_event(each, namespaces, received_ns) for each in lists or ()]


def _event(fields: Any, namespaces: Sequence[str], received_ns: int) -> Event:
    found: dict[str, Any] = {}
    time_ns, kind = received_ns, None
    for (name, _, _), variant in zip(_FIELDS, fields.EventFields or (), strict=False):
        value = variant.Value
        if name == "time" and isinstance(value, datetime):
            time_ns = one_to_ns(value)
        elif value is not None:
            shown = _shown(value, namespaces)
            if name == "type" and isinstance(value, ua.NodeId) and value.NamespaceIndex == 0:
                kind = value.Identifier if isinstance(value.Identifier, int) else None
                shown = _STANDARD_TYPES.get(kind or 0, shown)
            if shown is not None:
                found[name] = shown
    return Event(int(fields.ClientHandle), time_ns, kind, found)


def _shown(value: Any, namespaces: Sequence[str]) -> Any:
    for kind, show in _SHOWN:
        if isinstance(value, kind):
            return show(value)
    if isinstance(value, ua.NodeId):
        return None if value.is_null() else _node(value, namespaces)
    return storable(str(value))


def _node(node: ua.NodeId, namespaces: Sequence[str]) -> str:
    """As a device file writes it, with the URI of its namespace."""
    index = int(node.NamespaceIndex)
    own = ua.NodeId(node.Identifier, ua.Int16(0), node.NodeIdType).to_string()
    if index == 0:
        return own
    return f"nsu={namespaces[index]};{own}" if index < len(namespaces) else node.to_string()


_SHOWN: Final[tuple[tuple[type[Any], Callable[[Any], Any]], ...]] = (
    (bool, bool),
    (int, int),
    (bytes, lambda value: base64.b64encode(value).decode()),
    (ua.LocalizedText, lambda value: storable(value.Text or "")),
    (str, storable),
)
