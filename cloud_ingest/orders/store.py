"""Orders in their tables: locked, read whole, and what has changed of them stored with its story and its events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.orders.case import (
    Case,
    Kind,
    Line,
    Need,
    Payment,
    Request,
    RequestState,
    Return,
    ReturnState,
    Shipment,
    ShipmentState,
    WorkOrder,
)
from cloud_ingest.orders.events import order_event
from cloud_ingest.orders.rules import IN_THE_PLANT, State, quantity_text
from connectors.ports.database import Row, Session

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
RowOf = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of an order: the first ``keys`` of ``columns`` are its key, ``rows`` what a case has for it."""

    name: str
    keys: int
    columns: tuple[str, ...]
    rows: Callable[[Case], Iterable[RowOf]]

    @property
    def upsert(self) -> str:
        """Write a row, whether it is there or not."""
        keys, rest = self.columns[: self.keys], self.columns[self.keys :]
        places = ", ".join(f"${number}" for number in range(1, len(self.columns) + 1))
        changes = ", ".join(f"{column} = excluded.{column}" for column in rest)
        return (
            f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES ({places}) "  # noqa: S608  of our own
            f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"
        )

    @property
    def delete(self) -> str:
        """Delete a row by its key."""
        keys = " AND ".join(f"{column} = ${number}" for number, column in enumerate(self.columns[: self.keys], 1))
        return f"DELETE FROM {self.name} WHERE {keys}"  # noqa: S608  of our own


