"""The states of commands as they come, on a WebSocket.

Each client reads the table from its own cursor on, a page at a time, and is sent the next page when it has taken this
one: so nothing is kept for it, and a slow one costs nothing but its connection, which is closed after a while. One
connection to the database per process hears of news for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.sight import Sight, sight_of
from cloud_ingest.commands import questions
from cloud_ingest.commands.book import CHANNEL
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.ports.database import Database

CLIENTS_MAX: Final = 200
PAGE: Final = 200
LOOK_S: Final = 5.0
SLOW_S: Final = 10.0
CLOSE_S: Final = 5.0
TOKEN_S: Final = 3.0
"""How often it is looked whether the token of a connection still holds."""
RETRY_S: Final = 1.0
CURSOR_MAX: Final = (1 << 63) - 1
POLICY: Final = 1008
TRY_LATER: Final = 1013
_SLOW: Final = "you take states too slowly: connect again with the last cursor as 'since'"


class CommandStream:
    """``asks`` says who asks by a connection and shows a token, or raises ``RequestRefused``."""

    def __init__(self, database: Database, asks: Callable[..., Awaitable[Principal]]) -> None:
        self._database = database
        self._asks = asks
        self._clients: set[asyncio.Event] = set()
        self._hearing: asyncio.Task[None] | None = None

    async def serve(self, socket: WebSocket, since: int | None) -> None:
        """Send every state after the cursor ``since`` (without it: from now on), until the client goes."""
        await socket.accept()
        token = _token(socket.headers.get("authorization", ""))
        try:
            sight = sight_of(await self._asks(socket, token), Permission.COMMANDS_READ)
        except RequestRefused as exc:
            await _close(socket, POLICY, str(exc))
            return
        except DatabaseUnavailable as exc:
            await _close(socket, TRY_LATER, str(exc))
            return
        if since is not None and not 0 <= since <= CURSOR_MAX:
            await _close(socket, POLICY, "'since' is the cursor of a state: a number from 0 on")
            return
        if len(self._clients) >= CLIENTS_MAX:
            await _close(socket, TRY_LATER, f"{CLIENTS_MAX} clients are connected already")
            return
        news = asyncio.Event()
        self._clients.add(news)
        self._hear()
        try:
            await self._serve(socket, since, news, token, sight)
        finally:
            self._clients.discard(news)
            if not self._clients and self._hearing is not None:
                self._hearing.cancel()
                self._hearing = None

    async def _serve(
        self, socket: WebSocket, since: int | None, news: asyncio.Event, token: str | None, sight: Sight
    ) -> None:
        sending = asyncio.create_task(self._send_forever(socket, since, news, sight), name="command stream sends")
        gone = asyncio.create_task(_until_gone(socket), name="command stream client")
        over = asyncio.create_task(self._until_refused(socket, token, sight), name="command stream token")
        tasks = (sending, gone, over)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, RequestRefused):
                await _close(socket, POLICY, str(result))
            elif isinstance(result, TimeoutError):
                await _close(socket, TRY_LATER, _SLOW)
            elif isinstance(result, DatabaseUnavailable | StatementRefused):
                await _close(socket, TRY_LATER, str(result))
            elif isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | RuntimeError):
                raise result

    async def _until_refused(self, socket: WebSocket, token: str | None, sight: Sight) -> None:
        """Until the token holds no more, which raises ``RequestRefused``; while the database is away, it does."""
        while True:
            await asyncio.sleep(TOKEN_S)
            with contextlib.suppress(DatabaseUnavailable, StatementRefused):
                principal = await self._asks(socket, token, counts=False)
                if sight_of(principal, Permission.COMMANDS_READ) != sight:
                    raise RequestRefused(Why.FORBIDDEN, "other_roles", "what you may see has changed: connect again")

    async def _send_forever(self, socket: WebSocket, since: int | None, news: asyncio.Event, sight: Sight) -> None:
        cursor = await questions.newest_cursor(self._database) if since is None else since
        while True:
            news.clear()
            async with self._database.session(sight.tenant_id) as session:
                rows = await questions.states_after(session, cursor, PAGE)
            for row in rows:
                if sight.sees(row["tenant_id"], row["agent"]):
                    async with asyncio.timeout(SLOW_S):
                        await socket.send_json(questions.state_document(row))
                cursor = int(row["state_id"])
            if len(rows) < PAGE:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await news.wait()

    def _hear(self) -> None:
        if self._hearing is None or self._hearing.done():
            self._hearing = asyncio.create_task(self._hear_forever(), name="command stream hears")

    async def _hear_forever(self) -> None:
        """Wake the clients at every notification; while the database is away, they look by themselves."""
        while True:
            with contextlib.suppress(DatabaseUnavailable, StatementRefused):
                async with self._database.notified(CHANNEL) as woken:
                    while True:
                        for news in self._clients:
                            news.set()
                        await woken.wait(LOOK_S)
            await asyncio.sleep(RETRY_S)


def _token(authorization: str) -> str | None:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


async def _until_gone(socket: WebSocket) -> None:
    """Until the client has closed. What it sends is not looked at."""
    while True:
        if (await socket.receive())["type"] == "websocket.disconnect":
            return


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    """Close with a sentence, which comes behind what the client has not taken yet; one that takes nothing is left."""
    if socket.application_state is WebSocketState.DISCONNECTED or socket.client_state is WebSocketState.DISCONNECTED:
        return
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await socket.close(code, reason.encode()[:120].decode("utf-8", "ignore"))
