"""What a plant is made of (ISA-95 part 1, section 5.3): as plant files and requests write it.

Enterprise, site, area, line (work center) and cell (work unit); of a line also its signals and alarms; of a site its
calendars and reasons. Stored as it is written, by ``equipment``; read into rules by ``line_rules``.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from cloud_ingest.lines.calendar_model import CalendarModel
from cloud_ingest.lines.events import LineState, StopKind
from cloud_ingest.lines.model_types import Code, Duration, Modulus, Name, Number, Part, TagPath, TimeZone
from connectors.ports.settings import SettingInvalid

StateWord = Literal["running", "stopped", "faulted", "idle", "planned_stop", "changeover", "offline"]
KindWord = Literal["unplanned", "planned", "changeover", "idle"]


class EnterpriseModel(Part):
    """The enterprise."""

    name: Name = ""


class SiteModel(Part):
    """A site, and its time zone: shifts are written in its local time."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Plant 7", "enterprise": "acme", "time_zone": "Europe/Berlin"}]}
    )

    name: Name = ""
    enterprise: Code | None = None
    time_zone: TimeZone = "UTC"


class AreaModel(Part):
    """An area of a site."""

    name: Name = ""


class CellModel(Part):
    """A cell (work unit) of a line."""

    name: Name = ""


class ReasonModel(Part):
    """Why a line stands; a reason below another one is a closer one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Technical", "kind": "unplanned"}]})

    name: Name = ""
    parent: Code | None = None
    kind: Annotated[KindWord, Field(description="How stops with this reason count")] = "unplanned"

    @property
    def stop_kind(self) -> StopKind:
        """The kind of stops that it is given to."""
        return StopKind(self.kind)


class MeaningModel(Part):
    """The state that a value of the state tag says."""

    state: StateWord
    reason: Annotated[Code | None, Field(description="Reason of stops in this state")] = None


def _meaning(value: Any) -> Any:
    return {"state": value} if isinstance(value, str) else value


Meant = Annotated[MeaningModel, BeforeValidator(_meaning, json_schema_input_type=str | MeaningModel)]


class SignalModel(Part):
    """A tag that means something for its line."""

    tag: TagPath


class StateSignalModel(SignalModel):
    """The tag that says what the line does."""

    map: Annotated[
        dict[str, Meant],
        Field(min_length=1, max_length=1000, description="By the tag's values: {1: running, 2: stopped}"),
    ]
    unmapped: Annotated[Meant, Field(description="What any other value says")] = MeaningModel(state="stopped")


class CounterSignalModel(SignalModel):
    """A counter of a machine."""

    modulus: Annotated[
        Modulus | None,
        Field(description="Where it begins again at 0: 16bit, 32bit, or a number such as 10000"),
    ] = None
    rate_max: Annotated[
        Number | None,
        Field(description="It never counts more a second: tells a glitch from production, and a reset from a rollover"),
    ] = None
    reset_to: Annotated[Number, Field(description="What it holds after a reset")] = Decimal(0)
    scale: Annotated[Number, Field(description="How much one count is")] = Decimal(1)

    @model_validator(mode="after")
    def _positive(self) -> CounterSignalModel:
        for name in ("modulus", "rate_max", "scale"):
            number = getattr(self, name)
            if number is not None and number <= 0:
                raise SettingInvalid("it has to be more than 0.", "Write a number above 0.", (name,))
        return self


class SpeedSignalModel(SignalModel):
    """The tag with the line's speed."""

    unit: Annotated[str, Field(max_length=40)] = ""
    running_above: Annotated[Number, Field(description="Without a state tag: the line runs above this speed")] = (
        Decimal(0)
    )


class FaultSignalModel(SignalModel):
    """A truth value that says that the line is faulted."""

    reason: Code | None = None


class SignalsModel(Part):
    """What is known of a line, by its tags."""

    state: StateSignalModel | None = None
    good: CounterSignalModel | None = None
    reject: CounterSignalModel | None = None
    total: Annotated[CounterSignalModel | None, Field(description="Good and reject together, in place of 'good'")] = (
        None
    )
    speed: SpeedSignalModel | None = None
    fault: FaultSignalModel | None = None
    energy: Annotated[CounterSignalModel | None, Field(description="An energy meter; scale it to kWh")] = None

    @model_validator(mode="after")
    def _one_way(self) -> SignalsModel:
        if self.good is not None and self.total is not None:
            raise SettingInvalid("good pieces would be counted twice.", "Write 'good' or 'total'.", ("total",))
        return self

    def all(self) -> dict[str, SignalModel]:
        """The signals that are there, by their names."""
        return {name: signal for name in type(self).model_fields if (signal := getattr(self, name)) is not None}


