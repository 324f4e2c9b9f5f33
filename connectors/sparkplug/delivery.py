"""The delivery metrics of Lineside: what every birth and data message of an agent carries first, and by name.

They are ordinary Sparkplug metrics, so that any host can read an agent; a host that knows them can acknowledge.
See docs/protocol/delivery.md for the whole exchange.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from connectors.model.datatypes import DataType
from connectors.model.delivery import SPANS_MAX, BatchRanges, Epoch
from connectors.model.errors import PayloadInvalid
from connectors.model.texts import storable
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.bulk_encode import varint
from connectors.sparkplug.metric_value import text_of

EPOCH: Final = "Lineside/Epoch"
BATCH: Final = "Lineside/Batch"
DEFINITION: Final = "Lineside/Definition"
COUNT: Final = "Lineside/Count"
TICKS: Final = "Lineside/Ticks"
DEFINITION_BODY: Final = "Lineside/Definition Body"
GAP: Final = "Lineside/Gap"
EPOCH_START: Final = "Lineside/Epoch Start"
ACK: Final = "Lineside/Ack"
COMMAND: Final = "Lineside/Command"
TIME: Final = "Lineside/Time"
CANCEL: Final = "Lineside/Cancel"
APPROVAL: Final = "Lineside/Approval"
KEYS: Final = "Lineside/Keys"
COMMAND_REPORT: Final = "Lineside/Command Report"
HELLO: Final = "Lineside/Hello"
RECORDS: Final = (DEFINITION_BODY, GAP, EPOCH_START, COMMAND_REPORT, HELLO)
"""What a message of the outbox may carry instead of samples."""

NODE_METRICS: Final = {
    EPOCH: DataType.INT64,
    BATCH: DataType.INT64,
    DEFINITION: DataType.STRING,
    COUNT: DataType.INT32,
    DEFINITION_BODY: DataType.BYTES,
    GAP: DataType.STRING,
    EPOCH_START: DataType.STRING,
    ACK: DataType.STRING,
    COMMAND: DataType.STRING,
    TIME: DataType.STRING,
    CANCEL: DataType.STRING,
    APPROVAL: DataType.STRING,
    KEYS: DataType.STRING,
    COMMAND_REPORT: DataType.STRING,
    HELLO: DataType.STRING,
}
"""What the NBIRTH lists beside bdSeq and Rebirth: all that NDATA or NCMD of the session may carry."""

DEVICE_METRICS: Final = {
    EPOCH: DataType.INT64,
    BATCH: DataType.INT64,
    DEFINITION: DataType.STRING,
    COUNT: DataType.INT32,
    TICKS: DataType.BYTES,
    COMMAND: DataType.STRING,
}
"""What a DBIRTH lists beside the tags of the device: all else that DDATA or DCMD of the session may carry."""

_TIMESTAMP: Final = 0x08
"""The tag of a payload's first field."""
_NAMED_METRIC: Final = 0x0A
_Int = TypeVar("_Int", bound=int)


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery metrics of one message.

    ``batch`` is 0 in births, which are not part of the outbox. ``definition`` is empty where the message has no
    samples. ``body_at`` is the byte at which the metrics of the tags begin. ``records`` holds the named metrics
    that are not delivery metrics themselves: a definition's body, a gap, an epoch start, a report, a hello.
    """

    epoch: Epoch
    batch: int
    definition: str
    count: int
    ticks: NDArray[np.uint16] | None = None
    body_at: int = 0
    records: dict[str, Any] = field(default_factory=dict)

    @property
    def defines(self) -> str:
        """The definition that the message brings, by its hash; empty when it brings none."""
        return self.definition if DEFINITION_BODY in self.records else ""


def data_message(
    *, publish_ms: int, seq: int, delivery: Delivery, metrics: bytes, ticks: NDArray[np.uint16] | None = None
) -> bytes:
    """A whole NDATA or DDATA payload: time, seq, delivery metrics, then ``metrics`` as they are."""
    named = [
        (EPOCH, b"\x58" + varint(delivery.epoch)),
        (BATCH, b"\x58" + varint(delivery.batch)),
        (DEFINITION, _length_delimited(0x7A, delivery.definition.encode())),
        (COUNT, b"\x50" + varint(delivery.count)),
    ]
    if ticks is not None and ticks.any():
        named.append((TICKS, b"\x82\x01" + varint(2 * len(ticks)) + ticks.astype("<u2").tobytes()))
    for name, value in delivery.records.items():
        field_tag = b"\x82\x01" if isinstance(value, bytes) else b"\x7a"
        data = value if isinstance(value, bytes) else value.encode()
        named.append((name, field_tag + varint(len(data)) + data))
    time = varint(publish_ms)
    parts = [b"\x08", time, b"\x18", varint(seq)]
    for name, value in named:
        body = _length_delimited(_NAMED_METRIC, name.encode()) + b"\x18" + time + value
        parts += [b"\x12", varint(len(body)), body]
    parts.append(metrics)
    return b"".join(parts)


MESSAGE_OVERHEAD_BYTES_MAX: Final = 400
"""What ``data_message`` adds to the metrics, without ticks and records."""
TICK_BYTES: Final = 2
"""What the ticks of one sample take."""


def read_delivery(payload: bytes) -> Delivery | None:
    """The delivery metrics of ``payload``; ``None`` when it has none, as a payload of any other Sparkplug node.

    Only the leading named metrics are read. Raises ``PayloadInvalid`` when the bytes are not a Sparkplug payload up
    to there, or when the delivery metrics contradict themselves.
    """
    found = _OWN_HEAD.match(payload)
    own = None if found is None else _read_own(payload, found)
    return _read_any(payload) if own is None else own


_VARINT: Final = rb"([\x80-\xff]{0,8}[\x00-\x7f])"
_OWN_HEAD: Final = re.compile(
    rb"\x08([\x80-\xff]{0,8}[\x00-\x7f])\x18[\x80-\xff]?[\x00-\x7f]"
    rb"\x12(.)\x0a\x0eLineside/Epoch\x18\1\x58" + _VARINT + rb"\x12(.)\x0a\x0eLineside/Batch\x18\1\x58" + _VARINT +
    rb"\x12(.)\x0a\x13Lineside/Definition\x18\1\x7a(.)([0-9a-f]{0,32})"
    rb"\x12(.)\x0a\x0eLineside/Count\x18\1\x50([\x80-\xff]{0,3}[\x00-\x7f])",
    re.DOTALL,
)  # fmt: skip
"""The four metrics that every message begins with, as ``data_message`` writes them."""
_NO_DELIVERY_FOLLOWS: Final = re.compile(rb"\Z|\x12[\x00-\x7f]\x10|\x12[\x80-\xff][\x00-\x7f]\x10")
_TICKS_FOLLOW: Final = re.compile(
    rb"\x12([\x80-\xff]{0,3}[\x00-\x7f])\x0a\x0eLineside/Ticks\x18([\x80-\xff]{0,8}[\x00-\x7f])\x82\x01"
    rb"([\x80-\xff]{0,3}[\x00-\x7f])"
)


def _read_own(payload: bytes, head: re.Match[bytes]) -> Delivery | None:
    """``read_delivery`` for the head that ``data_message`` writes; ``None`` when anything about it is otherwise."""
    time, size_1, epoch, size_2, batch, size_3, size_text, definition, size_4, count = head.groups()
    fixed = 18 + len(time)  # the name with its length, the tags of time and value, the time
    if (size_1[0] != fixed + len(epoch) or size_2[0] != fixed + len(batch) or size_text[0] != len(definition)
            or size_3[0] != fixed + 6 + len(definition) or size_4[0] != fixed + len(count)):  # fmt: skip
        return None
    at, ticks = head.end(), None
    if (found := _TICKS_FOLLOW.match(payload, at)) is not None:
        size, data_at = _varint_of(found[3]), found.end()
        following = data_at + size
        if size & 1 or following > len(payload) or found.start(1) + len(found[1]) + _varint_of(found[1]) != following:
            return None
        at, ticks = following, np.frombuffer(payload, "<u2", size // 2, data_at)
    numbers = _varint_of(epoch), _varint_of(batch)
    if _NO_DELIVERY_FOLLOWS.match(payload, at) is None or not numbers[0]:
        return None
    return Delivery(Epoch(numbers[0]), numbers[1], definition.decode(), _varint_of(count), ticks, at)


def sent_ms_of(payload: bytes) -> int | None:
    """The timestamp of a payload that begins with it, as an agent's does, in milliseconds; ``None`` for any other."""
    if not payload or payload[0] != _TIMESTAMP:
        return None
    end = 1
    while end < min(len(payload), 11) and payload[end] & 0x80:
        end += 1
    return _varint_of(payload[1 : end + 1])


