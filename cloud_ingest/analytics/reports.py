"""Reports: who gets which, made when their time has come, and kept with their files."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, cast

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.analytics import questions
from cloud_ingest.analytics.events import report_made, report_wanted
from cloud_ingest.analytics.questions import Choice
from cloud_ingest.analytics.report_contents import contents
from cloud_ingest.analytics.report_formats import WRITERS, Format, as_text
from cloud_ingest.analytics.report_rules import Due, Period, Schedule, due, period_of
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.event_log.failures import Cause, cause_of, sentence_of
from cloud_ingest.observability.analytics_events import ReportNotMade
from connectors.observability.events import emit
from connectors.ports.database import Database, Row, Session

PLANS_MAX: Final = 500
"""Of one tenant."""
KEPT: Final = timedelta(days=3 * 366)
"""So long one that was made is kept."""
LEFT_ALONE: Final = timedelta(minutes=10)
"""So long one that could not be made waits."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A report that is made again and again."""

    report: str
    tenant_id: int
    name: str
    site: str | None
    line: str | None
    schedule: Schedule
    formats: tuple[Format, ...]
    recipients: tuple[str, ...]
    is_active: bool
    since: datetime
    revision: int


def plan_of(row: Row) -> Plan:
    """The plan in a row of ``report_plan``."""
    return Plan(
        row["report_id"],
        row["tenant_id"],
        row["name"],
        row["site"],
        row["line"],
        Schedule(Period(row["period"]), row["zone"], row["at_minute"]),
        cast("tuple[Format, ...]", tuple(row["formats"])),
        tuple(row["recipients"]),
        row["is_active"],
        row["since"],
        row["revision"],
    )


async def plans(session: Session, tenant_id: int, after: str, count: int) -> Sequence[Row]:
    """Plans in the order of their ids, from ``after`` on."""
    return await session.fetch(
        "SELECT * FROM report_plan WHERE tenant_id = $1 AND report_id > $2 ORDER BY report_id LIMIT $3",
        tenant_id,
        after,
        count,
    )


async def plan(session: Session, tenant_id: int, report: str, *, to_change: bool = False) -> Row:
    """One of them. Raises ``RequestRefused`` when there is none."""
    rows = await session.fetch(
        f"SELECT * FROM report_plan WHERE tenant_id = $1 AND report_id = $2{' FOR UPDATE' if to_change else ''}",  # noqa: S608
        tenant_id,
        report,
    )
    if not rows:
        raise RequestRefused(Why.UNKNOWN, "unknown_report", f"there is no report {report}")
    return rows[0]


async def insert(session: Session, made: Plan, by: str) -> None:
    """A new plan. Raises ``RequestRefused`` when its name is taken, or there are too many."""
    (row,) = await session.fetch("SELECT count(*) AS n FROM report_plan WHERE tenant_id = $1", made.tenant_id)
    if row["n"] >= PLANS_MAX:
        raise RequestRefused(Why.CONFLICT, "too_many_reports", f"there are {PLANS_MAX} reports already: remove one")
    inserted = await session.execute(
        "INSERT INTO report_plan (report_id, tenant_id, name, site, line, period, zone, at_minute, formats, "
        "recipients, is_active, since, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) "
        "ON CONFLICT (tenant_id, name) DO NOTHING",
        made.report,
        made.tenant_id,
        made.name,
        made.site,
        made.line,
        made.schedule.period.value,
        made.schedule.zone,
        made.schedule.at_minute,
        list(made.formats),
        list(made.recipients),
        made.is_active,
        made.since,
        by,
    )
    if not inserted:
        raise RequestRefused(Why.CONFLICT, "name_taken", f"there is a report {made.name!r} already: take another name")


async def update(session: Session, changed: Plan) -> None:
    """Put ``changed`` in place of the plan with its id, whose row is locked. Raises as ``insert`` does."""
    taken = await session.fetch(
        "SELECT FROM report_plan WHERE tenant_id = $1 AND name = $2 AND report_id <> $3",
        changed.tenant_id,
        changed.name,
        changed.report,
    )
    if taken:
        raise RequestRefused(Why.CONFLICT, "name_taken", f"there is a report {changed.name!r} already")
    await session.execute(
        "UPDATE report_plan SET name = $3, site = $4, line = $5, period = $6, zone = $7, at_minute = $8, "
        "formats = $9, recipients = $10, is_active = $11, revision = revision + 1 "
        "WHERE tenant_id = $1 AND report_id = $2",
        changed.tenant_id,
        changed.report,
        changed.name,
        changed.site,
        changed.line,
        changed.schedule.period.value,
        changed.schedule.zone,
        changed.schedule.at_minute,
        list(changed.formats),
        list(changed.recipients),
        changed.is_active,
    )


