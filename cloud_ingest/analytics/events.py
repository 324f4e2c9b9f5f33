"""What analytics tells on ``lineside.analytics-events.v1``. Key: the report."""

from __future__ import annotations

from datetime import date
from typing import Final

from cloud_ingest.event_log.domain_events import DomainEvent
from cloud_ingest.event_log.topics import ANALYTICS_EVENTS

REPORT_MADE: Final = "lineside.analytics.report-made.v1"
"""A report is there, with its files (``published.report_mail``); ``recipients`` are the addresses of its plan."""
REPORT_WANTED: Final = "lineside.analytics.report-wanted.v1"
"""A report that was made is to be sent once more, to ``recipients``; its fields are those of ``report-made``."""


def report_made(tenant_id: int, report: str, name: str, day: date, recipients: list[str], time_ns: int) -> DomainEvent:
    """The event of a report."""
    data = {"report": report, "name": name, "day": day.isoformat(), "recipients": recipients}
    return DomainEvent(ANALYTICS_EVENTS, REPORT_MADE, tenant_id, report, time_ns, data)


def report_wanted(
    tenant_id: int, report: str, name: str, day: date, recipients: list[str], time_ns: int
) -> DomainEvent:
    """The event that somebody has asked for a report to be sent again."""
    data = {"report": report, "name": name, "day": day.isoformat(), "recipients": recipients}
    return DomainEvent(ANALYTICS_EVENTS, REPORT_WANTED, tenant_id, report, time_ns, data)
