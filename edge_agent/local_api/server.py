"""Serves the socket: reads requests, answers from the agent's own view of itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket as sockets
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from connectors.model.back_off import BackOff
from connectors.model.errors import AlreadyRunning, LinesideError
from connectors.model.texts import storable
from connectors.observability.events import emit
from edge_agent.local_api.callers import CALLER, user_of
from edge_agent.local_api.protocol import REQUEST_BYTES_MAX, parse_request
from edge_agent.observability.agent_events import Fault, SocketUnavailable

CLIENTS_MAX: Final = 32
RETRY_FIRST_S: Final = 1.0
RETRY_LONGEST_S: Final = 60.0


Handler = Callable[[Mapping[str, Any]], AsyncIterator[Any]]
"""Answers one call with its arguments: yields results, one for most calls, many for a stream.

Raises ``LinesideError`` or ``ValueError`` with a sentence for the caller.
"""


class LocalApi:
    """The socket of one agent. At most ``CLIENTS_MAX`` callers at once; more are told to come back."""

    def __init__(self, path: Path, mode: int, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._mode = mode
        self._handlers = handlers
        self._clients: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until cancelled; while the disk does not let the socket be made, try again.

        Raises ``AlreadyRunning`` when another agent answers at the socket.
        """
        server = await self._listen()
        try:
            async with server:
                await server.serve_forever()
        finally:
            for client in list(self._clients):
                client.cancel()
            with contextlib.suppress(OSError):
                self._path.unlink()

    async def _listen(self) -> asyncio.Server:
        """The socket, with its mode; nobody can connect before the caller serves.

        It is made and handed over without a wait between, so that whoever ends this leaves no socket open: this agent
        would take it for another one's.
        """
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        while True:
            try:
                self._make_way()
                server = await asyncio.start_unix_server(
                    self._accept, str(self._path), limit=REQUEST_BYTES_MAX, start_serving=False
                )
                try:
                    os.chmod(self._path, self._mode)
                except OSError:
                    server.close()
                    raise
            except OSError as exc:
                wait_s = back_off.next_s()
                emit(SocketUnavailable(str(self._path), str(exc), round(wait_s, 1)))
                await asyncio.sleep(wait_s)
            else:
                return server

    def _make_way(self) -> None:
        """Remove the socket that a killed agent left behind."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.is_socket():
            return
        with sockets.socket(sockets.AF_UNIX) as probe:
            try:
                probe.connect(str(self._path))
            except OSError:
                self._path.unlink(missing_ok=True)
                return
        raise AlreadyRunning(f"another agent answers at {self._path}")

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a client always has a task
        self._clients.add(task)
        CALLER.set(user_of(writer.get_extra_info("socket")))
        try:
            if len(self._clients) > CLIENTS_MAX:
                await _write(writer, {"error": f"{CLIENTS_MAX} commands are connected already; try again later"})
                return
            while line := await reader.readline():
                await self._answer(line, writer)
        except (OSError, ValueError, asyncio.CancelledError):
            pass  # the caller has gone, or the agent stops
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            name, args = parse_request(line)
            handler = self._handlers.get(name)
            if handler is None:
                raise ValueError(f"unknown call {name!r}; known are {', '.join(sorted(self._handlers))}")
            async for result in handler(args):
                await _write(writer, {"result": result})
        except (LinesideError, ValueError, TypeError, KeyError) as exc:
            await _write(writer, {"error": str(exc)})
        except OSError:
            raise
        except Exception as exc:  # a defect in one answer must not end the agent: logged and counted
            emit(Fault("local api", f"{type(exc).__name__}: {exc}", traceback.format_exc()))
            await _write(writer, {"error": f"the agent failed to answer: {exc}"})


async def _write(writer: asyncio.StreamWriter, document: dict[str, Any]) -> None:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, default=str)
    writer.write(storable(text).encode() + b"\n")
    await writer.drain()
