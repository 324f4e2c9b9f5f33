"""What happened, in order: for the person who replays a seed, and as a hash that must be the same each time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any, Final

from tests.simulation.event_loop import current_process

Entry = tuple[float, str, str, tuple[Any, ...]]
DEFECTS: Final = frozenset({"fault"})
"""Events by which a supervisor of the product says that something happened which nobody had thought of."""


class Trace:
    """A list of what happened. Stands in for structlog too, so that the product's own events are in it."""

    def __init__(self, folder: str) -> None:
        """``folder`` has another name each time: it is cut out of what is noted."""
        self._folder = folder
        self.entries: list[Entry] = []
        self.defects: list[str] = []

    def note(self, what: str, *details: Any, who: str | None = None) -> None:
        """Something happened, to ``who`` or the process that runs now."""
        if who is None:
            process = current_process.get()
            who = "plant" if process is None else process.name
        told = tuple(detail if isinstance(detail, int | float) else self._told(detail) for detail in details)
        self.entries.append((asyncio.get_running_loop().time(), who, what, told))

    def _told(self, detail: Any) -> str:
        text = str(detail)
        return text.replace(self._folder, "") if self._folder in text else text

    def hash(self) -> str:
        """The same for two runs in which the same happened."""
        return hashlib.blake2b(repr(self.entries).encode(), digest_size=16).hexdigest()

    def lines(self) -> Iterator[str]:
        """For a person."""
        for time_s, who, what, details in self.entries:
            yield f"{time_s:9.3f} {who:<13} {what} {' '.join(str(detail) for detail in details)}".rstrip()

    # -- as ``connectors.observability.events`` uses structlog ---------------------------------------------------------

    def get_logger(self) -> Trace:
        return self

    def debug(self, event: str, **values: Any) -> None:
        self._event(event, values)

    info = warning = error = debug

    def _event(self, event: str, values: dict[str, Any]) -> None:
        if event in DEFECTS:
            self.defects.append(" ".join(str(value) for value in values.values()))
        self.note(f"[{event}]", *(f"{name}={value}" for name, value in values.items()))
