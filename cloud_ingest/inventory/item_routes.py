"""The routes of items, locations, and of where lines take from and put to."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.idempotency import IdempotencyKey
from cloud_ingest.access.needs import refuse_elsewhere, refuse_unless_everywhere
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_session
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.inventory import item_store, questions
from cloud_ingest.inventory.answers import (
    ItemAnswer,
    ItemPage,
    LinePlacesAnswer,
    LinePlacesPage,
    PlaceAnswer,
    PlacePage,
)
from cloud_ingest.inventory.asking import (
    CHANGED,
    Editor,
    Reader,
    made_once,
    now,
    refuse_unless_there,
    router,
    sites_of,
)
from cloud_ingest.inventory.field_types import ItemPath, LinePath, PlacePath, PlaceQuery, SitePath
from cloud_ingest.inventory.items import Item, Place, locked_items, one_item, one_place
from cloud_ingest.inventory.requests import ItemChange, ItemKind, LinePlaces, NewItem, NewPlace, PlaceChange
from connectors.ports.database import Database

EDIT: Final = Permission.INVENTORY_EDIT
Search = Annotated[
    str | None,
    Query(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$", description="Part of the code or name, in any case"),
]


def item_routes(database: Database) -> APIRouter:
    """Below ``/api/v1/items``."""
    api = router("items")

    @api.get("")
    async def items(
        principal: Reader,
        kind: ItemKind | None = None,
        search: Search = None,
        low: Annotated[bool, Query(description="Only what is below its reorder point")] = False,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> ItemPage:
        """Items, a page at a time."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await questions.listed_items(
                session, principal.tenant_id, kind, search, after, limit + 1, only_low=low
            )
        shown, following = page(rows, limit, lambda row: str(row["code"]))
        return ItemPage.model_validate({"items": [dict(row) for row in shown], "next": following})

    @api.post("", status_code=201, response_model=ItemAnswer)
    async def add_item(principal: Editor, new: NewItem, key: IdempotencyKey) -> JSONResponse:
        """Describe an item that can be in stock."""
        refuse_unless_everywhere(principal, EDIT, "items and stock")

        async def do(work: UnitOfWork) -> ItemAnswer:
            await item_store.add_item(work.session, principal.tenant_id, new)
            return _item(await one_item(work.session, principal.tenant_id, new.code))

        return await made_once(database, principal, ("POST /items", key, new), do)

    @api.get("/{code}")
    async def item(principal: Reader, code: ItemPath, response: Response) -> ItemAnswer:
        """One item."""
        async with tenant_session(database, principal.tenant_id) as session:
            found = await one_item(session, principal.tenant_id, code)
        response.headers["ETag"] = etag(found.revision)
        return _item(found)

    @api.patch("/{code}", responses=CHANGED)
    async def change_item(
        principal: Editor, code: ItemPath, change: ItemChange, response: Response, if_match: IfMatch = ""
    ) -> ItemAnswer:
        """Change an item; what is left out stays. Its unit and tracking are fixed once it has moved."""
        refuse_unless_everywhere(principal, EDIT, "items and stock")
        async with unit_of_work(database, principal.tenant_id) as work:
            before = (await locked_items(work.session, principal.tenant_id, [code]))[code]
            check_match(if_match, before.revision)
            changes = change.model_dump(exclude_unset=True)
            await item_store.change_item(work, principal.tenant_id, before, changes, now())
            found = await one_item(work.session, principal.tenant_id, code)
        response.headers["ETag"] = etag(found.revision)
        return _item(found)

    return api


