"""The events of lines: what is heard of them, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cloud_ingest.observability.metrics import LINE_SAMPLES_REFUSED, LINES_LATE
from connectors.observability.events import Event


@dataclass(frozen=True, slots=True)
class LineSamplesRefused(Event):
    """Samples of a line's tags have times that cannot be: a minute ahead or more, or older than a week."""

    level: ClassVar[str] = "warning"
    agent: str
    device: str
    count: int

    def measure(self) -> None:
        """See ``Event``."""
        LINE_SAMPLES_REFUSED.inc(self.count)


@dataclass(frozen=True, slots=True)
class LineCorrected(Event):
    """Samples came late and have changed what was known of a line."""

    level: ClassVar[str] = "info"
    site: str
    line: str
    begin_ns: int
    end_ns: int

    def measure(self) -> None:
        """See ``Event``."""
        LINES_LATE.inc()


@dataclass(frozen=True, slots=True)
class LineHearsNothing(Event):
    """The role lines runs where the historian publishes no samples, unless it is told to by its own file."""

    level: ClassVar[str] = "warning"
    advice: str
