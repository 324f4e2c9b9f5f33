"""The WebSocket ``/api/v1/live``."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Final

from fastapi import APIRouter, WebSocket
from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect, WebSocketState

from cloud_ingest.access.admission import who_asks
from cloud_ingest.access.needs import socket_needs
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.gateway.live import feeds
from cloud_ingest.gateway.live.hub import Client, LiveHub
from cloud_ingest.gateway.live.pending import cursor_of
from cloud_ingest.gateway.live.subscription import ClientMessage, Subscribe, wanted_by
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.ports.database import Database

CLIENTS_MAX: Final = 2000
SLOW_S: Final = 30.0
TOKEN_S: Final = 3.0
FIRST_MESSAGE_S: Final = 10.0
CLOSE_S: Final = 5.0
PACE_S: Final = 0.1
POLICY: Final = 1008
TRY_LATER: Final = 1013
ENTRY: Final = Permission.ORDERS_READ
"""Everybody has it who may see anything here; what is subscribed needs its own."""


def live_routes(database: Database) -> APIRouter:
    """``/live``."""
    api = APIRouter(prefix="/api/v1")
    hub = LiveHub(database)

    @api.websocket("/live")
    @socket_needs(ENTRY)
    async def live(socket: WebSocket) -> None:
        await _Connection(database, hub, socket).serve()

    return api


class _Connection:
    def __init__(self, database: Database, hub: LiveHub, socket: WebSocket) -> None:
        self._database = database
        self._hub = hub
        self._socket = socket
        self._client = Client()
        self._token = _bearer(socket.headers.get("authorization", ""))
        self._interval_s = 0.1
        self._sending = asyncio.Lock()
        self._subscribed_anew = asyncio.Event()

    async def serve(self) -> None:
        """Until the client goes, takes nothing for long, or may see it no more."""
        await self._socket.accept()
        if self._hub.count() >= CLIENTS_MAX:
            await self._close(TRY_LATER, f"{CLIENTS_MAX} clients are connected already")
            return
        try:
            await self._hub.enter(self._client)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(), name="live listens")
                tasks.create_task(self._send_forever(), name="live sends")
                tasks.create_task(self._watch_token(), name="live token")
        except* RequestRefused as group:
            await self._close(POLICY, str(group.exceptions[0]))
        except* TimeoutError:
            await self._close(TRY_LATER, "you take nothing: connect again with your last cursor as 'since'")
        except* (DatabaseUnavailable, StatementRefused) as group:
            await self._close(TRY_LATER, str(group.exceptions[0]))
        except* (WebSocketDisconnect, RuntimeError):
            pass  # the client has gone
        finally:
            self._hub.leave(self._client)

    async def _listen(self) -> None:
        """Take what the client sends; its first message comes soon, and no two come close together."""
        try:
            async with asyncio.timeout(FIRST_MESSAGE_S):
                text = await self._socket.receive_text()
        except TimeoutError as exc:
            why = 'say what you want: {"subscribe": {"tags": [...], "lines": ["*"]}}'
            raise RequestRefused(Why.INVALID, "nothing_asked", why) from exc
        await self._take(text, counts=True)
        while True:
            await asyncio.sleep(PACE_S)
            await self._take(await self._socket.receive_text())

    async def _take(self, text: str, *, counts: bool = False) -> None:
        try:
            message = ClientMessage.model_validate_json(text)
        except ValidationError as exc:
            error = exc.errors()[0]
            why = f"{'.'.join(map(str, error['loc']))}: {error['msg']}"
            raise RequestRefused(Why.INVALID, "message_invalid", why) from exc
        if message.token is not None:
            self._token = message.token
        principal = await self._who(counts=counts)
        if message.subscribe is not None:
            await self._subscribe(principal, message.subscribe)

    async def _who(self, *, counts: bool = False) -> Principal:
        return await who_asks(self._socket, self._token, ENTRY, counts=counts)

    async def _subscribe(self, principal: Principal, asked: Subscribe) -> None:
        try:
            since = dict(cursor_of(asked.since).places) if asked.since else {}
        except ValueError as exc:
            raise RequestRefused(Why.INVALID, "cursor_invalid", "'since' is the cursor of a message") from exc
        wanted = wanted_by(principal, asked)
        known = await feeds.known_tags(self._database, principal, asked.tags) if asked.tags else []
        async with self._sending:  # nothing of the subscription before comes behind the answer to this one
            ids = frozenset(tag.tag_id for tag in known)
            is_whole = await self._hub.subscribe(self._client, wanted, ids, since)
            self._interval_s = asked.interval_ms / 1000
            self._subscribed_anew.set()
            answer = {
                "subscribed": {"tags": [tag.document() for tag in known], "unknown_tags": len(asked.tags) - len(known)},
                "cursor": self._client.cursor,
                "missed": not is_whole,
            }
            async with asyncio.timeout(SLOW_S):
                await self._socket.send_text(json.dumps(answer))

    async def _send_forever(self) -> None:
        client = self._client
        while True:
            await client.news.wait()
            client.news.clear()
            async with self._sending:
                if not client.pending.is_empty():
                    async with asyncio.timeout(SLOW_S):
                        await self._socket.send_text(client.pending.take(client.cursor))
            with contextlib.suppress(TimeoutError):  # another subscription may have another interval
                async with asyncio.timeout(self._interval_s):
                    await self._subscribed_anew.wait()
            self._subscribed_anew.clear()

    async def _watch_token(self) -> None:
        """Until the token holds no more, or may something else, which raises ``RequestRefused``."""
        while True:
            await asyncio.sleep(TOKEN_S)
            if (wanted := self._client.wanted) is None:
                continue
            with contextlib.suppress(DatabaseUnavailable, StatementRefused):
                if await self._who() != wanted.principal:
                    raise RequestRefused(Why.FORBIDDEN, "other_roles", "what you may see has changed: connect again")

    async def _close(self, code: int, reason: str) -> None:
        states = (self._socket.application_state, self._socket.client_state)
        if WebSocketState.DISCONNECTED in states:
            return
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close(code, reason.encode()[:120].decode("utf-8", "ignore"))


def _bearer(authorization: str) -> str | None:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None
