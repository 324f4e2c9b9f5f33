"""What an event is. Each program names its own events and metrics, all in one file (``observability/events.py``)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar, Final

from connectors.observability.lean_structlog import structlog


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. ``level`` is that of its log line, empty for events that are only counted."""

    level: ClassVar[str] = "info"

    def measure(self) -> None:
        """Bring the metrics up to date."""


_NAMES: Final[dict[type[Event], str]] = {}
_FIELDS: Final[dict[type[Event], tuple[str, ...]]] = {}


_LISTENERS: Final[list[Callable[[Event], None]]] = []


def listen(listener: Callable[[Event], None]) -> None:
    """Tell ``listener`` of every event that is logged, until ``listen_no_more``; it returns at once."""
    _LISTENERS.append(listener)


def listen_no_more(listener: Callable[[Event], None]) -> None:
    """See ``listen``."""
    _LISTENERS.remove(listener)


def emit(event: Event) -> None:
    """Count ``event``, and log it unless it is only counted."""
    event.measure()
    if event.level:
        for listener in _LISTENERS:
            listener(event)
        kind = type(event)
        names = _FIELDS.get(kind) or _FIELDS.setdefault(kind, tuple(field.name for field in fields(kind)))
        getattr(structlog.get_logger(), event.level)(event_name(kind), **{name: getattr(event, name) for name in names})


def event_name(event: type[Event]) -> str:
    """``DeviceConnected`` is logged as ``device_connected``."""
    name = _NAMES.get(event)
    if name is None:
        name = _NAMES[event] = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", event.__name__).lower()
    return name
