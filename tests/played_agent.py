"""An agent of acknowledged delivery, played by a test: real messages, without an agent, a broker or a disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from connectors.commands.envelope import Envelope, read_envelope
from connectors.commands.reports import Approval, CommandReport, Hello, KeysAnswer, TimeAnswer, read_record
from connectors.commands.sealed import seal
from connectors.commands.signing import SigningKey, TrustedKeys
from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName, BatchRanges, Epoch, new_epoch
from connectors.model.samples import batch_of_rows
from connectors.model.tags import DeviceDefinition, DeviceName, MetricDefinition, TagName
from connectors.sparkplug.birth import NodeProperty, device_birth, device_death, node_birth, node_death
from connectors.sparkplug.bulk_encode import encode_metrics, sub_millisecond_ticks
from connectors.sparkplug.definition import make_definition
from connectors.sparkplug.delivery import (
    ACK,
    APPROVAL,
    CANCEL,
    COMMAND,
    COMMAND_REPORT,
    DEFINITION_BODY,
    EPOCH_START,
    GAP,
    HELLO,
    KEYS,
    TIME,
    Delivery,
    data_message,
    decode_acknowledgements,
    format_epoch,
)
from connectors.sparkplug.node_session import payload_of
from connectors.sparkplug.topics import Topic, Verb

NOW_MS: Final = 1_795_400_000_000
ALIAS_FIRST: Final = 1 << 14


class Wire(NamedTuple):
    """An MQTT message."""

    topic: str
    payload: bytes


class Row(NamedTuple):
    """A stored sample: the value as PostgreSQL gives it back."""

    device: str
    tag: str
    time_us: int
    value: Any
    quality: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample to send; ``value`` is ``None`` when there is none, with a quality that is not good."""

    tag: str
    time_ns: int
    value: Any
    quality: int = 0


