"""A connection to ``/api/v1/live`` as the hub knows it: what it wants, what waits for it, and when it may be sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cloud_ingest.gateway.live.pending import Cursor, Pending
from cloud_ingest.gateway.live.subscription import INTERVAL_MS, FeedEvent, Wanted
from cloud_ingest.gateway.websocket_frames import TextOutlet

NOWHERE: Final = b""


@dataclass(slots=True)
class Subscription:
    """What somebody wants, how far they were told of it (``places``, by feed), and what waits."""

    wanted: Wanted
    places: dict[str, int] = field(default_factory=dict)
    pending: Pending = field(default_factory=Pending)
    _cursor: bytes = NOWHERE

    def tell(self, event: FeedEvent) -> bool:
        """Put ``event`` before them, if it is for them; whether it was."""
        if event.number <= self.places.get(event.feed, event.number):
            return False
        self.places[event.feed] = event.number
        self._cursor = NOWHERE
        thing = self.wanted.thing_of(event)
        if thing is not None:
            self.pending.put_event(thing, event.text)
        return thing is not None

    @property
    def cursor(self) -> bytes:
        """Where they go on when they connect anew."""
        if self._cursor is NOWHERE:
            self._cursor = Cursor(self.places).text().encode()
        return self._cursor


@dataclass(slots=True, eq=False)
class Client:
    """A connection. ``subscription`` is ``None`` until it has one, and while it gets another one.

    Times are those of the event loop.
    """

    outlet: TextOutlet
    answer: bytes = b""
    """To its subscription: it is sent before anything of it."""
    subscription: Subscription | None = None
    interval_s: float = INTERVAL_MS / 1000
    due_s: float = 0.0
    """It is sent nothing before."""
    stuck_since_s: float | None = None
    """Since when it takes nothing, if it does not."""
    has_given_up: bool = False
    """It took nothing for too long."""

    @property
    def has_news(self) -> bool:
        """Whether anything waits for it."""
        return bool(self.answer) or (self.subscription is not None and not self.subscription.pending.is_empty())