def _varint_of(data: bytes) -> int:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
    return number


def _read_any(payload: bytes) -> Delivery | None:
    """``read_delivery`` for a payload of anybody's."""
    named: dict[str, Any] = {}
    at, end = 0, len(payload)
    try:
        while at < end:
            tag = payload[at]
            if tag in (0x08, 0x18):
                at += 1
                while payload[at] & 0x80:
                    at += 1
                at += 1
                continue
            if tag != 0x12:
                break
            size, body = _length_at(payload, at + 1)
            if body + size > end or payload[body] != _NAMED_METRIC:
                break
            metric = pb.Metric.FromString(payload[body : body + size])
            name = text_of(metric.name)
            if not name.startswith("Lineside/"):
                break
            if value_field := metric.WhichOneof("value"):
                named[name] = getattr(metric, value_field)
            at = body + size
    except (IndexError, DecodeError) as exc:
        raise PayloadInvalid(f"not a Sparkplug payload: it breaks off at byte {at} of {end}") from exc
    return _delivery_of(named, at) if EPOCH in named else None


def _delivery_of(named: dict[str, Any], body_at: int) -> Delivery:
    records: dict[str, Any] = {name: named[name] for name in RECORDS if name in named}
    ticks = named.get(TICKS)
    try:
        delivery = Delivery(
            epoch=Epoch(int(named[EPOCH])),
            batch=int(named[BATCH]),
            definition=str(named.get(DEFINITION, "")),
            count=int(named[COUNT]),
            ticks=None if ticks is None else np.frombuffer(ticks, "<u2"),
            body_at=body_at,
            records=records,
        )
    except (KeyError, ValueError, TypeError, OverflowError) as exc:
        raise PayloadInvalid(f"the delivery metrics are incomplete or of a wrong type: {exc}") from exc
    if not 0 < delivery.epoch < 1 << 63 or not 0 <= delivery.batch < 1 << 63 or delivery.count < 0:
        raise PayloadInvalid(
            f"the delivery metrics are out of range: epoch {delivery.epoch}, batch {delivery.batch}, "
            f"count {delivery.count}"
        )
    return delivery


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What the cloud says of one epoch: batches that are durable in the event log, and batches it will never take."""

    epoch: Epoch
    batches: BatchRanges
    refused: tuple[tuple[int, str], ...] = ()


def encode_acknowledgement(acks: Sequence[Acknowledgement], time_ms: int) -> bytes:
    """An NCMD payload with the acknowledgements; no seq, as commands have none (specification, section 6.4.21)."""
    document = [
        {
            "epoch": format_epoch(ack.epoch),
            "batches": [list(span) for span in ack.batches],
            **({"refused": [list(item) for item in ack.refused]} if ack.refused else {}),
        }
        for ack in acks
    ]
    payload = pb.Payload(timestamp=time_ms)
    payload.metrics.add(
        name=ACK,
        timestamp=time_ms,
        datatype=DataType.STRING,
        string_value=json.dumps(document, separators=(",", ":")),
    )
    return payload.SerializeToString()


def decode_acknowledgements(text: str) -> list[Acknowledgement]:
    """The value of an ``Lineside/Ack`` metric.

    Raises ``PayloadInvalid`` when it is not one, or names more than ``SPANS_MAX`` ranges and refusals together.
    """
    try:
        document = json.loads(text)
        named = sum(max(1, len(item["batches"]) + len(item.get("refused", ()))) for item in document)
        if named > SPANS_MAX:
            raise PayloadInvalid(f"an acknowledgement that names {named} ranges; {SPANS_MAX} is the limit")
        return [
            Acknowledgement(
                _within_bigint(parse_epoch(item["epoch"])),
                BatchRanges(_spans(item["batches"])),
                tuple((_within_bigint(int(batch)), storable(str(why))) for batch, why in item.get("refused", ())),
            )
            for item in document
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as exc:
        raise PayloadInvalid(f"not an acknowledgement: {text[:120]!r}") from exc


def format_epoch(epoch: int) -> str:
    """An epoch as people and JSON see it: 16 hexadecimal digits."""
    return f"{epoch:016x}"


def parse_epoch(text: str) -> Epoch:
    """The epoch that ``format_epoch`` wrote. Raises ``ValueError``."""
    return Epoch(int(text, 16))


def _spans(items: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    return [(_within_bigint(int(first)), _within_bigint(int(last))) for first, last in items]


def _within_bigint(number: _Int) -> _Int:
    if not 0 <= number < 1 << 63:
        raise ValueError(f"{number} is no epoch and no batch number")
    return number


def _length_delimited(tag: int, data: bytes) -> bytes:
    return bytes((tag,)) + varint(len(data)) + data


def _length_at(payload: bytes, at: int) -> tuple[int, int]:
    """(length, position after it); IndexError when it is cut off."""
    size = shift = 0
    while True:
        byte = payload[at]
        size |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return size, at
        shift += 7
        if shift > 63:
            raise IndexError(at)
