"""HistoryRead requests for raw values, and their responses in bytes (OPC UA Part 4, 5.10.3; Part 11, 6.4.3 and 6.5.2).

The values are taken as DataValues in bytes and decoded like those of a subscription, with the same result: asyncua
would round their times to microseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary

from connectors.model.errors import PayloadInvalid

_HISTORY_DATA: Final = ObjectIds.HistoryData_Encoding_DefaultBinary
_I32: Final = struct.Struct("<i")
_U32: Final = struct.Struct("<I")
NO_VALUES: Final = _I32.pack(0)
_NO_TIME: Final = datetime(1601, 1, 1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """What the server has answered for one node: status code, where it goes on, and HistoryData in bytes."""

    status: int
    continuation: bytes | None
    data: bytes

    @property
    def count(self) -> int:
        """How many values there are."""
        return max(0, int(_I32.unpack_from(self.data, 0)[0]))


def history_request(
    nodes: Sequence[tuple[ua.NodeId, bytes | None]], first_ns: int | None, last_ns: int, values_max: int
) -> Any:
    """Ask for raw values of ``nodes`` (each with where it goes on, or ``None``) from ``first_ns`` to ``last_ns``.

    Without ``first_ns``: backwards from ``last_ns``.
    """
    details = ua.ReadRawModifiedDetails()
    details.IsReadModified = False
    details.StartTime = _NO_TIME if first_ns is None else _time(first_ns)
    details.EndTime = _time(last_ns)
    details.NumValuesPerNode = ua.UInt32(values_max)
    details.ReturnBounds = False
    request = ua.HistoryReadRequest()
    request.Parameters.HistoryReadDetails = details
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    request.Parameters.ReleaseContinuationPoints = False
    request.Parameters.NodesToRead = [
        ua.HistoryReadValueId(NodeId=node, ContinuationPoint=continuation) for node, continuation in nodes
    ]
    return request


def read_history_response(data: Buffer) -> list[NodeHistory]:
    """Take a HistoryRead response apart.

    Raises ``UaError`` for a bad service result, and any of ``DECODING_ERRORS`` when the bytes are no such response.
    """
    nodeid_from_binary(data)
    header = struct_from_binary(ua.ResponseHeader, data)
    header.ServiceResult.check()
    raw = bytes(data.read(len(data)))
    found: list[NodeHistory] = []
    at = 4
    for _ in range(max(0, _I32.unpack_from(raw, 0)[0])):
        status = _U32.unpack_from(raw, at)[0]
        continuation, at = _bytes_at(raw, at + 4)
        buffer = Buffer(raw, at)
        kind = nodeid_from_binary(buffer)
        at = buffer.cur_pos
        body: bytes | None = None
        if raw[at] == 1:
            body, at = _bytes_at(raw, at + 1)
        elif raw[at] == 0:
            at += 1
        else:
            raise PayloadInvalid(f"history of type {kind} is not encoded as bytes")
        is_data = kind.NamespaceIndex == 0 and kind.Identifier == _HISTORY_DATA
        found.append(NodeHistory(status, continuation or None, body if body and is_data else NO_VALUES))
    return found


def _bytes_at(raw: bytes, at: int) -> tuple[bytes | None, int]:
    length = _I32.unpack_from(raw, at)[0]
    at += 4
    if length < 0:
        return None, at
    if at + length > len(raw):
        raise PayloadInvalid("a byte string is longer than the response that carries it")
    return raw[at : at + length], at + length


def _time(time_ns: int) -> datetime:
    """As asyncua writes times; rounded down, so that nothing at ``time_ns`` lies before it."""
    return (_EPOCH + timedelta(microseconds=time_ns // 1000)).replace(tzinfo=None)
