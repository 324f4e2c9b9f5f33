"""A record of ``lineside.reports.v1``, taken apart. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cloud_ingest.event_log.topics import raw_message
from connectors.commands.refusals import Refusal
from connectors.commands.reports import CommandReport, Hello, Record, read_record
from connectors.commands.sealed import JWS_KINDS, Sealed
from connectors.commands.signing import SignatureRefused, TrustedKeys, unverified
from connectors.model.delivery import AgentName, Epoch
from connectors.model.errors import PayloadInvalid
from connectors.model.texts import storable
from connectors.ports.event_log import LogRecord
from connectors.sparkplug.delivery import COMMAND_REPORT, HELLO, format_epoch, read_delivery
from connectors.sparkplug.topics import parse_topic

RECORD_CHARS_MAX: Final = 200_000


_Kind = TypeVar("_Kind", bound=Record)


@dataclass(frozen=True, slots=True)
class Told:
    """What an agent has said, in which batch of which start, and when the ingest took it.

    ``sealed`` is the signature around it, which nobody has looked at yet; empty when it is not signed. ``topic`` and
    ``payload`` are the message that it came in.
    """

    agent: AgentName
    epoch: Epoch
    batch: int
    received_ms: int
    report: CommandReport | None = None
    hello: Hello | None = None
    sealed: str = ""
    topic: str = ""
    payload: bytes = b""

    @property
    def start(self) -> str:
        """The start of the agent, as its hello calls it: by what is signed, where it says so."""
        signed = "" if self.report is None else self.report.start
        return signed or format_epoch(self.epoch)

    @property
    def is_signed(self) -> bool:
        """Whether it has a signature, good or not."""
        return bool(self.sealed)

    def signature_problem(self, key_id: str, keys: TrustedKeys) -> str:
        """Why it is not signed with the key of this id, which is the only one of ``keys``; empty when it is."""
        kind = JWS_KINDS["report" if self.hello is None else "hello"]
        try:
            keys.verify(kind, self.sealed)
        except SignatureRefused as exc:
            if exc.code is Refusal.UNKNOWN_KEY:
                return f"{exc}, and the agent is enrolled with {key_id}"
            return str(exc)
        return ""


def read_told(record: LogRecord) -> Told:
    """What is in ``record``. Raises ``PayloadInvalid`` with the reason when it cannot be used."""
    message = raw_message(record)
    agent = parse_topic(message.topic).agent
    delivery = read_delivery(message.payload)
    if delivery is None or not delivery.batch:
        raise PayloadInvalid("it is no batch of an agent")
    given, is_hello = delivery.records.get(COMMAND_REPORT), False
    if given is None:
        given, is_hello = delivery.records.get(HELLO), True
    report: CommandReport | None = None
    hello: Hello | None = None
    sealed = ""
    if given is not None and is_hello:
        hello, sealed = _opened(Hello, given)
    elif given is not None:
        report, sealed = _opened(CommandReport, given)
    return Told(
        agent, delivery.epoch, delivery.batch, message.received_ms, report, hello, sealed, message.topic,
        message.payload,
    )  # fmt: skip


def _opened(kind: type[_Kind], given: Any) -> tuple[_Kind, str]:
    """The record in a metric, and the signature around it. Raises ``PayloadInvalid``."""
    document = _document(given)
    outside = json.loads(document)
    if not isinstance(outside, dict) or "signed" not in outside:
        return read_record(kind, document), ""
    sealed = read_record(Sealed, document).signed
    try:
        _, inside = unverified(sealed)
        text = inside.decode()
    except (SignatureRefused, UnicodeDecodeError) as exc:
        raise PayloadInvalid(f"what is signed cannot be read: {exc}") from exc
    return read_record(kind, _document(text)), sealed


def _document(value: Any) -> bytes:
    """JSON whose texts the database takes. Raises ``PayloadInvalid``."""
    if not isinstance(value, str) or len(value) > RECORD_CHARS_MAX:
        raise PayloadInvalid("it is no text, or too long a one")
    try:
        return json.dumps(_storable(json.loads(value)), ensure_ascii=False, allow_nan=False).encode()
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
