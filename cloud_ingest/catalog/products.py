"""Products: what has to be true before one is published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.catalog.drafts import Drafts
from cloud_ingest.catalog.rules import Attribute, attribute_problems
from connectors.ports.documents import Document


async def refuse_incomplete(categories: Drafts, tenant_id: int, product: Document) -> None:
    """Raises ``RequestRefused`` when ``product`` does not say what its category wants of it, with all that is wrong."""
    code = product.body["category"]
    found = await categories.look(tenant_id, code) if code else None
    if problem := incomplete(product, {} if found is None else {code: schema_of(found)}):
        raise RequestRefused(Why.CONFLICT, "product_incomplete", problem)


def incomplete(product: Document, schemas: Mapping[str, Mapping[str, Attribute]]) -> str:
    """Why ``product`` cannot be published, by the ``schemas`` of categories; empty when it can."""
    attributes, category = product.body["attributes"], product.body["category"]
    if category and category not in schemas:
        return f"{product.id!r}: there is no category {category!r}"
    if not category:
        problems = ["it has attributes, and no category that says what they are"] if attributes else []
    else:
        problems = attribute_problems(attributes, schemas[category])
    return f"{product.id!r}: {'; '.join(problems)}" if problems else ""


def schema_of(category: Document) -> dict[str, Attribute]:
    """What products of ``category`` say."""
    return {name: _attribute(said) for name, said in category.body["attributes"].items()}


def _attribute(said: dict[str, Any]) -> Attribute:
    return Attribute(said["kind"], said["required"], tuple(said["choices"]), said["minimum"], said["maximum"])
