"""A record of the raw log, taken apart as far as its delivery metrics."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_ingest.event_log.topics import MQTT_TOPIC, RawMessage, raw_message
from cloud_ingest.historian.work import DeadLetter, ParkedBatch
from connectors.model.errors import PayloadInvalid
from connectors.ports.event_log import LogRecord
from connectors.sparkplug.delivery import Delivery, read_delivery
from connectors.sparkplug.topics import Topic, Verb, parse_topic

_FROM_NODES = frozenset({Verb.NBIRTH, Verb.NDATA, Verb.DBIRTH, Verb.DDATA})


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message of an agent or node; ``delivery`` is ``None`` for nodes that do not acknowledge, and for deaths."""

    message: RawMessage
    topic: Topic
    delivery: Delivery | None


def parked_record(parked: ParkedBatch) -> LogRecord:
    """A parked batch as the log had it."""
    return LogRecord(0, b"", parked.payload, parked.received_ms, ((MQTT_TOPIC, parked.topic.encode()),))


def read_incoming(record: LogRecord) -> Incoming | DeadLetter | None:
    """The message in ``record``; a dead letter when it cannot be read; ``None`` for commands, which are not data."""
    message = raw_message(record)
    try:
        topic = parse_topic(message.topic)
        if topic.verb in (Verb.NCMD, Verb.DCMD):
            return None
        delivery = read_delivery(message.payload) if topic.verb in _FROM_NODES else None
    except PayloadInvalid as exc:
        return DeadLetter(message.topic, message.payload, str(exc), message.received_ms)
    return Incoming(message, topic, delivery)
