"""The routes of stock: what is where, the ledger, reservations, shortages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from cloud_ingest.access.idempotency import IdempotencyKey
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.span import QuestionInvalid
from cloud_ingest.access.tenancy import tenant_session
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.inventory import booking, questions, reordering, requests, reserving, shortages
from cloud_ingest.inventory.answers import (
    AvailabilityAnswer,
    BookedAnswer,
    GivenBackAnswer,
    MovementAnswer,
    MovementPage,
    ReservationPage,
    ReservedAnswer,
    ShortagePage,
    StockPage,
)
from cloud_ingest.inventory.asking import Booker, Reader, made_once, now, refuse_unless_there, router, sites_of
from cloud_ingest.inventory.booking import Booking
from cloud_ingest.inventory.field_types import ItemPath, ItemQuery, LotQuery, PlaceQuery, ReferenceQuery, UlidPath
from cloud_ingest.inventory.items import locked_items, one_item, one_place, places
from cloud_ingest.inventory.ledger import Cause
from cloud_ingest.inventory.requests import NewMovement, NewReservation
from cloud_ingest.inventory.reserving import Owner
from cloud_ingest.inventory.rules import Account, Kind
from connectors.ports.database import Database, Session

BOOK: Final = Permission.INVENTORY_BOOK
AHEAD_MAX: Final = timedelta(minutes=5)
OLDEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
Before = Annotated[int | None, Query(ge=1, le=(1 << 63) - 1, description="The 'next' of the page before")]
_OUT: Final = {
    Kind.ISSUE: Account.ISSUED,
    Kind.SCRAP: Account.SCRAP,
    Kind.SHIPMENT: Account.CUSTOMER,
    Kind.ADJUSTMENT: Account.ADJUSTMENT,
    Kind.RETURN: Account.SUPPLIER,
}


def stock_routes(database: Database) -> APIRouter:
    """Below ``/api/v1/stock``."""
    api = router("stock")

    @api.get("")
    async def stock(
        principal: Reader,
        item: ItemQuery = None,
        location: PlaceQuery = None,
        lot: LotQuery = None,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> StockPage:
        """What is where, by item, location and lot; what is nothing is left out."""
        choice = questions.StockChoice(item, location, lot, sites_of(principal), _three(after), limit + 1)
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await questions.listed_stock(session, principal.tenant_id, choice)
        shown, following = page(rows, limit, lambda row: "|".join((row["item"], row["location"], row["lot"])))
        return StockPage.model_validate({"stock": [dict(row) for row in shown], "next": following})

    @api.get("/{item}")
    async def availability(principal: Reader, item: ItemPath, at: PlaceQuery = None) -> AvailabilityAnswer:
        """What there is of an item, everywhere or at a location and below it."""
        tenant_id = principal.tenant_id
        async with tenant_session(database, tenant_id) as session:
            if at is not None:
                refuse_unless_there(principal, Permission.INVENTORY_READ, [await one_place(session, tenant_id, at)])
            known = await one_item(session, tenant_id, item)
            found = await reordering.standing(session, tenant_id, item, at, now().date())
            short = (await questions.open_shortage(session, tenant_id, item))["short"]
        return AvailabilityAnswer(
            item=item,
            unit=known.unit,
            on_hand=found.on_hand,
            reserved=found.reserved,
            available=found.available,
            on_order=found.on_order,
            short=short,
        )

    return api


def movement_routes(database: Database) -> APIRouter:
    """Below ``/api/v1/movements``."""
    api = router("movements")

    @api.get("")
    async def movements(
        principal: Reader,
        item: ItemQuery = None,
        lot: LotQuery = None,
        location: PlaceQuery = None,
        order: ReferenceQuery = None,
        work_order: ReferenceQuery = None,
        before: Before = None,
        limit: Limit = LIMIT,
    ) -> MovementPage:
        """The ledger, the newest first; it is append-only: what was wrong is set right by another movement."""
        sites = sites_of(principal)
        choice = questions.MovementChoice(item, lot, location, order, work_order, sites, before, limit + 1)
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await questions.listed_movements(session, principal.tenant_id, choice)
        following = rows[limit - 1]["movement"] if len(rows) > limit else None
        return MovementPage.model_validate({"movements": [dict(row) for row in rows[:limit]], "next": following})

    @api.post("", status_code=201, response_model=BookedAnswer)
    async def book(principal: Booker, new: NewMovement, key: IdempotencyKey) -> JSONResponse:
        """Book a movement: a receipt, an issue, a transfer, scrap, an adjustment, a shipment or a return."""
        source, target = _ends(new)
        happened = _happened(new)

        async def do(work: UnitOfWork) -> BookedAnswer:
            ends = await places(work.session, principal.tenant_id, {source, target})
            refuse_unless_there(principal, BOOK, ends.values())
            wanted = Booking(Kind(new.kind), new.item, new.quantity, source, target, new.lots, new.expires)
            cause = Cause(
                principal.name,
                happened,
                order=new.order or "",
                work_order=new.work_order or "",
                reference=new.reference or "",
                reason=new.reason,
            )
            numbers = await booking.book(work, principal.tenant_id, [wanted], cause)
            return await booked(work.session, principal.tenant_id, numbers)

        return await made_once(database, principal, ("POST /movements", key, new), do)

    return api


async def booked(session: Session, tenant_id: int, numbers: list[int]) -> BookedAnswer:
    """The movements of these numbers."""
    rows = await questions.movements(session, tenant_id, numbers)
    return BookedAnswer(movements=[MovementAnswer.model_validate(dict(row)) for row in rows])


def reservation_routes(database: Database) -> APIRouter:
    """Below ``/api/v1/reservations``."""
    api = router("reservations")

    @api.get("")
    async def reservations(
        principal: Reader,
        item: ItemQuery = None,
        kind: Annotated[Literal["order", "work-order"] | None, Query(alias="for")] = None,
        id: ReferenceQuery = None,  # noqa: A002  the name is the API's
        ended: Annotated[bool, Query(description="Also those that are used or given back")] = False,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> ReservationPage:
        """Reservations, the oldest first."""
        choice = questions.ReservationChoice(item, kind, id, sites_of(principal), after, limit + 1, not ended)
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await questions.listed_reservations(session, principal.tenant_id, choice)
        shown, following = page(rows, limit, lambda row: str(row["reservation"]))
        return ReservationPage.model_validate({"reservations": [dict(row) for row in shown], "next": following})

    @api.post("", status_code=201, response_model=ReservedAnswer)
    async def reserve(principal: Booker, new: NewReservation, key: IdempotencyKey) -> JSONResponse:
        """Reserve what there is, up to what is wanted; never more than there is, however many ask at once."""

        async def do(work: UnitOfWork) -> ReservedAnswer:
            tenant_id = principal.tenant_id
            if new.at is not None:
                refuse_unless_there(principal, BOOK, [await one_place(work.session, tenant_id, new.at)])
            elif principal.places(BOOK) is not None:
                raise QuestionInvalid("you may reserve at some sites only: name one with 'at'")
            known = await locked_items(work.session, tenant_id, [new.item])
            owner = Owner(new.for_, new.id, new.line)
            reserved = await reserving.reserve_stock(
                work,
                tenant_id,
                known[new.item],
                new.quantity,
                owner,
                new.at,
                now(),
                expires=new.expires,
                whole=new.whole,
            )
            await reordering.watch(work, tenant_id, known.values(), now())
            return ReservedAnswer(item=new.item, reserved=reserved, short=new.quantity - reserved)

        return await made_once(database, principal, ("POST /reservations", key, new), do)

    _add_release(api, database)
    return api


def _add_release(api: APIRouter, database: Database) -> None:
    @api.post("/{reservation}/release")
    async def release(principal: Booker, reservation: UlidPath, why: requests.Why) -> GivenBackAnswer:
        """Give back what is reserved; the second time there is nothing to give back."""
        tenant_id = principal.tenant_id
        async with unit_of_work(database, tenant_id) as work:
            rows = await work.session.fetch(
                "SELECT item, location FROM stock_reservation WHERE tenant_id = $1 AND reservation = $2",
                tenant_id,
                reservation,
            )
            if not rows:
                sentence = f"there is no reservation {reservation}; /api/v1/reservations lists them"
                raise RequestRefused(Why.UNKNOWN, "unknown_reservation", sentence)
            held = await places(work.session, tenant_id, [rows[0]["location"]])
            refuse_unless_there(principal, BOOK, held.values())
            known = await locked_items(work.session, tenant_id, [rows[0]["item"]])
            found = await reserving.open_again(work.session, tenant_id, reservation)
            given = await reserving.give_back(work, tenant_id, found, why.reason or f"by {principal.name}", now())
            for item in known.values():
                await shortages.settle(work, tenant_id, item, now())
            await reordering.watch(work, tenant_id, known.values(), now())
        return GivenBackAnswer(released=given)


def shortage_routes(database: Database) -> APIRouter:
    """Below ``/api/v1/shortages``."""
    api = router("shortages")

    @api.get("")
    async def listed(
        principal: Reader,
        item: ItemQuery = None,
        settled: Annotated[bool, Query(description="Also those that are settled or closed")] = False,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> ShortagePage:
        """What production has used and the ledger does not have; it is booked by itself when it comes."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await shortages.listed(
                session, principal.tenant_id, item, sites_of(principal), after, limit + 1, with_closed=settled
            )
        shown, following = page(rows, limit, lambda row: str(row["shortage"]))
        return ShortagePage.model_validate({"shortages": [dict(row) for row in shown], "next": following})

    @api.post("/{shortage}/close", status_code=204)
    async def close(principal: Booker, shortage: UlidPath, why: requests.Why) -> None:
        """Have a shortage never be booked: its components were something else, or were counted meanwhile."""
        tenant_id = principal.tenant_id
        async with unit_of_work(database, tenant_id) as work:
            found = await shortages.one(work.session, tenant_id, shortage)
            held = await places(work.session, tenant_id, [found["location"]])
            refuse_unless_there(principal, BOOK, held.values())
            await locked_items(work.session, tenant_id, [found["item"]])
            await shortages.close(work.session, tenant_id, shortage, principal.name, why.reason)

    return api


