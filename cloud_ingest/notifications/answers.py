"""What the API answers about notifications and webhooks, and takes for them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cloud_ingest.access.answers import Answer
from cloud_ingest.notifications.rules import Pattern, Rule

Url = Annotated[str, Field(min_length=10, max_length=2000, pattern=r"^https?://[!-~]+$")]


class RuleRequest(BaseModel):
    """A rule under its name."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "Alarms at night", "rule": Rule.model_config["json_schema_extra"]["examples"][0]}]  # type: ignore[index]
        },
    )

    name: Annotated[str, Field(min_length=1, max_length=100)]
    rule: Rule
    enabled: bool = True


class RuleAnswer(Answer):
    """A rule as it is."""

    id: str
    name: str
    rule: Rule
    enabled: bool
    held_until: Annotated[datetime | None, Field(description="No message of it leaves before")]
    revision: int
    created: datetime
    created_by: str


class RulePage(Answer):
    """Some of the rules."""

    rules: list[RuleAnswer]
    next: str | None


class MessageAnswer(Answer):
    """A message to people: what waits, what was sent, what was given up."""

    id: str
    rule: str
    channel: str
    recipients: list[str]
    state: Literal["waiting", "sent", "dead"]
    events: Annotated[int, Field(description="So many events are in it")]
    due: datetime
    tries: int
    reason: Annotated[
        str, Field(description="Why it was not sent, when it was tried last; of one that was sent: who did not get it")
    ]
    created: datetime
    changed: datetime


class MessagePage(Answer):
    """Some of the messages, the newest first."""

    messages: list[MessageAnswer]
    next: str | None


class MailAnswer(Answer):
    """A mail to one address that no rule has asked for: a report, or what a customer hears of an order."""

    id: str
    kind: Literal["report", "order"]
    about: Annotated[str, Field(description="The report or the order")]
    recipient: str
    state: Literal["waiting", "sent", "dead"]
    due: datetime
    tries: int
    reason: Annotated[str, Field(description="Why it was not sent, when it was tried last")]
    created: datetime
    changed: datetime


class MailPage(Answer):
    """Some of the mails, the newest first."""

    mails: list[MailAnswer]
    next: str | None


class EndpointRequest(BaseModel):
    """A system that is told of events."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "url": "https://erp.example.com/lineside",
                    "events": ["lineside.orders.*"],
                    "description": "ERP of Acme",
                }
            ]
        },
    )

    url: Url
    events: Annotated[list[Pattern], Field(min_length=1, max_length=50, description="Types of events, with *")]
    description: Annotated[str, Field(max_length=200)] = ""


class EndpointChange(BaseModel):
    """What becomes otherwise; what is not said stays."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [{"enabled": True}]})

    url: Url | None = None
    events: Annotated[list[Pattern] | None, Field(min_length=1, max_length=50)] = None
    description: Annotated[str | None, Field(max_length=200)] = None
    enabled: bool | None = None


class SecretRotation(BaseModel):
    """A new secret for a webhook, and for how long events are signed with the one before, too."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [{"overlap_s": 86400}]})

    overlap_s: Annotated[
        int, Field(ge=0, le=30 * 86_400, description="0: the secret before is worth nothing from now on")
    ] = 86_400


class EndpointAnswer(Answer):
    """An endpoint as it is."""

    id: str
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_reason: str
    failing_since: Annotated[datetime | None, Field(description="Since when nothing was taken")]
    waiting: Annotated[int, Field(description="Events that it has not taken yet")]
    revision: int
    created: datetime
    created_by: str
    old_secret_until: Annotated[
        datetime | None, Field(description="Until when events are signed with the secret before, too")
    ] = None
    secret: Annotated[str, Field(description="Of the answer that has made it alone: it is not shown again")] = ""


class EndpointPage(Answer):
    """Some of the endpoints."""

    webhooks: list[EndpointAnswer]
    next: str | None


class DeliveryAnswer(Answer):
    """An event on its way to an endpoint."""

    id: Annotated[str, Field(description="As the header webhook-id has it")]
    type: str
    state: Literal["waiting", "delivered", "dead"]
    tries: int
    next_try: datetime
    status: Annotated[int | None, Field(description="What the endpoint has answered last")]
    reason: str
    created: datetime
    changed: datetime


class DeliveryPage(Answer):
    """Some of the deliveries, the newest first."""

    deliveries: list[DeliveryAnswer]
    next: str | None
