"""What a client has still to be sent: of each thing the newest alone, and never more than a bound. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

EVENTS_MAX: Final = 1000
"""So many different things may wait for one client; beyond that it is told that it missed some."""


@dataclass(slots=True)
class Pending:
    """Texts are JSON in UTF-8 already: of many clients with one tag, it is made once."""

    tags: dict[int, bytes] = field(default_factory=dict)
    events: dict[str, bytes] = field(default_factory=dict)
    has_missed: bool = False

    def put_tag(self, tag_id: int, text: bytes) -> None:
        """The newest value of a tag; one that waits is forgotten. Tags are as many as the client subscribed."""
        self.tags[tag_id] = text

    def put_event(self, thing: str, text: bytes) -> None:
        """The newest that there is of ``thing``: it comes behind what came of others before."""
        self.events.pop(thing, None)
        self.events[thing] = text
        if len(self.events) > EVENTS_MAX:
            self.events.pop(next(iter(self.events)))
            self.has_missed = True

    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not (self.tags or self.events or self.has_missed)

    def take(self, cursor: bytes) -> bytes:
        """All of it as one message, whose ``cursor`` is where the client goes on when it connects anew."""
        missed = b',"missed":true' if self.has_missed else b""
        tags, events = b",".join(self.tags.values()), b",".join(self.events.values())
        self.tags, self.events, self.has_missed = {}, {}, False
        return b'{"tags":[%b],"events":[%b],"cursor":"%b"%b}' % (tags, events, cursor, missed)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far each feed was read; its text is the client's to keep, and not to understand."""

    places: Mapping[str, int]

    def text(self) -> str:
        """``commands:5,lines:7``."""
        return ",".join(f"{feed}:{number}" for feed, number in sorted(self.places.items()))


def cursor_of(text: str) -> Cursor:
    """The cursor that ``text`` is. Raises ``ValueError`` when it is none."""
    places: dict[str, int] = {}
    for part in text.split(","):
        feed, _, number = part.partition(":")
        places[feed] = int(number)
        if not 0 <= places[feed] < 1 << 63:
            raise ValueError(text)
    return Cursor(places)
