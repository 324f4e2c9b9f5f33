"""Customers in their table."""

from __future__ import annotations

import json
from typing import Any, Final

from cloud_ingest.access.etags import check_match
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.orders.asking import CustomerBody, NewCustomer
from connectors.ports.database import Row, Session

_COLUMNS: Final = (
    "customer, name, email, phone, addresses, currency, discount_percent, active, payer, "
    "payment_method, revision, created"
)


async def add(session: Session, tenant_id: int, asked: NewCustomer, code: str, by: str) -> dict[str, Any]:
    """Make a customer. Raises ``RequestRefused`` when there is one of that code."""
    made = await session.execute(
        "INSERT INTO customer (tenant_id, customer, name, email, phone, addresses, currency, discount_percent, active, "
        "payer, payment_method, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) "
        "ON CONFLICT DO NOTHING",
        tenant_id,
        code,
        *_values(asked),
        by,
    )
    if not made:
        why = f"there is a customer {code!r} already; change it with PUT, or take another code"
        raise RequestRefused(Why.CONFLICT, "customer_exists", why)
    return await one(session, tenant_id, code)


async def change(session: Session, tenant_id: int, code: str, asked: CustomerBody, if_match: str) -> dict[str, Any]:
    """Replace what is known of a customer. Raises ``RequestRefused``."""
    rows = await session.fetch(
        "SELECT revision FROM customer WHERE tenant_id = $1 AND customer = $2 FOR UPDATE", tenant_id, code
    )
    if not rows:
        raise unknown(code)
    check_match(if_match, rows[0]["revision"])
    await session.execute(
        "UPDATE customer SET name = $3, email = $4, phone = $5, addresses = $6, currency = $7, discount_percent = $8, "
        "active = $9, payer = $10, payment_method = $11, revision = revision + 1 "
        "WHERE tenant_id = $1 AND customer = $2",
        tenant_id,
        code,
        *_values(asked),
    )
    return await one(session, tenant_id, code)


async def one(session: Session, tenant_id: int, code: str) -> dict[str, Any]:
    """A customer. Raises ``RequestRefused`` when there is none."""
    rows = await session.fetch(
        f"SELECT {_COLUMNS} FROM customer WHERE tenant_id = $1 AND customer = $2",  # noqa: S608
        tenant_id,
        code,
    )
    if not rows:
        raise unknown(code)
    return _customer(rows[0])


async def listed(
    session: Session, tenant_id: int, *, after: str, count_max: int, search: str = "", only: str | None = None
) -> list[dict[str, Any]]:
    """Customers by their codes, those behind ``after``; ``search`` is part of code or name; ``only``: that one."""
    rows = await session.fetch(
        f"SELECT {_COLUMNS} FROM customer WHERE tenant_id = $1 AND customer > $2 "  # noqa: S608
        "AND ($3 = '' OR strpos(lower(customer), lower($3)) > 0 OR strpos(lower(name), lower($3)) > 0) "
        "AND ($4::text IS NULL OR customer = $4) ORDER BY customer LIMIT $5",
        tenant_id,
        after,
        search,
        only,
        count_max,
    )
    return [_customer(row) for row in rows]


def unknown(code: str) -> RequestRefused:
    """Nobody knows the customer ``code``, or who asks may not know of it."""
    return RequestRefused(Why.UNKNOWN, "unknown_customer", f"there is no customer {code!r}; POST /customers makes one")


def _values(asked: CustomerBody) -> tuple[Any, ...]:
    addresses = {label: address.model_dump() for label, address in asked.addresses.items()}
    return (asked.name, asked.email, asked.phone, json.dumps(addresses), asked.currency, asked.discount_percent,
            asked.active, asked.payer, asked.payment_method)  # fmt: skip


def _customer(row: Row) -> dict[str, Any]:
    return {**dict(row), "addresses": json.loads(row["addresses"])}
