"""What analytics answers, as models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from cloud_ingest.access.answers import Answer

Ratio = Annotated[float | None, Field(description="A fraction; null where it cannot be known", examples=[0.8712])]
Quantity = Annotated[str, Field(examples=["1480"])]
Milliseconds = Annotated[int, Field(examples=[3_600_000])]


class OeeGroup(Answer):
    """OEE and what it is made of, for one value of everything that was asked to be told apart by."""

    site: str | None = None
    line: str | None = None
    shift: Annotated[str | None, Field(description="Empty outside of every shift", examples=["early"])] = None
    day: Annotated[str | None, Field(description="Of a shift: the local day on which it begins")] = None
    product: Annotated[str | None, Field(description="Empty while none was known", examples=["pump-a"])] = None
    begin: Annotated[datetime | None, Field(description="Of the hour, day, week or month")] = None
    availability: Ratio
    performance: Ratio
    quality: Ratio
    oee: Ratio
    notice: Annotated[
        str,
        Field(
            description="Why performance and OEE are not known, or are above what can be, and what to do; else empty",
            examples=["performance is 116.0%: the ideal cycle time, 4.5 s a piece, is longer than the 3.88 s …"],
        ),
    ]
    planned_ms: Annotated[Milliseconds, Field(description="Planned busy time (PBT)")]
    running_ms: Annotated[Milliseconds, Field(description="Actual production time (APT)")]
    stopped_ms: Milliseconds
    changeover_ms: Milliseconds
    idle_ms: Milliseconds
    unknown_ms: Annotated[Milliseconds, Field(description="The line was offline: in none of the other times")]
    unplanned_run_ms: Annotated[Milliseconds, Field(description="Of the running time, what nobody had planned")]
    micro_ms: Annotated[Milliseconds, Field(description="Of the running time, what micro-stops took")]
    micro_stops: int
    stops: int
    good: Quantity
    reject: Quantity
    ideal_ms: Annotated[str, Field(description="Time that all pieces would have taken at the ideal cycle time")]
    without_ideal: Annotated[Quantity, Field(description="Pieces of products without an ideal cycle time")]
    energy_kwh: Quantity
    pieces_per_hour: Annotated[float | None, Field(description="Good pieces an hour of planned time")]


class OeeAnswer(Answer):
    """OEE of the time that was asked for; ``total`` is all groups together, worked out from their sums."""

    begin: datetime
    end: datetime
    waiting: Annotated[int, Field(description="Hours of this time that are to be worked out anew")]
    total: OeeGroup
    groups: list[OeeGroup]


class LossAnswer(Answer):
    """What stops for one reason have taken."""

    reason: Annotated[str, Field(description="Empty: nobody has said why", examples=["jam"])]
    kind: Annotated[str, Field(examples=["unplanned"])]
    ms: Milliseconds
    stops: int
    share: Annotated[float, Field(description="Of all losses, by time", examples=[0.41])]
    cumulative: Annotated[float, Field(description="With the larger ones", examples=[0.73])]


class ParetoAnswer(Answer):
    """Losses, the largest first."""

    begin: datetime
    end: datetime
    losses: list[LossAnswer]


class CycleClass(Answer):
    """Pieces whose cycle time was in this class."""

    from_s: Annotated[float, Field(examples=[4.939])]
    to_s: Annotated[float, Field(examples=[5.186])]
    pieces: Quantity


class CycleTimes(Answer):
    """How cycle times are spread, of times in which the line ran without a break; percentiles are exact to 5 %."""

    begin: datetime
    end: datetime
    pieces: Quantity
    p10_s: float | None
    p50_s: float | None
    p90_s: float | None
    classes: list[CycleClass]


class ChartPoint(Answer):
    """A point of a control chart."""

    begin: datetime
    value: float
    size: Annotated[float, Field(description="Pieces or samples that it stands for")]
    lower: Annotated[float, Field(description="Lower control limit, three sigma")]
    upper: Annotated[float, Field(description="Upper control limit, three sigma")]
    signals: Annotated[list[str], Field(description="The Western Electric rules that it breaks")]


class ControlChart(Answer):
    """A control chart; without limits when there are too few points for them."""

    begin: datetime
    end: datetime
    center: float | None
    points: list[ChartPoint]
