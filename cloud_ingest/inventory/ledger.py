"""The ledger of stock: movements are appended, and the balances moved with them, under the lock of each item.

The tables hold the rules, too (``stock_is_not_negative``, ``reserved_is_there``): what is refused here with a sentence
could not be stored either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.event_log.domain_events import DomainEvent
from cloud_ingest.inventory import events
from cloud_ingest.inventory.events import inventory_event, quantity_text
from cloud_ingest.inventory.items import Item, Place, places
from cloud_ingest.inventory.rules import ZERO, Kind, ends_fit, is_account, quantity_problem
from connectors.ports.database import Session

_ADD: Final = (
    "INSERT INTO stock_balance AS held (tenant_id, item, location, lot, on_hand, allows_negative, arrived) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant_id, item, location, lot) DO UPDATE "
    "SET on_hand = held.on_hand + excluded.on_hand, allows_negative = excluded.allows_negative, "
    "arrived = CASE WHEN held.on_hand <= 0 THEN excluded.arrived ELSE held.arrived END"
)
_TAKE: Final = (
    "UPDATE stock_balance SET on_hand = on_hand - $5, allows_negative = $6 "
    "WHERE tenant_id = $1 AND item = $2 AND location = $3 AND lot = $4 "
    "AND (on_hand - reserved >= $5 OR ($6 AND reserved = 0))"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something moves: who has booked it, when it happened, and what it belongs to."""

    by: str
    happened: datetime
    order: str = ""
    work_order: str = ""
    product: str = ""
    site: str = ""
    line: str = ""
    reference: str = ""
    reason: str = ""
    event_number: int | None = None


@dataclass(frozen=True, slots=True)
class Movement:
    """``quantity`` of one lot of an item from one end to the other."""

    kind: Kind
    item: str
    lot: str
    quantity: Decimal
    source: str
    target: str


