"""The WebSocket ``/api/v1/live`` as it is served, on a real database, and clients of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.event_log.domain_events import DomainEvent
from cloud_ingest.event_log.topics import LINE_EVENTS, ORDER_EVENTS
from cloud_ingest.gateway.server import serve
from tests.contract.command_steps import Office, office
from tests.contract.whole_gateway import whole_app
from tests.patience import WAIT_S_MAX

STATE: Final = "lineside.lines.state-changed.v1"
ALARM: Final = "lineside.lines.alarm-raised.v1"
BEGIN: Final = datetime.now(UTC) - timedelta(minutes=10)


class Viewers:
    """Tokens, and whose they are; a test takes them away or gives them another role."""

    def __init__(self) -> None:
        self.held = {
            "viewer": Principal(1, "user:v", "v", "user", (Grant(Role.VIEWER),)),
            "acme": Principal(1, "user:a", "a", "user", (Grant(Role.CUSTOMER),), "acme"),
            "other": Principal(2, "user:o", "o", "user", (Grant(Role.ADMIN),)),
        }

    async def principal(self, token: str | None) -> Principal:
        if token not in self.held:
            raise RequestRefused(Why.NO_TOKEN, "unknown_token", "this token is none")
        return self.held[token]


class Stage:
    """The gateway, and what happens in the plant."""

    def __init__(self, here: Office, port: int, viewers: Viewers) -> None:
        self.here, self.viewers = here, viewers
        self._url = f"ws://127.0.0.1:{port}/api/v1/live"
        self._seconds = 0

    @asynccontextmanager
    async def client(self, token: str | None = "viewer", **wanted: Any) -> AsyncIterator[Viewer]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with connect(self._url, additional_headers=headers, proxy=None) as connection:
            viewer = Viewer(connection)
            if wanted:
                await viewer.subscribe(**wanted)
            yield viewer

    async def value(self, value: float, tag_id: int = 1) -> None:
        """The tag has another value, a second later than the one before."""
        self._seconds += 1
        async with self.here.database.session() as session:
            await session.execute(
                "INSERT INTO sample (time, value_double, tag_id, tenant_id, quality) VALUES ($1, $2, $3, 1, 0)",
                BEGIN + timedelta(seconds=self._seconds),
                value,
                tag_id,
            )

    async def happens(self, topic: str, type_: str, key: str, tenant: int = 1, **data: Any) -> None:
        async with unit_of_work(self.here.database) as work:
            work.announce(DomainEvent(topic, type_, tenant, key, self.here.clock.now_ns(), data))

    async def line(self, state: str, key: str = "plant/line-1", tenant: int = 1) -> None:
        await self.happens(LINE_EVENTS, STATE, key, tenant, state=state)

    async def order(self, order: str, state: str, customer: str = "acme") -> None:
        await self.happens(ORDER_EVENTS, f"lineside.orders.{state}.v1", order, customer=customer, state=state)


class Viewer:
    """A client."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.cursor = ""
        self.answer: dict[str, Any] = {}

    async def send(self, message: dict[str, Any]) -> None:
        await self.connection.send(json.dumps(message))

    async def subscribe(self, **wanted: Any) -> None:
        await self.send({"subscribe": wanted})
        self.answer = await self.message()
        assert "subscribed" in self.answer, self.answer

    async def message(self) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S_MAX):
            message: dict[str, Any] = json.loads(await self.connection.recv())
        self.cursor = message["cursor"]
        return message

    async def until(self, found: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Messages up to the first one in which it is ``found``."""
        messages = [await self.message()]
        while not found(messages[-1]):
            messages.append(await self.message())
        return messages

    async def events(self, last: str) -> list[str]:
        """The states of events, up to ``last``."""
        messages = await self.until(lambda one: any(event["data"]["state"] == last for event in one["events"]))
        return [event["data"]["state"] for one in messages for event in one["events"]]


@asynccontextmanager
async def stage(dsn: str) -> AsyncIterator[Stage]:
    async with office(dsn) as here:
        viewers = Viewers()
        async with here.database.session() as session:
            await session.execute("INSERT INTO tenant (name) VALUES ('other')")
        app = whole_app(here.database)
        app.state.authenticator = viewers
        with socket.create_server(("127.0.0.1", 0)) as listening:
            serving = asyncio.create_task(serve(listening, app))
            try:
                yield Stage(here, listening.getsockname()[1], viewers)
            finally:
                serving.cancel()
                await asyncio.wait([serving])
