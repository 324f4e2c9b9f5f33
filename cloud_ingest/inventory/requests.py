"""What the API takes about inventory."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cloud_ingest.inventory.field_types import (
    ItemCode,
    LotCode,
    Name,
    PlaceCode,
    Quantity,
    QuantityOrNone,
    Reason,
    Reference,
    When,
)

BOOKED_AT_ONCE_MAX = 500
Unit = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f\x7f]{1,16}$", examples=["pcs", "kg", "m"])]
Tracking = Annotated[
    Literal["none", "lot", "serial"], Field(description="Whether stock is told apart by lots or serial numbers")
]
ItemKind = Literal["raw", "component", "product"]
ShelfLife = Annotated[int, Field(ge=1, le=36_500, description="A lot expires so long after it came")]
MovementKind = Literal["receipt", "issue", "transfer", "scrap", "adjustment", "shipment", "return"]


class Asked(BaseModel):
    """A request; what it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [values]})


class NewItem(Asked):
    """An item that can be in stock."""

    model_config = _example(code="SCREW-M4", name="Screw M4", kind="component", tracking="lot", reorder_point="1000")

    code: ItemCode
    name: Name = ""
    kind: ItemKind
    unit: Unit = "pcs"
    tracking: Tracking = "none"
    is_phantom: Annotated[bool, Field(description="Never in stock: bills of material pass through it")] = False
    quarantine: Annotated[bool, Field(description="Lots that come in have to be released first")] = False
    shelf_life_days: ShelfLife | None = None
    reorder_point: QuantityOrNone | None = None
    reorder_quantity: Quantity | None = None
    supplier: Name = ""


class ItemChange(Asked):
    """What of an item becomes another; what is left out stays. Unit and tracking only before it has moved."""

    model_config = _example(reorder_point="2000", reorder_quantity="5000")

    name: Name | None = None
    kind: ItemKind | None = None
    unit: Unit | None = None
    tracking: Tracking | None = None
    is_phantom: bool | None = None
    quarantine: bool | None = None
    shelf_life_days: ShelfLife | None = None
    reorder_point: QuantityOrNone | None = None
    reorder_quantity: Quantity | None = None
    supplier: Name | None = None
    is_active: bool | None = None


class NewPlace(Asked):
    """A place for stock: a site stands alone, everything else is within another place."""

    model_config = _example(code="plant-7", name="Our first plant", kind="site")

    code: PlaceCode
    name: Name = ""
    kind: Literal["site", "warehouse", "bin", "line-side"]
    parent: PlaceCode | None = None
    allows_negative: Annotated[
        bool, Field(description="What lines use may be booked before it is in the ledger; only of untracked items")
    ] = False
    is_pickable: Annotated[bool, Field(description="Stock here can be reserved for customers")] = True


class PlaceChange(Asked):
    """What of a place becomes another; what is left out stays."""

    model_config = _example(name="Our oldest plant")

    name: Name | None = None
    allows_negative: bool | None = None
    is_pickable: bool | None = None
    is_active: Annotated[bool | None, Field(description="false: closed, nothing is booked there")] = None


class LinePlaces(Asked):
    """Where a line takes components (and below), and where its products go."""

    model_config = _example(components_at="plant-7", products_to="plant-7")

    components_at: PlaceCode
    products_to: PlaceCode


class NewMovement(Asked):
    """So much of an item from one place to another; the end that is no place follows from the kind."""

    model_config = _example(
        kind="receipt", item="SCREW-M4", quantity="500", to="plant-7", lots=["L-2026-118"], reason="delivery 4711"
    )

    kind: MovementKind
    item: ItemCode
    quantity: Quantity
    source: Annotated[PlaceCode | None, Field(alias="from", description="For what leaves a place")] = None
    target: Annotated[PlaceCode | None, Field(alias="to", description="For what comes to a place")] = None
    lots: Annotated[
        tuple[LotCode, ...],
        Field(
            max_length=BOOKED_AT_ONCE_MAX,
            description="The lot, or as many serial numbers as pieces; left out for what leaves: what expires first",
        ),
    ] = ()
    expires: Annotated[date | None, Field(description="Of a lot that comes in", examples=["2027-06-30"])] = None
    order: Reference | None = None
    work_order: Reference | None = None
    reference: Reference | None = None
    reason: Reason = ""
    happened: Annotated[When | None, Field(description="Now, unless said; not in the future")] = None


