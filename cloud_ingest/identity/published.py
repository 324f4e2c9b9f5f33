"""What other parts may ask of identity."""

from __future__ import annotations

from typing import Final

from cloud_ingest.identity.brands import brand_in
from connectors.ports.database import Session

_FIRST_TENANT: Final = "default"
"""The tenant that is there from the beginning, which nobody has named."""


async def tenant_title(session: Session, tenant_id: int) -> str:
    """How the tenant calls itself; empty where nobody has said so."""
    brand = await brand_in(session, tenant_id=tenant_id)
    if brand is None:
        return ""
    return brand.title or ("" if brand.tenant == _FIRST_TENANT else brand.tenant)
