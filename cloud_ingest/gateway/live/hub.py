"""One reader of the tables for all clients of a process: it puts the newest of everything before each of them.

Nothing is kept for a client but what waits for it (``pending``), whatever it takes. Values of tags are looked up while
somebody wants them, at most a third of the time: when that takes long, all get them less often.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cloud_ingest.commands.book import CHANNEL as COMMANDS_CHANNEL
from cloud_ingest.event_log.announcing import CHANNEL as EVENTS_CHANNEL
from cloud_ingest.gateway.live import feeds
from cloud_ingest.gateway.live.pending import Cursor, Pending
from cloud_ingest.gateway.live.subscription import COMMANDS, LINES, ORDERS, FeedEvent, Wanted
from cloud_ingest.observability.events import Fault
from cloud_ingest.observability.steadiness import steadily
from connectors.model.back_off import BackOff
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.ports.database import Database

TAGS_S: Final = 0.05
TAGS_BUSY: Final = 2.0
"""A look at the tags is followed by a pause of so many times its length."""
LOOK_S: Final = 5.0
RETRY_S: Final = 1.0
RETRY_LONGEST_S: Final = 30.0
_AWAY: Final = (DatabaseUnavailable, StatementRefused)


@dataclass(slots=True, eq=False)
class Client:
    """A connection. ``wanted`` is ``None`` until it has subscribed."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    pending: Pending = field(default_factory=Pending)
    wanted: Wanted | None = None
    tags: frozenset[int] = frozenset()
    places: dict[str, int] = field(default_factory=dict)

    def tell(self, event: FeedEvent) -> None:
        """Put ``event`` before it, if it is for it."""
        if self.wanted is None or event.number <= self.places.get(event.feed, event.number):
            return
        self.places[event.feed] = event.number
        if (thing := self.wanted.thing_of(event)) is not None:
            self.pending.put_event(thing, event.text)
            self.news.set()

    @property
    def cursor(self) -> str:
        """Where it goes on when it connects anew."""
        return Cursor(self.places).text()


class LiveHub:
    """See the module. It runs while there is a client."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._clients: set[Client] = set()
        self._running: asyncio.Task[None] | None = None
        self._places: dict[str, int] = {}
        self._seen: dict[int, datetime] = {}
        self._newest: dict[int, str] = {}

    def count(self) -> int:
        """How many clients there are."""
        return len(self._clients)

    async def enter(self, client: Client) -> None:
        """A client came. Raises ``DatabaseUnavailable`` when it cannot be said from where on it hears."""
        if not self._places:
            places = await feeds.ends(self._database)
            self._places = self._places or places
        self._clients.add(client)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="live hub")

    def leave(self, client: Client) -> None:
        """It went."""
        self._clients.discard(client)
        if not self._clients and self._running is not None:
            self._running.cancel()
            self._running, self._places, self._seen, self._newest = None, {}, {}, {}

    async def subscribe(self, client: Client, wanted: Wanted, tags: frozenset[int], since: Mapping[str, int]) -> bool:
        """From here on ``client`` hears what is ``wanted``, first what happened after ``since``.

        False when some of that is not there any more. Raises ``DatabaseUnavailable``.
        """
        client.wanted, client.pending = None, Pending()
        is_whole = True
        caught_up = Client(wanted=wanted, pending=client.pending, news=client.news)
        places = caught_up.places
        for feed in wanted.feeds():
            places[feed] = since.get(feed, self._places[feed])
            if feed != COMMANDS and feed in since and await self._is_gone(places[feed]):
                is_whole = False
        while behind := [feed for feed in places if places[feed] < self._places[feed]]:
            for feed in behind:
                while events := await feeds.after(self._database, feed, places[feed]):
                    for event in events:
                        caught_up.tell(event)
        client.places = places  # nothing was awaited since it was looked: the reader tells all that comes behind
        client.wanted, client.tags = wanted, tags
        for tag_id in tags:
            if tag_id in self._newest:
                client.pending.put_tag(tag_id, self._newest[tag_id])
            else:
                self._seen.setdefault(tag_id, datetime.now(UTC) - feeds.FIRST_LOOK)
        client.news.set()
        return is_whole

    async def _is_gone(self, place: int) -> bool:
        return 0 < place < await feeds.oldest(self._database) - 1

    async def _run(self) -> None:
        back_off = BackOff(RETRY_S, RETRY_LONGEST_S)
        while True:
            try:
                async with steadily("live", back_off):
                    await self._read_forever()
            except Exception as exc:  # clients stay connected, and hear on
                emit(Fault("live", f"{type(exc).__name__}: {exc}", traceback.format_exc()))
            await asyncio.sleep(back_off.next_s())

    async def _read_forever(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear(EVENTS_CHANNEL, (LINES, ORDERS)), name="live events")
            tasks.create_task(self._hear(COMMANDS_CHANNEL, (COMMANDS,)), name="live commands")
            tasks.create_task(self._look_at_tags(), name="live tags")

    async def _hear(self, channel: str, of: tuple[str, ...]) -> None:
        while True:
            with contextlib.suppress(*_AWAY):
                async with self._database.notified(channel) as woken:
                    while True:
                        for feed in of:
                            while await self._read(feed):
                                pass
                        await woken.wait(LOOK_S)
            await asyncio.sleep(RETRY_S)

    async def _read(self, feed: str) -> bool:
        events = await feeds.after(self._database, feed, self._places[feed])
        for event in events:
            self._places[feed] = event.number
            for client in self._clients:
                client.tell(event)
        return len(events) == feeds.PAGE

    async def _look_at_tags(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wait_s, began_s = TAGS_S, loop.time()
            try:
                await self._tags()
                wait_s = max(TAGS_S, TAGS_BUSY * (loop.time() - began_s))
            except _AWAY:
                wait_s = RETRY_S
            await asyncio.sleep(wait_s)

    async def _tags(self) -> None:
        clients: dict[int, list[Client]] = {}
        for client in self._clients:
            for tag_id in client.tags:
                clients.setdefault(tag_id, []).append(client)
        for gone in self._seen.keys() - clients.keys():
            del self._seen[gone]
            self._newest.pop(gone, None)
        if not clients:
            return
        first = datetime.now(UTC) - feeds.FIRST_LOOK
        for value in await feeds.newest(self._database, {tag_id: self._seen.get(tag_id, first) for tag_id in clients}):
            self._seen[value.tag_id], self._newest[value.tag_id] = value.time, value.text
            for client in clients[value.tag_id]:
                client.pending.put_tag(value.tag_id, value.text)
                client.news.set()
