"""Commands as messages, and requests for them, whose checks are those of REST (``CommandRequest``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.message import Message

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands.command_request import CommandRequest
from cloud_ingest.gateway.rpc.instants import ns_of
from cloud_ingest.gateway.rpc.values import plain_value, value_message
from connectors.commands.states import CommandState as State
from connectors.lineside_api.v1.commands_pb2 import Action, Command, CommandStatus, SendCommandRequest
from connectors.lineside_api.v1.data_pb2 import Value

ACTIONS: Final = frozenset(field.name for field in Action.DESCRIPTOR.fields)
_SAME: Final = ("agent", "reason", "correlation", "precondition", "approval", "plain")


def request_of(message: SendCommandRequest) -> CommandRequest:
    """What is asked for; fields that are not set have the defaults of REST. Raises ``ValidationError``."""
    asked: dict[str, Any] = {name: getattr(message, name) for name in _SAME}
    asked["action"] = _action_document(message.action)
    asked["stage"] = "arm" if message.arm else "execute"
    if message.armed:
        asked["armed"] = message.armed
    if message.expires_ms:
        asked["expires_s"] = message.expires_ms / 1000
    return CommandRequest.model_validate(asked)


def _action_document(action: Action) -> dict[str, Any]:
    which = action.WhichOneof("do")
    if which is None:
        why = f"say what is to be done: 'action' is one of {', '.join(sorted(ACTIONS))}"
        raise RequestRefused(Why.INVALID, "no_action", why)
    document: dict[str, Any] = {"do": which}
    for field, value in getattr(action, which).ListFields():
        document[field.name] = _plain(value)
    return document


def _plain(value: Any) -> Any:
    if isinstance(value, Value):
        return plain_value(value)
    if isinstance(value, Mapping):  # the arguments of a command
        return {name: plain_value(one) for name, one in value.items()}
    return value


def command_message(found: Mapping[str, Any]) -> Command:
    """A command with its states, as ``commands.questions`` tells it."""
    return Command(
        id=found["id"],
        agent=found["agent"],
        origin=found["origin"],
        source=found["source"] or "",
        correlation=found["correlation"],
        action=None if found["action"] is None else _action_message(found["action"]),
        arm=found["stage"] == "arm",
        armed=found["armed"] or "",
        precondition=found["precondition"],
        issuer=found["issuer"],
        approval=found["approval"],
        approvers=found["approvers"],
        waits_for_approval=found["waits_for_approval"],
        reason=found["reason"],
        plain=found["plain"],
        requested_ns=ns_of(found["requested"]),
        expires_ns=ns_of(found["expires"]),
        state=_state(found["state"]),
        changed_ns=ns_of(found["changed"]),
        sends=found["sends"],
        cancellation_asked=found["cancellation_asked"],
        states=[status_message(state) for state in found["states"]],
    )


def status_message(state: Mapping[str, Any]) -> CommandStatus:
    """A state of a command."""
    return CommandStatus(
        cursor=state["cursor"],
        state=_state(state["state"]),
        time_ns=ns_of(state["time"]),
        actor=state["actor"],
        reason=state["reason"],
        code=state["code"] or "",
        before=value_message(state["before"]),
        after=value_message(state["after"]),
        late=state["late"],
    )


def _state(name: str) -> str:
    return f"COMMAND_STATE_{State(name).name}"


def _action_message(document: Mapping[str, Any]) -> Action:
    """What was asked for; of what this version of the API has no field for, nothing."""
    action = Action()
    do = str(document["do"])
    if do in ACTIONS:
        said: Message = getattr(action, do)
        said.SetInParent()
        known = {field.name for field in said.DESCRIPTOR.fields}
        for name, value in document.items():
            if name in known and value is not None:
                _set(said, name, value)
    return action


def _set(said: Any, name: str, value: Any) -> None:
    match name:
        case "value":
            said.value.CopyFrom(value_message(value) or Value())
        case "arguments":
            for argument, given in value.items():
                said.arguments[argument].CopyFrom(value_message(given) or Value())
        case _:
            setattr(said, name, value)
