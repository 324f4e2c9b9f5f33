"""Birth and death certificates as payloads (specification 3.0, sections 6.4.17 to 6.4.26)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from connectors.model.datatypes import DataType, ValueFamily, dtype_of, family_of
from connectors.model.delivery import Epoch
from connectors.model.quality import GOOD, is_bad, is_good
from connectors.model.tags import DeviceDefinition, MetricDefinition
from connectors.model.texts import storable
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.bulk_encode import NS_PER_MS, QUALITY_BAD, QUALITY_GOOD, QUALITY_STALE
from connectors.sparkplug.definition import add_properties
from connectors.sparkplug.delivery import BATCH, COUNT, DEFINITION, DEVICE_METRICS, EPOCH, NODE_METRICS

BD_SEQ: Final = "bdSeq"
REBIRTH: Final = "Node Control/Rebirth"
_FIRST: Final = (EPOCH, BATCH, DEFINITION, COUNT)


@dataclass(frozen=True, slots=True)
class CurrentValue:
    """The newest sample of a tag, for a birth; ``stale`` when its device cannot be reached; no value is ``None``."""

    value: Any
    time_ns: int
    quality: int = GOOD
    stale: bool = False


@dataclass(frozen=True, slots=True)
class NodeProperty:
    """A fact about the agent that its NBIRTH tells, for example its version."""

    name: str
    value: str


def node_death(bd_seq: int, time_ms: int) -> bytes:
    """An NDEATH: the bdSeq metric alone, without seq (6.4.26)."""
    payload = pb.Payload(timestamp=time_ms)
    payload.metrics.add(name=BD_SEQ, timestamp=time_ms, datatype=DataType.INT64, long_value=bd_seq)
    return payload.SerializeToString()


def node_birth(*, epoch: Epoch, bd_seq: int, time_ms: int, properties: Iterable[NodeProperty]) -> bytes:
    """An NBIRTH with seq 0: every metric that the node itself may send in this session."""
    payload = pb.Payload(timestamp=time_ms, seq=0)
    _add_delivery(payload, epoch, "", time_ms)
    payload.metrics.add(name=BD_SEQ, timestamp=time_ms, datatype=DataType.INT64, long_value=bd_seq)
    payload.metrics.add(name=REBIRTH, timestamp=time_ms, datatype=DataType.BOOLEAN, boolean_value=False)
    for name, datatype in NODE_METRICS.items():
        if name not in _FIRST:
            payload.metrics.add(name=name, timestamp=time_ms, datatype=datatype, is_null=True)
    for item in properties:
        payload.metrics.add(name=item.name, timestamp=time_ms, datatype=DataType.STRING, string_value=item.value)
    return payload.SerializeToString()


def device_birth(
    *,
    epoch: Epoch,
    seq: int,
    time_ms: int,
    definition: DeviceDefinition,
    values: dict[int, CurrentValue],
    bytes_max: int = 0,
) -> bytes:
    """A DBIRTH: every tag with name, alias, type, unit and its newest value (by alias in ``values``; absent: null).

    With ``bytes_max`` (0: no limit), values are left out as null, the largest first, until it is no longer than that.
    It is longer all the same when the tags alone are.
    """
    payload = pb.Payload(timestamp=time_ms, seq=seq)
    _add_delivery(payload, epoch, definition.hash, time_ms)
    for name, datatype in DEVICE_METRICS.items():
        if name not in _FIRST:
            payload.metrics.add(name=name, timestamp=time_ms, datatype=datatype, is_null=True)
    for metric in definition.metrics:
        _add_tag(payload, metric, values.get(metric.alias), time_ms)
    if bytes_max and payload.ByteSize() > bytes_max:
        _leave_out_values(payload, bytes_max)
    return payload.SerializeToString()


def device_death(seq: int, time_ms: int) -> bytes:
    """A DDEATH: time and seq (6.4.25)."""
    return pb.Payload(timestamp=time_ms, seq=seq).SerializeToString()


def rebirth_command(time_ms: int) -> bytes:
    """The NCMD by which a host asks a node for its births (6.4.21); no seq."""
    payload = pb.Payload(timestamp=time_ms)
    payload.metrics.add(name=REBIRTH, timestamp=time_ms, datatype=DataType.BOOLEAN, boolean_value=True)
    return payload.SerializeToString()


def set_value(metric: pb.Metric, datatype: DataType, value: Any) -> None:
    """Put ``value`` into the field that the specification gives its data type (table of section 6.4.16)."""
    family = family_of(datatype)
    if family is ValueFamily.FLOAT:
        if datatype is DataType.FLOAT:
            metric.float_value = float(value)
        else:
            metric.double_value = float(value)
    elif family is ValueFamily.BOOL:
        metric.boolean_value = bool(value)
    elif family is ValueFamily.TEXT:
        metric.string_value = storable(str(value))
    elif family is ValueFamily.BYTES:
        metric.bytes_value = bytes(value)
    elif dtype_of(datatype).itemsize == 8:
        metric.long_value = int(value) & 0xFFFF_FFFF_FFFF_FFFF
    else:
        metric.int_value = int(value) & 0xFFFF_FFFF


def _add_delivery(payload: pb.Payload, epoch: Epoch, definition: str, time_ms: int) -> None:
    payload.metrics.add(name=EPOCH, timestamp=time_ms, datatype=DataType.INT64, long_value=epoch)
    payload.metrics.add(name=BATCH, timestamp=time_ms, datatype=DataType.INT64, long_value=0)
    payload.metrics.add(name=DEFINITION, timestamp=time_ms, datatype=DataType.STRING, string_value=definition)
    payload.metrics.add(name=COUNT, timestamp=time_ms, datatype=DataType.INT32, int_value=0)


def _add_tag(payload: pb.Payload, metric: MetricDefinition, current: CurrentValue | None, time_ms: int) -> None:
    entry = payload.metrics.add(name=metric.name, alias=metric.alias, timestamp=time_ms, datatype=metric.datatype)
    add_properties(entry, metric)
    if current is None:
        entry.is_null = True
        return
    entry.timestamp = (current.time_ns // NS_PER_MS) & 0xFFFF_FFFF_FFFF_FFFF
    if current.value is None:
        entry.is_null = True
    else:
        set_value(entry, metric.datatype, current.value)
    if current.stale or not is_good(current.quality):
        quality = QUALITY_STALE if current.stale else QUALITY_BAD if is_bad(current.quality) else QUALITY_GOOD
        entry.properties.keys.append("Quality")
        entry.properties.values.add(type=DataType.INT32, int_value=quality)


def _leave_out_values(payload: pb.Payload, bytes_max: int) -> None:
    """Make values of tags null until ``payload`` is no longer than ``bytes_max``, or none is left."""
    surplus = payload.ByteSize() - bytes_max
    tags = [entry for entry in payload.metrics if entry.HasField("alias") and not entry.is_null]
    for entry in sorted(tags, key=_text_length, reverse=True):
        before = entry.ByteSize()
        entry.ClearField(str(entry.WhichOneof("value")))
        entry.is_null = True
        surplus -= before - entry.ByteSize()
        if surplus <= 0:
            return


def _text_length(entry: pb.Metric) -> int:
    """Of a text or of bytes; numbers are all alike, and come after every text."""
    return max(len(entry.string_value), len(entry.bytes_value))
