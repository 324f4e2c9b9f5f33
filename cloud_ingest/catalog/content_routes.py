"""The routes of content: pages, blocks and brand of the customers' portal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response

from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.needs import refuse_unless_everywhere
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.catalog.answers import ContentAnswer, ContentPage, DraftAnswer, PublishedAnswer, draft_of
from cloud_ingest.catalog.asking import (
    PROBLEMS,
    CodePath,
    Editor,
    LanguageQuery,
    Reader,
    SearchQuery,
)
from cloud_ingest.catalog.drafts import Drafts
from cloud_ingest.catalog.models import ContentBody, instant
from cloud_ingest.catalog.publishing import FindPublished, Published, Publishing, not_published
from cloud_ingest.catalog.rules import is_shown

KindQuery = Annotated[Literal["page", "block", "brand"] | None, Query(description="Only these")]


def content_routes(content: Drafts, publishing: Publishing) -> APIRouter:
    """``/content``."""
    api = APIRouter(
        prefix="/api/v1/content", tags=["Catalog"], responses=PROBLEMS, dependencies=[Depends(only_known_parameters)]
    )
    _add_reading(api, publishing)
    _add_editing(api, content, publishing)
    return api


def _add_reading(api: APIRouter, publishing: Publishing) -> None:
    @api.get("")
    async def shown(
        principal: Reader,
        kind: KindQuery = None,
        search: SearchQuery = "",
        language: LanguageQuery = "en",
        after: After = "",
        limit: Limit = LIMIT,
    ) -> ContentPage:
        """What is shown now, by code. A page of it may have fewer than ``limit``: what is not shown is left out."""
        asked = FindPublished({} if kind is None else {"kind": kind}, search, after, limit + 1)
        found = await publishing.find(principal.tenant_id, "content", asked)
        rows, following = page(found, limit, lambda one: one.code)
        answers = [ContentAnswer.of(one, language) for one in rows if _is_shown(one)]
        return ContentPage(content=answers, next=following)

    @api.get("/{code}")
    async def one(principal: Reader, code: CodePath, language: LanguageQuery = "en") -> ContentAnswer:
        """One page, block or brand, if it is shown now."""
        found = await publishing.get(principal.tenant_id, "content", code)
        if not _is_shown(found):
            raise not_published("content", code)
        return ContentAnswer.of(found, language)


def _add_editing(api: APIRouter, content: Drafts, publishing: Publishing) -> None:
    @api.get("/{code}/draft")
    async def draft(principal: Editor, code: CodePath, response: Response) -> DraftAnswer[ContentBody]:
        """Content as it is edited."""
        found = await content.get(principal.tenant_id, code)
        response.headers["ETag"] = etag(found.revision)
        return draft_of(found, ContentBody)

    @api.put("/{code}/draft")
    async def save(
        principal: Editor, code: CodePath, body: ContentBody, response: Response, if_match: IfMatch = ""
    ) -> DraftAnswer[ContentBody]:
        """Make content, or change it (then with If-Match). Nothing of it is shown until it is published."""
        refuse_unless_everywhere(principal, Permission.CATALOG_EDIT, "products and documents")
        saved = await content.save(principal.tenant_id, code, body.document(), if_match)
        response.headers["ETag"] = etag(saved.revision)
        return draft_of(saved, ContentBody)

    @api.delete("/{code}/draft", status_code=204)
    async def delete(principal: Editor, code: CodePath, if_match: IfMatch = "") -> None:
        """Delete content as it is edited. What is published of it is shown until it is withdrawn."""
        refuse_unless_everywhere(principal, Permission.CATALOG_EDIT, "products and documents")
        await content.delete(principal.tenant_id, code, if_match)

    @api.put("/{code}/published")
    async def publish(principal: Editor, code: CodePath, if_match: IfMatch = "") -> PublishedAnswer:
        """Have the draft that If-Match names be shown, within its times."""
        refuse_unless_everywhere(principal, Permission.CATALOG_EDIT, "products and documents")
        found = await content.get(principal.tenant_id, code)
        check_match(if_match, found.revision)
        return PublishedAnswer(code=code, version=await publishing.publish(principal, "content", found))

    @api.delete("/{code}/published", status_code=204)
    async def withdraw(principal: Editor, code: CodePath) -> None:
        """Have it be shown no more."""
        refuse_unless_everywhere(principal, Permission.CATALOG_EDIT, "products and documents")
        await publishing.withdraw(principal, "content", code)


def _is_shown(found: Published) -> bool:
    begin, end = instant(found.document["from"]), instant(found.document["to"])
    return is_shown(begin, end, datetime.now(UTC))
