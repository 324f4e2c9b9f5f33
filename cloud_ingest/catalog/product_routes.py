"""The routes of products and of their categories."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime

from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.needs import refuse_unless_everywhere
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.catalog.answers import (
    CategoryPage,
    DraftAnswer,
    ImportAnswer,
    ProductAnswer,
    ProductDraftPage,
    ProductPage,
    PublishedAnswer,
    VersionAnswer,
    VersionPage,
    draft_of,
)
from cloud_ingest.catalog.asking import (
    PROBLEMS,
    VERSION_MAX,
    BeforeQuery,
    CodePath,
    Editor,
    LanguageQuery,
    Reader,
    SearchQuery,
)
from cloud_ingest.catalog.drafts import Drafts
from cloud_ingest.catalog.exchange import ProductExchange
from cloud_ingest.catalog.models import CategoryBody, ProductBody
from cloud_ingest.catalog.products import refuse_incomplete
from cloud_ingest.catalog.publishing import FindPublished, Publishing, not_published
from connectors.ports.documents import Find

CurrencyQuery = Annotated[str, Query(pattern=r"^[A-Z]{3}$", description="ISO 4217")]
AtQuery = Annotated[AwareDatetime | None, Query(description="The price at this time; now unless said")]
CategoryQuery = Annotated[str | None, Query(max_length=64, description="Its code")]
CSV = "text/csv; charset=utf-8"


def product_routes(products: Drafts, categories: Drafts, publishing: Publishing) -> APIRouter:
    """``/products``, ``/product-drafts``, ``/products.csv`` and ``/categories``."""
    api = APIRouter(
        prefix="/api/v1", tags=["Catalog"], responses=PROBLEMS, dependencies=[Depends(only_known_parameters)]
    )
    _add_reading(api, publishing)
    _add_editing(api, products)
    _add_publishing(api, products, categories, publishing)
    _add_categories(api, categories)
    _add_exchange(api, ProductExchange(products, categories, publishing))
    return api


def _add_reading(api: APIRouter, publishing: Publishing) -> None:
    @api.get("/products")
    async def published(
        principal: Reader,
        search: SearchQuery = "",
        category: CategoryQuery = None,
        sold: bool | None = None,
        currency: CurrencyQuery = "EUR",
        language: LanguageQuery = "en",
        at: AtQuery = None,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> ProductPage:
        """Products that hold, by code. Customers see those that are sold."""
        inside = principal.customer is None
        equal: dict[str, str | bool] = {} if category is None else {"category": category}
        if sold is not None or not inside:
            equal["sold"] = sold if inside and sold is not None else True
        if sold is False and not inside:
            return ProductPage(products=[], next=None)
        asked = FindPublished(equal, search, after, limit + 1)
        rows, following = page(
            await publishing.find(principal.tenant_id, "product", asked), limit, lambda found: found.code
        )
        answers = [ProductAnswer.of(found, language, currency, at, inside=inside) for found in rows]
        return ProductPage(products=answers, next=following)

    @api.get("/products/{code}")
    async def one(
        principal: Reader,
        code: CodePath,
        currency: CurrencyQuery = "EUR",
        language: LanguageQuery = "en",
        at: AtQuery = None,
    ) -> ProductAnswer:
        """A product that holds."""
        found = await publishing.get(principal.tenant_id, "product", code)
        inside = principal.customer is None
        if not inside and not found.document["sold"]:
            raise not_published("product", code)
        return ProductAnswer.of(found, language, currency, at, inside=inside)


def _add_editing(api: APIRouter, products: Drafts) -> None:
    @api.get("/product-drafts")
    async def drafts(
        principal: Editor,
        search: SearchQuery = "",
        category: CategoryQuery = None,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> ProductDraftPage:
        """Products as they are edited, published or not, by code."""
        asked = Find({} if category is None else {"category": category}, words=search, after=after, limit=limit + 1)
        rows, following = page(await products.find(principal.tenant_id, asked), limit, lambda found: found.id)
        return ProductDraftPage(products=[draft_of(found, ProductBody) for found in rows], next=following)

    @api.get("/products/{code}/draft")
    async def draft(principal: Editor, code: CodePath, response: Response) -> DraftAnswer[ProductBody]:
        """A product as it is edited."""
        found = await products.get(principal.tenant_id, code)
        response.headers["ETag"] = etag(found.revision)
        return draft_of(found, ProductBody)

    @api.put("/products/{code}/draft")
    async def save(
        principal: Editor, code: CodePath, body: ProductBody, response: Response, if_match: IfMatch = ""
    ) -> DraftAnswer[ProductBody]:
        """Make a product, or change it (then with If-Match). Nothing of it holds until it is published."""
        refuse_unless_everywhere(principal, Permission.CATALOG_EDIT, "products and documents")
        saved = await products.save(principal.tenant_id, code, body.document(), if_match)
        response.headers["ETag"] = etag(saved.revision)
        return draft_of(saved, ProductBody)

    @api.delete("/products/{code}/draft", status_code=204)
    async def delete(principal: Editor, code: CodePath, if_match: IfMatch = "") -> None:
        """Delete a product as it is edited. What is published of it holds until it is withdrawn."""
        refuse_unless_everywhere(principal, Permission.CATALOG_EDIT, "products and documents")
        await products.delete(principal.tenant_id, code, if_match)


def _add_publishing(api: APIRouter, products: Drafts, categories: Drafts, publishing: Publishing) -> None:
    @api.put("/products/{code}/published")
    async def publish(principal: Editor, code: CodePath, if_match: IfMatch = "") -> PublishedAnswer:
        """Have the draft that If-Match names hold for everybody. The same again changes nothing."""
        refuse_unless_everywhere(principal, Permission.CATALOG_EDIT, "products and documents")
        found = await products.get(principal.tenant_id, code)
        check_match(if_match, found.revision)
        await refuse_incomplete(categories, principal.tenant_id, found)
        return PublishedAnswer(code=code, version=await publishing.publish(principal, "product", found))

    @api.delete("/products/{code}/published", status_code=204)
    async def withdraw(principal: Editor, code: CodePath) -> None:
        """Have nothing of it hold any more: it is not sold, and not made anew."""
        refuse_unless_everywhere(principal, Permission.CATALOG_EDIT, "products and documents")
        await publishing.withdraw(principal, "product", code)

    @api.get("/products/{code}/versions")
    async def versions(
        principal: Editor, code: CodePath, before: BeforeQuery = VERSION_MAX, limit: Limit = LIMIT
    ) -> VersionPage:
        """Its versions, the newest first."""
        rows = await publishing.versions(principal.tenant_id, "product", code, before, limit + 1)
        shown = [VersionAnswer.model_validate(row, from_attributes=True) for row in rows[:limit]]
        return VersionPage(versions=shown, next=shown[-1].version if len(rows) > limit else None)


def _add_categories(api: APIRouter, categories: Drafts) -> None:
    @api.get("/categories")
    async def all_of_them(principal: Reader, after: After = "", limit: Limit = LIMIT) -> CategoryPage:
        """Kinds of products, and what each of them says, by code."""
        asked = Find(after=after, limit=limit + 1)
        rows, following = page(await categories.find(principal.tenant_id, asked), limit, lambda found: found.id)
        return CategoryPage(categories=[draft_of(found, CategoryBody) for found in rows], next=following)

    @api.get("/categories/{code}")
    async def category(principal: Reader, code: CodePath, response: Response) -> DraftAnswer[CategoryBody]:
        """A kind of product."""
        found = await categories.get(principal.tenant_id, code)
        response.headers["ETag"] = etag(found.revision)
        return draft_of(found, CategoryBody)

    @api.put("/categories/{code}")
    async def save_category(
        principal: Editor, code: CodePath, body: CategoryBody, response: Response, if_match: IfMatch = ""
    ) -> DraftAnswer[CategoryBody]:
        """Make a category, or change it (then with If-Match). Products are held to it when they are published."""
        refuse_unless_everywhere(principal, Permission.CATALOG_EDIT, "products and documents")
        saved = await categories.save(principal.tenant_id, code, body.document(), if_match)
        response.headers["ETag"] = etag(saved.revision)
        return draft_of(saved, CategoryBody)

    @api.delete("/categories/{code}", status_code=204)
    async def delete_category(principal: Editor, code: CodePath, if_match: IfMatch = "") -> None:
        """Delete a category. Products that name it cannot be published until they name another."""
        refuse_unless_everywhere(principal, Permission.CATALOG_EDIT, "products and documents")
        await categories.delete(principal.tenant_id, code, if_match)


def _add_exchange(api: APIRouter, exchange: ProductExchange) -> None:
    @api.get("/products.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
    async def export(principal: Editor) -> Response:
        """All products as they are edited, as a table for a spreadsheet."""
        return Response(await exchange.export(principal.tenant_id), media_type=CSV)

    @api.put("/products.csv", openapi_extra={"requestBody": {"content": {"text/csv": {"schema": {"type": "string"}}}}})
    async def import_(
        principal: Editor,
        request: Request,
        publish: Annotated[bool, Query(description="And have each of them hold")] = False,
    ) -> ImportAnswer:
        """Make or change the products of a table, in the columns of the export: all, or nothing if a row is wrong.

        The same table again changes nothing. Products that are not in it stay as they are.
        """
        refuse_unless_everywhere(principal, Permission.CATALOG_EDIT, "products and documents")
        return await exchange.take(principal, await request.body(), publish=publish)
