"""Messages that were taken from the broker and are not in the event log yet, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloud_ingest.event_log.topics import definition_key, raw_record
from connectors.model.delivery import AgentName, Epoch
from connectors.ports.event_log import Record
from connectors.sparkplug.delivery import COMMAND_REPORT, DEFINITION_BODY, HELLO, Delivery, read_delivery
from connectors.sparkplug.topics import Verb, parse_topic

ENTRY_BYTES: Final = 500
"""What a message takes beside its payload and its topic: the record, its key and headers, the delivery metrics."""
_REPORTS: Final = frozenset({COMMAND_REPORT, HELLO})
_DELIVERED: Final = frozenset({Verb.NDATA, Verb.DDATA})


@dataclass(frozen=True, slots=True)
class Taken:
    """One message on its way into the log; ``agent`` and ``delivery`` when it is to be acknowledged."""

    record: Record
    topic: str
    agent: AgentName | None = None
    delivery: Delivery | None = None

    @property
    def definition(self) -> Record | None:
        """The record for the definitions topic, when the message carries a definition."""
        if self.delivery is None or self.agent is None or DEFINITION_BODY not in self.delivery.records:
            return None
        body = self.delivery.records[DEFINITION_BODY]
        key = definition_key(str(self.agent), self.delivery.definition)
        return Record(key, body if isinstance(body, bytes) else b"", self.record.time_ms)

    @property
    def has_report(self) -> bool:
        """Whether the message says something of commands, so that it belongs into the reports topic, too."""
        return self.delivery is not None and not _REPORTS.isdisjoint(self.delivery.records)


def take_message(topic: str, payload: bytes, received_ms: int) -> Taken | None:
    """What becomes of a message from the broker; ``None`` for commands and previews, which nobody is to store.

    Only the topic and the delivery metrics are looked at. What cannot be read goes into the log as it is, also when it
    brings out a defect of the reader: the historian sets it aside with the reason, and no other message waits.
    """
    try:
        parsed = parse_topic(topic)
    except Exception:  # the historian meets it again, and logs and counts it
        return Taken(raw_record(topic, topic, payload, received_ms), topic)
    if parsed.verb in (Verb.NCMD, Verb.DCMD):
        return None
    record = raw_record(str(parsed.agent), topic, payload, received_ms)
    if parsed.verb not in _DELIVERED:
        return Taken(record, topic)
    try:
        delivery = read_delivery(payload)
    except Exception:  # as above
        delivery = None
    if delivery is None:
        return Taken(record, topic)
    if delivery.batch == 0:
        return None
    return Taken(record, topic, parsed.agent, delivery)


class Pending:
    """Messages in the order in which they came. Bounded: the caller drops what ``takes`` says no to.

    When it is full, batches are not taken: their agents send them again. What nobody sends again (births, deaths, and
    messages of nodes that do not acknowledge) has as much room once more.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._messages: list[Taken] = []
        self._waiting_bytes = 0
        self._taken_bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def size_bytes(self) -> int:
        """Memory of all messages, those on their way into the log included: payloads, and what each takes beside."""
        return self._waiting_bytes + self._taken_bytes

    @property
    def is_full(self) -> bool:
        """Whether no more batches should be taken from the broker."""
        return self.size_bytes >= self._bytes_max

    def takes(self, taken: Taken) -> bool:
        """Whether there is room for ``taken``."""
        return not self.is_full or (batch_of(taken) is None and self.size_bytes < 2 * self._bytes_max)

    def add(self, taken: Taken) -> None:
        """One more message."""
        self._messages.append(taken)
        self._waiting_bytes += size_bytes(taken)

    def take_all(self) -> list[Taken]:
        """All messages, which are on their way into the log now."""
        messages, self._messages = self._messages, []
        self._taken_bytes, self._waiting_bytes = self._waiting_bytes, 0
        return messages

    def still_taken(self, messages: Sequence[Taken]) -> None:
        """Of those that were taken, ``messages`` are not in the log yet."""
        self._taken_bytes = _bytes(messages)

    def put_back(self, messages: Sequence[Taken]) -> None:
        """Messages that could not be appended, before all others."""
        self._messages[:0] = messages
        self._waiting_bytes += _bytes(messages)
        self._taken_bytes = 0


def size_bytes(taken: Taken) -> int:
    """What ``taken`` takes in memory, about: ten thousand empty messages are not nothing."""
    return len(taken.record.value) + 2 * len(taken.topic) + ENTRY_BYTES


def _bytes(messages: Sequence[Taken]) -> int:
    return sum(size_bytes(taken) for taken in messages)


@dataclass(frozen=True, slots=True)
class BatchKey:
    """A batch that is to be acknowledged."""

    agent: AgentName
    epoch: Epoch
    batch: int


def batch_of(taken: Taken) -> BatchKey | None:
    """The batch in a message, if it is one."""
    if taken.agent is None or taken.delivery is None:
        return None
    return BatchKey(taken.agent, taken.delivery.epoch, taken.delivery.batch)
