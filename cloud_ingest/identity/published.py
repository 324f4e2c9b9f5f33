"""What other parts may ask of identity."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.ports.database import Session


@dataclass(frozen=True, slots=True)
class PublishedCustomer:
    """A customer of a tenant. ``customer`` is the code that stands in orders and in ``Principal.customer``."""

    customer: str
    name: str
    email: str
    is_disabled: bool


async def customer(session: Session, tenant_id: int, code: str) -> PublishedCustomer | None:
    """The customer, or ``None`` when the tenant has none of that code."""
    rows = await session.fetch(
        "SELECT customer, name, email, disabled IS NOT NULL AS is_disabled FROM customer "
        "WHERE tenant_id = $1 AND customer = $2",
        tenant_id,
        code,
    )
    return PublishedCustomer(**dict(rows[0])) if rows else None
