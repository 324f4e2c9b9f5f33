"""Work orders, as other parts of the platform make them and ask for them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines.line_times import work_times
from cloud_ingest.lines.work_order_book import Act, lock_job
from cloud_ingest.lines.work_order_deeds import do
from cloud_ingest.lines.work_order_planning import load_of, plan, promised
from cloud_ingest.lines.work_order_rules import OVER, Deed, WorkOrderState
from cloud_ingest.lines.work_order_terms import (
    Capacity,
    NewWorkOrder,
    OpenWorkOrder,
    PlannedWorkOrders,
    RoutingStep,
    WorkOrderFacts,
    facts_of,
)
from connectors.ports.database import Session

__all__ = ["Capacity", "NewWorkOrder", "OpenWorkOrder", "PlannedWorkOrders", "RoutingStep", "WorkOrderFacts",
           "cancel_work_order", "capacity", "create_work_order", "open_work_orders", "promise", "work_orders_of",
           "work_times"]  # fmt: skip
HOUR_S: Final = Decimal(3600)


async def create_work_order(work: UnitOfWork, tenant_id: int, new: NewWorkOrder) -> PlannedWorkOrders:
    """Make the work orders of ``new``, one for each step of its routing, planned behind what is on the lines already.

    A quantity above the smallest ``batch_max`` is divided. Raises ``RequestRefused``: no routing, no quantity, or a
    recipe with a parameter that the line does not have.
    """
    return await plan(work, Act(tenant_id, time.time_ns(), new.by), new)


async def cancel_work_order(work: UnitOfWork, tenant_id: int, work_order: str, reason: str, by: str) -> Decimal:
    """Cancel a work order with the steps behind it; how many finished pieces were made (they stay in stock).

    One that is over stays as it is. Raises ``RequestRefused`` when there is none.
    """
    job = await lock_job(work.session, tenant_id, work_order)
    row = next(row for row in job.values() if row["work_order_id"] == work_order)
    if WorkOrderState(row["state"]) not in OVER:
        row = await do(work, Act(tenant_id, time.time_ns(), by, reason), work_order, Deed.CANCEL)
    return facts_of(row).made


async def work_orders_of(session: Session, tenant_id: int, order: str) -> tuple[WorkOrderFacts, ...]:
    """The work orders of a customer's order, the oldest first."""
    rows = await session.fetch(
        "SELECT * FROM work_order WHERE tenant_id = $1 AND order_id = $2 ORDER BY created, order_line, job, step",
        tenant_id,
        order,
    )
    return tuple(map(facts_of, rows))


async def open_work_orders(session: Session, tenant_id: int, count_max: int) -> tuple[OpenWorkOrder, ...]:
    """What runs or waits on all lines, by line: first what runs, then in the sequence of the line."""
    rows = await session.fetch(
        "SELECT work_order_id AS work_order, job, step, steps, site, line, product, state, "
        "greatest(quantity - good, 0) AS remaining, transfer, cycle_s, "
        "CASE WHEN state IN ('running', 'paused') THEN 0 ELSE setup_s END AS setup_s, order_id AS order, order_line, "
        "due FROM work_order WHERE tenant_id = $1 AND state IN ('planned', 'ready', 'next', 'running', 'paused') "
        "ORDER BY site, line, array_position(ARRAY['running', 'paused'], state) NULLS LAST, place, work_order_id "
        "LIMIT $2",
        tenant_id,
        count_max,
    )
    return tuple(OpenWorkOrder(**dict(row)) for row in rows)


async def capacity(session: Session, tenant_id: int, site: str, line: str) -> Capacity:
    """When the line is free, and how fast it has to be for what is on it, or was last; 0 when it has made nothing."""
    load = await load_of(session, tenant_id, (site, line), datetime.now(UTC))
    (row,) = await session.fetch(
        "SELECT coalesce(avg(cycle_s), 0) AS cycle_s FROM (SELECT cycle_s FROM work_order "
        "WHERE tenant_id = $1 AND site = $2 AND line = $3 ORDER BY place DESC LIMIT 20) AS newest",
        tenant_id,
        site,
        line,
    )
    cycle_s: Decimal = row["cycle_s"]
    return Capacity(load.free_from, HOUR_S / cycle_s if cycle_s else Decimal(0))


async def promise(
    session: Session, tenant_id: int, routing: Sequence[RoutingStep], quantity: Decimal, not_before: datetime
) -> datetime:
    """When ``quantity`` would be done if its work orders were made now and began at ``not_before`` or later."""
    return await promised(session, tenant_id, routing, quantity, datetime.now(UTC), not_before)
