"""Products to and from tables (CSV, RFC 4180, UTF-8): all rows are looked at before the first one is kept."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic import ValidationError

from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.catalog.answers import ImportAnswer
from cloud_ingest.catalog.drafts import Drafts
from cloud_ingest.catalog.models import ProductBody
from cloud_ingest.catalog.products import incomplete, schema_of
from cloud_ingest.catalog.publishing import Publishing
from cloud_ingest.catalog.rules import Attribute
from cloud_ingest.catalog.table_cells import CodeInvalid, body_of, columns_of, row_of
from connectors.ports.documents import Document, Find

PRODUCTS_MAX: Final = 50_000
PAGE: Final = 500
PROBLEMS_MAX: Final = 20


class ProductExchange:
    """Writes and reads tables of products."""

    def __init__(self, products: Drafts, categories: Drafts, publishing: Publishing) -> None:
        self._products = products
        self._categories = categories
        self._publishing = publishing

    async def export(self, tenant_id: int) -> str:
        """All products as they are edited. Raises ``RequestRefused`` when they are too many for one table."""
        products = await self._all(self._products, tenant_id)
        columns = columns_of([product.body for product in products])
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="")
        writer.writeheader()
        writer.writerows(row_of(product.id, product.body) for product in products)
        return text.getvalue()

    async def take(self, principal: Principal, table: bytes, *, publish: bool) -> ImportAnswer:
        """Make or change the products of ``table``. Raises ``RequestRefused`` with the rows that are wrong."""
        tenant_id = principal.tenant_id
        schemas = {one.id: schema_of(one) for one in await self._all(self._categories, tenant_id)}
        given = [Document(code, 0, body.document()) for code, body in _products(table, schemas).items()]
        if publish and (problems := [why for document in given if (why := incomplete(document, schemas))]):
            raise _rows_invalid(problems)
        created = changed = unchanged = 0
        for document in given:
            found = await self._products.look(tenant_id, document.id)
            if found is None:
                found = await self._products.put(tenant_id, document)
                created += 1
            elif found.body == document.body:
                unchanged += 1
            else:
                found = await self._products.put(tenant_id, replace(document, revision=found.revision))
                changed += 1
            if publish:
                await self._publishing.publish(principal, "product", found)
        published = len(given) if publish else 0
        return ImportAnswer(created=created, changed=changed, unchanged=unchanged, published=published)

    async def _all(self, drafts: Drafts, tenant_id: int) -> list[Document]:
        found: list[Document] = []
        while len(found) <= PRODUCTS_MAX:
            rows = await drafts.find(tenant_id, Find(after=found[-1].id if found else "", limit=PAGE))
            found += rows
            if len(rows) < PAGE:
                return found
        raise RequestRefused(Why.TOO_LARGE, "too_many", f"more than {PRODUCTS_MAX} of them do not fit into one table")


def _products(table: bytes, schemas: Mapping[str, Mapping[str, Attribute]]) -> dict[str, ProductBody]:
    try:
        reader = csv.DictReader(io.StringIO(table.decode("utf-8-sig"), newline=""), strict=True)
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as exc:
        raise RequestRefused(Why.INVALID, "table_invalid", f"this is no CSV in UTF-8: {exc}") from exc
    products: dict[str, ProductBody] = {}
    problems: list[str] = []
    for number, row in enumerate(rows, start=2):
        try:
            code, body = _product(row, schemas)
            if code in products:
                raise CodeInvalid(f"the code {code!r} is in an earlier row, too")
            products[code] = body
        except CodeInvalid as exc:
            problems.append(f"row {number}: {exc}")
        except ValidationError as exc:
            said = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()[:3])
            problems.append(f"row {number}: {said}")
    if problems:
        raise _rows_invalid(problems)
    return products


def _rows_invalid(problems: Sequence[str]) -> RequestRefused:
    more = f" … and {len(problems) - PROBLEMS_MAX} more rows" if len(problems) > PROBLEMS_MAX else ""
    return RequestRefused(
        Why.INVALID, "rows_invalid", f"nothing was changed. {'. '.join(problems[:PROBLEMS_MAX])}{more}"
    )


def _product(row: Mapping[Any, Any], schemas: Mapping[str, Mapping[str, Attribute]]) -> tuple[str, ProductBody]:
    if None in row:
        raise CodeInvalid("it has more cells than there are columns")
    cells = {name: value or "" for name, value in row.items()}
    code, document = body_of(cells, schemas.get(cells.get("category", ""), {}))
    return code, ProductBody.model_validate(document)
