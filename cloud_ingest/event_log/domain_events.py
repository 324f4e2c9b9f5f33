"""Events of the domain as records: CloudEvents 1.0 in JSON (https://github.com/cloudevents/spec, structured mode)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from connectors.model.errors import PayloadInvalid
from connectors.ports.event_log import LogRecord, Record

SPEC_VERSION: Final = "1.0"


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """Something that has happened, told to whoever reads ``topic``.

    ``type`` is ``lineside.<part>.<what>.v1``, in the past tense: ``lineside.orders.order-paid.v1``. ``key`` is what it
    tells of: events of one key stay in their order. ``time_ns`` is when it happened, ``data`` JSON, of which a consumer
    ignores what it does not know. Fields are added within a version, never removed.
    """

    topic: str
    type: str
    tenant_id: int
    key: str
    time_ns: int
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadEvent:
    """An event as it was read. ``number`` grows within its topic: one that is not greater was read before.

    ``is_late``: it was set aside once and is taken now; later events, of its key too, may have been taken before it.
    """

    number: int
    type: str
    tenant_id: int
    key: str
    time_ns: int
    data: Mapping[str, Any]
    is_late: bool = False


def event_json(event: DomainEvent) -> str:
    """The event without what it gets when it is published: its number."""
    seconds, nanoseconds = divmod(event.time_ns, 1_000_000_000)
    time = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
    document = {
        "specversion": SPEC_VERSION,
        "type": event.type,
        "source": f"/lineside/tenants/{event.tenant_id}",
        "subject": event.key,
        "time": time,
        "datacontenttype": "application/json",
        "linesidetenant": event.tenant_id,
        "linesidetimens": str(event.time_ns),
        "data": event.data,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def event_record(topic: str, number: int, key: str, text: str, now_ms: int) -> Record:
    """The record of an event that ``event_outbox`` holds under ``number``, which is its CloudEvents id."""
    value = f'{{"id":"{topic}/{number}",{text[1:]}'
    return Record(key.encode(), value.encode(), now_ms, (("content-type", b"application/cloudevents+json"),))


def read_event(record: LogRecord) -> ReadEvent:
    """The event in a record. Raises ``PayloadInvalid`` when it is none of ours."""
    try:
        document = json.loads(record.value)
        return ReadEvent(
            int(document["id"].rpartition("/")[2]),
            str(document["type"]),
            int(document["linesidetenant"]),
            str(document["subject"]),
            int(document["linesidetimens"]),
            dict(document["data"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise PayloadInvalid(f"not an event of Lineside: {type(exc).__name__}: {exc}") from exc
