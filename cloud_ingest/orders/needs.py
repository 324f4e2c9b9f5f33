"""What has to be made for a product besides itself: its components on all levels, less what is in stock."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from cloud_ingest.catalog import published as catalog
from cloud_ingest.inventory import published as inventory
from cloud_ingest.orders.rules import ZERO, quantity_text
from connectors.ports.database import Session


@dataclass(slots=True)
class Needs:
    """``to_make``: components with a routing and how many of them, the deepest first; ``missing``: sentences."""

    to_make: list[tuple[catalog.Product, Decimal]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    taken: dict[str, Decimal] = field(default_factory=dict)
    """What is taken from stock, or will be as soon as it has come there."""


_NEEDED: Final = (
    "SELECT coalesce(sum(order_need.quantity * least(1, greatest(0, order_line.quantity - cancelled - from_stock - "
    "    produced) / pieces)), 0) AS needed "
    "FROM order_need JOIN order_line USING (order_id, line) JOIN customer_order USING (order_id) "
    "WHERE order_need.tenant_id = $1 AND item = $2 AND order_id <> $3 "
    "AND state IN ('released', 'in_production', 'packed')"
)


async def needed_by_orders(session: Session, tenant_id: int, item: str, without: str = "") -> Decimal:
    """How much of ``item`` work orders of customers' orders are going to take from stock."""
    (row,) = await session.fetch(_NEEDED, tenant_id, item, without)
    return Decimal(row["needed"])


class Pantry:
    """Products and stock as they are in one transaction, each asked for once; what was promised of it is taken off."""

    def __init__(self, session: Session, tenant_id: int, without: str = "") -> None:
        """``without``: an order whose own needs are not taken off."""
        self._session = session
        self._tenant = tenant_id
        self._without = without
        self._products: dict[tuple[str, str], catalog.Product | None] = {}
        self._available: dict[str, Decimal] = {}
        self._plain: set[str] = set()
        """Products that need nothing else."""

    async def product(self, code: str, currency: str) -> catalog.Product | None:
        """As the catalog has published it."""
        key = (code, currency)
        if key not in self._products:
            self._products[key] = await catalog.product(self._session, self._tenant, code, currency=currency)
        return self._products[key]

    async def has(self, item: str) -> bool:
        """Whether there is any of it that was not promised yet."""
        if item not in self._available:
            stock = await inventory.availability(self._session, self._tenant, item)
            free = stock.available - await needed_by_orders(self._session, self._tenant, item, self._without)
            self._available[item] = max(free, ZERO)
        return self._available[item] > 0

    async def take(self, item: str, quantity: Decimal) -> Decimal:
        """How much of ``quantity`` there is; the next question does not get it again."""
        await self.has(item)
        there = min(self._available[item], quantity)
        self._available[item] -= there
        return there

    async def needs(self, product: str, quantity: Decimal, currency: str) -> Needs:
        """What ``quantity`` of ``product`` needs besides what is in stock."""
        found = Needs()
        if product in self._plain:
            return found
        needed = {one.item: one for one in await inventory.explode(self._session, self._tenant, product, quantity)}
        if not needed:
            self._plain.add(product)
        wanted = {item: one.quantity for item, one in needed.items()}
        for item, one in sorted(needed.items(), key=lambda pair: (pair[1].level, pair[0])):
            if wanted[item] <= 0:
                continue
            found.taken[item] = wanted[item]
            there = await self.take(item, wanted[item])
            if there and one.is_made:  # what is in stock needs nothing itself
                for part in await inventory.explode(self._session, self._tenant, item, there):
                    wanted[part.item] = wanted.get(part.item, ZERO) - part.quantity
            if (short := wanted[item] - there) <= 0:
                continue
            made = await self.product(item, currency) if one.is_made else None
            if made is not None and made.routing:
                found.to_make.append((made, short))
            else:
                found.missing.append(f"{quantity_text(short)} {one.unit} of {item} are missing")
        found.to_make.reverse()
        return found
