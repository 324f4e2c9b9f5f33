"""What the routes of lines, stops and alarms take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cloud_ingest.access.answers import Answer
from cloud_ingest.lines.alarm_deeds import SHELVED_S_MAX
from cloud_ingest.lines.events import LineState, StopKind
from cloud_ingest.lines.model_types import CODE_PATTERN
from connectors.commands.envelope import ULID_PATTERN

NOTE_CHARS_MAX = 1000
Amount = Annotated[str, Field(description="A decimal number as text: nothing of it is lost", examples=["1204"])]
Time = Annotated[datetime, Field(examples=["2026-11-22T08:00:00Z"])]
Id = Annotated[str, Field(pattern=ULID_PATTERN, examples=["01JDV3W3Z8Q6C0V2B7N4M5K9XR"])]
Reason = Annotated[str | None, Field(description="Code of a reason; null: nobody knows yet", examples=["jam"])]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LineAnswer(Answer):
    """A line, and how it stands."""

    site: Annotated[str, Field(examples=["plant-7"])]
    line: Annotated[str, Field(examples=["press-1"])]
    name: str
    area: Annotated[str, Field(examples=["hall-1"])]
    state: LineState
    since: Annotated[datetime | None, Field(description="Null before its first sample")]
    reason: Reason
    good: Annotated[Amount, Field(description="All that was ever counted")]
    reject: Amount
    energy_kwh: Amount
    speed: Annotated[str | None, Field(examples=["58.5"])]
    speed_unit: str
    work_order: Annotated[str | None, Field(description="The one that runs")]
    product: str | None
    last_sample: Annotated[datetime | None, Field(description="The newest time of a sample of one of its tags")]


class OneLine(LineAnswer):
    """A line with what needs somebody."""

    open_stop: Annotated[str | None, Field(description="The stop in which it is, micro-stops included")]
    unclassified_stops: Annotated[int, Field(description="Of the last seven days, without a reason")]
    open_alarms: Annotated[int, Field(description="Alarms that are not cleared, apart from shelved ones")]


class LinePage(Answer):
    """Lines by site and code."""

    lines: list[LineAnswer]
    next: str | None


class StateAnswer(Answer):
    """A state from ``begin`` to ``end``, which is null of the present one."""

    state: LineState
    begin: Time
    end: datetime | None
    reason: Reason


class CountAnswer(Answer):
    """What was counted by one work order, in an interval."""

    begin: Time
    end: Time
    good: Amount
    reject: Amount
    energy_kwh: Amount
    work_order: str | None
    product: str | None


class BreakAnswer(Answer):
    """A planned break."""

    begin: Time
    end: Time


class ShiftAnswer(Answer):
    """A shift of one day."""

    shift: Annotated[str, Field(examples=["early"])]
    day: Annotated[str, Field(description="The local day on which it begins", examples=["2026-11-23"])]
    begin: Time
    end: Time
    breaks: list[BreakAnswer]


class StopAnswer(Answer):
    """A stop."""

    id: Id
    site: str
    line: str
    begin: Time
    end: Annotated[datetime | None, Field(description="Null while it lasts")]
    state: Annotated[LineState, Field(description="What the line was in")]
    reason: Reason
    kind: StopKind
    note: str
    classified_by: Annotated[str | None, Field(description="Who has said the reason; null: the machine, or nobody")]
    revision: int


class StopEntryAnswer(Answer):
    """What somebody has said of a stop."""

    time: Time
    actor: str
    deed: Literal["classify", "split", "merge"]
    before: dict[str, Any]
    after: dict[str, Any]


class OneStop(StopAnswer):
    """A stop with its history."""

    history: list[StopEntryAnswer]


class StopPage(Answer):
    """Stops, the newest first."""

    stops: list[StopAnswer]
    next: str | None


class ClassifyRequest(_Asked):
    """Why the line stood. A reason of null takes back what somebody has said."""

    reason: Annotated[str | None, Field(pattern=CODE_PATTERN, examples=["jam"])]
    note: Annotated[str | None, Field(max_length=NOTE_CHARS_MAX, description="Null leaves it as it is")] = None


class SplitRequest(_Asked):
    """Where a stop is two."""

    at: Annotated[datetime, Field(description="With a time zone", examples=["2026-11-22T08:05:00Z"])]


class AlarmAnswer(Answer):
    """An alarm that was raised (ISA-18.2)."""

    id: Id
    site: str
    line: str
    alarm: Annotated[str, Field(description="Its code", examples=["oil-hot"])]
    priority: Annotated[int, Field(description="1 is the highest")]
    text: str
    state: Literal["unacknowledged", "acknowledged", "returned", "latched", "cleared"]
    shelved: Annotated[bool, Field(description="Nobody is told of it")]
    raised: Time
    returned: datetime | None
    acknowledged: datetime | None
    acknowledged_by: str | None
    cleared: datetime | None
    escalated: datetime | None
    revision: int


class AlarmEntryAnswer(Answer):
    """What became of an alarm."""

    time: Time
    deed: str
    actor: str
    reason: str


class OneAlarm(AlarmAnswer):
    """An alarm with its history."""

    history: list[AlarmEntryAnswer]


class AlarmPage(Answer):
    """Alarms, the newest first."""

    alarms: list[AlarmAnswer]
    next: str | None


class AlarmRequest(_Asked):
    """Why it is done."""

    reason: Annotated[str, Field(max_length=NOTE_CHARS_MAX, examples=["the cooler was off"])] = ""


class ShelveRequest(_Asked):
    """For how long nobody is told of an alarm, and why."""

    for_s: Annotated[float, Field(ge=1, le=SHELVED_S_MAX, description="Seconds, at most a shift", examples=[1800])]
    reason: Annotated[str, Field(min_length=1, max_length=NOTE_CHARS_MAX, examples=["the sensor is being changed"])]


class ShelfAnswer(Answer):
    """An alarm that is put aside."""

    alarm: Annotated[str, Field(examples=["oil-hot"])]
    until: Time
    shelved_by: str
    reason: str