def _three(after: str) -> tuple[str, str, str]:
    """The key of the last row of the page before: none of its parts has a bar in it."""
    parts = after.split("|") if after else ["", "", ""]
    if len(parts) != 3:
        raise QuestionInvalid("'after' is the 'next' of the page before")
    return parts[0], parts[1], parts[2]


def _happened(new: NewMovement) -> datetime:
    when = now()
    if new.happened is None:
        return when
    if not OLDEST <= new.happened <= when + AHEAD_MAX:
        why = f"'happened' is {new.happened.isoformat()}: it is neither in the future nor before {OLDEST.year}"
        raise RequestRefused(Why.INVALID, "invalid_time", why)
    return new.happened.astimezone(UTC)


def _ends(new: NewMovement) -> tuple[str, str]:
    """From where to where; raises ``RequestRefused`` when the ends do not fit the kind."""
    kind = Kind(new.kind)
    source, target = new.source, new.target
    if kind is Kind.TRANSFER:
        if source is None or target is None or source == target:
            raise _ends_missing("a transfer goes 'from' one place 'to' another")
        return source, target
    if (source is None) == (target is None):
        raise _ends_missing("name one place: 'from' where it leaves, or 'to' where it comes")
    if source is not None:
        if kind is Kind.RECEIPT:
            raise _ends_missing("a receipt comes 'to' a place")
        return source, _OUT[kind].value
    assert target is not None  # noqa: S101  one of them is named
    if kind is Kind.RECEIPT:
        return Account.SUPPLIER.value, target
    if kind is Kind.ADJUSTMENT:
        return Account.ADJUSTMENT.value, target
    if kind is Kind.RETURN:
        return (Account.CUSTOMER.value if new.order else Account.ISSUED.value), target
    raise _ends_missing(f"{kind.value} goes 'from' a place")


def _ends_missing(why: str) -> RequestRefused:
    return RequestRefused(Why.INVALID, "ends_do_not_fit", why)
