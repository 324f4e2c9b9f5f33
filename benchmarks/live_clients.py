"""Many clients of ``/api/v1/live`` in one process, each as light as a client in Python can be."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

CONNECTING_MAX: Final = 50
CONNECTED_S_MAX: Final = 60.0


class LiveClient(asyncio.Protocol):
    """Subscribes, answers pings, and counts values and messages while it ``counts``."""

    def __init__(self, url: str, token: str, subscribe: dict[str, Any]) -> None:
        self._protocol = ClientProtocol(parse_uri(url), max_size=None)
        self._token, self._subscribe = token, subscribe
        self._transport: asyncio.Transport | None = None
        self.subscribed: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.counts = False
        self.values = self.messages = 0
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        request = self._protocol.connect()
        request.headers["Authorization"] = f"Bearer {self._token}"
        self._protocol.send_request(request)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._protocol.send_text(json.dumps({"subscribe": self._subscribe}).encode())
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._heard(event.data)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if not self.subscribed.done():
            self.subscribed.set_exception(exc or ConnectionError("closed before it had subscribed"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _heard(self, text: bytes | bytearray | memoryview) -> None:
        if not self.subscribed.done():
            self.subscribed.set_result(json.loads(bytes(text)))
        elif self.counts:
            self.messages += 1
            self.values += bytes(text).count(b'"quality"')

    def _send(self) -> None:
        assert self._transport is not None
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)


async def connected(url: str, token: str, subscriptions: list[dict[str, Any]]) -> list[LiveClient]:
    """A client for each of ``subscriptions``, when all have subscribed; some connect at a time."""
    loop, places, place = asyncio.get_running_loop(), asyncio.Semaphore(CONNECTING_MAX), urlsplit(url)

    async def one(subscribe: dict[str, Any]) -> LiveClient:
        async with places:
            _, client = await loop.create_connection(
                lambda: LiveClient(url, token, subscribe), place.hostname, place.port
            )
            async with asyncio.timeout(CONNECTED_S_MAX):
                answer = await client.subscribed
        if answer["subscribed"]["unknown_tags"]:
            raise SystemExit(f"tags are missing: {answer}")
        return client

    return list(await asyncio.gather(*(one(subscribe) for subscribe in subscriptions)))