def place_routes(database: Database) -> APIRouter:
    """Below ``/api/v1/locations``."""
    api = router("locations")

    @api.get("")
    async def locations(
        principal: Reader, within: PlaceQuery = None, after: After = "", limit: Limit = LIMIT
    ) -> PlacePage:
        """Locations, a page at a time."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await questions.listed_places(
                session, principal.tenant_id, within, sites_of(principal), after, limit + 1
            )
        shown, following = page(rows, limit, lambda row: str(row["code"]))
        return PlacePage.model_validate({"locations": [dict(row) for row in shown], "next": following})

    @api.post("", status_code=201, response_model=PlaceAnswer)
    async def add_location(principal: Editor, new: NewPlace, key: IdempotencyKey) -> JSONResponse:
        """Make a place for stock, within another one."""

        async def do(work: UnitOfWork) -> PlaceAnswer:
            if new.parent is None:
                refuse_elsewhere(principal, EDIT, new.code)
            else:
                refuse_unless_there(principal, EDIT, [await one_place(work.session, principal.tenant_id, new.parent)])
            await item_store.add_place(work.session, principal.tenant_id, new)
            return _place(await one_place(work.session, principal.tenant_id, new.code))

        return await made_once(database, principal, ("POST /locations", key, new), do)

    @api.get("/{code}")
    async def location(principal: Reader, code: PlacePath, response: Response) -> PlaceAnswer:
        """One location."""
        async with tenant_session(database, principal.tenant_id) as session:
            found = await one_place(session, principal.tenant_id, code)
        _refuse_unseen(found, sites_of(principal))
        response.headers["ETag"] = etag(found.revision)
        return _place(found)

    @api.patch("/{code}", responses=CHANGED)
    async def change_location(
        principal: Editor, code: PlacePath, change: PlaceChange, response: Response, if_match: IfMatch = ""
    ) -> PlaceAnswer:
        """Change a location; what is left out stays. One that has stock, or that a line uses, is not closed."""
        async with unit_of_work(database, principal.tenant_id) as work:
            before = await item_store.locked_place(work.session, principal.tenant_id, code)
            refuse_unless_there(principal, EDIT, [before])
            check_match(if_match, before.revision)
            await item_store.change_place(
                work.session, principal.tenant_id, before, change.model_dump(exclude_unset=True)
            )
            found = await one_place(work.session, principal.tenant_id, code)
        response.headers["ETag"] = etag(found.revision)
        return _place(found)

    return api


def line_place_routes(database: Database) -> APIRouter:
    """Below ``/api/v1/line-stock``."""
    api = router("line-stock")

    @api.get("")
    async def lines(principal: Reader, after: After = "", limit: Limit = LIMIT) -> LinePlacesPage:
        """Where lines take components, and where their products go."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await session.fetch(
                "SELECT site, line, components_at, products_to, revision FROM line_stock WHERE tenant_id = $1 "
                "AND site || '/' || line > $2 AND ($3::text[] IS NULL OR site = ANY($3)) "
                "ORDER BY site || '/' || line LIMIT $4",
                principal.tenant_id,
                after,
                sites_of(principal),
                limit + 1,
            )
        shown, following = page(rows, limit, lambda row: f"{row['site']}/{row['line']}")
        return LinePlacesPage.model_validate({"lines": [dict(row) for row in shown], "next": following})

    @api.put("/{site}/{line}", responses=CHANGED)
    async def set_line(
        principal: Editor,
        site: SitePath,
        line: LinePath,
        places: LinePlaces,
        response: Response,
        if_match: IfMatch = "",
    ) -> LinePlacesAnswer:
        """Set where a line takes components and puts products. The first time, If-Match is '*'."""
        refuse_elsewhere(principal, EDIT, site, line)
        async with unit_of_work(database, principal.tenant_id) as work:
            found = await item_store.set_line_places(
                work.session,
                principal.tenant_id,
                (site, line),
                places,
                lambda revision: check_match(if_match, revision),
            )
        response.headers["ETag"] = etag(found["revision"])
        return LinePlacesAnswer.model_validate(found)

    return api


def _item(item: Item) -> ItemAnswer:
    return ItemAnswer.model_validate(item, from_attributes=True)


def _place(place: Place) -> PlaceAnswer:
    values: dict[str, Any] = {name: getattr(place, name) for name in PlaceAnswer.model_fields}
    return PlaceAnswer.model_validate({**values, "path": list(place.path)})


def _refuse_unseen(place: Place, sites: list[str] | None) -> None:
    if sites is not None and place.site not in sites:
        raise RequestRefused(Why.FORBIDDEN, "not_your_site", f"{place.code} is at a site that you may not see")
