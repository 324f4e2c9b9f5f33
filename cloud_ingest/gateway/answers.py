"""What the API answers, as models: the source of the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from cloud_ingest.access.answers import Answer


class DeviceAnswer(Answer):
    """A device of an agent."""

    device: str
    online: bool
    since: datetime | None


class FileAnswer(Answer):
    """A device file of an agent, as it has said last."""

    name: Annotated[str, Field(description="Path from the folder of the agent's file", examples=["devices/oven.yaml"])]
    sha256: Annotated[str, Field(description="Of what is on the box")]
    version: Annotated[int, Field(description="The version that this is; 0: none that was sent from here")]
    state: Annotated[str, Field(description="in_use, trial, changed (at the box), local, failed", examples=["in_use"])]
    newest: Annotated[int | None, Field(description="The version that was asked for last")]
    sync: Literal["in_sync", "out_of_sync", "failed", "local"]
    message: str


class LockAnswer(Answer):
    """A line that an operator has locked at the machine: no command is done there."""

    line: Annotated[str, Field(description="A device, or 'agent' for all of them", examples=["press"])]
    reason: Annotated[str, Field(examples=["cleaning"])]
    actor: Annotated[str, Field(description="The Unix user", examples=["carla"])]
    since: datetime | None


class StandingAnswer(Answer):
    """How an agent stands, by what it says of commands."""

    locked: list[LockAnswer]
    key: Annotated[str | None, Field(description="Thumbprint of its own key, when it is enrolled")]
    signs: Annotated[bool, Field(description="What it says of commands has to be signed with that key")]
    forged: Annotated[int, Field(description="What came under its name and was not signed so; it changes nothing")]
    forged_reason: Annotated[str, Field(description="Of the newest of them")]
    audit_alarms: Annotated[
        list[str], Field(description="Why its audit log is not the one that was known; until somebody closes them")
    ]


class AgentAnswer(StandingAnswer):
    """An agent, or any other Sparkplug node."""

    agent: Annotated[str, Field(description="group/name", examples=["plant-7/line-3"])]
    tenant: str
    acknowledges: Annotated[bool, Field(description="Takes part in acknowledged delivery")]
    online: bool
    since: datetime | None
    version: str
    clock_error_s: Annotated[
        float | None,
        Field(
            description="Its clock less the ingest's, by messages: right to the time that the quickest was under way"
        ),
    ] = None
    first_seen: datetime
    last_seen: datetime
    tags: int
    devices: list[DeviceAnswer]
    files: list[FileAnswer] = Field(default_factory=list)


class TagAnswer(Answer):
    """A tag."""

    tag_id: int
    agent: Annotated[str, Field(examples=["plant-7/line-3"])]
    device: Annotated[str, Field(description="Empty for a metric of the node itself", examples=["press"])]
    tag: Annotated[str, Field(examples=["ram/force"])]
    type: Annotated[str, Field(description="Sparkplug data type", examples=["Double"])]
    unit: str
    description: str
    properties: Annotated[
        dict[str, Any],
        Field(
            default_factory=dict,
            description="What else its node has told of it; of an agent's writable number `engLow` and `engHigh`: "
            "what its device file allows",
        ),
    ]
    stale: Annotated[
        bool, Field(description="The newest sample may be out of date: node, device or host are not there")
    ]


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
    """The samples of one interval; what follows ``good`` is of its good, finite numbers."""

    time: Annotated[datetime, Field(description="Beginning of the interval")]
    count: int
    good: int
    mean: float | None
    min: float | None
    max: float | None
    first: float | None
    last: float | None


class SamplePage(Answer):
    """Samples of a tag, or its intervals; ``next`` goes into ``from`` of the following request."""

    tag: TagAnswer
    samples: list[SampleAnswer] = Field(default_factory=list)
    buckets: list[BucketAnswer] = Field(default_factory=list)
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
    given_up_batches: Annotated[int, Field(description="Declared by the agent as a gap: see 'reasons'")]
    given_up: list[tuple[int, int]]
    closed_batches: Annotated[int, Field(description="Missing, and closed by a person with a reason: see 'closings'")]
    closed: list[tuple[int, int]]
    stuck_batches: Annotated[
        int,
        Field(
            description="Missing though they were received: their definition is in the dead letters, or has not come "
            "for 15 minutes"
        ),
    ]
    stuck: list[tuple[int, int]]
    has_closed_end: Annotated[bool, Field(description="That the end is undeclared was closed by a person")]
    reasons: Annotated[list[str], Field(description="Of the gaps that name batches of this epoch")]
    samples: int
    duplicates: int
    last_arrival: datetime
    missing_since: Annotated[datetime | None, Field(description="Since when at least one batch has been missing")]


class GapAnswer(Answer):
    """Samples that were declared missing, and why."""

    device: str
    reason: Annotated[str, Field(examples=["agent_not_running", "device_unavailable"])]
    first: datetime
    last: datetime
    samples: int | None
    detail: str


class BatchAnswer(Answer):
    """One batch."""

    epoch: str
    batch: int
    received: datetime | None = None


class MissingAnswer(Answer):
    """The oldest missing batch."""

    epoch: str
    batch: int
    since: Annotated[datetime | None, Field(description="For how long its epoch has been incomplete")]


class DelayAnswer(Answer):
    """From the source time of the newest sample of a transaction to its arrival; negative: the source is ahead."""

    newest_s: Annotated[float, Field(description="Of the newest transaction")]
    p95_s: Annotated[float, Field(description="95th percentile over the worst of each of the last 300 seconds")]
    measured: datetime


class ReasonAnswer(Answer):
    """What was given up, or never taken, for one reason."""

    reason: Annotated[str, Field(examples=["outbox_full", "device_unavailable"])]
    gaps: int
    uncounted_gaps: Annotated[int, Field(description="Gaps of which nobody knows how many samples they cost")]
    samples: Annotated[int, Field(description="Of the gaps that were counted")]
    batches: Annotated[int, Field(description="Batches that were given up with them and did not arrive all the same")]


class ClosingAnswer(Answer):
    """What a person has closed: it will never come, and this is why."""

    epoch: str
    batches: list[tuple[int, int]]
    end: Annotated[bool, Field(description="Also that the epoch never said how far it went")]
    reason: str
    closed_by: str
    closed: datetime


class LedgerAnswer(Answer):
    """The delivery ledger of one agent: ``missing`` is what nothing explains."""

    agent: str
    settled: Annotated[bool, Field(description="Nothing is missing that is neither explained nor closed")]
    arrived: int
    missing: int
    oldest_missing: MissingAnswer | None
    given_up: int
    closed: Annotated[int, Field(description="Missing batches that a person has closed with a reason")]
    undeclared_epochs: Annotated[int, Field(description="Starts that never said how far they went")]
    unknown_ends: Annotated[int, Field(description="Those of them that nobody has closed: they count as missing")]
    parked: Annotated[int, Field(description="Batches that have arrived and wait for their definition")]
    oldest_parked: BatchAnswer | None
    stuck: Annotated[int, Field(description="Of the parked ones, those that count as missing; see the epochs")]
    samples: int
    duplicates: int
    dead_letters: Annotated[int, Field(description="Messages that were set aside and not closed")]
    unnumbered_dead_letters: Annotated[
        int, Field(description="Those of them without a place in an epoch: they count as missing beside 'missing'")
    ]
    delay: DelayAnswer | None
    clock_error_s: Annotated[float | None, Field(description="The agent's clock less the ingest's")] = None
    last_arrival: datetime
    last_seen: Annotated[datetime | None, Field(description="When the agent has sent anything last, births included")]
    silent_s: Annotated[float | None, Field(description="How long ago that was")]
    reasons: list[ReasonAnswer]
    epochs: list[EpochAnswer]
    closings: list[ClosingAnswer]
    gaps: Annotated[list[GapAnswer], Field(description="The newest 1000")]
    gaps_total: int


class SettledAnswer(Answer):
    """The verdict on all agents together, as the exit code of ``cloud-ingest ledger``."""

    settled: bool
    unassigned_dead_letters: Annotated[
        int, Field(description="Messages that were set aside, of no agent in the ledger")
    ]
    event_letters: Annotated[
        int, Field(description="Events that a part of the platform could not take: what they tell of is missing there")
    ]


class DeadLetterAnswer(Answer):
    """A message that was set aside. ``cloud-ingest dead-letters`` shows it, stores it again, or closes it."""

    number: int
    agent: str | None
    epoch: str | None
    batch: int | None
    topic: str
    reason: str
    received: datetime
    recorded: datetime
    size_bytes: int
    closed: datetime | None
    closed_by: str | None
    closed_reason: str | None
    replays: Annotated[int, Field(description="How often it was stored again in vain")]
    replay_failure: str | None


class DeadLetterPage(Answer):
    """Some of the dead letters; ``next`` goes into ``after`` of the following request."""

    dead_letters: list[DeadLetterAnswer]
    next: int | None


class EventLetterAnswer(Answer):
    """An event that a part could not take. ``cloud-ingest event-letters`` shows it, has it taken, or closes it."""

    number: int
    projection: Annotated[str, Field(description="The part", examples=["inventory"])]
    topic: str
    partition: int
    offset: int
    key: Annotated[str, Field(description="What it is about")]
    reason: str
    received: Annotated[datetime, Field(description="When it was set aside")]
    size_bytes: int
    retry_asked: datetime | None
    retry_by: str | None
    retries: Annotated[int, Field(description="How often it was tried again in vain")]
    retry_failure: str | None
    closed: datetime | None
    closed_by: str | None
    closed_reason: str | None


class EventLetterPage(Answer):
    """Some of the event letters; ``next`` goes into ``after`` of the following request."""

    event_letters: list[EventLetterAnswer]
    next: int | None


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