def ns_of(when: datetime) -> int:
    """Nanoseconds since 1970, exactly."""
    span = when - _EPOCH
    return ((span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds) * 1000


async def post(
    work: UnitOfWork, tenant_id: int, items: Mapping[str, Item], movements: Sequence[Movement], cause: Cause
) -> list[int]:
    """Append ``movements`` to the ledger, move the balances, and tell of it; the numbers of the movements.

    The caller holds the lock of each item (``locked_items``), and has made the lots. What is reserved is left alone:
    who uses a reservation lowers it first. Raises ``RequestRefused`` when a movement cannot be; then the caller lets
    its transaction fail.
    """
    if not movements:
        return []
    ends = await places(work.session, tenant_id, {end for one in movements for end in (one.source, one.target)})
    for one in movements:
        _check(one, items[one.item], ends, is_count=cause.event_number is not None)
    await _move_balances(work.session, tenant_id, items, movements, ends, cause.happened)
    numbers = await _append(work.session, tenant_id, movements, cause)
    for number, one in zip(numbers, movements, strict=True):
        work.announce(_moved(tenant_id, number, one, cause))
    return numbers


def _check(one: Movement, item: Item, ends: Mapping[str, Place], *, is_count: bool) -> None:
    """Raises ``RequestRefused`` for what could not even be if there were enough; counts of lines happen anywhere."""
    if not ends_fit(one.kind, one.source, one.target):
        why = f"a movement of the kind {one.kind.value} does not go from {one.source} to {one.target}"
        raise RequestRefused(Why.INVALID, "ends_do_not_fit", why)
    if (problem := quantity_problem(one.quantity, whole=item.tracking == "serial")) is not None:
        raise RequestRefused(Why.INVALID, "invalid_quantity", f"{quantity_text(one.quantity)} of {one.item}: {problem}")
    for end in (one.source, one.target):
        if not ends[end].is_active and not is_count:
            why = f"the location {end} is closed: nothing is booked there; PATCH /api/v1/locations/{end} opens it"
            raise RequestRefused(Why.CONFLICT, "location_closed", why)
    is_reject = is_account(one.source) and is_account(one.target)  # serial numbers are given to good ones alone
    if item.tracking != "none" and not one.lot and not is_reject:
        why = f"{one.item} is tracked by {item.tracking}: say which"
        raise RequestRefused(Why.INVALID, "lot_needed", why)
    if item.tracking == "none" and one.lot:
        why = f"{one.item} is not tracked: leave the lot {one.lot!r} out"
        raise RequestRefused(Why.INVALID, "not_tracked", why)


async def _move_balances(
    session: Session,
    tenant_id: int,
    items: Mapping[str, Item],
    movements: Sequence[Movement],
    ends: Mapping[str, Place],
    happened: datetime,
) -> None:
    changes: dict[tuple[str, str, str], Decimal] = {}
    for one in movements:
        for end, sign in ((one.source, -1), (one.target, 1)):
            place = (one.item, end, one.lot)
            changes[place] = changes.get(place, ZERO) + sign * one.quantity
    down_first = sorted(changes.items(), key=lambda one: (one[1] > 0, one[0]))
    for (code, end, lot), change in down_first:
        item = items[code]
        may_be_negative = is_account(end) or (ends[end].allows_negative and item.tracking == "none")
        if change > 0:
            if item.tracking == "serial" and not is_account(end):
                await _check_serial(session, tenant_id, item, lot, change)
            await session.execute(_ADD, tenant_id, code, end, lot, change, may_be_negative, happened)
        elif change < 0 and not await session.execute(_TAKE, tenant_id, code, end, lot, -change, may_be_negative):
            if not may_be_negative:
                raise await _not_there(session, tenant_id, item, end, lot, -change)
            await session.execute(_ADD, tenant_id, code, end, lot, change, may_be_negative, happened)


async def _not_there(
    session: Session, tenant_id: int, item: Item, end: str, lot: str, taken: Decimal
) -> RequestRefused:
    rows = await session.fetch(
        "SELECT on_hand, reserved FROM stock_balance WHERE tenant_id = $1 AND item = $2 AND location = $3 AND lot = $4",
        tenant_id,
        item.code,
        end,
        lot,
    )
    on_hand, reserved = (rows[0]["on_hand"], rows[0]["reserved"]) if rows else (ZERO, ZERO)
    what = f"{item.code} of the lot {lot}" if lot else item.code
    there = f"there are {quantity_text(on_hand)} {item.unit} of {what} at {end}"
    if reserved:
        there += f", {quantity_text(reserved)} of them reserved"
    is_reserved = taken <= on_hand
    advice = "release a reservation (/api/v1/reservations) or take less" if is_reserved else "take less, or count it"
    why = f"{there}: {quantity_text(taken)} cannot be taken; {advice}"
    return RequestRefused(Why.CONFLICT, "reserved" if is_reserved else "not_enough", why)


async def _check_serial(session: Session, tenant_id: int, item: Item, serial: str, change: Decimal) -> None:
    """There is one of each serial number. Balances go down before they go up: it may just have left its place."""
    rows = await session.fetch(
        "SELECT location FROM stock_balance WHERE tenant_id = $1 AND item = $2 AND lot = $3 AND on_hand > 0 "
        "AND location NOT LIKE '@%'",
        tenant_id,
        item.code,
        serial,
    )
    if rows or change > 1:
        where = f"at {rows[0]['location']} already" if rows else f"named {quantity_text(change)} times"
        why = f"{item.code} with the serial number {serial} is {where}: there is one of it"
        raise RequestRefused(Why.CONFLICT, "serial_there", why)


async def _append(session: Session, tenant_id: int, movements: Sequence[Movement], cause: Cause) -> list[int]:
    rows = await session.fetch(
        "INSERT INTO stock_movement (tenant_id, kind, item, lot, quantity, source, target, order_id, work_order, "
        "product, site, line, reference, reason, booked_by, event_number, happened) "
        "SELECT $1, one.*, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17 "
        "FROM unnest($2::text[], $3::text[], $4::text[], $5::numeric[], $6::text[], $7::text[]) AS one "
        "RETURNING movement",
        tenant_id,
        [one.kind.value for one in movements],
        [one.item for one in movements],
        [one.lot for one in movements],
        [one.quantity for one in movements],
        [one.source for one in movements],
        [one.target for one in movements],
        cause.order,
        cause.work_order,
        cause.product,
        cause.site,
        cause.line,
        cause.reference,
        cause.reason,
        cause.by,
        cause.event_number,
        cause.happened,
    )
    return sorted(int(row["movement"]) for row in rows)


def _moved(tenant_id: int, number: int, one: Movement, cause: Cause) -> DomainEvent:
    data = {
        "movement": number,
        "kind": one.kind.value,
        "lot": one.lot,
        "quantity": one.quantity,
        "source": one.source,
        "target": one.target,
        "order": cause.order,
        "work_order": cause.work_order,
        "by": cause.by,
    }
    return inventory_event(events.MOVED, tenant_id, one.item, ns_of(cause.happened), data)
