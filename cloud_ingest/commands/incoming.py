"""A record of ``lineside.reports.v1``, taken apart. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from cloud_ingest.event_log.topics import raw_message
from connectors.commands.reports import CommandReport, Hello, read_record
from connectors.model.delivery import AgentName, Epoch
from connectors.model.errors import PayloadInvalid
from connectors.model.texts import storable
from connectors.ports.event_log import LogRecord
from connectors.sparkplug.delivery import COMMAND_REPORT, HELLO, format_epoch, read_delivery
from connectors.sparkplug.topics import parse_topic

RECORD_CHARS_MAX: Final = 200_000


@dataclass(frozen=True, slots=True)
class Told:
    """What an agent has said, in which batch of which start, and when the ingest took it."""

    agent: AgentName
    epoch: Epoch
    batch: int
    received_ms: int
    report: CommandReport | None = None
    hello: Hello | None = None

    @property
    def start(self) -> str:
        """The start of the agent, as its hello calls it."""
        return format_epoch(self.epoch)


def read_told(record: LogRecord) -> Told:
    """What is in ``record``. Raises ``PayloadInvalid`` with the reason when it cannot be used."""
    message = raw_message(record)
    agent = parse_topic(message.topic).agent
    delivery = read_delivery(message.payload)
    if delivery is None or not delivery.batch:
        raise PayloadInvalid("it is no batch of an agent")
    report, hello = delivery.records.get(COMMAND_REPORT), delivery.records.get(HELLO)
    return Told(
        agent,
        delivery.epoch,
        delivery.batch,
        message.received_ms,
        None if report is None else read_record(CommandReport, _document(report)),
        None if hello is None else read_record(Hello, _document(hello)),
    )


def _document(value: Any) -> bytes:
    """JSON whose texts the database takes. Raises ``PayloadInvalid``."""
    if not isinstance(value, str) or len(value) > RECORD_CHARS_MAX:
        raise PayloadInvalid("it is no text, or too long a one")
    try:
        return json.dumps(_storable(json.loads(value)), ensure_ascii=False).encode()
    except (ValueError, RecursionError) as exc:
        raise PayloadInvalid(f"it is no JSON: {exc}") from exc


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value).replace("\0", "\ufffd")
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(name): _storable(item) for name, item in value.items()}
    return value
