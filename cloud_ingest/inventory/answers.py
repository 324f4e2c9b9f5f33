"""What the API answers about inventory. Quantities are texts."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from cloud_ingest.access.answers import Answer
from cloud_ingest.inventory.field_types import Told


class ItemAnswer(Answer):
    """An item."""

    code: Annotated[str, Field(examples=["SCREW-M4"])]
    name: str
    kind: Literal["raw", "component", "product"]
    unit: str
    tracking: Literal["none", "lot", "serial"]
    is_phantom: bool
    quarantine: bool
    shelf_life_days: int | None
    reorder_point: Told | None
    reorder_quantity: Told | None
    supplier: str
    is_low: Annotated[bool, Field(description="What can be promised is below the reorder point")]
    is_active: bool
    revision: int


class ItemPage(Answer):
    """Some of the items, by their codes."""

    items: list[ItemAnswer]
    next: str | None


class PlaceAnswer(Answer):
    """A location."""

    code: str
    name: str
    kind: Literal["site", "warehouse", "bin", "line-side", "account"]
    parent: str | None
    path: Annotated[list[str], Field(description="From the outermost place to this one")]
    site: str | None
    allows_negative: bool
    is_pickable: bool
    is_active: bool
    revision: int


class PlacePage(Answer):
    """Some of the locations, by their codes."""

    locations: list[PlaceAnswer]
    next: str | None


class LinePlacesAnswer(Answer):
    """Where a line takes components, and where its products go."""

    site: str
    line: str
    components_at: str
    products_to: str
    revision: int


class LinePlacesPage(Answer):
    """The lines whose places are set; another line takes from its site, and its products go there."""

    lines: list[LinePlacesAnswer]
    next: str | None


class StockAnswer(Answer):
    """What is at one place, of one lot."""

    item: str
    location: str
    lot: Annotated[str, Field(description="Empty for an item that is not tracked")]
    on_hand: Told
    reserved: Told
    available: Annotated[Told, Field(description="Usable, and not reserved")]
    unit: str
    status: Annotated[str | None, Field(description="Of the lot")]
    expires: date | None
    arrived: Annotated[datetime, Field(description="As long as any of it is there")]


class StockPage(Answer):
    """Some of the stock, by item, location and lot."""

    stock: list[StockAnswer]
    next: str | None


class AvailabilityAnswer(Answer):
    """What there is of an item."""

    item: str
    unit: str
    on_hand: Told
    reserved: Told
    available: Annotated[Told, Field(description="What can be promised: usable, and not reserved")]
    on_order: Annotated[Told, Field(description="Of purchase proposals that are open")]
    short: Annotated[Told, Field(description="Used by production, and not in the ledger yet")]


class MovementAnswer(Answer):
    """A line of the ledger."""

    movement: int
    kind: str
    item: str
    lot: str
    quantity: Told
    source: Annotated[str, Field(serialization_alias="from")]
    target: Annotated[str, Field(serialization_alias="to")]
    order: str
    work_order: str
    product: Annotated[str, Field(description="What it was consumed for")]
    site: str
    line: str
    reference: str
    reason: str
    booked_by: str
    happened: datetime
    booked: datetime


class MovementPage(Answer):
    """Some of the ledger, the newest first; ``next`` goes into ``before``."""

    movements: list[MovementAnswer]
    next: int | None


class BookedAnswer(Answer):
    """What was booked: several movements when several lots were taken."""

    movements: list[MovementAnswer]


class ReservationAnswer(Answer):
    """Stock that is kept for an order or a work order."""

    reservation: str
    item: str
    location: str
    lot: str
    for_: Annotated[str, Field(serialization_alias="for")]
    id: str
    line: str
    quantity: Told
    open: Told
    used: Told
    released: Told
    expires: datetime | None
    created: datetime


class ReservationPage(Answer):
    """Some of the reservations, the oldest first."""

    reservations: list[ReservationAnswer]
    next: str | None


class ReservedAnswer(Answer):
    """What could be reserved of what was wanted."""

    item: str
    reserved: Told
    short: Told


class GivenBackAnswer(Answer):
    """What was given back."""

    released: Told


class ShortageAnswer(Answer):
    """What production has used and the ledger does not have."""

    shortage: str
    kind: Annotated[Literal["consumption", "production"], Field(description="production: a count that was taken back")]
    item: str
    location: str
    quantity: Told
    open: Annotated[Told, Field(description="What is not settled yet")]
    product: str
    product_lot: str
    work_order: str
    site: str
    line: str
    happened: datetime
    closed_by: str | None
    closed_reason: str | None


class ShortagePage(Answer):
    """Some of the shortages, the oldest first."""

    shortages: list[ShortageAnswer]
    next: str | None


class BomLineAnswer(Answer):
    """A component."""

    component: str
    quantity: Told
    scrap_factor: Told


class BomAnswer(Answer):
    """A version of a bill of material."""

    item: str
    version: int
    effective: datetime
    yields: Told
    note: str
    created_by: str
    created: datetime
    withdrawn: datetime | None
    lines: list[BomLineAnswer]


class BomVersions(Answer):
    """All versions, the newest first; ``current`` is the one that holds now."""

    item: str
    current: int | None
    versions: list[BomAnswer]


class RequirementAnswer(Answer):
    """What is needed of an item, and what there is."""

    item: str
    quantity: Told
    unit: str
    level: Annotated[int, Field(description="The deepest at which it is needed, from 1")]
    is_made: Annotated[bool, Field(description="It has a bill of material itself")]
    available: Told


class Explosion(Answer):
    """What a quantity of an item needs, on all levels."""

    item: str
    quantity: Told
    requirements: list[RequirementAnswer]


class UseAnswer(Answer):
    """One step up."""

    item: str
    component: str
    quantity: Annotated[Told, Field(description="For one of the item, scrap included")]
    level: int


class WhereUsed(Answer):
    """In what an item is, directly (level 1) and in what that is."""

    item: str
    uses: list[UseAnswer]


class LotAnswer(Answer):
    """A lot or serial number."""

    item: str
    lot: str
    status: Literal["quarantined", "released", "blocked"]
    expires: date | None
    origin: Annotated[str, Field(description="The work order that made it, or what it came with")]
    created: datetime
    revision: int


class LotPage(Answer):
    """Some of the lots."""

    lots: list[LotAnswer]
    next: str | None


class ProposalAnswer(Answer):
    """Something to be bought."""

    proposal: str
    item: str
    quantity: Told
    received: Told
    state: Literal["proposed", "ordered", "received", "dismissed"]
    supplier: str
    reference: str
    expected: date | None
    reason: str
    changed_by: str
    changed: datetime
    created: datetime
    revision: int


class ProposalPage(Answer):
    """Some of the proposals, the oldest first."""

    proposals: list[ProposalAnswer]
    next: str | None


class CountLineAnswer(Answer):
    """What the ledger had, and what was found."""

    item: str
    location: str
    lot: str
    expected: Told
    counted: Told | None
    difference: Told | None


class CountAnswer(Answer):
    """A stock count."""

    count: str
    location: str
    state: Literal["frozen", "counted", "booked", "cancelled"]
    note: str
    frozen: datetime
    frozen_by: str
    counted: datetime | None
    counted_by: str | None
    ended: datetime | None
    ended_by: str | None
    revision: int


class CountWithLines(CountAnswer):
    """A stock count with its lines."""

    lines: list[CountLineAnswer]


class CountPage(Answer):
    """Some of the counts, the newest first."""

    counts: list[CountAnswer]
    next: str | None


class ContentAnswer(Answer):
    """A lot that is in the one asked for."""

    item: str
    lot: str
    level: Annotated[int, Field(description="1: directly")]
    quantity: Told
    origin: str


class DestinationAnswer(Answer):
    """A lot that the one asked for is in, and where that is now."""

    item: str
    lot: str
    level: int
    quantity: Told
    on_hand: Told
    shipped: Told
    orders: list[str]


class GenealogyAnswer(Answer):
    """Which lots are in this one, and in which it is; up to 10,000 each."""

    item: str
    lot: str
    contents: list[ContentAnswer]
    destinations: list[DestinationAnswer]
    shipped: Annotated[Told, Field(description="Of itself")]
    orders: Annotated[list[str], Field(description="Which it was shipped with, itself")]
    work_orders: Annotated[list[str], Field(description="Which have used it")]
