"""What is told of work orders, on ``lineside.line-events.v1`` beside the other events of their line."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.event_log.domain_events import DomainEvent
from cloud_ingest.event_log.topics import LINE_EVENTS

PREFIX: Final = "lineside.lines.work-order-"
PLANNED: Final = f"{PREFIX}planned.v1"
READY: Final = f"{PREFIX}ready.v1"
NEXT: Final = f"{PREFIX}next.v1"
STARTED: Final = f"{PREFIX}started.v1"
PAUSED: Final = f"{PREFIX}paused.v1"
RESUMED: Final = f"{PREFIX}resumed.v1"
COMPLETED: Final = f"{PREFIX}completed.v1"
CLOSED: Final = f"{PREFIX}closed.v1"
CANCELLED: Final = f"{PREFIX}cancelled.v1"
PROGRESSED: Final = f"{PREFIX}progressed.v1"
"""Counts were booked on it. ``late``: it was over already."""
DOWNLOAD_FAILED: Final = f"{PREFIX}download-failed.v1"
"""It does not start: recipe or set-points are not in the machines. ``reason`` says why."""


def line_key(site: str, line: str) -> str:
    """The key of a line's events."""
    return f"{site}/{line}"


def work_order_event(
    type_: str, tenant_id: int, time_ns: int, row: Mapping[str, Any], **more: str | bool
) -> DomainEvent:
    """An event of the work order in ``row`` of the table ``work_order``, as it is after what the event tells.

    ``is_first`` and ``is_last`` say where in its routing the step is: the last one makes the product.
    """
    data = {
        "work_order": row["work_order_id"],
        "job": row["job"],
        "step": row["step"],
        "steps": row["steps"],
        "is_first": row["step"] == 1,
        "is_last": row["step"] == row["steps"],
        "site": row["site"],
        "line": row["line"],
        "product": row["product"],
        "quantity": exact(row["quantity"]),
        "good": exact(row["good"]),
        "reject": exact(row["reject"]),
        "order": row["order_id"],
        "order_line": row["order_line"],
        "state": row["state"],
        **more,
    }
    return DomainEvent(LINE_EVENTS, type_, tenant_id, line_key(row["site"], row["line"]), time_ns, data)


def exact(quantity: Decimal) -> str:
    """A quantity as events and answers say it: all of it, without zeros at the end and without an exponent."""
    text = f"{quantity:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
