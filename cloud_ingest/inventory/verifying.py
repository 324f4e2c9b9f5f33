"""Proves the balances from the ledger: they are the sums of the movements, and all adds up to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from connectors.ports.database import Session

FINDINGS_MAX: Final = 1000
_BALANCES: Final = """
WITH ledger AS (
    SELECT tenant_id, item, location, lot, sum(quantity) AS quantity FROM (
        SELECT tenant_id, item, target AS location, lot, quantity FROM stock_movement
        UNION ALL SELECT tenant_id, item, source, lot, -quantity FROM stock_movement) moved
    WHERE ($1::integer IS NULL OR tenant_id = $1) GROUP BY tenant_id, item, location, lot
)
SELECT tenant_id, item, location, lot, coalesce(held.on_hand, 0) AS found, coalesce(ledger.quantity, 0) AS proven
FROM ledger FULL JOIN (SELECT * FROM stock_balance WHERE $1::integer IS NULL OR tenant_id = $1) held
    USING (tenant_id, item, location, lot)
WHERE coalesce(held.on_hand, 0) <> coalesce(ledger.quantity, 0) ORDER BY 1, 2, 3, 4 LIMIT $2
"""
_RESERVED: Final = """
SELECT tenant_id, item, location, lot, held.reserved AS found, coalesce(promised.open, 0) AS proven
FROM stock_balance held LEFT JOIN (
    SELECT tenant_id, item, location, lot, sum(open) AS open FROM stock_reservation GROUP BY 1, 2, 3, 4) promised
    USING (tenant_id, item, location, lot)
WHERE held.reserved <> coalesce(promised.open, 0) AND ($1::integer IS NULL OR tenant_id = $1)
ORDER BY 1, 2, 3, 4 LIMIT $2
"""
_SUMS: Final = """
SELECT tenant_id, item, '' AS location, lot, sum(on_hand) AS found, 0::numeric AS proven FROM stock_balance
WHERE $1::integer IS NULL OR tenant_id = $1 GROUP BY 1, 2, 4 HAVING sum(on_hand) <> 0 ORDER BY 1, 2, 4 LIMIT $2
"""
_BELOW: Final = """
SELECT held.tenant_id, item, location, lot, on_hand AS found, 0::numeric AS proven FROM stock_balance held
JOIN stock_location place ON place.tenant_id = held.tenant_id AND place.code = held.location
WHERE on_hand < 0 AND NOT place.allows_negative AND ($1::integer IS NULL OR held.tenant_id = $1)
ORDER BY 1, 2, 3, 4 LIMIT $2
"""
_SERIALS: Final = """
SELECT held.tenant_id, held.item, '' AS location, held.lot, sum(on_hand) AS found, 1::numeric AS proven
FROM stock_balance held JOIN item ON item.tenant_id = held.tenant_id AND item.code = held.item
WHERE tracking = 'serial' AND held.lot <> '' AND location NOT LIKE '@%' AND ($1::integer IS NULL OR held.tenant_id = $1)
GROUP BY 1, 2, 4 HAVING sum(on_hand) > 1 ORDER BY 1, 2, 4 LIMIT $2
"""
CHECKS: Final = {
    "on hand is not what the ledger says": _BALANCES,
    "reserved is not what reservations say": _RESERVED,
    "what came does not balance what went": _SUMS,
    "less than nothing where it may not be": _BELOW,
    "one serial number several times": _SERIALS,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not fit: what is ``found``, and what is ``proven`` instead."""

    what: str
    tenant_id: int
    item: str
    location: str
    lot: str
    found: Decimal
    proven: Decimal


async def verify(session: Session, tenant_id: int | None = None) -> list[Finding]:
    """Everything that does not fit, of one tenant or of all; nothing when the ledger proves the balances.

    Each check is one statement, so it sees one state of the tables however much is booked meanwhile.
    """
    findings: list[Finding] = []
    for what, query in CHECKS.items():
        rows = await session.fetch(query, tenant_id, FINDINGS_MAX)
        findings += [Finding(what, **dict(row)) for row in rows]
    return findings
