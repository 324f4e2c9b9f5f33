"""The events of the catalog, and of the log lines that it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cloud_ingest.observability.metrics import LOG_LINES_DROPPED, LOG_LINES_KEPT
from connectors.observability.events import Event


@dataclass(frozen=True, slots=True)
class LogLinesKept(Event):
    """Log lines of this process are where they can be searched. Only counted: else each would make another."""

    level: ClassVar[str] = ""
    lines: int

    def measure(self) -> None:
        """See ``Event``."""
        LOG_LINES_KEPT.inc(self.lines)


@dataclass(frozen=True, slots=True)
class LogLinesDropped(Event):
    """So many log lines cannot be searched: more came than could be kept, or the store was away for long."""

    level: ClassVar[str] = "warning"
    lines: int

    def measure(self) -> None:
        """See ``Event``."""
        LOG_LINES_DROPPED.inc(self.lines)