class DueReports:
    """Makes the reports whose time has come. Processes share the work."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._left_alone: dict[str, datetime] = {}

    async def make(self, now: datetime) -> int:
        """Make them, each in a transaction of its own; how many. One that cannot be made keeps no other one waiting."""
        async with self._database.session() as session:
            rows = await session.fetch("SELECT * FROM report_plan WHERE is_active ORDER BY report_id")
        self._left_alone = {report: until for report, until in self._left_alone.items() if until > now}
        made = 0
        for row in rows:
            if row["report_id"] in self._left_alone:
                continue
            try:
                made += await _make_due(self._database, plan_of(row), now)
            except Exception as exc:
                if cause_of(exc) is Cause.OUTSIDE:
                    raise
                self._left_alone[row["report_id"]] = now + LEFT_ALONE
                trace = "".join(traceback.format_exception(exc))
                emit(ReportNotMade(row["report_id"], row["name"], sentence_of(exc), trace))
        return made


async def _make_due(database: Database, wanted: Plan, now: datetime) -> int:
    async with database.session() as session:
        oldest = (now - KEPT).date()
        await session.execute("DELETE FROM report WHERE report_id = $1 AND day <= $2", wanted.report, oldest)
        days = await session.fetch("SELECT day FROM report WHERE report_id = $1", wanted.report)
    made = 0
    for one in due(wanted.schedule, wanted.since, [day["day"] for day in days], now):
        async with unit_of_work(database, wanted.tenant_id) as work:
            locked = await work.session.fetch(
                "SELECT FROM report_plan WHERE report_id = $1 FOR UPDATE SKIP LOCKED", wanted.report
            )
            if not locked or await _is_there(work.session, wanted, one):
                continue
            if not await questions.is_settled(work.session, _choice(wanted, one)):
                break  # its hours are being worked out, as after a time in which nothing ran
            await make(work, wanted, one, now)
            made += 1
    return made


def _choice(wanted: Plan, one: Due) -> Choice:
    return Choice(wanted.tenant_id, one.begin, one.end, wanted.site, wanted.line, zone=wanted.schedule.zone)


async def make(work: UnitOfWork, wanted: Plan, one: Due, now: datetime) -> None:
    """Make the report of ``one``, in place of the one that is there, and announce it. The plan's row is locked."""
    written = await contents(work.session, wanted.name, _choice(wanted, one))
    # In a thread: a long one on paper takes seconds, and everything else in this process would wait.
    files = [(format_, await asyncio.to_thread(WRITERS[format_], written)) for format_ in wanted.formats]
    key = (wanted.report, one.day)
    await work.session.execute(
        "INSERT INTO report (report_id, tenant_id, day, begin_time, end_time, made, summary) "
        "VALUES ($1, $3, $2, $4, $5, $6, $7) ON CONFLICT (report_id, day) DO UPDATE SET made = excluded.made, "
        "summary = excluded.summary, edition = report.edition + 1",
        *key,
        wanted.tenant_id,
        one.begin,
        one.end,
        now,
        as_text(written),
    )
    await work.session.execute("DELETE FROM report_file WHERE report_id = $1 AND day = $2", *key)
    await work.session.execute_many(
        "INSERT INTO report_file (report_id, day, tenant_id, format, content) VALUES ($1, $2, $3, $4, $5)",
        [(*key, wanted.tenant_id, *file) for file in files],
    )
    now_ns = int(now.timestamp() * 1_000_000) * 1000
    told = report_made(wanted.tenant_id, wanted.report, wanted.name, one.day, list(wanted.recipients), now_ns)
    work.announce(told)


async def send_again(work: UnitOfWork, wanted: Plan, day: date, recipients: Sequence[str], now: datetime) -> list[str]:
    """Announce that the report of ``day`` is to be sent to ``recipients``, unless said to those of its plan.

    Gives who they are. Raises ``RequestRefused`` when it was not made, or there is nobody to send it to.
    """
    if not await work.session.fetch("SELECT FROM report WHERE report_id = $1 AND day = $2", wanted.report, day):
        why = f"the report {wanted.name!r} of {day.isoformat()} was not made: POST /api/v1/reports/ID/made/DAY makes it"
        raise RequestRefused(Why.UNKNOWN, "not_made", why)
    to = [*dict.fromkeys(recipients or wanted.recipients)]
    if not to:
        why = f"the report {wanted.name!r} has no recipients: name some, or add them to it"
        raise RequestRefused(Why.CONFLICT, "no_recipients", why)
    now_ns = int(now.timestamp() * 1_000_000) * 1000
    work.announce(report_wanted(wanted.tenant_id, wanted.report, wanted.name, day, to, now_ns))
    return to


async def _is_there(session: Session, wanted: Plan, one: Due) -> bool:
    return bool(await session.fetch("SELECT FROM report WHERE report_id = $1 AND day = $2", wanted.report, one.day))


async def made_reports(session: Session, tenant_id: int, report: str, count: int) -> Sequence[dict[str, Any]]:
    """Those that were made, the newest first, with the formats that there are."""
    rows = await session.fetch(
        "SELECT day, begin_time, end_time, made, edition, "
        "coalesce(array_agg(format ORDER BY format) FILTER (WHERE format IS NOT NULL), '{}') AS formats "
        "FROM report LEFT JOIN report_file USING (report_id, day) WHERE report.tenant_id = $1 AND report_id = $2 "
        "GROUP BY 1, 2, 3, 4, 5 ORDER BY day DESC LIMIT $3",
        tenant_id,
        report,
        count,
    )
    return [dict(row) for row in rows]


async def file_of(session: Session, tenant_id: int, report: str, day: date, format_: Format) -> bytes:
    """A file. Raises ``RequestRefused`` when there is none."""
    rows = await session.fetch(
        "SELECT content FROM report_file WHERE tenant_id = $1 AND report_id = $2 AND day = $3 AND format = $4",
        tenant_id,
        report,
        day,
        format_,
    )
    if not rows:
        why = f"report {report} has no {format_} for {day.isoformat()}: it was not made then, or not in that format"
        raise RequestRefused(Why.UNKNOWN, "unknown_file", why)
    return bytes(rows[0]["content"])


def period_to_make(wanted: Plan, day: date, now: datetime) -> Due:
    """The period of ``day``, which must have begun. Raises ``RequestRefused``."""
    one = period_of(wanted.schedule, day)
    if one.begin > now.astimezone(UTC):
        raise RequestRefused(Why.INVALID, "not_begun", f"{day.isoformat()} has not begun in {wanted.schedule.zone}")
    return one
