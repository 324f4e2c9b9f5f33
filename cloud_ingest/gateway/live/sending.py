"""Sends clients what waits for them: one task for all of them, which writes and never waits for one.

A client is sent at once when nothing was sent to it for its interval, and then no sooner than its interval. One that
has not taken what it was sent before is passed over, and gets the newest when it has.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from cloud_ingest.gateway.live.client import Client

TICK_S: Final = 0.01
AT_A_TIME: Final = 50
"""Between so many clients others have their turn: requests to the same process wait no longer."""
SLOW_S: Final = 30.0
LOOK_AGAIN_S: Final = 0.05
"""How soon it is looked whether a client that was passed over has taken what it was sent."""


class Sending:
    """The clients for whom something waits."""

    def __init__(self) -> None:
        self._waiting: set[Client] = set()
        self._news = asyncio.Event()

    def add(self, client: Client) -> None:
        """Something waits for ``client``."""
        self._waiting.add(client)
        self._news.set()

    def leave(self, client: Client) -> None:
        """It has gone."""
        self._waiting.discard(client)

    async def run(self) -> None:
        """Send until cancelled, for at most half of the time."""
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            began_s = loop.time()
            await self.send_due(began_s)
            await asyncio.sleep(max(TICK_S, loop.time() - began_s))
            next_s = min((client.due_s for client in self._waiting), default=None)
            if self._news.is_set() or (next_s is not None and next_s <= loop.time()):
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_s):
                    await self._news.wait()

    async def send_due(self, now_s: float) -> None:
        """Send those clients that may be sent something now (time of the event loop)."""
        due = [client for client in self._waiting if client.due_s <= now_s]
        for number, client in enumerate(due, 1):
            if client in self._waiting:  # it may have gone meanwhile
                self._send(client, now_s)
            if number % AT_A_TIME == 0:
                await asyncio.sleep(0)

    def _send(self, client: Client, now_s: float) -> None:
        if client.has_news:
            if client.outlet.is_ready():
                self._write(client, now_s)
            else:
                self._pass_over(client, now_s)
        if not client.has_news:
            self._waiting.discard(client)

    def _write(self, client: Client, now_s: float) -> None:
        client.stuck_since_s = None
        if client.answer:
            client.outlet.write(client.answer)
            client.answer = b""
        elif client.subscription is not None:
            client.outlet.write(client.subscription.pending.take(client.subscription.cursor))
            client.due_s = now_s + client.interval_s

    def _pass_over(self, client: Client, now_s: float) -> None:
        client.due_s = now_s + LOOK_AGAIN_S
        client.stuck_since_s = now_s if client.stuck_since_s is None else client.stuck_since_s
        if now_s - client.stuck_since_s > SLOW_S:
            self._waiting.discard(client)
            client.has_given_up = True
