"""Stock counts: what the ledger has is frozen, what is there is counted, and the difference booked once it is approved.

While a place is counted people book nothing there. What lines count is booked all the same: the difference is to what
was frozen, so it stays right.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.inventory import ledger, reordering, shortages
from cloud_ingest.inventory.booking import refuse_frozen
from cloud_ingest.inventory.items import locked_items, one_place
from cloud_ingest.inventory.ledger import Cause, Movement, ns_of
from cloud_ingest.inventory.lots import ensure_lots
from cloud_ingest.inventory.rules import Account, CountState, Kind, may_become_count
from connectors.commands.ulid import new_ulid
from connectors.ports.database import Row, Session

COUNT_COLUMNS: Final = (
    "count_id, location, state, note, frozen, frozen_by, counted, counted_by, ended, ended_by, revision"
)
LINES_MAX: Final = 20_000


async def freeze(
    work: UnitOfWork, tenant_id: int, location: str, items: Sequence[str], note: str, by: str, when: datetime
) -> str:
    """Begin a count of what is at ``location`` and below, of ``items`` or of all. Raises ``RequestRefused``."""
    session = work.session
    await one_place(session, tenant_id, location)
    inside = await session.fetch(
        "SELECT code FROM stock_location WHERE tenant_id = $1 AND path @> ARRAY[$2] ORDER BY code", tenant_id, location
    )
    await session.fetch("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", "lineside stock counts", tenant_id)
    await refuse_frozen(session, tenant_id, {row["code"] for row in inside})
    wanted = await session.fetch(
        "SELECT DISTINCT item FROM stock_balance held JOIN stock_location place ON place.tenant_id = held.tenant_id "
        "AND place.code = held.location WHERE held.tenant_id = $1 AND place.path @> ARRAY[$2] "
        "AND (cardinality($3::text[]) = 0 OR item = ANY($3)) ORDER BY item",
        tenant_id,
        location,
        list(items),
    )
    await locked_items(session, tenant_id, [*items, *(row["item"] for row in wanted)])
    count = new_ulid(ns_of(when) // 1_000_000)
    await session.execute(
        "INSERT INTO stock_count (count_id, tenant_id, location, state, note, frozen_by) "
        "VALUES ($1, $2, $3, 'frozen', $4, $5)",
        count,
        tenant_id,
        location,
        note,
        by,
    )
    lines = await session.execute(
        "INSERT INTO stock_count_line (count_id, tenant_id, item, location, lot, expected) "
        "SELECT $4, held.tenant_id, item, location, lot, on_hand FROM stock_balance held JOIN stock_location place "
        "ON place.tenant_id = held.tenant_id AND place.code = held.location WHERE held.tenant_id = $1 "
        "AND place.path @> ARRAY[$2] AND (cardinality($3::text[]) = 0 OR item = ANY($3)) AND on_hand <> 0",
        tenant_id,
        location,
        list(items),
        count,
    )
    if lines > LINES_MAX:
        why = f"{lines} lots and items are at {location}: count parts of it, up to {LINES_MAX} at a time"
        raise RequestRefused(Why.TOO_LARGE, "too_much_to_count", why)
    return count


async def count_row(session: Session, tenant_id: int, count: str, *, lock: bool = False) -> Row:
    """The count. Raises ``RequestRefused`` when there is none."""
    rows = await session.fetch(
        f"SELECT {COUNT_COLUMNS} FROM stock_count WHERE tenant_id = $1 AND count_id = $2"  # noqa: S608  of our own
        f"{' FOR UPDATE' if lock else ''}",
        tenant_id,
        count,
    )
    if not rows:
        why = f"there is no stock count {count}; /api/v1/stock-counts lists them"
        raise RequestRefused(Why.UNKNOWN, "unknown_count", why)
    return rows[0]


async def count_lines(session: Session, tenant_id: int, count: str) -> Sequence[Row]:
    """What was frozen, and what was found."""
    return await session.fetch(
        "SELECT item, location, lot, expected, counted, counted - expected AS difference FROM stock_count_line "
        "WHERE tenant_id = $1 AND count_id = $2 ORDER BY location, item, lot",
        tenant_id,
        count,
    )


async def say_counted(
    work: UnitOfWork, tenant_id: int, row: Row, lines: Sequence[tuple[str, str, str, Decimal]], by: str
) -> None:
    """Note what was found, as (item, location, lot, quantity). The caller has the lock of the count."""
    _check(row, CountState.COUNTED)
    inside = await work.session.fetch(
        "SELECT code FROM stock_location WHERE tenant_id = $1 AND path @> ARRAY[$2]", tenant_id, row["location"]
    )
    if outside := sorted({line[1] for line in lines} - {one["code"] for one in inside}):
        why = f"{outside[0]} is not within {row['location']}, which is counted"
        raise RequestRefused(Why.INVALID, "not_in_count", why)
    items = await locked_items(work.session, tenant_id, {line[0] for line in lines})
    for code, _, lot, counted in lines:
        tracking = items[code].tracking
        if (tracking == "none") == bool(lot):
            why = f"{code} is not tracked: leave the lot out" if lot else f"{code} is tracked by {tracking}: say which"
            raise RequestRefused(Why.INVALID, "lot_needed", why)
        if tracking == "serial" and counted not in (0, 1):
            raise RequestRefused(
                Why.INVALID, "invalid_quantity", f"of the serial number {lot} of {code} there is 0 or 1"
            )
    await work.session.execute_many(
        "INSERT INTO stock_count_line (count_id, tenant_id, item, location, lot, expected, counted) "
        "VALUES ($1, $2, $3, $4, $5, 0, $6) "
        "ON CONFLICT (count_id, item, location, lot) DO UPDATE SET counted = excluded.counted",
        [(row["count_id"], tenant_id, *line) for line in sorted(lines)],
    )
    await _become(work.session, tenant_id, row, CountState.COUNTED, {"counted": "now()", "counted_by": "$3"}, by)


async def book_differences(work: UnitOfWork, tenant_id: int, row: Row, by: str, when: datetime) -> None:
    """Approve the differences, and book them. The caller has the lock of the count.

    Raises ``RequestRefused`` when something was not counted, or when what is missing is reserved.
    """
    _check(row, CountState.BOOKED)
    lines = await count_lines(work.session, tenant_id, row["count_id"])
    if missing := [line for line in lines if line["counted"] is None]:
        what = f"{missing[0]['item']} {missing[0]['lot']}".strip()
        why = f"{len(missing)} lines were not counted, the first is {what} at {missing[0]['location']}: say 0 for none"
        raise RequestRefused(Why.CONFLICT, "not_counted", why)
    other = [line for line in lines if line["difference"] != 0]
    items = await locked_items(work.session, tenant_id, {line["item"] for line in other})
    cause = Cause(by, when, reference=row["count_id"], reason=row["note"] or "stock count")
    moves: list[Movement] = []
    for line in other:
        source, target = Account.ADJUSTMENT.value, line["location"]
        if line["difference"] < 0:
            source, target = target, source
        elif line["lot"]:
            await ensure_lots(work.session, tenant_id, items[line["item"]], [line["lot"]], when, origin=row["count_id"])
        quantity = abs(line["difference"])
        moves.append(Movement(Kind.ADJUSTMENT, line["item"], line["lot"], quantity, source, target))
    await ledger.post(work, tenant_id, items, moves, cause)
    await _become(work.session, tenant_id, row, CountState.BOOKED, {"ended": "now()", "ended_by": "$3"}, by)
    for item in items.values():
        await shortages.settle(work, tenant_id, item, when)
    await reordering.watch(work, tenant_id, items.values(), when)


async def cancel(work: UnitOfWork, tenant_id: int, row: Row, by: str) -> None:
    """End a count without a booking. The caller has its lock."""
    _check(row, CountState.CANCELLED)
    await _become(work.session, tenant_id, row, CountState.CANCELLED, {"ended": "now()", "ended_by": "$3"}, by)


def _check(row: Row, wanted: CountState) -> None:
    state = CountState(row["state"])
    if not may_become_count(state, wanted):
        why = f"stock count {row['count_id']} is {state.value}: it cannot become {wanted.value}"
        if state is CountState.FROZEN:
            why = f"nothing was counted in stock count {row['count_id']} yet: say first what is there"
        raise RequestRefused(Why.CONFLICT, f"is_{state.value}", why)


async def _become(
    session: Session, tenant_id: int, row: Row, state: CountState, stamps: dict[str, Any], by: str
) -> None:
    settings = ", ".join(f"{name} = {value}" for name, value in stamps.items())
    await session.execute(
        f"UPDATE stock_count SET state = $4, revision = revision + 1, {settings} "  # noqa: S608  of our own
        "WHERE tenant_id = $1 AND count_id = $2",
        tenant_id,
        row["count_id"],
        by,
        state.value,
    )
