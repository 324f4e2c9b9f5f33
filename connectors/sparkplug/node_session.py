"""What a host knows of a node that does not acknowledge: its births, aliases and sequence, without I/O.

Such a node is read as the specification says: data is understood by the aliases of its last birth, and a gap in seq
means that messages were lost. Lineside stores what it got, records the gap, and asks for a rebirth when the missing
ones have not come within the reorder timeout (section 5.4, reordering).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from connectors.model.datatypes import DataType
from connectors.model.errors import PayloadInvalid
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.birth import BD_SEQ, REBIRTH
from connectors.sparkplug.born_metrics import BornMetric, BornMetrics, MetricFacts
from connectors.sparkplug.bulk_encode import NS_PER_MS
from connectors.sparkplug.metric_value import metric_quality, metric_value
from connectors.sparkplug.structured_value import structured_text
from connectors.sparkplug.topics import Topic, Verb
from connectors.sparkplug.type_numbers import is_structured

SEQ_COUNT = 256
REMEMBERED_MESSAGES = 2048
"""An append of the bridge has up to 1000 messages, and comes again as a whole when its answer was lost."""


@dataclass(frozen=True, slots=True)
class MetricSample:
    """One value of one metric of a node or (``device`` not empty) of its device.

    ``datatype`` is that of the value as it is stored, ``about.type_number`` the one that the node has told.
    """

    device: str
    name: str
    datatype: DataType
    time_ns: int
    value: Any
    quality: int
    about: MetricFacts


@dataclass(slots=True)
class NodeReading:
    """What one message of a node gave: samples, what could not be read and why, and what the host has to do."""

    samples: list[MetricSample] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    transient: int = 0
    """Values that their sender does not want to have stored (6.4.6)."""
    lost_messages: int = 0
    found_missing: bool = False
    """What seemed to be lost since the reorder timeout began has come."""
    wants_rebirth: bool = False
    rebirth_after_ms: int = 0
    takes_rebirth_back: bool = False
    """A rebirth that is due in the future is not wanted any more."""
    online: bool | None = None
    duplicate: bool = False


def payload_of(data: bytes) -> pb.Payload:
    """A Sparkplug payload, whole. Raises ``PayloadInvalid`` when the bytes are none."""
    try:
        return pb.Payload.FromString(data)
    except DecodeError as exc:
        raise PayloadInvalid("not a Sparkplug payload") from exc


class NodeSession:
    """The session of one Edge Node as its host sees it."""

    def __init__(self, reorder_ms: int = 0) -> None:
        """``reorder_ms``: how long to wait for messages that others have overtaken, before a rebirth is asked for."""
        self._reorder_ms = reorder_ms
        self._missing: set[int] = set()
        self._missing_until_ms = 0
        self._has_lost = self._has_given_up = False
        self._metrics = BornMetrics()
        self._seq: int | None = None
        self._bd_seq: int | None = None
        self._taken: dict[bytes, None] = {}
        self._repeated_seq: int | None = None
        self.born = False

    @property
    def seq(self) -> int | None:
        """The seq after which the next one is expected, 0 to 255; ``None`` when the next one is taken as it is."""
        return self._seq

    def resume(self, seq: int | None = None) -> None:
        """The births came from a store. ``seq`` is what it was when they were left, ``None`` when nobody knows."""
        self._seq = seq
        self._missing.clear()  # births from a store come in any order: nothing is missing because of that
        self._has_lost = self._has_given_up = False

    @property
    def waits_for_missing(self) -> bool:
        """Whether messages that others have overtaken may still come."""
        return bool(self._missing)

    def receive(self, topic: Topic, payload: bytes, received_ms: int = 0) -> NodeReading:
        """Take the next message of the node. Raises ``PayloadInvalid`` when it is not a Sparkplug payload.

        A message that was taken already, byte by byte, gives nothing, and moves nothing.
        """
        message = payload_of(payload)
        if self._was_taken(topic, message, payload):
            return NodeReading(duplicate=True)
        reading = NodeReading()
        if topic.verb is Verb.NDEATH:
            self._node_death(message, reading)
            return reading
        if topic.verb is Verb.NBIRTH:
            self._node_birth(message, reading)
        elif not self.born:
            reading.wants_rebirth = True
            reading.refused.append(f"a {topic.verb.value} before the NBIRTH of the node")
            return reading
        else:
            self._check_seq(message, received_ms, reading)
            if topic.verb is Verb.DDEATH:
                self._metrics.forget(topic.device)
                return reading
            if topic.verb is Verb.DBIRTH:
                self._metrics.forget(topic.device)
        is_birth = topic.verb in (Verb.NBIRTH, Verb.DBIRTH)
        for metric in message.metrics:
            self._metric(topic.device, metric, message.timestamp, reading, is_birth=is_birth)
        return reading

    def _node_birth(self, message: pb.Payload, reading: NodeReading) -> None:
        self._metrics.clear()
        self._missing.clear()
        self._has_lost = self._has_given_up = False
        self.born = True
        reading.online = True
        reading.takes_rebirth_back = True
        self._seq = message.seq % SEQ_COUNT
        self._repeated_seq = None
        self._bd_seq = next((int(metric.long_value) for metric in message.metrics if metric.name == BD_SEQ), None)

    def _node_death(self, message: pb.Payload, reading: NodeReading) -> None:
        death = next((int(metric.long_value) for metric in message.metrics if metric.name == BD_SEQ), None)
        if self._bd_seq is not None and death is not None and death != self._bd_seq:
            return  # the will of an earlier connection: the node has been born again since
        self.born = False
        reading.online = False

    def _was_taken(self, topic: Topic, message: pb.Payload, payload: bytes) -> bool:
        """Whether this very message was taken before. Node deaths are not asked: they are alike, and say nothing twice.

        A node that stamps nothing may send the same bytes again: births whenever it is asked, data with the same seq
        when that has come round.
        """
        if topic.verb is Verb.NDEATH or not message.HasField("seq"):
            return False
        digest = hashlib.blake2b(f"{topic} ".encode() + payload, digest_size=16).digest()
        if digest in self._taken and self.born:
            is_birth = topic.verb in (Verb.NBIRTH, Verb.DBIRTH)
            is_next = self._seq is None or message.seq % SEQ_COUNT == (self._seq + 1) % SEQ_COUNT
            if message.timestamp or not (is_birth or is_next):
                self._repeated_seq = message.seq % SEQ_COUNT
                return True
        if topic.verb is Verb.NBIRTH:
            self._taken.clear()  # what follows belongs to another session, however alike
        if len(self._taken) >= REMEMBERED_MESSAGES:
            del self._taken[next(iter(self._taken))]
        self._taken[digest] = None
        return False

    def _check_seq(self, message: pb.Payload, received_ms: int, reading: NodeReading) -> None:
        if not message.HasField("seq"):
            return
        seq = message.seq % SEQ_COUNT
        if self._missing and received_ms > self._missing_until_ms:
            self._missing.clear()  # its rebirth has become due
            self._has_given_up = True
        if self._is_late(seq, reading):
            return
        expected = seq if self._seq is None else (self._seq + 1) % SEQ_COUNT
        repeated, self._repeated_seq = self._repeated_seq, None
        if repeated is not None and seq == (repeated + 1) % SEQ_COUNT:
            expected = seq  # its clock stands still: it has said the same again, and goes on from there
        if seq != expected:
            reading.lost_messages = (seq - expected) % SEQ_COUNT
            reading.wants_rebirth, reading.rebirth_after_ms = True, self._reorder_ms
            self._has_lost = True
            if self._reorder_ms:
                self._missing_until_ms = self._missing_until_ms if self._missing else received_ms + self._reorder_ms
                self._missing |= {(expected + number) % SEQ_COUNT for number in range(reading.lost_messages)}
        self._seq = seq

    def _is_late(self, seq: int, reading: NodeReading) -> bool:
        """Whether this is a message that others have overtaken: the count goes on from them."""
        if self._seq is not None and seq == (self._seq + 1) % SEQ_COUNT:
            if seq in self._missing:
                self._missing.clear()  # seq has come round: a late one could not be told from this round's any more
            return False
        if seq in self._missing:
            self._missing.discard(seq)
            reading.found_missing = reading.takes_rebirth_back = not self._missing
            # When everything has come, whatever is behind from now on is far ahead: many were lost at once.
            self._has_lost = bool(self._missing) or self._has_given_up
            return True
        is_behind = self._seq is not None and (seq - self._seq - 1) % SEQ_COUNT >= SEQ_COUNT // 2
        return is_behind and self._has_lost and self._reorder_ms > 0

    def _metric(self, device: str, metric: pb.Metric, time_ms: int, reading: NodeReading, *, is_birth: bool) -> None:
        try:
            take = self._metrics.learn if is_birth else self._metrics.find
            known = take(device, metric, reading.refused)
        except PayloadInvalid as exc:
            reading.refused.append(str(exc))
            reading.wants_rebirth = reading.wants_rebirth or not is_birth
            return
        if known.name in (BD_SEQ, REBIRTH) or metric.template_value.is_definition:
            return
        if metric.is_transient:
            reading.transient += 1
            return
        try:
            value, quality = self._value(device, metric, known)
        except PayloadInvalid as exc:
            reading.refused.append(str(exc))
            return
        milliseconds = metric.timestamp if metric.HasField("timestamp") else time_ms
        time_ns = min(milliseconds, (1 << 63) // NS_PER_MS - 1) * NS_PER_MS
        reading.samples.append(MetricSample(device, known.name, known.datatype, time_ns, value, quality, known.facts))

    def _value(self, device: str, metric: pb.Metric, known: BornMetric) -> tuple[Any, int]:
        number = known.facts.type_number
        if not is_structured(number) or metric.is_null or metric.WhichOneof("value") is None:
            return metric_value(metric, known.datatype)
        return structured_text(metric, number, self._metrics.members(device)), metric_quality(metric)
