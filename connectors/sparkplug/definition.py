"""Device definitions as bytes: a Sparkplug payload of metrics without values, named by the hash of those bytes.

The body of a definition is written once, kept for ever under its hash, and lets anyone decode a batch that names it.
"""

from __future__ import annotations

import hashlib
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
    """Unit and description as the properties ``engUnit`` and ``documentation`` that SCADA hosts show."""
    for key, text in ((UNIT_PROPERTY, metric.unit), (DESCRIPTION_PROPERTY, metric.description)):
        if text:
            entry.properties.keys.append(key)
            entry.properties.values.add(type=DataType.STRING, string_value=text)


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
    texts = {
        key: value.string_value for key, value in zip(entry.properties.keys, entry.properties.values, strict=False)
    }
    return MetricDefinition(
        entry.alias,
        TagName(text_of(entry.name)),
        datatype,
        text_of(texts.get(UNIT_PROPERTY, "")),
        text_of(texts.get(DESCRIPTION_PROPERTY, "")),
    )
