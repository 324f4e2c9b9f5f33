"""The WebSocket ``/api/v1/live``."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Final

from fastapi import APIRouter, WebSocket
from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect, WebSocketState

from cloud_ingest.access.admission import address_of, who_asks
from cloud_ingest.access.needs import socket_needs
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.gateway.live import feeds
from cloud_ingest.gateway.live.client import Client
from cloud_ingest.gateway.live.hub import LiveHub
from cloud_ingest.gateway.live.pending import Cursor, cursor_of
from cloud_ingest.gateway.live.strangers import Strangers
from cloud_ingest.gateway.live.subscription import ClientMessage, Subscribe, wanted_by
from cloud_ingest.gateway.live.token_looks import TokenLooks
from cloud_ingest.gateway.rate_limits import network
from cloud_ingest.gateway.websocket_frames import outlet_of
from connectors.model.error_groups import first_of
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.ports.database import Database
from connectors.stopping import Tasks

CLIENTS_MAX: Final = 2000
TOKEN_S: Final = 3.0
LOOKS_A_TOKEN: Final = 3
"""Of a token that many connections show, so many looks are made in the time in which each connection makes one."""
FIRST_MESSAGE_S: Final = 10.0
CLOSE_S: Final = 5.0
PACE_S: Final = 0.1
POLICY: Final = 1008
TRY_LATER: Final = 1013
ENTRY: Final = Permission.ORDERS_READ
"""Everybody has it who may see anything here; what is subscribed needs its own."""


def live_routes(database: Database, hub: LiveHub) -> APIRouter:
    """``/live``."""
    api = APIRouter(prefix="/api/v1")
    here = _Live(database, hub)

    @api.websocket("/live")
    @socket_needs(ENTRY)
    async def live(socket: WebSocket) -> None:
        await _Connection(here, socket).serve()

    return api


@dataclass(frozen=True, slots=True)
class _Live:
    """What the connections of a process share."""

    database: Database
    hub: LiveHub
    strangers: Strangers = field(default_factory=Strangers)
    looks: TokenLooks = field(default_factory=TokenLooks)


class _TakesNothing(Exception):
    """The client has not taken what it was sent for too long."""


class _Full(Exception):
    """There are as many clients as may be."""


_ENDS: Final = (
    RequestRefused, _TakesNothing, _Full, DatabaseUnavailable, StatementRefused, WebSocketDisconnect, RuntimeError,
)  # fmt: skip


class _Connection:
    def __init__(self, here: _Live, socket: WebSocket) -> None:
        self._here = here
        self._socket = socket
        self._token = _bearer(socket.headers.get("authorization", ""))
        self._client: Client | None = None
        self._came_from = network(address_of(socket.scope))
        self._is_stranger = False

    async def serve(self) -> None:
        """Until the client goes, takes nothing for long, or may see it no more."""
        self._is_stranger = self._here.strangers.come(self._came_from)
        if not self._is_stranger:
            await self._close(TRY_LATER, "too many connections from there have not said yet who they are")
            return
        try:
            await self._socket.accept()
            async with first_of(*_ENDS), Tasks() as tasks:
                tasks.create_task(self._listen(tasks), name="live listens")
        except RequestRefused as exc:
            await self._close(POLICY, str(exc))
        except _TakesNothing:
            await self._close(TRY_LATER, "you take nothing: connect again with your last cursor as 'since'")
            if self._client is not None:
                self._here.hub.leave(self._client)
                await asyncio.sleep(CLOSE_S)
                self._client.outlet.abort()  # it does not take this either
        except (_Full, DatabaseUnavailable, StatementRefused) as exc:
            await self._close(TRY_LATER, str(exc))
        except (WebSocketDisconnect, RuntimeError):
            pass  # the client has gone
        finally:
            self._is_known()
            if self._client is not None:
                self._here.hub.leave(self._client)

    def _is_known(self) -> None:
        if self._is_stranger:
            self._is_stranger = False
            self._here.strangers.go(self._came_from)

    async def _listen(self, tasks: Tasks) -> None:
        """Take what the client sends; its first message comes soon, and no two come close together."""
        try:
            async with asyncio.timeout(FIRST_MESSAGE_S):
                text = await self._socket.receive_text()
        except TimeoutError as exc:
            why = 'say what you want: {"subscribe": {"tags": [...], "lines": ["*"]}}'
            raise RequestRefused(Why.INVALID, "nothing_asked", why) from exc
        await self._take(text, counts=True)
        self._is_known()
        tasks.create_task(self._watch_token(), name="live token")
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
        principal = await who_asks(self._socket, self._token, ENTRY, counts=counts)
        if message.subscribe is not None:
            await self._subscribe(principal, message.subscribe, await self._entered())

    async def _entered(self) -> Client:
        if self._client is None:
            if self._here.hub.count() >= CLIENTS_MAX:
                raise _Full(f"{CLIENTS_MAX} clients are connected already")
            client = Client(outlet_of(self._socket.scope))
            client.outlet.limit()
            await self._here.hub.enter(client)
            self._client = client
        return self._client

    async def _subscribe(self, principal: Principal, asked: Subscribe, client: Client) -> None:
        try:
            since = dict(cursor_of(asked.since).places) if asked.since else {}
        except ValueError as exc:
            raise RequestRefused(Why.INVALID, "cursor_invalid", "'since' is the cursor of a message") from exc
        wanted = wanted_by(principal, asked)
        known = await feeds.known_tags(self._here.database, principal, asked.tags) if asked.tags else []
        is_whole = await self._here.hub.subscribe(client, wanted, known, since)
        client.interval_s = asked.interval_ms / 1000
        answer = {
            "subscribed": {"tags": [tag.document() for tag in known], "unknown_tags": len(asked.tags) - len(known)},
            "cursor": Cursor({} if client.subscription is None else client.subscription.places).text(),
            "missed": not is_whole,
        }
        client.answer = json.dumps(answer).encode()

    async def _watch_token(self) -> None:
        """Until the token holds no more, or may something else, which raises ``RequestRefused``."""
        while True:
            if self._client is not None and self._client.has_given_up:
                raise _TakesNothing
            await asyncio.sleep(TOKEN_S)
            subscription = None if self._client is None else self._client.subscription
            if subscription is None:
                continue
            with contextlib.suppress(DatabaseUnavailable, StatementRefused):
                authenticator = self._socket.app.state.authenticator
                shows = await self._here.looks.principal(self._token, authenticator, TOKEN_S / LOOKS_A_TOKEN)
                if shows != subscription.wanted.principal:
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
