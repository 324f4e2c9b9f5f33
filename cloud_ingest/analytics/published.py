"""What other parts may ask of analytics."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.analytics.report_formats import MEDIA_TYPES, Format
from cloud_ingest.analytics.reports import plan, plan_of
from connectors.ports.database import Session


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A file of a report."""

    name: str
    format: Format
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ReportMail:
    """A report as it is sent: what stands in the mail, and its files."""

    subject: str
    text: str
    files: tuple[ReportFile, ...]


async def report_mail(session: Session, tenant_id: int, report: str, day: date) -> ReportMail:
    """The report of ``day``. Raises ``RequestRefused`` when there is none any more."""
    wanted = plan_of(await plan(session, tenant_id, report))
    made = await session.fetch("SELECT summary FROM report WHERE report_id = $1 AND day = $2", report, day)
    if not made:
        why = f"the report {wanted.name!r} of {day.isoformat()} was not made, or is there no more"
        raise RequestRefused(Why.UNKNOWN, "unknown_report", why)
    rows = await session.fetch(
        "SELECT format, content FROM report_file WHERE tenant_id = $1 AND report_id = $2 AND day = $3 ORDER BY format",
        tenant_id,
        report,
        day,
    )
    slug = "".join(one if one.isalnum() else "-" for one in wanted.name.lower()).strip("-") or "report"
    files = tuple(
        ReportFile(
            f"{slug}-{day.isoformat()}.{row['format']}",
            row["format"],
            MEDIA_TYPES[row["format"]],
            bytes(row["content"]),
        )
        for row in rows
    )
    period = "week from" if wanted.schedule.period == "week" else "day"
    text = made[0]["summary"] or f"{wanted.name}, {period} {day.isoformat()}\n"
    return ReportMail(f"{wanted.name}: {day.isoformat()}", text, files)
