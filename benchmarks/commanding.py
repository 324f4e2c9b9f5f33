"""Who asks for commands and hears what becomes of them, as any client of the API does: POST with a token, WebSocket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

from connectors.commands.states import ENDED

RESULT_S_MAX: Final = 30.0
CONNECTIONS_MAX: Final = 32


@dataclass(slots=True)
class Course:
    """What became of one command; times are of the wall clock, which all processes of this machine share."""

    began_s: float
    answered_s: float = 0.0
    ended_s: float = 0.0
    state: str = ""
    states: list[dict[str, Any]] = field(default_factory=list)
    """As the stream told them."""
    heard_s: list[float] = field(default_factory=list)

    @property
    def took_ms(self) -> float:
        """From the POST to the final state."""
        return (self.ended_s - self.began_s) * 1000


class HttpConnection:
    """One connection that stays open, and as little between the caller and the wire as the protocol allows."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        told = {"Host": f"{self._host}:{self._port}", "Content-Type": "application/json", "Content-Length": len(body)}
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {**told, **headers}.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        return int(head.split(" ", 2)[1]), json.loads(await reader.readexactly(length))

    def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()


class Commander:
    """A client with a token."""

    def __init__(self, connections: Sequence[HttpConnection], token: str, within_s: float) -> None:
        self._free: asyncio.LifoQueue[HttpConnection] = asyncio.LifoQueue()
        for connection in connections:
            self._free.put_nowait(connection)
        self._token = token
        self._within_s = within_s
        self._courses: dict[str, Course] = {}
        self._early: dict[str, list[tuple[dict[str, Any], float]]] = {}
        self._ended: dict[str, asyncio.Future[None]] = {}
        self.doubled: list[str] = []
        """Commands of which the stream told an end more than once."""

    async def command(self, agent: str, device: str, tag: str, value: Any, key: str) -> Course:
        """Ask for a write and wait until the stream tells its end. Raises ``TimeoutError``."""
        body = {"agent": agent, "action": {"do": "write", "device": device, "tag": tag, "value": value}}
        headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": key}
        connection = await self._free.get()
        try:
            course = Course(time.time())
            status, answer = await connection.post("/api/v1/commands", json.dumps(body).encode(), headers)
            course.answered_s = time.time()
        finally:
            self._free.put_nowait(connection)
        if status != HTTPStatus.ACCEPTED:
            raise SystemExit(f"a command was not taken: {answer}")
        id_ = str(answer["id"])
        ended = self._ended[id_] = asyncio.get_running_loop().create_future()
        self._courses[id_] = course
        for document, at_s in self._early.pop(id_, ()):
            self._take(course, document, at_s)
        async with asyncio.timeout(self._within_s):
            await ended
        return course

    async def hear(self, socket: ClientConnection) -> None:
        """Take what the stream tells, until it ends."""
        async for text in socket:
            at_s, document = time.time(), json.loads(text)
            course = self._courses.get(document["id"])
            if course is None:  # the stream may be quicker than the answer to the POST
                self._early.setdefault(document["id"], []).append((document, at_s))
            else:
                self._take(course, document, at_s)

    def _take(self, course: Course, document: dict[str, Any], at_s: float) -> None:
        course.states.append(document)
        course.heard_s.append(at_s)
        if document["state"] not in ENDED:
            return
        if course.state:
            self.doubled.append(document["id"])
            return
        course.ended_s, course.state = at_s, document["state"]
        self._ended[document["id"]].set_result(None)


@asynccontextmanager
async def commander(url: str, token: str, within_s: float = RESULT_S_MAX) -> AsyncIterator[Commander]:
    """A client whose stream is open; a command that has not ended ``within_s`` is an error."""
    place = urlsplit(url)
    connections = [HttpConnection(place.hostname or "", place.port or 80) for _ in range(CONNECTIONS_MAX)]
    stream = f"{url.replace('http', 'ws', 1)}/api/v1/commands/stream"
    async with connect(stream, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None) as socket:
        made = Commander(connections, token, within_s)
        hearing = asyncio.create_task(made.hear(socket), name="stream")
        await asyncio.sleep(0.5)  # without a cursor the stream begins when it has asked for the newest one
        try:
            yield made
        finally:
            for connection in connections:
                connection.close()
            hearing.cancel()
            await asyncio.wait([hearing])