class AlarmModel(Part):
    """An alarm of a line."""

    alarm: Code
    tag: TagPath
    when: Annotated[bool | None, Field(description="The truth value that raises it")] = None
    high: Annotated[Number | None, Field(description="A number above this raises it")] = None
    low: Annotated[Number | None, Field(description="A number below this raises it")] = None
    deadband: Annotated[Number, Field(description="So far within the limit the number has come back")] = Decimal(0)
    delay_s: Annotated[Duration, Field(alias="delay", ge=0, le=86_400, description="It has to hold so long")] = 0.0
    priority: Annotated[int, Field(ge=1, le=4, description="1 is the highest")] = 3
    text: Annotated[str, Field(max_length=500, description="What an operator has to know, and do")] = ""
    latches: Annotated[bool, Field(description="It stays until it is reset")] = False
    escalate_after_s: Annotated[
        Duration | None, Field(alias="escalate_after", gt=0, le=604_800, description="If nobody has acknowledged it")
    ] = None

    @model_validator(mode="after")
    def _has_condition(self) -> AlarmModel:
        has_limit = self.high is not None or self.low is not None
        if has_limit == (self.when is not None):
            raise SettingInvalid(
                "it needs either 'when' (of a truth value) or 'high' and 'low' (of a number).",
                "Write 'when: true', or a limit such as 'high: 90'.",
            )
        if self.high is not None and self.low is not None and self.low + self.deadband >= self.high - self.deadband:
            raise SettingInvalid("it would never come back.", "Write 'low' further below 'high'.", ("low",))
        if self.deadband < 0:
            raise SettingInvalid("it has to be 0 or more.", "Write it without '-'.", ("deadband",))
        return self


_EXAMPLE: Final[dict[str, Any]] = {
    "area": "hall-1",
    "name": "Press line 1",
    "calendar": "two-shifts",
    "signals": {
        "state": {
            "tag": "plant-7/line-1/press/state",
            "map": {"1": {"state": "running"}, "2": {"state": "faulted", "reason": "technical"}},
        },
        "good": {"tag": "plant-7/line-1/press/good", "modulus": "16bit", "rate_max": "5"},
    },
    "alarms": [{"alarm": "oil-hot", "tag": "plant-7/line-1/press/oil", "high": "80", "delay": "10s"}],
    "micro_stop": "60s",
}


class LineModel(Part):
    """A line (work center, ISA-95 part 1, section 5.3.5)."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    area: Code
    name: Name = ""
    calendar: Annotated[Code | None, Field(description="Without one, all time is planned")] = None
    signals: SignalsModel = SignalsModel()
    alarms: Annotated[tuple[AlarmModel, ...], Field(max_length=500)] = ()
    stop_after_s: Annotated[
        Duration,
        Field(alias="stop_after", ge=0.1, le=86_400, description="Without a state tag: it stands when nothing is "
              "counted so long"),
    ] = 60.0  # fmt: skip
    micro_stop_s: Annotated[
        Duration, Field(alias="micro_stop", ge=0, le=86_400, description="A shorter stop is a loss of speed")
    ] = 60.0
    offline_after_s: Annotated[
        Duration | None,
        Field(alias="offline_after", ge=1, le=604_800, description="Offline when no tag of it has said anything so "
              "long; needs tags with 'max_interval'"),
    ] = None  # fmt: skip

    @model_validator(mode="after")
    def _unique_alarms(self) -> LineModel:
        seen: set[str] = set()
        for at, alarm in enumerate(self.alarms):
            if alarm.alarm in seen:
                raise SettingInvalid(
                    f"the line has an alarm {alarm.alarm!r} already.", "Use another code.", ("alarms", at, "alarm")
                )
            seen.add(alarm.alarm)
        return self


EquipmentKind = Literal["enterprise", "site", "area", "line", "cell", "calendar", "reason"]
MODELS: Final[Mapping[EquipmentKind, type[Part]]] = {
    "enterprise": EnterpriseModel,
    "site": SiteModel,
    "area": AreaModel,
    "line": LineModel,
    "cell": CellModel,
    "calendar": CalendarModel,
    "reason": ReasonModel,
}


def state_of(word: StateWord) -> LineState:
    """The state that ``word`` names."""
    return LineState(word)