class NewReservation(Asked):
    """Stock that is kept for an order or a work order: what expires first is taken first, then what came first."""

    model_config = _example(item="SCREW-M4", quantity="12", **{"for": "order"}, id="SO-1001", line="1")

    item: ItemCode
    quantity: Quantity
    for_: Annotated[Literal["order", "work-order"], Field(alias="for")]
    id: Reference
    line: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    at: Annotated[PlaceCode | None, Field(description="Only there, and below; everywhere unless said")] = None
    expires: When | None = None
    whole: Annotated[bool, Field(description="All of it, or nothing")] = False


class NewBomLine(Asked):
    """A component: how much of it ends in the item, and how much more is used."""

    component: ItemCode
    quantity: Quantity
    scrap_factor: Annotated[
        Decimal, Field(ge=0, le=10, max_digits=9, decimal_places=6, description="0.02: 2 % more is used")
    ] = Decimal(0)


class NewBomVersion(Asked):
    """A bill of material that holds from ``effective`` on (now, unless said) until a later one does."""

    model_config = _example(
        lines=[{"component": "SCREW-M4", "quantity": "8", "scrap_factor": "0.02"}], effective="2026-12-01T00:00:00Z"
    )

    effective: When | None = None
    yields: Annotated[Quantity, Field(description="The lines are for so many of the item")] = Decimal(1)
    note: Reason = ""
    lines: Annotated[tuple[NewBomLine, ...], Field(min_length=1, max_length=1000)]


class LotChange(Asked):
    """What becomes of a lot. What is reserved of one that may not be used any more is given back."""

    model_config = _example(status="blocked", reason="rust at incoming inspection")

    status: Literal["quarantined", "released", "blocked"] | None = None
    expires: date | None = None
    reason: Reason = ""


class NewProposal(Asked):
    """Something to be bought."""

    model_config = _example(item="SCREW-M4", quantity="5000", reason="for the order of December")

    item: ItemCode
    quantity: Quantity
    reason: Reason = ""


class Ordering(Asked):
    """That a proposal was ordered."""

    model_config = _example(supplier="Bolts Ltd", reference="PO-4711", expected="2026-12-10")

    supplier: Name | None = None
    reference: Reference | None = None
    expected: date | None = None
    quantity: Annotated[Quantity | None, Field(description="If another quantity was ordered than proposed")] = None


class Arrival(Asked):
    """What has come of an order to a supplier; the order is closed when all has, or with ``is_last``."""

    model_config = _example(quantity="5000", to="plant-7", lots=["L-2026-119"])

    quantity: Quantity
    target: Annotated[PlaceCode, Field(alias="to")]
    lots: Annotated[tuple[LotCode, ...], Field(max_length=BOOKED_AT_ONCE_MAX)] = ()
    expires: date | None = None
    is_last: bool = False


class Why(Asked):
    """Why it is done; kept."""

    model_config = _example(reason="counted by hand")

    reason: Reason = ""


class NewCount(Asked):
    """A stock count: what is at a location and below is frozen now."""

    model_config = _example(location="plant-7", note="yearly count")

    location: PlaceCode
    items: Annotated[tuple[ItemCode, ...], Field(max_length=1000, description="Only these; all unless said")] = ()
    note: Reason = ""


class CountedLine(Asked):
    """What was found."""

    item: ItemCode
    location: PlaceCode
    lot: LotCode | None = None
    counted: QuantityOrNone


class CountedLines(Asked):
    """What was found; what was not in the ledger is added. It can be said again until the count is booked."""

    model_config = _example(lines=[{"item": "SCREW-M4", "location": "plant-7", "lot": "L-2026-118", "counted": "497"}])

    lines: Annotated[tuple[CountedLine, ...], Field(min_length=1, max_length=5000)]
