"""The topics of the event log. Their names and records are part of the product: docs/reference/event-log.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connectors.ports.event_log import Cleanup, LogRecord, Record, TopicSpec

RAW: Final = "lineside.raw.v1"
"""Every Sparkplug message as it came; key ``group/name``, header ``mqtt-topic``, time of arrival."""
DEFINITIONS: Final = "lineside.definitions.v1"
"""The definitions of devices, by agent and hash; the newest of each key is kept for ever."""
SAMPLES: Final = "lineside.samples.v1"
"""Decoded samples for other people's systems (cloud_ingest/historian/samples.proto); at least once."""

REPORTS: Final = "lineside.reports.v1"
"""What agents report of commands, and their hellos: those records of ``RAW``, once more by themselves."""
COMMANDS: Final = "lineside.commands.v1"
"""Every state of every command, as JSON; key ``group/name`` of the agent; at least once."""
LINE_EVENTS: Final = "lineside.line-events.v1"
"""States, counts, stops, alarms and work orders of lines; key ``site/line``. This and what follows are CloudEvents."""
ORDER_EVENTS: Final = "lineside.order-events.v1"
"""What becomes of customers' orders; key: the order."""
INVENTORY_EVENTS: Final = "lineside.inventory-events.v1"
"""Movements of stock, reservations, shortages; key: the item."""
CATALOG_EVENTS: Final = "lineside.catalog-events.v1"
"""Products and routings as they change; key: the product."""
INTEGRATION_EVENTS: Final = "lineside.integration-events.v1"
"""What payment, shipping and CRM have answered; key: what it is about."""
ANALYTICS_EVENTS: Final = "lineside.analytics-events.v1"
"""Reports that were made; key: the report."""
DOMAIN_TOPICS: Final = (
    LINE_EVENTS,
    ORDER_EVENTS,
    INVENTORY_EVENTS,
    CATALOG_EVENTS,
    INTEGRATION_EVENTS,
    ANALYTICS_EVENTS,
)

MQTT_TOPIC: Final = "mqtt-topic"


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A record of ``RAW``: an MQTT message and the time at which the ingest took it (milliseconds, UTC)."""

    topic: str
    payload: bytes
    received_ms: int


def raw_record(key: str, topic: str, payload: bytes, received_ms: int) -> Record:
    """The record of a message; ``key`` is ``group/name``, or the topic itself when it is not a node's."""
    return Record(key.encode(), payload, received_ms, ((MQTT_TOPIC, topic.encode()),))


def raw_message(record: LogRecord) -> RawMessage:
    """The message in a record of ``RAW``."""
    return RawMessage(record.header(MQTT_TOPIC).decode("utf-8", "replace"), record.value, record.time_ms)


def definition_key(agent: str, hash_: str) -> bytes:
    """The key of a definition: ``group/name`` and hash."""
    return f"{agent} {hash_}".encode()


def topic_specs(partitions: int, retention_s: float) -> dict[str, TopicSpec]:
    """The topics as they should exist."""
    return {
        RAW: TopicSpec(RAW, partitions, Cleanup.DELETE, retention_s),
        DEFINITIONS: TopicSpec(DEFINITIONS, 1, Cleanup.COMPACT),
        SAMPLES: TopicSpec(SAMPLES, partitions, Cleanup.DELETE, retention_s),
        REPORTS: TopicSpec(REPORTS, partitions, Cleanup.DELETE, retention_s),
        COMMANDS: TopicSpec(COMMANDS, partitions, Cleanup.DELETE, retention_s),
        **{name: TopicSpec(name, partitions, Cleanup.DELETE, retention_s) for name in DOMAIN_TOPICS},
    }
