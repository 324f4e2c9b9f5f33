"""The routes of bills of material, lots, and of what is in what."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse

from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.idempotency import IdempotencyKey
from cloud_ingest.access.needs import refuse_unless_everywhere
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.span import QuestionInvalid
from cloud_ingest.access.tenancy import tenant_session
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.inventory import boms, genealogy, lots, questions, reordering, reserving, shortages
from cloud_ingest.inventory.answers import (
    BomAnswer,
    BomVersions,
    ContentAnswer,
    DestinationAnswer,
    Explosion,
    GenealogyAnswer,
    LotAnswer,
    LotPage,
    RequirementAnswer,
    UseAnswer,
    WhereUsed,
)
from cloud_ingest.inventory.asking import (
    CHANGED,
    Booker,
    Editor,
    Reader,
    made_once,
    now,
    router,
)
from cloud_ingest.inventory.boms import NewBom
from cloud_ingest.inventory.field_types import ItemPath, ItemQuery, LotPath, Quantity, When
from cloud_ingest.inventory.items import locked_items, one_item
from cloud_ingest.inventory.requests import LotChange, NewBomVersion
from cloud_ingest.inventory.rules import BomLine, LotStatus, exploded
from connectors.ports.database import Database

OnQuery = Annotated[When | None, Query(description="By the bills of material of that time; now unless said")]
VersionPath = Annotated[int, Path(ge=1, le=(1 << 31) - 1)]
QuantityQuery = Annotated[Quantity, Query(description="Of how many", examples=["100"])]


def bom_routes(database: Database) -> APIRouter:
    """Below ``/api/v1/boms``."""
    api = router("boms")

    @api.get("/{item}")
    async def versions(principal: Reader, item: ItemPath) -> BomVersions:
        """All versions of the bill of material of an item, the newest first."""
        async with tenant_session(database, principal.tenant_id) as session:
            await one_item(session, principal.tenant_id, item)
            found = await boms.versions(session, principal.tenant_id, item)
        holding = [one for one in found if one["withdrawn"] is None and one["effective"] <= now()]
        current = max(holding, key=lambda one: one["effective"])["version"] if holding else None
        return BomVersions.model_validate({"item": item, "current": current, "versions": found})

    @api.post("/{item}", status_code=201, response_model=BomAnswer)
    async def add_version(principal: Editor, item: ItemPath, new: NewBomVersion, key: IdempotencyKey) -> JSONResponse:
        """Add a version that holds from a time on. An item is never in itself, at no level and no time."""
        refuse_unless_everywhere(principal, Permission.INVENTORY_EDIT, "items and stock")

        async def do(work: UnitOfWork) -> BomAnswer:
            lines = tuple(BomLine(one.component, one.quantity, one.scrap_factor) for one in new.lines)
            wanted = NewBom(item, new.effective or now(), new.yields, lines, new.note)
            version = await boms.add_bom(work.session, principal.tenant_id, wanted, principal.name)
            found = await boms.versions(work.session, principal.tenant_id, item)
            return BomAnswer.model_validate(next(one for one in found if one["version"] == version))

        return await made_once(database, principal, (f"POST /boms/{item}", key, new), do)

    @api.post("/{item}/{version}/withdraw", status_code=204)
    async def withdraw(principal: Editor, item: ItemPath, version: VersionPath) -> None:
        """Have a version hold no more; the one before it does again. What was booked by it stays."""
        refuse_unless_everywhere(principal, Permission.INVENTORY_EDIT, "items and stock")
        async with unit_of_work(database, principal.tenant_id) as work:
            await boms.withdraw(work.session, principal.tenant_id, item, version)

    @api.get("/{item}/explosion")
    async def explosion(principal: Reader, item: ItemPath, quantity: QuantityQuery, on: OnQuery = None) -> Explosion:
        """What a quantity of an item needs, on all levels, and what of it there is."""
        tenant_id = principal.tenant_id
        async with tenant_session(database, tenant_id) as session:
            await one_item(session, tenant_id, item)
            tree = await boms.boms_below(session, tenant_id, item, on or now())
            needs = exploded(tree.lines, tree.phantoms, item, quantity)
            stock = await reordering.standings(session, tenant_id, needs, None, now().date())
            found = [
                RequirementAnswer(
                    item=code,
                    quantity=need.quantity,
                    unit=tree.units[code],
                    level=need.level,
                    is_made=code in tree.lines,
                    available=stock[code].available,
                )
                for code, need in needs.items()
            ]
        return Explosion(item=item, quantity=quantity, requirements=found)

    @api.get("/{item}/where-used")
    async def where_used(principal: Reader, item: ItemPath, on: OnQuery = None) -> WhereUsed:
        """In what an item is, directly and through all levels."""
        async with tenant_session(database, principal.tenant_id) as session:
            await one_item(session, principal.tenant_id, item)
            uses = await boms.where_used(session, principal.tenant_id, item, on or now())
        return WhereUsed(item=item, uses=[UseAnswer.model_validate(one, from_attributes=True) for one in uses])

    return api


def lot_routes(database: Database) -> APIRouter:
    """Below ``/api/v1/lots``."""
    api = router("lots")

    @api.get("")
    async def listed(
        principal: Reader,
        item: ItemQuery = None,
        status: Literal["quarantined", "released", "blocked"] | None = None,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> LotPage:
        """Lots and serial numbers, by item."""
        start = tuple(after.split("|")) if after else ("", "")
        if len(start) != 2:
            raise QuestionInvalid("'after' is the 'next' of the page before")
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await questions.listed_lots(
                session, principal.tenant_id, item, status, (start[0], start[1]), limit + 1
            )
        shown, following = page(rows, limit, lambda row: f"{row['item']}|{row['lot']}")
        return LotPage.model_validate({"lots": [dict(row) for row in shown], "next": following})

    @api.get("/{item}/{lot}")
    async def one(principal: Reader, item: ItemPath, lot: LotPath, response: Response) -> LotAnswer:
        """One lot or serial number."""
        async with tenant_session(database, principal.tenant_id) as session:
            row = dict(await lots.lot_row(session, principal.tenant_id, item, lot))
        response.headers["ETag"] = etag(row["revision"])
        return LotAnswer.model_validate(row)

    @api.patch("/{item}/{lot}", responses=CHANGED)
    async def change(
        principal: Booker, item: ItemPath, lot: LotPath, asked: LotChange, response: Response, if_match: IfMatch = ""
    ) -> LotAnswer:
        """Release, quarantine or block a lot, or give it another expiry.

        What is reserved of a lot that may not be used any more is given back; a lot that is released settles what is
        short.
        """
        refuse_unless_everywhere(principal, Permission.INVENTORY_BOOK, "items and stock")
        tenant_id, when = principal.tenant_id, now()
        async with unit_of_work(database, tenant_id) as work:
            known = await locked_items(work.session, tenant_id, [item])
            check_match(if_match, str((await lots.lot_row(work.session, tenant_id, item, lot))["revision"]))
            status = None if asked.status is None else LotStatus(asked.status)
            usable = await lots.change_lot(
                work, tenant_id, item, lot, status=status, expires=asked.expires, reason=asked.reason, when=when
            )
            if not usable:
                held = await reserving.open_of_lot(work.session, tenant_id, item, lot)
                await reserving.give_back(work, tenant_id, held, f"the lot {lot} may not be used", when)
            await shortages.settle(work, tenant_id, known[item], when)
            await reordering.watch(work, tenant_id, known.values(), when)
            row = dict(await lots.lot_row(work.session, tenant_id, item, lot))
        response.headers["ETag"] = etag(row["revision"])
        return LotAnswer.model_validate(row)

    return api


def genealogy_routes(database: Database) -> APIRouter:
    """Below ``/api/v1/genealogy``."""
    api = router("genealogy")

    @api.get("/{item}/{lot}")
    async def both(principal: Reader, item: ItemPath, lot: LotPath) -> GenealogyAnswer:
        """Which lots are in this lot or serial number, and in which it is: through all levels."""
        tenant_id = principal.tenant_id
        async with tenant_session(database, tenant_id) as session:
            await lots.lot_row(session, tenant_id, item, lot)
            below = await genealogy.contents(session, tenant_id, item, lot)
            above = await genealogy.destinations(session, tenant_id, item, lot)
            itself = await genealogy.itself(session, tenant_id, item, lot)
        return GenealogyAnswer(
            item=item,
            lot=lot,
            contents=[ContentAnswer.model_validate(one, from_attributes=True) for one in below],
            destinations=[
                DestinationAnswer.model_validate({name: getattr(one, name) for name in DestinationAnswer.model_fields})
                for one in above
            ],
            shipped=itself["shipped"],
            orders=itself["orders"],
            work_orders=itself["work_orders"],
        )

    return api
