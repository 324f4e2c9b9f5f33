"""The routes of purchase proposals and stock counts."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.idempotency import IdempotencyKey
from cloud_ingest.access.needs import refuse_unless_everywhere
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.tenancy import tenant_session
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.inventory import booking, counting, reordering, requests
from cloud_ingest.inventory.answers import (
    CountAnswer,
    CountLineAnswer,
    CountPage,
    CountWithLines,
    ProposalAnswer,
    ProposalPage,
)
from cloud_ingest.inventory.asking import (
    CHANGED,
    Booker,
    Editor,
    Reader,
    made_once,
    now,
    refuse_unless_there,
    router,
    sites_of,
)
from cloud_ingest.inventory.booking import Booking
from cloud_ingest.inventory.field_types import ItemQuery, UlidPath
from cloud_ingest.inventory.items import locked_items, one_place
from cloud_ingest.inventory.ledger import Cause
from cloud_ingest.inventory.requests import Arrival, CountedLines, NewCount, NewProposal, Ordering
from cloud_ingest.inventory.rules import Account, Kind, ProposalState
from connectors.ports.database import Database, Session

BOOK: Final = Permission.INVENTORY_BOOK
EDIT: Final = Permission.INVENTORY_EDIT
Before = Annotated[str, Query(max_length=26, description="The 'next' of the page before")]


def proposal_routes(database: Database) -> APIRouter:
    """Below ``/api/v1/purchase-proposals``."""
    api = router("purchase-proposals")

    @api.get("")
    async def proposals(
        principal: Reader,
        item: ItemQuery = None,
        state: Literal["proposed", "ordered", "received", "dismissed"] | None = None,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> ProposalPage:
        """What is to be bought, the oldest first. What falls below its reorder point is proposed by itself."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await session.fetch(
                f"SELECT {reordering.PROPOSAL_COLUMNS} FROM purchase_proposal WHERE tenant_id = $1 "  # noqa: S608
                "AND ($2::text IS NULL OR item = $2) AND ($3::text IS NULL OR state = $3) AND proposal > $4 "
                "ORDER BY proposal LIMIT $5",
                principal.tenant_id,
                item,
                state,
                after,
                limit + 1,
            )
        shown, following = page(rows, limit, lambda row: str(row["proposal"]))
        return ProposalPage.model_validate({"proposals": [dict(row) for row in shown], "next": following})

    @api.post("", status_code=201, response_model=ProposalAnswer)
    async def propose(principal: Editor, new: NewProposal, key: IdempotencyKey) -> JSONResponse:
        """Propose to buy something."""
        refuse_unless_everywhere(principal, EDIT, "items and stock")

        async def do(work: UnitOfWork) -> ProposalAnswer:
            known = await locked_items(work.session, principal.tenant_id, [new.item])
            proposal = await reordering.add_proposal(
                work, principal.tenant_id, known[new.item], new.quantity, principal.name, new.reason, now()
            )
            return await _proposal(work.session, principal.tenant_id, proposal)

        return await made_once(database, principal, ("POST /purchase-proposals", key, new), do)

    _add_proposal_steps(api, database)
    return api


def _add_proposal_steps(api: APIRouter, database: Database) -> None:
    @api.get("/{proposal}")
    async def one(principal: Reader, proposal: UlidPath, response: Response) -> ProposalAnswer:
        """One proposal."""
        async with tenant_session(database, principal.tenant_id) as session:
            found = await _proposal(session, principal.tenant_id, proposal)
        response.headers["ETag"] = etag(found.revision)
        return found

    @api.post("/{proposal}/order", responses=CHANGED)
    async def order(
        principal: Editor, proposal: UlidPath, asked: Ordering, response: Response, if_match: IfMatch = ""
    ) -> ProposalAnswer:
        """Say that it was ordered."""
        changes = {name: value for name, value in asked.model_dump().items() if value is not None}
        return await _step(database, (principal, proposal, if_match), response, ProposalState.ORDERED, changes)

    @api.post("/{proposal}/dismiss", responses=CHANGED)
    async def dismiss(
        principal: Editor, proposal: UlidPath, why: requests.Why, response: Response, if_match: IfMatch = ""
    ) -> ProposalAnswer:
        """Buy no more of it; what is still low is proposed again with its next movement."""
        return await _step(
            database, (principal, proposal, if_match), response, ProposalState.DISMISSED, {"reason": why.reason}
        )

    @api.post("/{proposal}/receive", status_code=201, response_model=ProposalAnswer)
    async def receive(principal: Booker, proposal: UlidPath, came: Arrival, key: IdempotencyKey) -> JSONResponse:
        """Book what has come of it; it is received when all has, or with 'is_last'."""
        tenant_id = principal.tenant_id

        async def do(work: UnitOfWork) -> ProposalAnswer:
            refuse_unless_there(principal, BOOK, [await one_place(work.session, tenant_id, came.target)])
            item = (await reordering.proposal_row(work.session, tenant_id, proposal))["item"]
            await locked_items(work.session, tenant_id, [item])
            row = await reordering.proposal_row(work.session, tenant_id, proposal, lock=True)
            reordering.check_proposal(row, ProposalState.RECEIVED)
            received = row["received"] + came.quantity
            is_all = came.is_last or received >= row["quantity"]
            state = ProposalState.RECEIVED if is_all else ProposalState.ORDERED
            changes = {"received": received, "state": state.value}
            await reordering.change_proposal(work.session, tenant_id, proposal, changes, principal.name)
            wanted = Booking(Kind.RECEIPT, item, came.quantity, Account.SUPPLIER, came.target, came.lots, came.expires)
            await booking.book(work, tenant_id, [wanted], Cause(principal.name, now(), reference=proposal))
            return await _proposal(work.session, tenant_id, proposal)

        return await made_once(database, principal, (f"POST /purchase-proposals/{proposal}/receive", key, came), do)


