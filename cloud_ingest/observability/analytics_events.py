"""The events of analytics: what could not be worked out, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from connectors.observability.events import Event


@dataclass(frozen=True, slots=True)
class HourNotWorkedOut(Event):
    """The figures of an hour of a line cannot be worked out: it keeps those that it had, and is tried again."""

    level: ClassVar[str] = "error"
    site: str
    line: str
    hour: str
    reason: str
    traceback: str


@dataclass(frozen=True, slots=True)
class ReportNotMade(Event):
    """A report cannot be made: it is tried again later, and the other reports go on."""

    level: ClassVar[str] = "error"
    report: str
    name: str
    reason: str
    traceback: str
