"""A stream as one of the clients of the live hub: what waits for it is the newest of each thing, until it takes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.gateway.live.client import Client
from cloud_ingest.gateway.live.feeds import KnownTag
from cloud_ingest.gateway.live.hub import LiveHub
from cloud_ingest.gateway.live.routes import CLIENTS_MAX
from cloud_ingest.gateway.live.subscription import Subscribe, wanted_by


class Listener:
    """Where the hub writes for one stream (``TextOutlet``): one message at a time, the next when this one was taken."""

    def __init__(self) -> None:
        self._text: bytes | None = None
        self._is_ready = True
        self._news = asyncio.Event()

    async def message(self) -> dict[str, Any]:
        """What has become known since the last one: ``tags`` and ``events``, as clients of ``/live`` are told.

        Who asks for it has passed on the one before.
        """
        self._is_ready = True
        await self._news.wait()
        self._news.clear()
        text, self._text = self._text, None
        found: dict[str, Any] = json.loads(text or b"{}")
        return found

    def limit(self) -> None:
        """See ``TextOutlet``: gRPC has a window of its own."""

    def is_ready(self) -> bool:
        """Whether the stream has passed on what it was given."""
        return self._is_ready

    def write(self, text: bytes) -> None:
        """Give it a message."""
        self._text, self._is_ready = text, False
        self._news.set()

    def abort(self) -> None:
        """See ``TextOutlet``: calls end otherwise."""


@asynccontextmanager
async def listening(
    hub: LiveHub, principal: Principal, asked: Subscribe, tags: Sequence[KnownTag] = ()
) -> AsyncIterator[Listener]:
    """Within it, what ``principal`` asked for, and may know, is heard. Raises ``RequestRefused``.

    What was committed before it was entered is not heard, but for the newest values of ``tags``: look at it within.
    """
    if hub.count() >= CLIENTS_MAX:
        raise RequestRefused(Why.TOO_MANY, "too_many_streams", f"{CLIENTS_MAX} clients are connected already")
    listener = Listener()
    client = Client(listener, interval_s=asked.interval_ms / 1000)
    await hub.enter(client)
    try:
        await hub.subscribe(client, wanted_by(principal, asked), tags, {})
        yield listener
    finally:
        hub.leave(client)
