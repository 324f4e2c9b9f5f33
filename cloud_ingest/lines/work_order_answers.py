"""What the routes of work orders take and answer."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from cloud_ingest.access.answers import Answer
from cloud_ingest.lines.work_order_recipes import Parameters
from connectors.commands.envelope import ULID_PATTERN

CODE_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"
PRODUCT_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
REASON_CHARS_MAX: Final = 1000
SEQUENCE_MAX: Final = 10_000
Quantity = Annotated[
    Decimal,
    Field(gt=0, le=Decimal("999999999999"), max_digits=18, decimal_places=6, examples=["250"]),
]
WorkOrderId = Annotated[str, Field(pattern=ULID_PATTERN)]
State = Literal["planned", "ready", "next", "running", "paused", "complete", "closed", "cancelled"]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WorkOrderRequest(_Asked):
    """What is to be made, by the routing that the catalog has for it."""

    product: Annotated[str, Field(pattern=PRODUCT_PATTERN, examples=["BRACKET-40"])]
    quantity: Quantity
    due: Annotated[datetime | None, Field(description="With a time zone", examples=["2026-12-01T14:00:00Z"])] = None
    order: Annotated[str | None, Field(min_length=1, max_length=100, description="The customer's order")] = None
    order_line: Annotated[int | None, Field(ge=1, le=10_000)] = None
    released: Annotated[bool, Field(description="It may begin as soon as its line is free")] = True
    transfer: Annotated[
        Quantity | None, Field(description="So much of a step makes the next one ready; all of it unless said")
    ] = None


class ReasonRequest(_Asked):
    """Why it is done; needed to complete what is short."""

    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX, examples=["the coil was used up"])] = ""


class ResizeRequest(_Asked):
    """Another quantity, of this step and those behind it."""

    quantity: Quantity
    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""


class ChangeoverRequest(ReasonRequest):
    """What becomes of the work order that runs."""

    then: Literal["complete", "pause"] = "complete"


class SequenceRequest(_Asked):
    """Every work order of the line that does not run yet, in the sequence in which they are to be made."""

    work_orders: Annotated[list[WorkOrderId], Field(max_length=SEQUENCE_MAX)]


class SettingsRequest(_Asked):
    """How work orders go on by themselves on a line, and where the values of recipes are written."""

    completes_itself: Annotated[bool, Field(description="A work order is complete when its quantity is there")] = False
    starts_next: Annotated[bool, Field(description="The next one is started when the line is free")] = False
    parameters: Annotated[Parameters, Field(description="By the names that recipes have")] = Field(default_factory=dict)


class WorkOrderAnswer(Answer):
    """A work order: one step of a job on one line. Quantities are decimal numbers as text."""

    id: str
    job: str
    step: int
    steps: int
    site: str
    line: str
    product: str
    state: State
    released: bool
    order: str | None
    order_line: int | None
    quantity: str
    transfer: Annotated[str, Field(description="So much of the step before makes this one ready")]
    good: str
    reject: str
    remaining: str
    surplus: Annotated[str, Field(description="Made beyond the quantity")]
    late_good: Annotated[str, Field(description="Of good, what was counted when it was over already")]
    late_reject: str
    ran_s: float
    pieces_per_hour: Annotated[str, Field(description="As it goes now; before enough was made, as planned")]
    due: datetime | None
    begin_planned: datetime | None
    end_planned: datetime | None
    started: datetime | None
    ended: datetime | None
    download: Annotated[
        Literal["none", "under_way", "failed", "done"], Field(description="Recipe and set-points of the last start")
    ]
    download_why: str
    reason: str
    created: datetime
    created_by: str
    revision: Annotated[int, Field(description="The ETag of this work order")]


class HistoryAnswer(Answer):
    """A state that it came into."""

    state: State
    time: datetime
    actor: str
    reason: str


class WriteAnswer(Answer):
    """A value of the last start, and where its newest command stands."""

    parameter: str
    target: Annotated[str, Field(description="group/name:device/tag")]
    value: bool | int | float | str
    armed: bool
    command: str | None
    state: str
    detail: str


class OneWorkOrder(WorkOrderAnswer):
    """With everything about it."""

    forecast_end: Annotated[datetime | None, Field(description="When it will be done, as it goes now")]
    recipe: dict[str, bool | int | float | str]
    history: list[HistoryAnswer]
    writes: list[WriteAnswer]


class WorkOrderPage(Answer):
    """Work orders, the oldest first."""

    work_orders: list[WorkOrderAnswer]
    next: str | None


class PlannedAnswer(Answer):
    """What was made of a request: a work order each step and job, and when they are planned."""

    work_orders: list[str]
    begin: datetime
    end: datetime


class LineWorkAnswer(Answer):
    """The work orders of a line that are not over, in their sequence; those that run or are paused come first."""

    site: str
    line: str
    revision: Annotated[int, Field(description="The ETag of sequence and settings")]
    completes_itself: bool
    starts_next: bool
    parameters: Parameters
    free_from: Annotated[datetime, Field(description="When all of it will be done, as planned")]
    work_orders: list[WorkOrderAnswer]
