"""One metric of the protobuf library to a Python value and a quality: the careful way, for whatever a sender wrote.

Senders differ (see docs/reference/sparkplug.md): UInt32 in ``int_value`` or ``long_value``, negative numbers as
two's complements of 16, 32 or 64 bits. The value is reinterpreted by the data type of the birth.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from connectors.model.datatypes import DataType, ValueFamily, family_of
from connectors.model.errors import PayloadInvalid
from connectors.model.quality import BAD, GOOD, UNCERTAIN_LAST_USABLE_VALUE, is_good
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.bulk_encode import QUALITY_BAD, QUALITY_GOOD, QUALITY_STALE

_BITS: Final = {
    DataType.INT8: 8,
    DataType.INT16: 16,
    DataType.INT32: 32,
    DataType.INT64: 64,
    DataType.UINT8: 8,
    DataType.UINT16: 16,
    DataType.UINT32: 32,
    DataType.UINT64: 64,
    DataType.DATETIME: 64,
}
CANNOT_CONVERT: Final = (TypeError, ValueError, OverflowError, struct.error)
"""What ``converted`` raises when the value is of another kind."""

_QUALITIES: Final = {QUALITY_GOOD: GOOD, QUALITY_BAD: BAD, QUALITY_STALE: UNCERTAIN_LAST_USABLE_VALUE}


def metric_value(metric: pb.Metric, datatype: DataType) -> tuple[Any, int]:
    """(value or ``None``, quality) of ``metric`` as ``datatype``.

    A metric without a value is never good. Raises ``PayloadInvalid`` when the value cannot be of that type.
    """
    quality = metric_quality(metric)
    field = metric.WhichOneof("value")
    if metric.is_null or field is None:
        return None, BAD if is_good(quality) else quality
    raw = getattr(metric, field)
    try:
        return converted(raw, field, datatype), quality
    except CANNOT_CONVERT as exc:
        name = metric.name[:80] or f"alias {metric.alias}"
        raise PayloadInvalid(f"the metric {name!r} has a {field}, which cannot be a {datatype.label}") from exc


def text_of(text: Any) -> str:
    """A text as the protobuf library gives it: bytes where a sender's are not UTF-8. Raises ``PayloadInvalid``."""
    if not isinstance(text, str):
        raise PayloadInvalid(f"a text is not UTF-8: {text[:40]!r}")
    return text


def metric_quality(metric: pb.Metric) -> int:
    """The upper half of the ``StatusCode`` property, else the meaning of Sparkplug's ``Quality``, else good."""
    if not metric.HasField("properties"):
        return GOOD
    found = dict(zip(metric.properties.keys, metric.properties.values, strict=False))
    status = found.get("StatusCode")
    if status is not None:
        return (status.int_value or status.long_value & 0xFFFFFFFF) >> 16
    quality = found.get("Quality")
    return GOOD if quality is None else _QUALITIES.get(quality.int_value or quality.long_value, BAD)


def converted(raw: Any, field: str, datatype: DataType) -> Any:
    """What a sender put into ``field``, as ``datatype``. Raises one of ``CANNOT_CONVERT``."""
    family = family_of(datatype)
    if family is ValueFamily.TEXT:
        if field != "string_value" or not isinstance(raw, str):
            raise TypeError(field)
        return raw
    if family is ValueFamily.BYTES:
        if field != "bytes_value":
            raise TypeError(field)
        return raw
    if field in ("string_value", "bytes_value", "dataset_value", "template_value"):
        raise TypeError(field)
    if family is ValueFamily.BOOL:
        return bool(raw)
    if family is ValueFamily.FLOAT:
        return struct.unpack("<f", struct.pack("<f", raw))[0] if datatype is DataType.FLOAT else float(raw)
    bits = _BITS[datatype]
    number = int(raw) & ((1 << bits) - 1)
    signed = family is ValueFamily.INT
    return number - (1 << bits) if signed and number >> (bits - 1) else number