async def _step(
    database: Database,
    asked: tuple[Principal, str, str],
    response: Response,
    state: ProposalState,
    changes: dict[str, Any],
) -> ProposalAnswer:
    principal, proposal, if_match = asked
    refuse_unless_everywhere(principal, EDIT, "items and stock")
    tenant_id = principal.tenant_id
    async with unit_of_work(database, tenant_id) as work:
        row = await reordering.proposal_row(work.session, tenant_id, proposal, lock=True)
        check_match(if_match, row["revision"])
        reordering.check_proposal(row, state)
        await reordering.change_proposal(
            work.session, tenant_id, proposal, {**changes, "state": state.value}, principal.name
        )
        found = await _proposal(work.session, tenant_id, proposal)
    response.headers["ETag"] = etag(found.revision)
    return found


async def _proposal(session: Session, tenant_id: int, proposal: str) -> ProposalAnswer:
    return ProposalAnswer.model_validate(dict(await reordering.proposal_row(session, tenant_id, proposal)))


def count_routes(database: Database) -> APIRouter:
    """Below ``/api/v1/stock-counts``."""
    api = router("stock-counts")

    @api.get("")
    async def counts(principal: Reader, before: Before = "", limit: Limit = LIMIT) -> CountPage:
        """Stock counts, the newest first; 'next' goes into 'before'."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await session.fetch(
                f"SELECT {counting.COUNT_COLUMNS} FROM stock_count WHERE tenant_id = $1 "  # noqa: S608  of our own
                "AND ($2 = '' OR count_id < $2) AND EXISTS (SELECT FROM stock_location place "
                "WHERE place.tenant_id = $1 AND place.code = stock_count.location "
                "AND ($3::text[] IS NULL OR place.site = ANY($3))) ORDER BY count_id DESC LIMIT $4",
                principal.tenant_id,
                before,
                sites_of(principal),
                limit + 1,
            )
        shown, following = page(rows, limit, lambda row: str(row["count_id"]))
        return CountPage.model_validate({"counts": [_count_values(row) for row in shown], "next": following})

    @api.post("", status_code=201, response_model=CountWithLines)
    async def freeze(principal: Booker, new: NewCount, key: IdempotencyKey) -> JSONResponse:
        """Begin a count: what the ledger has is frozen, and people book nothing there until it ends."""

        async def do(work: UnitOfWork) -> CountWithLines:
            tenant_id = principal.tenant_id
            refuse_unless_there(principal, BOOK, [await one_place(work.session, tenant_id, new.location)])
            count = await counting.freeze(work, tenant_id, new.location, new.items, new.note, principal.name, now())
            return await _with_lines(work.session, tenant_id, count)

        return await made_once(database, principal, ("POST /stock-counts", key, new), do)

    _add_count_steps(api, database)
    return api


def _add_count_steps(api: APIRouter, database: Database) -> None:
    @api.get("/{count}")
    async def one(principal: Reader, count: UlidPath) -> CountWithLines:
        """A count with what was frozen, what was found, and the differences."""
        async with tenant_session(database, principal.tenant_id) as session:
            row = await counting.count_row(session, principal.tenant_id, count)
            place = await one_place(session, principal.tenant_id, row["location"])
            refuse_unless_there(principal, Permission.INVENTORY_READ, [place])
            return await _with_lines(session, principal.tenant_id, count)

    @api.put("/{count}/lines")
    async def say_counted(principal: Booker, count: UlidPath, found: CountedLines) -> CountWithLines:
        """Say what was found; it can be said again until the count is booked."""
        tenant_id = principal.tenant_id
        async with unit_of_work(database, tenant_id) as work:
            row = await counting.count_row(work.session, tenant_id, count, lock=True)
            refuse_unless_there(principal, BOOK, [await one_place(work.session, tenant_id, row["location"])])
            lines = [(one.item, one.location, one.lot or "", one.counted) for one in found.lines]
            await counting.say_counted(work, tenant_id, row, lines, principal.name)
            return await _with_lines(work.session, tenant_id, count)

    @api.post("/{count}/book")
    async def book(principal: Editor, count: UlidPath) -> CountWithLines:
        """Approve the differences, and book them as adjustments."""
        tenant_id = principal.tenant_id
        async with unit_of_work(database, tenant_id) as work:
            row = await counting.count_row(work.session, tenant_id, count, lock=True)
            refuse_unless_there(principal, EDIT, [await one_place(work.session, tenant_id, row["location"])])
            await counting.book_differences(work, tenant_id, row, principal.name, now())
            return await _with_lines(work.session, tenant_id, count)

    @api.post("/{count}/cancel")
    async def cancel(principal: Booker, count: UlidPath) -> CountWithLines:
        """End a count without a booking."""
        tenant_id = principal.tenant_id
        async with unit_of_work(database, tenant_id) as work:
            row = await counting.count_row(work.session, tenant_id, count, lock=True)
            refuse_unless_there(principal, BOOK, [await one_place(work.session, tenant_id, row["location"])])
            await counting.cancel(work, tenant_id, row, principal.name)
            return await _with_lines(work.session, tenant_id, count)


def _count_values(row: Any) -> dict[str, Any]:
    values = dict(row)
    return {"count": values.pop("count_id"), **values}


async def _with_lines(session: Session, tenant_id: int, count: str) -> CountWithLines:
    row = await counting.count_row(session, tenant_id, count)
    lines = await counting.count_lines(session, tenant_id, count)
    values = CountAnswer.model_validate(_count_values(row)).model_dump()
    return CountWithLines(**values, lines=[CountLineAnswer.model_validate(dict(line)) for line in lines])
