"""The events of the platform: what its parts tell each other, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cloud_ingest.observability.metrics import EVENTS_NOT_PUBLISHED, EVENTS_SET_ASIDE
from connectors.observability.events import Event


@dataclass(frozen=True, slots=True)
class EventNotPublished(Event):
    """An event that the log does not take: it stays in the table ``event_outbox`` alone."""

    level: ClassVar[str] = "error"
    topic: str
    key: str
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        EVENTS_NOT_PUBLISHED.labels(self.topic).inc()


@dataclass(frozen=True, slots=True)
class EventNumbersPassed(Event):
    """The log has events of numbers that the database has not given: it was restored. New events are numbered on."""

    level: ClassVar[str] = "warning"
    known: int
    newest: int


@dataclass(frozen=True, slots=True)
class EventSetAside(Event):
    """A projection cannot take a record: it is kept in ``event_letter``, and the projection goes on."""

    level: ClassVar[str] = "error"
    projection: str
    topic: str
    partition: int
    offset: int
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        EVENTS_SET_ASIDE.labels(self.projection).inc()


@dataclass(frozen=True, slots=True)
class LetterTaken(Event):
    """What was set aside has been taken after all, as somebody wanted; its letter is closed."""

    projection: str
    letter: int


@dataclass(frozen=True, slots=True)
class LetterNotTaken(Event):
    """What was set aside still cannot be taken; its letter stays open."""

    level: ClassVar[str] = "error"
    projection: str
    letter: int
    reason: str
    traceback: str
