"""The routes of routings: how something is made."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.needs import refuse_elsewhere
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.catalog.answers import (
    DraftAnswer,
    PublishedAnswer,
    RoutingAnswer,
    RoutingPage,
    VersionAnswer,
    VersionPage,
    draft_of,
)
from cloud_ingest.catalog.asking import PROBLEMS, VERSION_MAX, BeforeQuery, CodePath, Editor, Inside, SearchQuery
from cloud_ingest.catalog.drafts import Drafts
from cloud_ingest.catalog.models import RoutingBody
from cloud_ingest.catalog.publishing import FindPublished, Published, Publishing
from connectors.ports.documents import Document


def routing_routes(routings: Drafts, publishing: Publishing) -> APIRouter:
    """``/routings``."""
    api = APIRouter(
        prefix="/api/v1/routings", tags=["Catalog"], responses=PROBLEMS, dependencies=[Depends(only_known_parameters)]
    )
    _add_reading(api, publishing)
    _add_editing(api, routings)
    _add_publishing(api, routings, publishing)
    return api


def _add_reading(api: APIRouter, publishing: Publishing) -> None:
    @api.get("")
    async def published(
        principal: Inside, search: SearchQuery = "", after: After = "", limit: Limit = LIMIT
    ) -> RoutingPage:
        """Routings that hold, by code."""
        asked = FindPublished({}, search, after, limit + 1)
        found = await publishing.find(principal.tenant_id, "routing", asked)
        rows, following = page(found, limit, lambda one: one.code)
        return RoutingPage(routings=[_answer(one) for one in rows], next=following)

    @api.get("/{code}")
    async def one(principal: Inside, code: CodePath) -> RoutingAnswer:
        """A routing that holds."""
        return _answer(await publishing.get(principal.tenant_id, "routing", code))


def _add_editing(api: APIRouter, routings: Drafts) -> None:
    @api.get("/{code}/draft")
    async def draft(principal: Editor, code: CodePath, response: Response) -> DraftAnswer[RoutingBody]:
        """A routing as it is edited."""
        found = await routings.get(principal.tenant_id, code)
        response.headers["ETag"] = etag(found.revision)
        return draft_of(found, RoutingBody)

    @api.put("/{code}/draft")
    async def save(
        principal: Editor, code: CodePath, body: RoutingBody, response: Response, if_match: IfMatch = ""
    ) -> DraftAnswer[RoutingBody]:
        """Make a routing, or change it (then with If-Match). Nothing of it holds until it is published."""
        document = body.document()
        _refuse_elsewhere(principal, Document(code, 0, document))
        saved = await routings.save(principal.tenant_id, code, document, if_match)
        response.headers["ETag"] = etag(saved.revision)
        return draft_of(saved, RoutingBody)

    @api.delete("/{code}/draft", status_code=204)
    async def delete(principal: Editor, code: CodePath, if_match: IfMatch = "") -> None:
        """Delete a routing as it is edited. What is published of it holds until it is withdrawn."""
        _refuse_elsewhere(principal, await routings.get(principal.tenant_id, code))
        await routings.delete(principal.tenant_id, code, if_match)


def _add_publishing(api: APIRouter, routings: Drafts, publishing: Publishing) -> None:
    @api.put("/{code}/published")
    async def publish(principal: Editor, code: CodePath, if_match: IfMatch = "") -> PublishedAnswer:
        """Have the draft that If-Match names hold for everybody, and so for all products that are made by it."""
        found = await routings.get(principal.tenant_id, code)
        check_match(if_match, found.revision)
        _refuse_elsewhere(principal, found)
        return PublishedAnswer(code=code, version=await publishing.publish(principal, "routing", found))

    @api.delete("/{code}/published", status_code=204)
    async def withdraw(principal: Editor, code: CodePath) -> None:
        """Have nothing of it hold any more; refused while published products are made by it."""
        found = await publishing.get(principal.tenant_id, "routing", code)
        _refuse_elsewhere(principal, Document(code, 0, found.document))
        await publishing.withdraw(principal, "routing", code)

    @api.get("/{code}/versions")
    async def versions(
        principal: Editor, code: CodePath, before: BeforeQuery = VERSION_MAX, limit: Limit = LIMIT
    ) -> VersionPage:
        """Its versions, the newest first."""
        rows = await publishing.versions(principal.tenant_id, "routing", code, before, limit + 1)
        shown = [VersionAnswer.model_validate(row, from_attributes=True) for row in rows[:limit]]
        return VersionPage(versions=shown, next=shown[-1].version if len(rows) > limit else None)


def _refuse_elsewhere(principal: Principal, routing: Document) -> None:
    """Who has a routing say how lines run may do so on each of them."""
    for step in routing.body["steps"]:
        refuse_elsewhere(principal, Permission.CATALOG_EDIT, step["site"], step["line"])


def _answer(found: Published) -> RoutingAnswer:
    return RoutingAnswer(code=found.code, version=found.version, routing=RoutingBody.model_validate(found.document))
