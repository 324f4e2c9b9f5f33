"""Device definitions as bytes: a Sparkplug payload of metrics without values, named by the hash of those bytes.

The body of a definition is written once, kept for ever under its hash, and lets anyone decode a batch that names it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Final

from google.protobuf.message import DecodeError

from connectors.model.datatypes import DataType
from connectors.model.errors import PayloadInvalid
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName, MetricDefinition, TagName
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.metric_value import text_of

DEVICE: Final = "Lineside/Device"
UNIT_PROPERTY: Final = "engUnit"
DESCRIPTION_PROPERTY: Final = "documentation"
LIMIT_PROPERTIES: Final = ("engLow", "engHigh")
ALIAS_MAX: Final = (1 << 31) - 1
ALIAS_SPREAD_MAX: Final = 1 << 24
"""Samples keep an alias in 32 bits, and decoding looks aliases up in a table from the lowest to the highest."""


def make_definition(device: DeviceName, metrics: Iterable[MetricDefinition]) -> DeviceDefinition:
    """The definition of ``device``; the same metrics give the same bytes and hash, in whatever order they come."""
    ordered = tuple(sorted(metrics, key=lambda metric: metric.alias))
    payload = pb.Payload()
    payload.metrics.add(name=DEVICE, datatype=DataType.STRING, string_value=device)
    for metric in ordered:
        entry = payload.metrics.add(name=metric.name, alias=metric.alias, datatype=metric.datatype)
        add_properties(entry, metric)
    body = payload.SerializeToString(deterministic=True)
    return DeviceDefinition(device, ordered, hash_of(body), body)


def add_properties(entry: pb.Metric, metric: MetricDefinition) -> None:
    """Unit, description and limits as the properties that SCADA hosts show (Sparkplug B 3.0, 6.4.14).

    ``engUnit`` and ``documentation`` are texts, ``engLow`` and ``engHigh`` doubles; what there is none of is left out.
    """
    for key, text in ((UNIT_PROPERTY, metric.unit), (DESCRIPTION_PROPERTY, metric.description)):
        if text:
            entry.properties.keys.append(key)
            entry.properties.values.add(type=DataType.STRING, string_value=text)
    for key, limit in zip(LIMIT_PROPERTIES, metric.limits or (), strict=False):
        entry.properties.keys.append(key)
        entry.properties.values.add(type=DataType.DOUBLE, double_value=limit)


def hash_of(body: bytes) -> DefinitionHash:
    """32 hexadecimal digits: the first half of SHA-256."""
    return DefinitionHash(hashlib.sha256(body).hexdigest()[:32])


def read_definition(body: bytes) -> DeviceDefinition:
    """The definition in ``body``. Raises ``PayloadInvalid`` when it is none, or its aliases cannot be used."""
    try:
        payload = pb.Payload.FromString(body)
    except DecodeError as exc:
        raise PayloadInvalid("the definition is not a Sparkplug payload") from exc
    if not payload.metrics or payload.metrics[0].name != DEVICE:
        raise PayloadInvalid("the definition does not begin with the name of its device")
    metrics = tuple(_metric(entry) for entry in payload.metrics[1:])
    aliases = {metric.alias for metric in metrics}
    if len(aliases) != len(metrics):
        raise PayloadInvalid("the definition uses an alias twice")
    if aliases and (max(aliases) > ALIAS_MAX or max(aliases) - min(aliases) >= ALIAS_SPREAD_MAX):
        raise PayloadInvalid(f"the definition has aliases from {min(aliases)} to {max(aliases)}: that is too far")
    return DeviceDefinition(DeviceName(text_of(payload.metrics[0].string_value)), metrics, hash_of(body), body)


def _metric(entry: pb.Metric) -> MetricDefinition:
    try:
        datatype = DataType(entry.datatype)
    except ValueError as exc:
        raise PayloadInvalid(f"the definition has data type {entry.datatype} for {entry.name!r}") from exc
    told = dict(zip(entry.properties.keys, entry.properties.values, strict=False))
    nothing = pb.PropertyValue()
    return MetricDefinition(
        entry.alias,
        TagName(text_of(entry.name)),
        datatype,
        text_of(told.get(UNIT_PROPERTY, nothing).string_value),
        text_of(told.get(DESCRIPTION_PROPERTY, nothing).string_value),
        _limits(told),
    )


def _limits(told: dict[str, pb.PropertyValue]) -> tuple[float, float] | None:
    """Both of them, where they are numbers that can be limits."""
    low, high = (told[key].double_value if key in told else math.nan for key in LIMIT_PROPERTIES)
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low <= high else None
