"""Orders are changed here alone: locked, told something, settled, and stored with what is told of it."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.event_log.failures import Cause, cause_of
from cloud_ingest.inventory import published as inventory
from cloud_ingest.observability.events import Fault
from cloud_ingest.orders import store
from cloud_ingest.orders.case import Case
from cloud_ingest.orders.facts import NotNow
from cloud_ingest.orders.rules import PROBLEMS
from cloud_ingest.orders.saga import look_again, settle
from cloud_ingest.orders.scene import Scene
from cloud_ingest.orders.store import Loaded
from cloud_ingest.orders.terms import Terms
from cloud_ingest.orders.world import PlantWorld
from cloud_ingest.settings.orders import OrdersSettings
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session

DUE_AT_ONCE_MAX: Final = 50
DEFECT_S: Final = 60.0
"""So much later an order is looked at again that has brought out a defect."""
_DUE: Final = "SELECT tenant_id, order_id FROM customer_order WHERE look_at <= $1 ORDER BY look_at, order_id LIMIT $2"

Tell = Callable[[Case, PlantWorld, datetime], Awaitable[None]]
"""(case, world, now): what an order hears. Raises ``NotNow`` when it cannot be."""


class Orders:
    """What changes orders, by ``terms`` and the time of ``clock``."""

    def __init__(self, database: Database, clock: Clock, terms: Terms) -> None:
        self.database = database
        self.clock = clock
        self.terms = terms

    def now(self) -> datetime:
        """The time, to the microsecond, as the database has it."""
        return datetime.fromtimestamp(self.clock.now_ns() // 1000 / 1_000_000, UTC)

    async def change(self, work: UnitOfWork, tenant_id: int, order: str, tell: Tell) -> Case:
        """Tell one order something, and do what follows. Raises ``RequestRefused``; then nothing holds."""
        await lock_tenants(work.session, [tenant_id])
        found = await store.load(work.session, [order], tenant_id)
        if order not in found:
            raise unknown(order)
        await self._tell(work, [found[order]], tell, refuses=True)
        return found[order].case

    async def hear(self, work: UnitOfWork, tenant_id: int, orders: Sequence[str], tell: Tell) -> None:
        """Tell several orders something that has happened. Those that are none of the tenant's are left out."""
        await lock_tenants(work.session, [tenant_id])
        found = await store.load(work.session, orders, tenant_id)
        await self._tell(work, [*found.values()], tell)

    async def add(self, work: UnitOfWork, case: Case) -> None:
        """Store a new order, and do what follows."""
        await lock_tenants(work.session, [case.tenant_id])
        await self._tell(work, [store.new(case)], _nothing)

    async def _tell(self, work: UnitOfWork, found: Sequence[Loaded], tell: Tell, *, refuses: bool = False) -> None:
        now = self.now()
        worlds: dict[int, PlantWorld] = {}
        for one in found:
            tenant_id = one.case.tenant_id
            if tenant_id not in worlds:
                worlds[tenant_id] = PlantWorld(work, tenant_id, self.clock.now_ns() // 1_000_000)
            at = Scene(one.case, worlds[tenant_id], now, self.terms)
            try:
                await tell(one.case, worlds[tenant_id], now)
            except NotNow as exc:
                if refuses:
                    raise RequestRefused(Why.CONFLICT, "not_now", str(exc)) from exc
            await settle(at)
            one.case.look_at = look_again(at)
        await store.save(work, found)

    async def look_at_due(self) -> int:
        """Settle orders whose time has come, some in one transaction; how many there were.

        What another process has looked at meanwhile is settled already: then nothing follows. One that brings out a
        defect of ours keeps no other from its turn; it is looked at again later.
        """
        try:
            return await self._look_at_due(DUE_AT_ONCE_MAX)
        except Exception as first:
            if cause_of(first) is Cause.OUTSIDE:
                raise
            for done in range(DUE_AT_ONCE_MAX):  # one of them is why: each has a transaction of its own
                try:
                    if not await self._look_at_due(1):
                        return done
                except Exception as exc:
                    if cause_of(exc) is Cause.OUTSIDE:
                        raise
                    emit(Fault("orders timer", f"{type(exc).__name__}: {exc}", traceback.format_exc()))
                    await self._put_off()
            return DUE_AT_ONCE_MAX

    async def look_soon(self, session: Session, tenant_id: int, orders: Sequence[str]) -> None:
        """Have the timer settle ``orders`` as soon as it can, each so that it keeps no other from its turn.

        The caller has the lock of the tenant.
        """
        if orders:
            await session.execute(
                "UPDATE customer_order SET look_at = least(look_at, $3) WHERE tenant_id = $1 "
                "AND order_id = ANY($2::text[])",
                tenant_id,
                list(orders),
                self.now(),
            )

    async def stuck(self) -> dict[str, int]:
        """How many orders of all tenants stand still, by ``rules.PROBLEMS``; those with none count 0."""
        async with self.database.session() as session:
            rows = await session.fetch(
                "SELECT problem, count(*) AS orders FROM customer_order WHERE problem <> '' GROUP BY problem"
            )
        return dict.fromkeys(PROBLEMS, 0) | {str(row["problem"]): int(row["orders"]) for row in rows}

    async def _look_at_due(self, count_max: int) -> int:
        async with unit_of_work(self.database) as work:
            rows = await work.session.fetch(_DUE, self.now(), count_max)
            tenants = sorted({row["tenant_id"] for row in rows})
            await lock_tenants(work.session, tenants)
            for tenant_id in tenants:
                own = [row["order_id"] for row in rows if row["tenant_id"] == tenant_id]
                await lock_items(work.session, tenant_id, own)
                await self.hear(work, tenant_id, own, _nothing)
        return len(rows)

    async def _put_off(self) -> None:
        """Look at the first one that is due later than at the others."""
        async with self.database.session() as session:
            await session.execute(
                f"UPDATE customer_order SET look_at = $3 WHERE order_id IN (SELECT order_id FROM ({_DUE}) AS due)",  # noqa: S608
                self.now(),
                1,
                self.now() + timedelta(seconds=DEFECT_S),
            )


def orders_of(database: Database, clock: Clock, settings: OrdersSettings) -> Orders:
    """What changes orders, as the configuration has it."""
    terms = Terms(
        quote_s=settings.quote_s,
        payment_s=settings.payment_s,
        retry_first_s=settings.retry_first_s,
        retry_longest_s=settings.retry_longest_s,
        attempts_max=settings.attempts_max,
        close_s=settings.close_s,
        return_s=settings.return_s,
        pack_at_once=settings.pack_at_once,
    )
    return Orders(database, clock, terms)


def unknown(order: str) -> RequestRefused:
    """Nobody knows ``order``, or who asks may not know of it."""
    return RequestRefused(
        Why.UNKNOWN, "unknown_order", f"there is no order {order}; /api/v1/orders lists what there is"
    )


async def lock_tenants(session: Session, tenants: Sequence[int]) -> None:
    """From here to its end, no other transaction changes orders of ``tenants``.

    An order locks items and lines one after the other. Two that do it in another sequence would wait for each other,
    and neither the stock nor the lines of a tenant give more by being asked for at the same time.
    """
    for tenant_id in sorted(tenants):
        name = f"lineside orders {tenant_id}"
        await session.fetch("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name)


async def lock_items(session: Session, tenant_id: int, orders: Collection[str]) -> None:
    """Lock the items of ``orders`` in the order in which inventory does, before one after the other takes its own."""
    rows = await session.fetch(
        "SELECT DISTINCT product FROM order_line WHERE tenant_id = $1 AND order_id = ANY($2::text[])",
        tenant_id,
        sorted(orders),
    )
    await inventory.lock(session, tenant_id, [row["product"] for row in rows])


async def _nothing(_case: Case, _world: PlantWorld, _now: datetime) -> None:
    """The time alone."""
