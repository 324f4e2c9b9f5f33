"""The newest events of the agent, for whoever asks at the box; the log has all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

from connectors.observability.events import Event, event_name

EVENTS_MAX: Final = 1000
TEXT_CHARS_MAX: Final = 2000
"""A traceback may be long; so that the ring has a bound in bytes, too."""


class RecentEvents:
    """A ring of at most ``EVENTS_MAX`` events; the oldest give way. Each has a number, which only rises."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_MAX)
        self.newest = 0

    def add(self, event: Event) -> None:
        """Keep an event, with the time of now."""
        self.newest += 1
        values = {field.name: _kept(getattr(event, field.name)) for field in fields(event)}
        head = {"number": self.newest, "time_ns": self._now_ns()}
        self._events.append({**values, **head, "event": event_name(type(event)), "level": event.level})

    def after(self, number: int) -> list[Mapping[str, Any]]:
        """Events with higher numbers, oldest first."""
        events = list(self._events)  # at once: other threads add
        return [event for event in events if event["number"] > number]


def _kept(value: Any) -> Any:
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else value
