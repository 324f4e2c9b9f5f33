"""One reader of events and values for all clients of a process: it puts the newest of everything before each of them.

Nothing is kept for a client but what waits for it (``pending``), whatever it takes. Values of tags come from the raw
log where there is one; the rest is looked up in the tables while somebody wants it, at most a third of the time: when
that takes long, all get it less often.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import traceback
from collections.abc import Mapping, Sequence
from typing import Final

from cloud_ingest.commands.book import CHANNEL as COMMANDS_CHANNEL
from cloud_ingest.event_log.announcing import CHANNEL as EVENTS_CHANNEL
from cloud_ingest.gateway.live import feeds
from cloud_ingest.gateway.live.client import Client, Subscription
from cloud_ingest.gateway.live.newest import NewestValues, microseconds
from cloud_ingest.gateway.live.raw_values import OpenLog, RawValues
from cloud_ingest.gateway.live.sending import Sending
from cloud_ingest.gateway.live.subscription import COMMANDS, LINES, ORDERS, Wanted
from cloud_ingest.observability.events import Fault
from cloud_ingest.observability.steadiness import steadily
from connectors.model.back_off import BackOff
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.ports.database import Database
from connectors.stopping import Tasks, not_silently

TAGS_S: Final = 0.05
TAGS_BUSY: Final = 2.0
"""A look at the tags is followed by a pause of so many times its length."""
ALL_TAGS_S: Final = 2.0
"""How often those are looked up, too, that the log brings."""
LOOK_S: Final = 5.0
RETRY_S: Final = 1.0
RETRY_LONGEST_S: Final = 30.0
_AWAY: Final = (DatabaseUnavailable, StatementRefused)


class LiveHub:
    """See the module. It runs while there is a client. ``open_log`` opens the event log; without it, tables are all."""

    def __init__(self, database: Database, open_log: OpenLog | None = None) -> None:
        self._database = database
        self._open_log = open_log
        self._clients: set[Client] = set()
        self._running: asyncio.Task[None] | None = None
        self._places: dict[str, int] = {}
        self._sending = Sending()
        self._newest = NewestValues(self._sending)
        self._raw = RawValues(database, self._newest)
        self._all_tags_s = -math.inf

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
        """It went, if it had come."""
        self._clients.discard(client)
        self._newest.leave(client)
        self._sending.leave(client)
        if not self._clients and self._running is not None:
            self._running.cancel()
            self._running, self._places = None, {}

    async def subscribe(
        self, client: Client, wanted: Wanted, tags: Sequence[feeds.KnownTag], since: Mapping[str, int]
    ) -> bool:
        """From here on ``client`` hears what is ``wanted``, first what happened after ``since``.

        False when some of that is not there any more. Raises ``DatabaseUnavailable``.
        """
        client.subscription = None
        self._newest.leave(client)
        is_whole = True
        subscription = Subscription(wanted)
        places = subscription.places
        for feed in wanted.feeds():
            places[feed] = since.get(feed, self._places[feed])
            if feed != COMMANDS and feed in since and await self._is_gone(places[feed]):
                is_whole = False
        while behind := [feed for feed in places if places[feed] < self._places[feed]]:
            for feed in behind:
                while events := await feeds.after(self._database, feed, places[feed]):
                    for event in events:
                        subscription.tell(event)
        client.subscription = subscription  # nothing was awaited since it was looked: the reader tells all that follows
        client.due_s = 0.0
        self._newest.want(client, tags)
        self._sending.add(client)
        return is_whole

    async def _is_gone(self, place: int) -> bool:
        return 0 < place < await feeds.oldest(self._database) - 1

    async def _run(self) -> None:
        back_off = BackOff(RETRY_S, RETRY_LONGEST_S)
        while True:
            try:
                async with steadily("live", back_off):
                    await not_silently(self._read_forever())
            except Exception as exc:  # clients stay connected, and hear on
                emit(Fault("live", f"{type(exc).__name__}: {exc}", traceback.format_exc()))
            await asyncio.sleep(back_off.next_s())

    async def _read_forever(self) -> None:
        async with Tasks() as tasks:
            tasks.create_task(self._sending.run(), name="live sends")
            tasks.create_task(self._hear(EVENTS_CHANNEL, (LINES, ORDERS)), name="live events")
            tasks.create_task(self._hear(COMMANDS_CHANNEL, (COMMANDS,)), name="live commands")
            tasks.create_task(self._look_at_tags(), name="live tags")
            if self._open_log is not None:
                tasks.create_task(self._follow_log(self._open_log), name="live log")

    async def _follow_log(self, open_log: OpenLog) -> None:
        back_off = BackOff(RETRY_S, RETRY_LONGEST_S)
        while True:
            try:
                async with steadily("live log", back_off):
                    await self._raw.run(open_log)
            except Exception as exc:  # everything is in the tables, too
                emit(Fault("live log", f"{type(exc).__name__}: {exc}", traceback.format_exc()))
            await asyncio.sleep(back_off.next_s())

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
                if client.subscription is not None and client.subscription.tell(event):
                    self._sending.add(client)
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
        """Look up the tags that the log does not bring, and now and then the others that it brought nothing of."""
        now_s = asyncio.get_running_loop().time()
        are_all_due = now_s >= self._all_tags_s + ALL_TAGS_S
        quiet_since_s = now_s - ALL_TAGS_S if are_all_due else -math.inf
        asked = self._newest.to_look_up(self._raw.is_reading, quiet_since_s)
        if are_all_due:
            self._all_tags_s = now_s
        if asked:
            for value in await feeds.newest(self._database, asked):
                self._newest.put(value.tag_id, microseconds(value.time), value.value, value.quality, now_s)
            self._newest.were_looked_up(asked)
