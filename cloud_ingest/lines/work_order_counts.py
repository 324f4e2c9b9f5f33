"""Counts of a line, on the work order that ran when they were made: by time, so that what comes late finds its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines.work_order_events import PROGRESSED, exact, work_order_event
from cloud_ingest.lines.work_order_rules import OVER
from connectors.ports.database import Session

CHANNEL: Final = "lineside_work_orders"
"""Notified when a line's work orders may have to go on."""


@dataclass(frozen=True, slots=True)
class Run:
    """A time in which a work order ran; ``end_ns`` is ``None`` while it does.

    Of its routing's steps the first one uses up the components, and what the last one makes is the product.
    """

    work_order: str
    product: str
    begin_ns: int
    end_ns: int | None
    is_first: bool
    is_last: bool

    def covers(self, count_end_ns: int) -> bool:
        """Whether a count that ends then belongs to it."""
        return self.begin_ns < count_end_ns and (self.end_ns is None or count_end_ns <= self.end_ns)


async def runs_between(
    session: Session, tenant_id: int, site: str, line: str, begin_ns: int, end_ns: int
) -> Sequence[Run]:
    """The runs on a line that touch the time, in order, not cut to it; they never overlap."""
    rows = await session.fetch(
        "SELECT work_order_id, product, begin_ns, end_ns, step, steps FROM work_order_run "
        "JOIN work_order USING (work_order_id, tenant_id) "
        "WHERE work_order_run.tenant_id = $1 AND work_order_run.site = $2 AND work_order_run.line = $3 "
        "AND begin_ns < $5 AND (end_ns IS NULL OR end_ns >= $4) ORDER BY begin_ns",
        tenant_id,
        site,
        line,
        begin_ns,
        end_ns,
    )
    return [
        Run(
            row["work_order_id"],
            row["product"],
            row["begin_ns"],
            row["end_ns"],
            row["step"] == 1,
            row["step"] == row["steps"],
        )
        for row in rows
    ]


async def book_count(
    work: UnitOfWork, tenant_id: int, work_order: str, good: Decimal, reject: Decimal, time_ns: int
) -> None:
    """Add an increment of ``counted`` to the work order that it names; a correction is negative.

    One that is over already gets it, too, and stays what it is: its event says ``late``.
    """
    over: list[Any] = [state.value for state in OVER]
    rows = await work.session.fetch(
        "UPDATE work_order SET good = good + $3, reject = reject + $4, "
        "late_good = late_good + CASE WHEN state = ANY($5) THEN $3 ELSE 0 END, "
        "late_reject = late_reject + CASE WHEN state = ANY($5) THEN $4 ELSE 0 END, revision = revision + 1 "
        "WHERE tenant_id = $1 AND work_order_id = $2 RETURNING *",
        tenant_id,
        work_order,
        good,
        reject,
        over,
    )
    for row in rows:
        late = bool(row["state"] in over)
        told = work_order_event(
            PROGRESSED, tenant_id, time_ns, row, good_added=exact(good), reject_added=exact(reject), late=late
        )
        work.announce(told)
    work.notify(CHANNEL)
