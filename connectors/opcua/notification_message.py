"""Responses to Publish and Republish (Part 4, 5.14.5 and 5.14.6) in bytes, down to their data changes and events."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary

from connectors.model.errors import PayloadInvalid
from connectors.opcua.wire_types import one_tick_to_ns

_DATA_CHANGE: Final = ObjectIds.DataChangeNotification_Encoding_DefaultBinary
_EVENTS: Final = ObjectIds.EventNotificationList_Encoding_DefaultBinary
_STATUS_CHANGE: Final = ObjectIds.StatusChangeNotification_Encoding_DefaultBinary
_USUAL_HEADER: Final = struct.Struct("<BxH8xIIBi3s")
"""Of a response (Part 4, 7.33): type, time, handle, service result, diagnostics, strings, additional header."""

_USUAL_DATA_CHANGE: Final = bytes((1, 0)) + _DATA_CHANGE.to_bytes(2, "little") + bytes((1,))
"""A type as numbers of namespace 0 are written (Part 6, 5.2.2.9), with a body in bytes."""

_I32: Final = struct.Struct("<i")
_I64: Final = struct.Struct("<q")
_U32: Final = struct.Struct("<I")


@dataclass(slots=True)
class Notification:
    """One notification message: of which subscription, its number, and the bytes of its data changes and events.

    ``published_ns`` is when the server has sent it, by the server's clock; ``None`` when it does not say.
    """

    subscription_id: int
    sequence_number: int
    data_changes: list[bytes] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    status_change: int | None = None
    more: bool = False
    published_ns: int | None = None
    is_keep_alive: bool = False


def read_publish_response(data: Buffer) -> Notification:
    """Take a Publish response apart, down to the data changes and events.

    Raises ``UaError`` for a bad service result, and any of ``DECODING_ERRORS`` when the bytes are no such response.
    """
    raw, at = _after_header(data)
    subscription_id, count = _U32.unpack_from(raw, at)[0], _I32.unpack_from(raw, at + 4)[0]
    at += 8 + 4 * max(count, 0)
    return _read_message(raw, at + 1, subscription_id, more=bool(raw[at]))


def read_republish_response(data: Buffer, subscription_id: int) -> Notification:
    """Take a Republish response apart. Raises what ``read_publish_response`` raises."""
    raw, at = _after_header(data)
    return _read_message(raw, at, subscription_id, more=False)


def _after_header(data: Buffer) -> tuple[bytes, int]:
    """The bytes of a response, and where its header ends; one that is good and says nothing else is not taken apart."""
    raw = bytes(data.read(len(data)))
    if len(raw) >= _USUAL_HEADER.size:
        encoding, _type, _handle, result, diagnostics, strings, additional = _USUAL_HEADER.unpack_from(raw)
        if encoding == 1 and not result and not diagnostics and strings in (-1, 0) and additional == b"\0\0\0":
            return raw, _USUAL_HEADER.size
    data = Buffer(raw)
    nodeid_from_binary(data)
    header = struct_from_binary(ua.ResponseHeader, data)
    header.ServiceResult.check()
    return raw, data.cur_pos


def _read_message(raw: bytes, at: int, subscription_id: int, *, more: bool) -> Notification:
    ticks = _I64.unpack_from(raw, at + 4)[0]
    notification = Notification(
        subscription_id,
        _U32.unpack_from(raw, at)[0],
        more=more,
        published_ns=one_tick_to_ns(ticks) if ticks > 0 else None,
    )
    count = _I32.unpack_from(raw, at + 12)[0]
    notification.is_keep_alive = count <= 0
    at += 16
    for _ in range(max(count, 0)):
        if raw.startswith(_USUAL_DATA_CHANGE, at):
            at += len(_USUAL_DATA_CHANGE)
            size = _I32.unpack_from(raw, at)[0]
            at += 4
            notification.data_changes.append(raw[at : at + size])
            at += size
            continue
        buffer = Buffer(raw, at)
        type_id = nodeid_from_binary(buffer)
        at = buffer.cur_pos
        if raw[at] != 1:
            raise PayloadInvalid(f"a notification of type {type_id} is not encoded as bytes")
        size = _I32.unpack_from(raw, at + 1)[0]
        at += 5
        if type_id.NamespaceIndex == 0 and type_id.Identifier == _DATA_CHANGE:
            notification.data_changes.append(raw[at : at + size])
        elif type_id.NamespaceIndex == 0 and type_id.Identifier == _EVENTS:
            notification.events.append(raw[at : at + size])
        elif type_id.NamespaceIndex == 0 and type_id.Identifier == _STATUS_CHANGE:
            notification.status_change = _U32.unpack_from(raw, at)[0]
        at += size
    return notification
