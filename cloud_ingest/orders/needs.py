"""What has to be made for a product besides itself: its components on all levels, less what is in stock."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    "WITH open AS (SELECT order_id, line, item, product, need.quantity, pieces, to_come FROM order_need AS need "
    # one by one, by their key: PostgreSQL would rather read the lines of all orders there ever were
    "    CROSS JOIN LATERAL (SELECT product, greatest(0, quantity - cancelled - from_stock - produced) AS to_come "
    "        FROM order_line WHERE (order_id, line) = (need.order_id, need.line) LIMIT 1) AS wanted "
    "    WHERE need.tenant_id = $1 AND item = ANY($2::text[]) AND order_id <> $3 AND in_plant) "
    "SELECT item, NULL AS work_order, NULL AS product, sum(quantity * least(1, to_come / pieces)) AS much, "
    "0 AS counted FROM open "
    "GROUP BY item UNION ALL "
    "SELECT open.item, work_order, product, open.quantity / pieces, "
    "own.reject + CASE WHEN is_last THEN own.good ELSE 0 END "
    "FROM open JOIN order_work_order AS own USING (order_id, line) "
    "WHERE own.item = product AND (own.reject > 0 OR is_last AND own.good > 0)"
)


_CLAIMED: Final = (
    "SELECT item, order_need.quantity * least(1, greatest(0, order_line.quantity - cancelled - from_stock - produced) "
    "    / pieces) AS needed "
    "FROM order_need JOIN order_line USING (order_id, line) "
    "WHERE order_need.tenant_id = $1 AND order_id = $2 AND line = $3 AND in_plant"
)


async def needed_by_orders(
    session: Session, tenant_id: int, items: Collection[str], without: str = ""
) -> dict[str, Decimal]:
    """How much of each of ``items`` work orders of customers' orders are going to take from stock.

    With it, what is in pieces that were counted already and are not booked yet: until then it seems to be in stock.
    """
    rows = await session.fetch(_NEEDED, tenant_id, sorted(items), without)
    made = {row["work_order"]: row["product"] for row in rows if row["work_order"] is not None}
    booked = await inventory.booked_pieces(session, tenant_id, made)
    found = dict.fromkeys(items, ZERO)
    for row in rows:
        order, much = row["work_order"], Decimal(row["much"])
        found[row["item"]] += much if order is None else much * max(ZERO, row["counted"] - booked[order])
    return found


class Pantry:
    """Products and stock as they are in one transaction, each asked for once; what was promised of it is taken off."""

    def __init__(self, session: Session, tenant_id: int) -> None:
        self._session = session
        self._tenant = tenant_id
        self._products: dict[tuple[str, str], catalog.Product | None] = {}
        self._available: dict[str, Decimal] = {}
        """Less what was promised of it; below zero where more was promised than there is yet."""
        self._claims: dict[tuple[str, int], Mapping[str, Decimal]] = {}
        """By line of an order, what was promised to it in this transaction."""
        self._pickable: dict[str, Decimal] = {}
        self._compositions: dict[str, inventory.Composition] = {}

    async def product(self, code: str, currency: str) -> catalog.Product | None:
        """As the catalog has published it."""
        return (await self.products([code], currency))[code]

    async def products(self, codes: Collection[str], currency: str) -> dict[str, catalog.Product | None]:
        """``product`` of each of ``codes``."""
        if new := sorted(code for code in codes if (code, currency) not in self._products):
            found = await catalog.products(self._session, self._tenant, new, currency=currency)
            self._products |= {(code, currency): found.get(code) for code in new}
        return {code: self._products[code, currency] for code in codes}

    async def has(self, item: str) -> bool:
        """Whether there is any of it that was not promised yet."""
        await self._look_for([item])
        return self._available[item] > 0

    async def _look_for(self, items: Collection[str]) -> None:
        """Know what there is of all of ``items``."""
        if new := sorted(set(items) - self._available.keys()):
            stock = await inventory.availabilities(self._session, self._tenant, new)
            needed = await needed_by_orders(self._session, self._tenant, new)
            self._available |= {item: stock[item].available - needed[item] for item in new}

    async def take(self, item: str, quantity: Decimal) -> Decimal:
        """How much of ``quantity`` there is. All of it is promised now, also what is not there yet."""
        await self.has(item)
        there = min(max(self._available[item], ZERO), quantity)
        self._available[item] -= quantity
        return there

    async def pick(self, item: str, quantity: Decimal) -> Decimal:
        """As ``take``, of what is where customers' orders are served."""
        if item not in self._pickable:
            self._pickable[item] = await inventory.pickable(self._session, self._tenant, item)
        taken = await self.take(item, min(quantity, self._pickable[item]))
        self._pickable[item] -= taken
        return taken

    def left(self, item: str, unless_known: Decimal) -> Decimal:
        """What is left of it by what was promised in this transaction."""
        return self._available.get(item, unless_known)

    def spend(self, item: str, quantity: Decimal) -> None:
        """So much of it was reserved."""
        if item in self._available:
            self._available[item] -= quantity

    def claim(self, order: str, line: int, taken: Mapping[str, Decimal]) -> None:
        """Remember what a line of an order was promised."""
        self._claims[order, line] = taken

    async def give_back(self, order: str, line: int) -> None:
        """What a line of an order was promised is free again: it is looked at anew."""
        claims = self._claims.pop((order, line), None)
        if claims is None:
            rows = await self._session.fetch(_CLAIMED, self._tenant, order, line)
            claims = {row["item"]: Decimal(row["needed"]) for row in rows}
        await self._look_for(claims)
        for item, quantity in claims.items():
            self._available[item] += quantity

    async def needs(
        self, product: str, quantity: Decimal, currency: str, coming: Mapping[str, Decimal] | None = None
    ) -> Needs:
        """What ``quantity`` of ``product`` needs besides what is in stock, and ``coming`` from work orders for it."""
        found = Needs()
        if product not in self._compositions:
            self._compositions[product] = await inventory.composition(self._session, self._tenant, product)
        made_of = self._compositions[product]
        needed = {one.item: one for one in made_of.explode(product, quantity)}
        wanted = {item: one.quantity for item, one in needed.items()}
        await self._look_for(wanted)
        for item, one in sorted(needed.items(), key=lambda pair: (pair[1].level, pair[0])):
            if wanted[item] <= 0:
                continue
            found.taken[item] = wanted[item]
            there = await self.take(item, wanted[item])
            if there and one.is_made:  # what is in stock needs nothing itself
                for part in made_of.explode(item, there):
                    wanted[part.item] = wanted.get(part.item, ZERO) - part.quantity
            if (short := wanted[item] - there - (coming or {}).get(item, ZERO)) <= 0:
                continue
            made = (await self.products(wanted, currency))[item]
            if made is not None and made.routing:
                found.to_make.append((made, short))
            else:
                found.missing.append(f"{quantity_text(short)} {one.unit} of {item} are missing")
        found.to_make.reverse()
        return found
