"""What the API answers about commands, and takes beside them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cloud_ingest.access.answers import Answer
from cloud_ingest.gateway.answers import StandingAnswer
from connectors.commands.envelope import TEXT_MAX
from connectors.commands.states import CommandState

Held = Annotated[bool | int | float | str | None, Field(description="What the tag held; null where it is not known")]


class StateAnswer(Answer):
    """A state that a command came into."""

    cursor: Annotated[int, Field(description="Counts the states of all commands; 'since' of the stream")]
    state: CommandState
    time: Annotated[datetime, Field(description="By the clock of the actor")]
    actor: Annotated[str, Field(examples=["anna", "plant-7/line-3", "lineside"])]
    reason: str
    code: Annotated[str | None, Field(description="Why it was refused", examples=["interlocked"])]
    before: Held
    after: Held
    late: Annotated[bool, Field(description="Reported when the command was further already: it changes nothing")]


class CommandAnswer(Answer):
    """A command, and where it stands."""

    id: Annotated[str, Field(description="ULID", examples=["01JDV3W3Z8Q6C0V2B7N4M5K9XR"])]
    agent: Annotated[str, Field(description="group/name", examples=["plant-7/line-3"])]
    origin: Annotated[
        Literal["cloud", "agent"], Field(description="agent: it was not asked for here, and reported by its agent")
    ]
    source: Annotated[
        str | None,
        Field(
            description="How it came to the agent: cloud (signed), local (somebody at the box), plain (a Sparkplug "
            "host without envelope); null where the agent does not say. With the origin agent, cloud means: a key of "
            "the cloud has signed what nobody has asked for here",
            examples=["cloud", "local", "plain"],
        ),
    ]
    correlation: str
    action: Annotated[
        dict[str, Any] | None,
        Field(
            description="As it was asked for, here or at the agent; null where the cloud does not know it",
            examples=[{"do": "write", "device": "press", "tag": "setpoint", "value": 120.5}],
        ),
    ]
    stage: Literal["execute", "arm"]
    armed: str | None
    precondition: str
    issuer: str
    approval: Annotated[bool, Field(description="Whether it needs a second person")]
    approvers: list[str]
    waits_for_approval: Annotated[bool, Field(description="Nothing but a second person keeps it from going on")]
    reason: str
    plain: bool
    requested: datetime
    expires: datetime
    state: CommandState
    changed: datetime
    sends: Annotated[int, Field(description="How often it was published")]
    cancellation_asked: bool
    code: Annotated[str | None, Field(description="Of the state that it is in")]
    detail: Annotated[str, Field(description="The reason of the state that it is in")]
    before: Held
    after: Held


class CommandWithStates(CommandAnswer):
    """A command with all that has become of it, in order."""

    states: list[StateAnswer]


class CommandPage(Answer):
    """Some of the commands, the newest first; ``next`` goes into ``before`` of the following request."""

    commands: list[CommandAnswer]
    next: str | None


class CommandedAgent(StandingAnswer):
    """An agent that takes commands, as it has said hello last."""

    agent: Annotated[str, Field(description="group/name", examples=["plant-7/line-3"])]
    online: bool
    journal: Annotated[str, Field(description="Id of its journal of commands")]
    number: Annotated[int, Field(description="The highest number of a command that was seen of it")]
    start: Annotated[str, Field(description="The epoch of its start")]
    heard: datetime
    restored: Annotated[bool, Field(description="Its disk was restored, and it has not begun a new journal yet")]
    locks: Annotated[list[str], Field(description="What operators have locked", examples=[["press"]])]
    audit_number: Annotated[int, Field(description="The last entry of its own audit log")]
    audit_hash: str


class Decision(BaseModel):
    """Why somebody approves or cancels."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, json_schema_extra={"examples": [{"reason": "seen at the machine"}]}
    )

    reason: Annotated[str, Field(max_length=TEXT_MAX)] = ""