_TABLES: Final = (
    _Table(
        "customer_order",
        1,
        (
            "order_id", "tenant_id", "customer", "state", "currency", "net", "tax", "total", "reference", "address",
            "wanted", "valid_until", "promised", "changed", "counted", "replan", "missing", "missing_code", "problem",
            "look_at", "reason", "revision", "created", "created_by",
        ),
        lambda c: [(
            c.order, c.tenant_id, c.customer, c.state.value, c.currency, c.net, c.tax, c.total, c.reference,
            json.dumps(c.address), c.wanted, c.valid_until, c.promised, c.changed, c.counted, c.replan, c.missing,
            c.missing_code, c.problem, c.look_at, c.reason, c.revision, c.created, c.created_by,
        )],
    ),
    _Table(
        "order_line",
        2,
        (
            "order_id", "line", "tenant_id", "product", "name", "unit", "quantity", "unit_price", "discount_percent",
            "tax_rate", "net", "tax", "gross", "weight_kg", "reserved", "from_stock", "produced", "packed", "shipped",
            "cancelled", "returned",
        ),
        lambda c: [(
            c.order, n.line, c.tenant_id, n.product, n.name, n.unit, n.quantity, n.unit_price, n.discount_percent,
            n.tax_rate, n.net, n.tax, n.gross, n.weight_kg, n.reserved, n.from_stock, n.produced, n.packed, n.shipped,
            n.cancelled, n.returned,
        ) for n in c.lines],
    ),
    _Table(
        "order_work_order",
        1,
        ("work_order", "order_id", "tenant_id", "line", "item", "quantity", "is_last", "state", "good", "reject"),
        lambda c: [
            (w.work_order, c.order, c.tenant_id, w.line, w.item, w.quantity, w.is_last, w.state, w.good, w.reject)
            for w in c.work_orders
        ],
    ),
    _Table(
        "order_need",
        3,
        ("order_id", "line", "item", "tenant_id", "quantity", "pieces", "in_plant"),
        lambda c: [
            (c.order, n.line, n.item, c.tenant_id, n.quantity, n.pieces, c.state in IN_THE_PLANT) for n in c.needs
        ],
    ),
    _Table(
        "order_request",
        1,
        ("request", "order_id", "tenant_id", "kind", "subject", "amount", "state", "attempts", "due", "reason"),
        lambda c: [
            (r.request, c.order, c.tenant_id, r.kind.value, r.subject, r.amount, r.state.value, r.attempts, r.due,
             r.reason)
            for r in c.requests
        ],
    ),
    _Table(
        "order_payment",
        2,
        ("order_id", "payment", "tenant_id", "captured", "refunded", "is_by_hand", "place"),
        lambda c: [
            (c.order, p.payment, c.tenant_id, p.captured, p.refunded, p.is_by_hand, place)
            for place, p in enumerate(c.payments)
        ],
    ),
    _Table(
        "order_shipment",
        1,
        ("shipment", "order_id", "tenant_id", "state", "lines", "parcels", "lots", "carrier", "tracking", "label_url",
         "carrier_state", "left_at"),
        lambda c: [
            (s.shipment, c.order, c.tenant_id, s.state.value, _said(s.lines), json.dumps(s.parcels),
             json.dumps(s.lots), s.carrier, s.tracking, s.label_url, s.carrier_state, s.left)
            for s in c.shipments
        ],
    ),
    _Table(
        "order_return",
        1,
        ("return_id", "order_id", "tenant_id", "state", "lines", "received", "reason"),
        lambda c: [
            (r.return_id, c.order, c.tenant_id, r.state.value, _said(r.lines), _said(r.received), r.reason)
            for r in c.returns
        ],
    ),
)  # fmt: skip
Snapshot = Mapping[str, Mapping[RowOf, RowOf]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """An order, and what its rows were when it was read; ``before`` is empty for a new one."""

    case: Case
    before: Snapshot


async def load(session: Session, orders: Sequence[str], tenant_id: int, *, lock: bool = True) -> dict[str, Loaded]:
    """The orders of the tenant among ``orders``, by id, locked until the end of the transaction unless said."""
    wanted = sorted(set(orders))
    head = await session.fetch(
        f"SELECT * FROM customer_order WHERE tenant_id = $1 AND order_id = ANY($2::text[]) ORDER BY order_id "  # noqa: S608
        f"{'FOR UPDATE' if lock else ''}",
        tenant_id,
        wanted,
    )
    found = {str(row["order_id"]): _case(row) for row in head}
    if found:
        for table, order_by, add in _CHILDREN:
            rows = await session.fetch(
                f"SELECT * FROM {table} WHERE order_id = ANY($1::text[]) ORDER BY order_id, {order_by}",  # noqa: S608
                list(found),
            )
            for row in rows:
                add(found[str(row["order_id"])], row)
    return {order: Loaded(case, _snapshot(case)) for order, case in found.items()}


def new(case: Case) -> Loaded:
    """An order that is in no table yet."""
    return Loaded(case, {})


async def save(work: UnitOfWork, loaded: Sequence[Loaded]) -> None:
    """Store what has changed since the orders were read, add to their timelines, and announce what is told."""
    changed = [one for one in loaded if one.case.story or _snapshot(one.case) != one.before]
    for one in changed:
        one.case.revision += 1
    now = [(one, _snapshot(one.case)) for one in changed]
    for table in _TABLES:
        rows = [
            row
            for one, snapshot in now
            for key, row in snapshot[table.name].items()
            if one.before.get(table.name, {}).get(key) != row
        ]
        if rows:
            await work.session.execute_many(table.upsert, rows)
        gone = [
            key for one, snapshot in now for key in one.before.get(table.name, {}) if key not in snapshot[table.name]
        ]
        if gone:  # what is planned anew may need less
            await work.session.execute_many(table.delete, gone)
    await work.session.execute_many(
        "INSERT INTO order_history (order_id, tenant_id, time, what, text, actor) VALUES ($1, $2, $3, $4, $5, $6)",
        [
            (one.case.order, one.case.tenant_id, said.time, said.what, said.text, said.actor)
            for one in changed
            for said in one.case.story
        ],
    )
    for one in changed:
        case = one.case
        for said in case.story:
            if said.told is not None:
                data = {**facts_of(case), **said.data}
                work.announce(order_event(case.tenant_id, case.order, said.told, time_ns(said.time), data))
        case.story.clear()


def facts_of(case: Case) -> dict[str, Any]:
    """What every event of an order says of it."""
    return {
        "customer": case.customer,
        "state": case.state.value,
        "currency": case.currency,
        "total": str(case.total),
        "promised": None if case.promised is None else case.promised.isoformat(),
        "lines": [
            {
                "line": line.line,
                "product": line.product,
                **{name: quantity_text(getattr(line, name)) for name in QUANTITIES},
            }
            for line in case.lines
        ],
    }


QUANTITIES: Final = ("quantity", "reserved", "produced", "packed", "shipped", "cancelled", "returned")


def time_ns(time: datetime) -> int:
    """Nanoseconds since 1970, exactly."""
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def _snapshot(case: Case) -> Snapshot:
    return {table.name: {row[: table.keys]: row for row in table.rows(case)} for table in _TABLES}


def _said(quantities: Mapping[int, Decimal]) -> str:
    return json.dumps({str(line): quantity_text(quantity) for line, quantity in quantities.items()})


def _quantities(text: str) -> dict[int, Decimal]:
    return {int(line): Decimal(quantity) for line, quantity in json.loads(text).items()}


def _case(row: Row) -> Case:
    given = {name: row[name] for name in _SAME}
    return Case(order=row["order_id"], state=State(row["state"]), address=json.loads(row["address"]), lines=[], **given)


_SAME: Final = (
    "tenant_id", "customer", "currency", "changed", "created", "created_by", "reference", "wanted", "valid_until",
    "promised", "counted", "replan", "missing", "missing_code", "problem", "look_at", "reason", "revision",
)  # fmt: skip
_LINE: Final = (
    "line", "product", "name", "quantity", "unit_price", "discount_percent", "tax_rate", "net", "tax", "gross", "unit",
    "weight_kg", "reserved", "from_stock", "produced", "packed", "shipped", "cancelled", "returned",
)  # fmt: skip
_WORK_ORDER: Final = ("work_order", "line", "item", "quantity", "is_last", "state", "good", "reject")


def _add_line(case: Case, row: Row) -> None:
    case.lines.append(Line(**{name: row[name] for name in _LINE}))


def _add_work_order(case: Case, row: Row) -> None:
    case.work_orders.append(WorkOrder(**{name: row[name] for name in _WORK_ORDER}))


def _add_need(case: Case, row: Row) -> None:
    case.needs.append(Need(row["line"], row["item"], row["quantity"], row["pieces"]))


def _add_request(case: Case, row: Row) -> None:
    made = Request(row["request"], Kind(row["kind"]), row["subject"], row["amount"], RequestState(row["state"]),
                   row["attempts"], row["due"], row["reason"])  # fmt: skip
    case.requests.append(made)


def _add_payment(case: Case, row: Row) -> None:
    case.payments.append(Payment(row["payment"], row["captured"], row["refunded"], row["is_by_hand"]))


def _add_shipment(case: Case, row: Row) -> None:
    case.shipments.append(
        Shipment(
            row["shipment"],
            ShipmentState(row["state"]),
            _quantities(row["lines"]),
            json.loads(row["parcels"]),
            row["carrier"],
            row["tracking"],
            row["label_url"],
            row["carrier_state"],
            row["left_at"],
            json.loads(row["lots"]),
        )
    )


def _add_return(case: Case, row: Row) -> None:
    found = Return(row["return_id"], ReturnState(row["state"]), _quantities(row["lines"]), row["reason"])
    found.received = _quantities(row["received"])
    case.returns.append(found)


_CHILDREN: Final[tuple[tuple[str, str, Callable[[Case, Row], None]], ...]] = (
    ("order_line", "line", _add_line),
    ("order_work_order", "work_order", _add_work_order),
    ("order_need", "line, item", _add_need),
    ("order_request", "request", _add_request),
    ("order_payment", "place", _add_payment),
    ("order_shipment", "shipment", _add_shipment),
    ("order_return", "return_id", _add_return),
)
