"""What an agent is asked to do, as it stands in NCMD and DCMD: bounded before it is read, and not judged here.

A DCMD has plain metrics of tags, which any Sparkplug host can write (specification 3.0, 6.4.22), and from Lineside's
cloud the signed envelope beside them, which alone is executed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from connectors.commands.envelope import ENVELOPE_BYTES_MAX
from connectors.model.datatypes import DataType
from connectors.model.errors import PayloadInvalid
from connectors.model.tags import DeviceDefinition, DeviceName
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.delivery import APPROVAL, CANCEL, COMMAND, KEYS, TIME
from connectors.sparkplug.metric_value import metric_value, text_of

PAYLOAD_BYTES_MAX: Final = 2 * ENVELOPE_BYTES_MAX
"""Of a DCMD: an envelope, and what stands beside it."""
METRICS_MAX: Final = 16
SIGNED: Final = (COMMAND, TIME, CANCEL, APPROVAL, KEYS)
"""Metrics whose value is a signed document (RFC 7515)."""


@dataclass(frozen=True, slots=True)
class PlainMetric:
    """A plain metric of a DCMD: a tag by its name, and the value, ``None`` where it is none that can be read."""

    name: str
    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class CommandReceived:
    """A command to a device: ``jws`` is the signed envelope, empty where there is none.

    ``oversized_bytes`` is its size when it was too large to be read; everything else is then empty.
    """

    topic: str
    device: str
    plain: tuple[PlainMetric, ...]
    jws: str
    oversized_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SignedReceived:
    """A signed document for the agent itself: what it is says the name of its metric, one of ``SIGNED``."""

    topic: str
    metric: str
    jws: str


def read_device_command(
    topic: str, device: DeviceName, payload: bytes, definition: DeviceDefinition | None
) -> CommandReceived:
    """The command in a DCMD; ``definition`` says what the aliases of the device mean.

    Raises ``PayloadInvalid`` when it is no Sparkplug payload, or has more metrics than anybody needs.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        return CommandReceived(topic, device, (), "", len(payload))
    try:
        command = pb.Payload.FromString(payload)
    except DecodeError as exc:
        raise PayloadInvalid("the command is not a Sparkplug payload") from exc
    if len(command.metrics) > METRICS_MAX:
        raise PayloadInvalid(f"the command has {len(command.metrics)} metrics; {METRICS_MAX} is the limit")
    jws = ""
    plain: list[PlainMetric] = []
    for metric in command.metrics:
        if text_of(metric.name) == COMMAND:
            if jws:
                raise PayloadInvalid(f"the command has {COMMAND!r} twice")
            jws = _sealed(metric)
            if len(jws) > ENVELOPE_BYTES_MAX:
                return CommandReceived(topic, device, (), "", len(jws))
        else:
            plain.append(_plain(metric, definition))
    if not jws and not plain:
        raise PayloadInvalid("the command has no metrics")
    return CommandReceived(topic, device, tuple(plain), jws)


def read_signed(topic: str, metric: pb.Metric) -> SignedReceived | CommandReceived:
    """A metric of an NCMD that is one of ``SIGNED``. Raises ``PayloadInvalid``."""
    jws = _sealed(metric)
    if len(jws) > ENVELOPE_BYTES_MAX:
        return CommandReceived(topic, "", (), "", len(jws))
    if metric.name == COMMAND:
        return CommandReceived(topic, "", (), jws)
    return SignedReceived(topic, metric.name, jws)


def _sealed(metric: pb.Metric) -> str:
    text = text_of(metric.string_value)
    if not text:
        raise PayloadInvalid(f"the metric {metric.name!r} is empty")
    return text


def _plain(metric: pb.Metric, definition: DeviceDefinition | None) -> PlainMetric:
    """By name, or by the alias of the birth; the type is that of the birth, else the one that it names itself."""
    known = () if definition is None else definition.metrics
    name = text_of(metric.name)
    found = next((each for each in known if each.name == name or (not name and each.alias == metric.alias)), None)
    name = name or (found.name if found is not None else f"alias {metric.alias}")
    try:
        datatype = DataType(metric.datatype) if found is None else found.datatype
        value, _ = metric_value(metric, datatype)
    except (ValueError, PayloadInvalid):
        value = None
    return PlainMetric(name[:255], value if isinstance(value, bool | int | float | str) else None)
