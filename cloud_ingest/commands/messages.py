"""The MQTT messages of commands, as Sparkplug B 3.0 has them (6.4.21, 6.4.22): NCMD and DCMD, without seq. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from connectors.commands.envelope import Action, Envelope, WriteTag
from connectors.commands.reports import Approval, KeysAnswer, TimeAnswer, read_record
from connectors.commands.signing import SigningKey
from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName
from connectors.ports.broker import Message
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.birth import set_value
from connectors.sparkplug.delivery import APPROVAL, CANCEL, COMMAND, KEYS, TIME
from connectors.sparkplug.topics import Topic, Verb

_ACTION: TypeAdapter[Action] = TypeAdapter(Action)


def action_of(text: str) -> Action:
    """The action in the database's JSON."""
    return _ACTION.validate_json(text)


def envelope_of(row: Mapping[str, Any], *, journal: str, number: int) -> Envelope:
    """The envelope of a command: a row of ``command`` with ``agent`` beside it."""
    return Envelope(
        id=row["command_id"],
        correlation=row["correlation"],
        agent=row["agent"],
        action=action_of(row["action"]),
        stage=row["stage"],
        armed=row["armed"],
        precondition=row["precondition"],
        issuer=row["issuer"],
        approvers=tuple(row["approvers"]),
        reason=row["reason"],
        issued_ms=row["requested_ms"],
        expires_ms=row["expires_ms"],
        journal=journal,
        number=number,
    )


def command_message(agent: AgentName, action: Action, datatype: int | None, sealed: str, time_ms: int) -> Message:
    """A DCMD: the plain metric where a tag is written, and the envelope; without ``sealed`` the plain metric alone."""
    payload = pb.Payload(timestamp=time_ms)
    if isinstance(action, WriteTag) and datatype is not None:
        metric = payload.metrics.add(name=action.tag, timestamp=time_ms, datatype=datatype)
        set_value(metric, DataType(datatype), action.value)
    if sealed:
        payload.metrics.add(name=COMMAND, timestamp=time_ms, datatype=DataType.STRING, string_value=sealed)
    verb = Verb.DCMD if action.device else Verb.NCMD
    return Message(str(Topic(agent, verb, action.device)), payload.SerializeToString())


def time_message(agent: AgentName, key: SigningKey, answer: TimeAnswer) -> Message:
    """The NCMD that answers a hello."""
    return _to_node(agent, TIME, key.sign("lineside-time", answer.to_json()), answer.time_ms)


def keys_message(agent: AgentName, key: SigningKey, answer: KeysAnswer) -> Message:
    """The NCMD that tells an agent which keys hold."""
    return _to_node(agent, KEYS, key.sign("lineside-keys", answer.to_json()), answer.time_ms)


def cancel_message(agent: AgentName, key: SigningKey, asked: str, time_ms: int) -> Message:
    """The NCMD that takes a command back; ``asked`` is JSON: agent, id, issuer, reason, issued_ms."""
    document = json.dumps(json.loads(asked), ensure_ascii=False, separators=(",", ":"))
    return _to_node(agent, CANCEL, key.sign("lineside-cancel", document.encode()), time_ms)


def approval_message(agent: AgentName, key: SigningKey, agreed: str, time_ms: int) -> Message:
    """The NCMD that says that somebody agrees; ``agreed`` is the JSON of an ``Approval``."""
    approval = read_record(Approval, agreed.encode())
    return _to_node(agent, APPROVAL, key.sign("lineside-approval", approval.to_json()), time_ms)


def _to_node(agent: AgentName, name: str, text: str, time_ms: int) -> Message:
    payload = pb.Payload(timestamp=time_ms)
    payload.metrics.add(name=name, timestamp=time_ms, datatype=DataType.STRING, string_value=text)
    return Message(str(Topic(agent, Verb.NCMD)), payload.SerializeToString())
