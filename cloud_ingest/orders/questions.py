"""What is asked of orders: lists, one with all that belongs to it, and its tracking."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.orders import store
from cloud_ingest.orders.case import Case
from cloud_ingest.orders.handling import unknown
from cloud_ingest.orders.rules import PROBLEMS, ZERO, State
from cloud_ingest.orders.saga import why
from connectors.ports.database import Row, Session

_NAMES: Final = (
    "reference", "currency", "net", "tax", "total", "created", "created_by", "changed", "wanted", "promised",
    "valid_until", "reason", "revision", "customer", "state",
)  # fmt: skip
_FOR_OPERATORS: Final = frozenset({"dispute", "stuck", "retry", "resolved", "unpacked", "planned", "stock"})
"""Entries of the timeline that are nobody's business but the plant's."""
HISTORY_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class OrderChoice:
    """Which orders, the newest first; ``after`` is the id of the last one of the page before."""

    customer: str | None = None
    state: str | None = None
    stuck: bool = False
    after: str = ""
    count_max: int = 100


async def orders(session: Session, tenant_id: int, choice: OrderChoice) -> list[dict[str, Any]]:
    """The orders of ``choice``, without what belongs to them."""
    # each question names what it asks for alone: PostgreSQL plans "or it is null" for the case that it is
    where = [
        "customer = $2" if choice.customer is not None else "$2::text IS NULL",
        "state = $3" if choice.state is not None else "$3::text IS NULL",
        "order_id < $4" if choice.after else "$4 = ''",
        *(["problem <> ''"] if choice.stuck else []),
    ]
    rows = await session.fetch(
        f"SELECT * FROM customer_order WHERE tenant_id = $1 AND {' AND '.join(where)} "  # noqa: S608  of our own
        "ORDER BY order_id DESC LIMIT $5",
        tenant_id,
        choice.customer,
        choice.state,
        choice.after,
        choice.count_max,
    )
    found = await store.load(session, [row["order_id"] for row in rows if row["problem"]], tenant_id, lock=False)
    return [_head(row, found[row["order_id"]].case if row["problem"] else None) for row in rows]


def for_customer(head: dict[str, Any]) -> dict[str, Any]:
    """An order of a list, without what is the plant's own business."""
    return {**head, "created_by": "", "problem": None}


async def order(session: Session, tenant_id: int, order_id: str, customer: str | None = None) -> dict[str, Any]:
    """One order, whole. With ``customer``, only one of theirs. Raises ``RequestRefused`` when there is none."""
    case = await _case(session, tenant_id, order_id, customer)
    return whole(case, for_customer=customer is not None)


def whole(case: Case, *, for_customer: bool) -> dict[str, Any]:
    """``case`` as the API shows it; a customer sees nothing of the plant."""
    return {
        **{name: getattr(case, name) for name in _NAMES},
        "id": case.order,
        "created_by": "" if for_customer else case.created_by,
        "problem": None if for_customer else _problem(case),
        "address": case.address,
        "lines": [_fields(line) for line in case.lines],
        "paid": case.captured,
        "refunded": case.refunded,
        "work_orders": [] if for_customer else [_fields(one) for one in case.work_orders],
        "requests": [] if for_customer else [_fields(one) for one in case.requests],
        "payments": [{**_fields(one), "by_hand": one.is_by_hand} for one in case.payments],
        "shipments": [{**_fields(one), "lines": _by_line(one.lines)} for one in case.shipments],
        "returns": [
            {**_fields(one), "id": one.return_id, "lines": _by_line(one.lines), "received": _by_line(one.received)}
            for one in case.returns
        ],
    }


async def tracking(
    session: Session, tenant_id: int, order_id: str, now: datetime, customer: str | None = None
) -> dict[str, Any]:
    """How far an order is, and what has happened. Raises ``RequestRefused`` when there is none."""
    case = await _case(session, tenant_id, order_id, customer)
    entries = await history(session, order_id)
    if customer is not None:
        entries = [{**one, "actor": ""} for one in entries if one["what"] not in _FOR_OPERATORS]
    is_open = any(line.outstanding > 0 for line in case.lines) and case.state not in (State.CANCELLING, State.CANCELLED)
    return {
        "id": case.order,
        "state": case.state,
        "percent": percent(case),
        "expected": case.promised if is_open else None,
        "late": bool(is_open and case.promised is not None and now > case.promised),
        "lines": [
            {
                "line": line.line,
                "product": line.product,
                "name": line.name,
                "quantity": line.quantity,
                "produced": line.produced,
                "ready": line.reserved + line.packed,
                "shipped": line.shipped,
            }
            for line in case.lines
        ],
        "shipments": [
            {
                "carrier": one.carrier,
                "tracking": one.tracking,
                "state": one.carrier_state or one.state.value,
                "left": one.left,
            }
            for one in case.shipments_left()
        ],
        "timeline": entries,
    }


async def history(session: Session, order_id: str) -> list[dict[str, Any]]:
    """What has happened to an order, the newest ``HISTORY_MAX`` entries in their order."""
    rows = await session.fetch(
        "SELECT time, what, text, actor FROM (SELECT * FROM order_history WHERE order_id = $1 "
        "ORDER BY entry_id DESC LIMIT $2) AS newest ORDER BY entry_id",
        order_id,
        HISTORY_MAX,
    )
    return [dict(row) for row in rows]


def percent(case: Case) -> int:
    """How much of what the customer is to get is ready or has left; what is counted by lines counts as half ready."""
    wanted = sum((line.wanted for line in case.lines), ZERO)
    if not wanted:
        return 0
    done = ZERO
    for line in case.lines:
        here = min(line.wanted, line.reserved + line.packed + line.shipped)
        done += here + min(line.wanted - here, line.under_way) / 2
    return int(max(ZERO, min(Decimal(100), 100 * done / wanted)))


async def _case(session: Session, tenant_id: int, order_id: str, customer: str | None) -> Case:
    found = await store.load(session, [order_id], tenant_id, lock=False)
    if order_id not in found or customer not in (None, found[order_id].case.customer):
        raise unknown(order_id)
    return found[order_id].case


def _head(row: Row, case: Case | None) -> dict[str, Any]:
    problem = None if case is None else _problem(case)
    return {**{name: row[name] for name in _NAMES}, "id": row["order_id"], "problem": problem}


def _problem(case: Case) -> dict[str, str] | None:
    if not case.problem:
        return None
    return {"code": case.problem, "text": why(case, case.problem), "action": PROBLEMS[case.problem]}


def _fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}


def _by_line(quantities: dict[int, Decimal]) -> dict[str, Decimal]:
    return {str(line): quantity for line, quantity in quantities.items()}
