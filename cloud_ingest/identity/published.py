"""What other parts may ask of identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloud_ingest.identity.brands import Brand, brand_in
from connectors.ports.database import Session

_FIRST_TENANT: Final = "default"
"""The tenant that is there from the beginning, which nobody has named."""


@dataclass(frozen=True, slots=True)
class PublishedBrand:
    """What a tenant looks like. ``title`` is empty where it has none; the others are the product's own then."""

    tenant: str
    title: str
    shown_title: str
    color: str
    text_color: str


async def published_brand(session: Session, tenant_id: int) -> PublishedBrand:
    """The brand of a tenant that exists."""
    brand = await brand_in(session, tenant_id=tenant_id) or Brand("")
    return PublishedBrand(brand.tenant, brand.title, brand.shown_title, brand.shown_color, brand.text_color)


async def tenant_title(session: Session, tenant_id: int) -> str:
    """How the tenant calls itself; empty where nobody has said so."""
    brand = await brand_in(session, tenant_id=tenant_id)
    if brand is None:
        return ""
    return brand.title or ("" if brand.tenant == _FIRST_TENANT else brand.tenant)
