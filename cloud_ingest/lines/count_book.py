"""What was counted on a line, in the table ``line_minute``; what differs from it is told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines import events
from cloud_ingest.lines.events import Counted, LineKey
from cloud_ingest.lines.fold_rules import MINUTE_NS, CountPlace, Fold, Tally
from cloud_ingest.lines.line_reading import ReadLine
from cloud_ingest.lines.work_order_counts import book_count
from connectors.ports.database import Session

_NOTHING: Final = Decimal(0)
Amounts = tuple[Decimal, Decimal, Decimal]
"""Good, reject and energy."""


async def book_counts(
    work: UnitOfWork, read: ReadLine, start: Fold, tallies: Mapping[CountPlace, Tally], known_ns: int
) -> Amounts:
    """Have the table as ``tallies`` says from the minute of ``start`` on, and tell the difference: its sum.

    What ends at ``known_ns`` or before is late. What is added is told before what is taken away, so that no sum of a
    work order or a product is ever too small in between.
    """
    known = await _known(work.session, read.line_id, start.time_ns // MINUTE_NS)
    changes = [
        change
        for place in sorted({*known, *tallies})
        if (change := _change(place, known.get(place), tallies.get(place), known_ns)) is not None
    ]
    await _write(work.session, read, {place: tally for place, tally in tallies.items() if known.get(place) != tally})
    await work.session.execute_many(
        "DELETE FROM line_minute WHERE line_id = $1 AND end_minute = $2 AND begin_minute = $3 AND work_order = $4 "
        "AND product = $5",
        [_place_values(read, place) for place in known if place not in tallies],
    )
    told = [change for change, _ in changes if change.good or change.reject]
    told.sort(key=lambda change: change.good < 0 or change.reject < 0)
    earlier_steps = await _earlier_steps(work.session, read.key, told)
    for counted in told:
        is_last = counted.work_order not in earlier_steps
        work.announce(events.counted(read.key, replace(counted, is_last=is_last)))
    await _book_work_orders(work, read.key, told)
    _tell_energy(work, read.key, [change for change, energy in changes if energy and change not in told])
    good = sum((change.good for change, _ in changes), _NOTHING)
    reject = sum((change.reject for change, _ in changes), _NOTHING)
    return good, reject, sum((energy for _, energy in changes), _NOTHING)


async def _earlier_steps(session: Session, key: LineKey, told: Sequence[Counted]) -> frozenset[str]:
    """The work orders among ``told`` whose good pieces go on to another step."""
    rows = await session.fetch(
        "SELECT work_order_id FROM work_order "
        "WHERE tenant_id = $1 AND work_order_id = ANY($2::text[]) AND step < steps",
        key.tenant_id,
        [change.work_order for change in told if change.work_order is not None],
    )
    return frozenset(row["work_order_id"] for row in rows)


def _tell_energy(work: UnitOfWork, key: LineKey, changes: Sequence[Counted]) -> None:
    """Energy without pieces is in no ``counted``: of what came late, it is told which time is to be looked at again."""
    late = [change for change in changes if change.late]
    if late:
        begin_ns, end_ns = min(change.begin_ns for change in late), max(change.end_ns for change in late)
        work.announce(events.states_corrected(key, end_ns, begin_ns, end_ns))


async def _book_work_orders(work: UnitOfWork, key: LineKey, told: Sequence[Counted]) -> None:
    """Have each work order's progress go on by all that was told of it, at once."""
    by_order: defaultdict[str, list[Counted]] = defaultdict(list)
    for change in told:
        if change.work_order is not None:
            by_order[change.work_order].append(change)
    for order in sorted(by_order):
        changes = by_order[order]
        good = sum((change.good for change in changes), _NOTHING)
        reject = sum((change.reject for change in changes), _NOTHING)
        if good or reject:
            await book_count(work, key.tenant_id, order, good, reject, max(change.end_ns for change in changes))


def _change(
    place: CountPlace, before: Tally | None, after: Tally | None, known_ns: int
) -> tuple[Counted, Decimal] | None:
    span = after or before
    if span is None:
        return None
    was = (_NOTHING, _NOTHING, _NOTHING) if before is None else before.amounts
    now = (_NOTHING, _NOTHING, _NOTHING) if after is None else after.amounts
    good, reject, energy = (new - old for new, old in zip(now, was, strict=True))
    if not (good or reject or energy):
        return None
    grew = before is not None and after is not None and before.end_ns < after.end_ns and before.end_ns <= known_ns
    begin_ns = before.end_ns if grew and before is not None else span.begin_ns
    counted = Counted(
        begin_ns, span.end_ns, good, reject, place.product or None, place.work_order or None, span.end_ns <= known_ns
    )
    return counted, energy


async def _known(session: Session, line_id: int, minute: int) -> dict[CountPlace, Tally]:
    rows = await session.fetch("SELECT * FROM line_minute WHERE line_id = $1 AND end_minute >= $2", line_id, minute)
    return {
        CountPlace(row["end_minute"], row["begin_minute"], row["work_order"], row["product"]): Tally(
            row["begin_ns"], row["end_ns"], row["good"], row["reject"], row["energy_kwh"]
        )
        for row in rows
    }


async def _write(session: Session, read: ReadLine, tallies: Mapping[CountPlace, Tally]) -> None:
    await session.execute_many(
        "INSERT INTO line_minute (line_id, end_minute, begin_minute, work_order, product, tenant_id, begin_ns, end_ns, "
        "good, reject, energy_kwh) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) "
        "ON CONFLICT (line_id, end_minute, begin_minute, work_order, product) DO UPDATE SET "
        "begin_ns = excluded.begin_ns, end_ns = excluded.end_ns, good = excluded.good, reject = excluded.reject, "
        "energy_kwh = excluded.energy_kwh",
        [
            (*_place_values(read, place), read.key.tenant_id, tally.begin_ns, tally.end_ns, *tally.amounts)
            for place, tally in tallies.items()
        ],
    )


def _place_values(read: ReadLine, place: CountPlace) -> tuple[int, int, int, str, str]:
    return read.line_id, place.end_minute, place.begin_minute, place.work_order, place.product
