"""What is asked of integrations: calls, payments, shipments, webhooks, circuits; and that a call is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.integrations.calls import CHANNEL
from connectors.ports.database import Session

_CALLS: Final = (
    "SELECT call_id AS call, port, kind, about, state, tries, failures, may_be_done, next_try, reason, created, "
    "changed FROM integration_call WHERE tenant_id = $1 "
)


@dataclass(frozen=True, slots=True)
class CallChoice:
    """Which calls, the oldest first; ``after`` is the id of the last one of the page before."""

    state: str | None = None
    port: str | None = None
    about: str | None = None
    after: str = ""
    limit: int = 100


async def calls(session: Session, tenant_id: int, choice: CallChoice) -> list[dict[str, Any]]:
    """The calls of ``choice``."""
    rows = await session.fetch(
        _CALLS + "AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR port = $3) "
        "AND ($4::text IS NULL OR about = $4) AND call_id > $5 ORDER BY call_id LIMIT $6",
        tenant_id,
        choice.state,
        choice.port,
        choice.about,
        choice.after,
        choice.limit,
    )
    return [dict(row) for row in rows]


async def retry(session: Session, tenant_id: int, call_id: str) -> dict[str, Any]:
    """Have a call that was given up be tried again; one that waits, at once. Raises ``RequestRefused``."""
    tried = await session.execute(
        "UPDATE integration_call SET state = 'waiting', failures = 0, next_try = now(), changed = now() "
        "WHERE tenant_id = $1 AND call_id = $2 AND state IN ('dead', 'waiting')",
        tenant_id,
        call_id,
    )
    rows = await session.fetch(_CALLS + "AND call_id = $2", tenant_id, call_id)
    if not rows:
        raise RequestRefused(Why.UNKNOWN, "unknown_call", f"there is no call {call_id}")
    if not tried:
        why = f"the call {call_id} is {rows[0]['state']}: only one that waits or was given up is tried again"
        raise RequestRefused(Why.CONFLICT, "call_is_over", why)
    await session.fetch("SELECT pg_notify($1, '')", CHANNEL)
    return dict(rows[0])


async def status(session: Session, ports: Sequence[str] = ("payments", "shipping", "crm")) -> list[dict[str, Any]]:
    """Of each vendor: how many calls wait, since when, how many were given up, and whether it is left alone."""
    rows = await session.fetch(
        "SELECT port, count(DISTINCT integration_call.call_id) FILTER (WHERE integration_call.state = 'waiting' "
        "AND integration_call.kind NOT IN ('look', 'look-refund', 'track', 'changes')) AS waiting, "
        "count(DISTINCT integration_call.call_id) FILTER (WHERE integration_call.state = 'waiting' "
        "AND integration_call.kind IN ('look', 'look-refund', 'track', 'changes')) AS watching, "
        "count(DISTINCT integration_call.call_id) FILTER (WHERE integration_call.state = 'dead') AS dead, "
        "min(integration_call.created) FILTER (WHERE integration_call.state = 'waiting' "
        "AND integration_call.kind NOT IN ('look', 'look-refund', 'track', 'changes')) AS oldest, "
        "max(circuit.open_until) AS open_until, "
        "coalesce(max(circuit.reason) FILTER (WHERE circuit.failures > 0), '') AS reason "
        "FROM unnest($1::text[]) AS port LEFT JOIN integration_call USING (port) "
        "LEFT JOIN integration_circuit AS circuit USING (port) "
        "WHERE integration_call.state IS NULL OR integration_call.state IN ('waiting', 'dead') GROUP BY port",
        list(ports),
    )
    known = {row["port"]: dict(row) for row in rows}
    empty = {"waiting": 0, "watching": 0, "dead": 0, "oldest": None, "open_until": None, "reason": ""}
    return [known.get(port, {"port": port, **empty}) for port in ports]


async def payments(session: Session, tenant_id: int, order: str | None, after: str, limit: int) -> list[dict[str, Any]]:
    """Payments, the oldest first."""
    rows = await session.fetch(
        "SELECT payment_id AS payment, order_id AS order, request, customer, state, amount, captured, refunded, "
        "currency, vendor, vendor_id, withdrawn, reason, created, changed FROM payment "
        "WHERE tenant_id = $1 AND ($2::text IS NULL OR order_id = $2) AND payment_id > $3 "
        "ORDER BY payment_id LIMIT $4",
        tenant_id,
        order,
        after,
        limit,
    )
    return [dict(row) for row in rows]


async def shipments(
    session: Session, tenant_id: int, order: str | None, after: str, limit: int
) -> list[dict[str, Any]]:
    """Shipments, sorted by their ids."""
    rows = await session.fetch(
        "SELECT shipment_id AS shipment, order_id AS order, state, carrier, service, tracking, label_url, cost, "
        "currency, vendor, vendor_id, withdrawn, reason, created, changed FROM shipment "
        "WHERE tenant_id = $1 AND ($2::text IS NULL OR order_id = $2) AND shipment_id > $3 "
        "ORDER BY shipment_id LIMIT $4",
        tenant_id,
        order,
        after,
        limit,
    )
    return [dict(row) for row in rows]


async def webhooks(session: Session, tenant_id: int, state: str | None, after: str, limit: int) -> list[dict[str, Any]]:
    """Webhooks of vendors, sorted by vendor and id; ``after`` is both with a space between them."""
    rows = await session.fetch(
        "SELECT vendor, event_id AS event, kind, state, about, received, times FROM vendor_webhook "
        "WHERE tenant_id = $1 AND ($2::text IS NULL OR state = $2) AND vendor || ' ' || event_id > $3 "
        "ORDER BY vendor || ' ' || event_id LIMIT $4",
        tenant_id,
        state,
        after,
        limit,
    )
    return [dict(row) for row in rows]
