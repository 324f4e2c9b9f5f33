"""What the API answers, as models: the source of the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Part of an answer; further fields may be added within a version, none is removed or changes its meaning."""

    model_config = ConfigDict(frozen=True)


class DeviceAnswer(Answer):
    """A device of an agent."""

    device: str
    online: bool
    since: datetime | None


class AgentAnswer(Answer):
    """An agent, or any other Sparkplug node."""

    agent: Annotated[str, Field(description="group/name", examples=["plant-7/line-3"])]
    tenant: str
    acknowledges: Annotated[bool, Field(description="Takes part in acknowledged delivery")]
    online: bool
    since: datetime | None
    version: str
    first_seen: datetime
    last_seen: datetime
    tags: int
    devices: list[DeviceAnswer]


class TagAnswer(Answer):
    """A tag."""

    tag_id: int
    agent: Annotated[str, Field(examples=["plant-7/line-3"])]
    device: Annotated[str, Field(description="Empty for a metric of the node itself", examples=["press"])]
    tag: Annotated[str, Field(examples=["ram/force"])]
    type: Annotated[str, Field(description="Sparkplug data type", examples=["Double"])]
    unit: str
    description: str


class TagPage(Answer):
    """Some of the tags; ``next`` goes into ``after`` of the following request."""

    tags: list[TagAnswer]
    next: int | None


class SampleAnswer(Answer):
    """A sample. ``value`` is null when there is none; Bytes as hexadecimal digits; NaN and infinity as text."""

    time: datetime
    value: float | int | bool | str | None
    quality: Annotated[str, Field(description="Name of the OPC UA status code", examples=["Good", "BadTimeout"])]


class BucketAnswer(Answer):
    """The samples of one interval; mean, min and max of its good numbers."""

    time: Annotated[datetime, Field(description="Beginning of the interval")]
    count: int
    good: int
    mean: float | None
    min: float | None
    max: float | None


class SamplePage(Answer):
    """Samples of a tag, or its intervals; ``next`` goes into ``from`` of the following request."""

    tag: TagAnswer
    samples: list[SampleAnswer] = []
    buckets: list[BucketAnswer] = []
    next: datetime | None = None


class EpochAnswer(Answer):
    """One start of an agent. Ranges are inclusive."""

    epoch: Annotated[str, Field(description="16 hexadecimal digits")]
    started: datetime | None
    first_batch: int | None
    last_batch: Annotated[int | None, Field(description="Declared by a later start; null while it runs")]
    end: Annotated[
        Literal["open", "declared", "undeclared"],
        Field(
            description="open: the current start; declared: a later start said how far it went; undeclared: there is a "
            "later one that did not know of it, so that nobody can say what is missing after its last batch"
        ),
    ]
    arrived_batches: int
    arrived: list[tuple[int, int]]
    missing_batches: int
    missing: list[tuple[int, int]]
    given_up_batches: Annotated[int, Field(description="Refused by the event log, and declared by the agent as a gap")]
    given_up: list[tuple[int, int]]
    samples: int
    duplicates: int
    last_arrival: datetime


class GapAnswer(Answer):
    """Samples that were declared missing, and why."""

    device: str
    reason: Annotated[str, Field(examples=["agent_not_running", "device_unavailable"])]
    first: datetime
    last: datetime
    samples: int | None
    detail: str


class LedgerAnswer(Answer):
    """The delivery ledger of one agent: ``missing`` is what nothing explains."""

    agent: str
    arrived: int
    missing: int
    given_up: int
    undeclared_epochs: Annotated[int, Field(description="Starts that never said how far they went")]
    parked: Annotated[int, Field(description="Batches that have arrived and wait for their definition")]
    samples: int
    duplicates: int
    dead_letters: int
    last_arrival: datetime
    epochs: list[EpochAnswer]
    gaps: list[GapAnswer]


class Health(Answer):
    """Whether the program can do its work; ``reason`` says why not."""

    status: Annotated[
        str,
        Field(
            description="ok; degraded: it answers, and a part of it waits for something; not ready: it cannot answer",
            examples=["ok"],
        ),
    ]
    reason: str = ""


class ProblemAnswer(Answer):
    """An error, as RFC 9457 has it (application/problem+json)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
