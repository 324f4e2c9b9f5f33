"""Which lots are in this one, and where a lot went: through all levels, in both directions."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from connectors.ports.database import Row, Session

NODES_MAX: Final = 10_000
LEVELS_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class Content:
    """A lot that is in the one asked for, at ``level`` (1: directly); ``quantity`` is what those above it have of it.

    A lot that is in several of them has the sum, and the smallest level.
    """

    item: str
    lot: str
    level: int
    quantity: Decimal
    origin: str


@dataclass(frozen=True, slots=True)
class Destination:
    """A lot that the one asked for is in, and where that is: in stock, or shipped."""

    item: str
    lot: str
    level: int
    quantity: Decimal
    on_hand: Decimal
    shipped: Decimal
    orders: tuple[str, ...]


_CONTENTS: Final = """
WITH RECURSIVE below AS (
    SELECT part AS item, part_lot AS lot, 1 AS level FROM lot_part
    WHERE tenant_id = $1 AND item = $2 AND lot = $3 AND quantity > 0
    UNION
    SELECT known.part, known.part_lot, below.level + 1 FROM below JOIN lot_part known
        ON known.tenant_id = $1 AND known.item = below.item AND known.lot = below.lot AND known.quantity > 0
    WHERE below.level < $4
),
found AS (SELECT item, lot, min(level) AS level FROM below GROUP BY item, lot),
above AS (SELECT item, lot FROM found UNION SELECT $2, $3)
SELECT found.item, found.lot, found.level, sum(known.quantity) AS quantity, item_lot.origin
FROM found JOIN lot_part known ON known.tenant_id = $1 AND known.part = found.item AND known.part_lot = found.lot
    AND known.quantity > 0
JOIN above ON above.item = known.item AND above.lot = known.lot
JOIN item_lot ON item_lot.tenant_id = $1 AND item_lot.item = found.item AND item_lot.lot = found.lot
GROUP BY found.item, found.lot, found.level, item_lot.origin ORDER BY found.level, found.item, found.lot LIMIT $5
"""
_DESTINATIONS: Final = """
WITH RECURSIVE above AS (
    SELECT item, lot, 1 AS level FROM lot_part WHERE tenant_id = $1 AND part = $2 AND part_lot = $3 AND quantity > 0
    UNION
    SELECT known.item, known.lot, above.level + 1 FROM above JOIN lot_part known
        ON known.tenant_id = $1 AND known.part = above.item AND known.part_lot = above.lot AND known.quantity > 0
    WHERE above.level < $4
),
found AS (SELECT item, lot, min(level) AS level FROM above GROUP BY item, lot),
below AS (SELECT item, lot FROM found UNION SELECT $2, $3)
SELECT found.item, found.lot, found.level,
    (SELECT coalesce(sum(known.quantity), 0) FROM lot_part known JOIN below
        ON below.item = known.part AND below.lot = known.part_lot
        WHERE known.tenant_id = $1 AND known.item = found.item AND known.lot = found.lot) AS quantity,
    (SELECT coalesce(sum(on_hand), 0) FROM stock_balance held WHERE held.tenant_id = $1 AND held.item = found.item
        AND held.lot = found.lot AND held.location NOT LIKE '@%') AS on_hand,
    (SELECT coalesce(sum(on_hand), 0) FROM stock_balance held WHERE held.tenant_id = $1 AND held.item = found.item
        AND held.lot = found.lot AND held.location = '@customer') AS shipped,
    (SELECT coalesce(array_agg(DISTINCT order_id ORDER BY order_id), '{}') FROM stock_movement moved
        WHERE moved.tenant_id = $1 AND moved.item = found.item AND moved.lot = found.lot AND moved.kind = 'shipment'
        AND order_id <> '') AS orders
FROM (SELECT * FROM found ORDER BY level, item, lot LIMIT $5) found ORDER BY level, item, lot
"""


async def contents(session: Session, tenant_id: int, item: str, lot: str) -> list[Content]:
    """Which lots are in this lot or serial number, the direct ones first; at most ``NODES_MAX``."""
    rows = await session.fetch(_CONTENTS, tenant_id, item, lot, LEVELS_MAX, NODES_MAX)
    return [Content(**dict(row)) for row in rows]


async def destinations(session: Session, tenant_id: int, item: str, lot: str) -> list[Destination]:
    """In which lots and serial numbers this lot is, the direct ones first, and where these are: ``NODES_MAX``."""
    rows = await session.fetch(_DESTINATIONS, tenant_id, item, lot, LEVELS_MAX, NODES_MAX)
    return [Destination(**{**dict(row), "orders": tuple(row["orders"])}) for row in rows]


async def itself(session: Session, tenant_id: int, item: str, lot: str) -> Row:
    """What of the lot itself was shipped, with which orders, and which work orders have used it."""
    (row,) = await session.fetch(
        "SELECT coalesce(sum(quantity) FILTER (WHERE target = '@customer'), 0) "
        "- coalesce(sum(quantity) FILTER (WHERE source = '@customer'), 0) AS shipped, "
        "coalesce(array_agg(DISTINCT order_id) FILTER (WHERE kind = 'shipment' AND order_id <> ''), '{}') AS orders, "
        "coalesce(array_agg(DISTINCT work_order) FILTER (WHERE kind = 'consumption' AND work_order <> ''), '{}') "
        "AS work_orders FROM stock_movement WHERE tenant_id = $1 AND item = $2 AND lot = $3",
        tenant_id,
        item,
        lot,
    )
    return row