class PlayedAgent:
    """One start of an agent: numbers its batches, and knows what the samples will look like when they are stored."""

    def __init__(
        self, name: str = "line-1", *, group: str = "plant", epoch: Epoch | None = None, first: int = 1
    ) -> None:
        self.name = AgentName(group, name)
        self.epoch = new_epoch() if epoch is None else epoch
        self.first = first
        self.key: SigningKey | None = None
        """With which it signs what it says of commands."""
        self.next = first
        self.definitions: dict[str, DeviceDefinition] = {}
        self.rows: dict[int, list[Row]] = {}
        self._seq = 0

    @property
    def last(self) -> int:
        """The last batch number that was given."""
        return self.next - 1

    def start(self, earlier: Sequence[PlayedAgent] = (), *, started_ms: int = NOW_MS) -> Wire:
        """The epoch start: always the first batch."""
        spans = [{"epoch": format_epoch(one.epoch), "first": one.first, "last": one.last} for one in earlier]
        document = {"epoch": format_epoch(self.epoch), "first": self.first, "started_ms": started_ms, "earlier": spans}
        return self.record({EPOCH_START: json.dumps(document)})

    def define(self, device: str, types: Mapping[str, DataType], *, unit: str = "") -> Wire:
        """The definition of ``device``, by tag names and their types; later samples use it."""
        metrics = [
            MetricDefinition(ALIAS_FIRST + number, TagName(name), datatype, unit)
            for number, (name, datatype) in enumerate(types.items())
        ]
        return self.definition_of(make_definition(DeviceName(device), metrics))

    def definition_of(self, definition: DeviceDefinition) -> Wire:
        """The message with ``definition``."""
        self.definitions[definition.device] = definition
        return self.record({DEFINITION_BODY: definition.body}, definition=definition.hash)

    def gap(self, device: str, reason: str, first_ns: int, last_ns: int, **more: Any) -> Wire:
        """A gap record."""
        document = {"device": device, "reason": reason, "first_ns": first_ns, "last_ns": last_ns, **more}
        return self.record({GAP: json.dumps(document)})

    def report(self, report: CommandReport) -> Wire:
        """What it says of a command."""
        return self.record({COMMAND_REPORT: self._said(report)})

    def hello(self, journal: str, *, number: int = 0, previous: str = "", nonce: str = "0" * 32, **more: Any) -> Wire:
        """The hello of this start."""
        start = format_epoch(self.epoch)
        hello = Hello(nonce=nonce, journal=journal, number=number, start=start, previous=previous, **more)
        return self.record({HELLO: self._said(hello)})

    def _said(self, record: CommandReport | Hello) -> str:
        return (record.to_json() if self.key is None else seal(record, self.key)).decode()

    def record(self, records: dict[str, Any], *, definition: str = "") -> Wire:
        """An NDATA with ``records``."""
        delivery = Delivery(self.epoch, self._number(), definition, 0, records=records)
        return self._data(Verb.NDATA, "", delivery, b"")

    def samples(self, device: str, samples: Sequence[Sample], *, count: int | None = None) -> Wire:
        """A DDATA with ``samples``; ``count`` is what it says of their number, when that is a lie."""
        definition = self.definitions[device]
        by_name = {metric.name: metric for metric in definition.metrics}
        groups: dict[DataType, list[Sample]] = {}
        for sample in samples:
            groups.setdefault(by_name[TagName(sample.tag)].datatype, []).append(sample)
        parts = [
            batch_of_rows(datatype, [(by_name[TagName(s.tag)].alias, s.time_ns, s.value, s.quality) for s in group])
            for datatype, group in groups.items()
        ]
        ticks = np.concatenate([sub_millisecond_ticks(part) for part in parts]) if parts else None
        self.rows[self.next] = [Row(device, s.tag, s.time_ns // 1000, s.value, s.quality) for s in samples]
        delivery = Delivery(
            self.epoch, self._number(), definition.hash, len(samples) if count is None else count, ticks
        )
        body = b"".join(encode_metrics(part) for part in parts)
        return self._data(Verb.DDATA, device, delivery, body)

    def raw(self, device: str, body: bytes, count: int, *, ticks: Any = None) -> Wire:
        """A DDATA of ``device`` with the metrics ``body`` as they are."""
        delivery = Delivery(self.epoch, self._number(), self.definitions[device].hash, count, ticks)
        return self._data(Verb.DDATA, device, delivery, body)

    def born(self, bd_seq: int = 0, *, version: str = "1.0") -> Wire:
        """The NBIRTH."""
        properties = [NodeProperty("Properties/Version", version)]
        payload = node_birth(epoch=self.epoch, bd_seq=bd_seq, time_ms=NOW_MS, properties=properties)
        return Wire(self.topic(Verb.NBIRTH), payload)

    def device_born(self, device: str) -> Wire:
        """The DBIRTH of ``device``, without values."""
        payload = device_birth(epoch=self.epoch, seq=1, time_ms=NOW_MS, definition=self.definitions[device], values={})
        return Wire(self.topic(Verb.DBIRTH, device), payload)

    def died(self, bd_seq: int = 0) -> Wire:
        """The NDEATH."""
        return Wire(self.topic(Verb.NDEATH), node_death(bd_seq, NOW_MS))

    def device_died(self, device: str) -> Wire:
        """The DDEATH of ``device``."""
        return Wire(self.topic(Verb.DDEATH, device), device_death(1, NOW_MS))

    def topic(self, verb: Verb, device: str = "") -> str:
        """A topic of this agent."""
        return str(Topic(self.name, verb, device))

    def _number(self) -> int:
        self.next += 1
        return self.next - 1

    def _data(self, verb: Verb, device: str, delivery: Delivery, body: bytes) -> Wire:
        self._seq = (self._seq + 1) % 256
        payload = data_message(publish_ms=NOW_MS, seq=self._seq, delivery=delivery, metrics=body, ticks=delivery.ticks)
        return Wire(self.topic(verb, device), payload)


def acknowledged(payload: bytes) -> dict[int, tuple[BatchRanges, dict[int, str]]]:
    """By epoch: what an NCMD acknowledges, and what it refuses with which reason."""
    (metric,) = payload_of(payload).metrics
    assert metric.name == ACK
    return {ack.epoch: (ack.batches, dict(ack.refused)) for ack in decode_acknowledgements(metric.string_value)}


class Commanded(NamedTuple):
    """What an NCMD or DCMD of the cloud says, signatures verified: the plain metrics by name, and what was signed."""

    plain: dict[str, Any]
    command: Envelope | None = None
    time: TimeAnswer | None = None
    cancel: dict[str, Any] | None = None
    keys: KeysAnswer | None = None
    approval: Approval | None = None


def commanded(payload: bytes, keys: TrustedKeys) -> Commanded:
    """Read a command as an agent that trusts ``keys``. Raises ``SignatureRefused``."""
    found = Commanded({})
    for metric in payload_of(payload).metrics:
        if metric.name == COMMAND:
            sealed = keys.verify("lineside-command", metric.string_value)
            found = found._replace(command=read_envelope(sealed))
        elif metric.name == TIME:
            sealed = keys.verify("lineside-time", metric.string_value)
            found = found._replace(time=read_record(TimeAnswer, sealed))
        elif metric.name == KEYS:
            found = found._replace(keys=read_record(KeysAnswer, keys.verify("lineside-keys", metric.string_value)))
        elif metric.name == APPROVAL:
            sealed = keys.verify("lineside-approval", metric.string_value)
            found = found._replace(approval=read_record(Approval, sealed))
        elif metric.name == CANCEL:
            found = found._replace(cancel=json.loads(keys.verify("lineside-cancel", metric.string_value)))
        else:
            found.plain[metric.name] = getattr(metric, str(metric.WhichOneof("value")))
    return found
