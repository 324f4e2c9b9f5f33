"""Forecasts: what waits on lines, how fast these were in the last weeks, and which orders that makes late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.analytics.forecast_rules import Done, Place, Queued, Span, forecast, pace_of
from cloud_ingest.lines import published as lines
from cloud_ingest.orders import published as orders
from connectors.ports.database import Session

MEASURED: Final = timedelta(days=30)
"""So far back the rates of lines are looked at."""
LATE_S_MIN: Final = 60
"""What waits slides with the time that passes: some seconds are nobody's business."""
WORK_ORDERS_MAX: Final = 10_000
_DONE: Final = (
    "SELECT site, line, product, sum(good) AS good, sum(running_ms + stopped_ms) AS work_ms, sum(ideal_ms) AS ideal_ms "
    "FROM analytics_hour WHERE tenant_id = $1 AND hour >= $2 GROUP BY site, line, product"
)


@dataclass(frozen=True, slots=True)
class Forecast:
    """All that waits on lines, and when it is expected to be done."""

    work_orders: Sequence[lines.OpenWorkOrder]
    queued: Mapping[str, Queued]
    spans: Mapping[str, Span]


async def forecast_all(session: Session, tenant_id: int, now: datetime) -> Forecast:
    """The forecast of every line: one waits for another. Raises ``RequestRefused`` when too much waits."""
    waiting = await lines.open_work_orders(session, tenant_id, WORK_ORDERS_MAX + 1)
    if len(waiting) > WORK_ORDERS_MAX:
        why = f"more than {WORK_ORDERS_MAX} work orders wait: close what nobody makes any more"
        raise RequestRefused(Why.TOO_LARGE, "too_many_work_orders", why)
    of_product, of_line = await _done(session, tenant_id, now)
    finals = await _products(session, tenant_id, waiting)
    parts: dict[tuple[str, int], set[str]] = {}
    for one in waiting:
        if (key := _order_line(one)) is not None and one.product != finals.get(key):
            parts.setdefault(key, set()).add(one.work_order)
    queues: dict[Place, list[Queued]] = {}
    for one in waiting:
        place, key = (one.site, one.line), _order_line(one)
        is_final = key is not None and one.product == finals.get(key) and one.step == 1
        after = frozenset(parts.get(key, ())) if is_final and key is not None else frozenset[str]()
        pace = pace_of(one.cycle_s, of_product.get((*place, one.product)), of_line.get(place))
        head = one.transfer if one.state == "planned" else Decimal(0)
        queued = Queued(one.work_order, one.job, one.step, place, one.remaining, head, one.setup_s, pace, after)
        queues.setdefault(place, []).append(queued)
    times = await lines.work_times(session, tenant_id, queues, now)
    ends = {place: time.end_of for place, time in times.items()}
    every = {one.work_order: one for queue in queues.values() for one in queue}
    return Forecast(waiting, every, forecast(queues, ends, now))


def order_told(order: orders.PublishedOrder, of: Forecast, now: datetime) -> dict[str, Any]:
    """When ``order`` will be complete, by what its lines wait for; nobody knows (null) where nothing is planned."""
    told: list[dict[str, Any]] = []
    for line in order.lines:
        own = [
            of.spans[one.work_order].end
            for one in of.work_orders
            if (one.order, one.order_line, one.product) == (order.order, line.line, line.product)
        ]
        end = now if line.outstanding == 0 else max(own, default=None)
        told.append(
            {"line": line.line, "product": line.product, "outstanding": f"{line.outstanding.normalize():f}", "end": end}
        )
    ends = [one["end"] for one in told]
    whole = None if None in ends else max(ends, default=now)
    due = order.wanted or order.promised
    return {
        "order": order.order,
        "customer": order.customer,
        "reference": order.reference,
        "state": order.state,
        "wanted": order.wanted,
        "promised": order.promised,
        "end": whole,
        "late_s": 0 if all(line.outstanding == 0 for line in order.lines) else late_s(due, whole),
        "lines": told,
    }


def late_s(due: datetime | None, end: datetime | None) -> int | None:
    """By how much ``end`` is behind ``due``; 0 when it is in time, ``None`` when one of them is not known."""
    if due is None or end is None:
        return None
    behind_s = round((end - due).total_seconds())
    return behind_s if behind_s >= LATE_S_MIN else 0


def _order_line(one: lines.OpenWorkOrder) -> tuple[str, int] | None:
    return None if one.order is None or one.order_line is None else (one.order, one.order_line)


async def _products(
    session: Session, tenant_id: int, waiting: Sequence[lines.OpenWorkOrder]
) -> dict[tuple[str, int], str]:
    """By line of an order, what is to leave; its other work orders make components."""
    ids = sorted({one.order for one in waiting if one.order is not None})
    return await orders.products_of(session, tenant_id, ids)


async def _done(
    session: Session, tenant_id: int, now: datetime
) -> tuple[dict[tuple[str, str, str], Done], dict[Place, Done]]:
    of_product: dict[tuple[str, str, str], Done] = {}
    of_line: dict[Place, Done] = {}
    for row in await session.fetch(_DONE, tenant_id, now - MEASURED):
        done = Done(row["good"], Decimal(row["work_ms"]), row["ideal_ms"])
        of_product[row["site"], row["line"], row["product"]] = done
        known = of_line.get((row["site"], row["line"]), Done(Decimal(0), Decimal(0), Decimal(0)))
        of_line[row["site"], row["line"]] = Done(
            known.good + done.good, known.work_ms + done.work_ms, known.ideal_ms + done.ideal_ms
        )
    return of_product, of_line
