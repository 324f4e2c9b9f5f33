"""The words on the socket: one JSON object a line.

A request is ``{"call": NAME, "args": {…}}``. The answer is one line ``{"result": …}``, or ``{"error": SENTENCE}``; a
call that streams answers line after line until the caller closes the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

from connectors.model.errors import LinesideError

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
REQUEST_BYTES_MAX: Final = 64 * 1024
CONNECT_S_MAX: Final = 5.0
ANSWER_S_MAX: Final = 30.0


class AgentNotRunning(LinesideError):
    """Nobody answers at the socket: the caller says so, and how to start the agent."""


class AgentOutOfReach(AgentNotRunning):
    """Whoever calls may not open the socket; whether somebody would answer is not known."""


class CallFailed(LinesideError):
    """The agent answered that it cannot do what was asked, and why."""


async def call(socket: Path, name: str, **args: Any) -> Any:
    """Ask the agent at ``socket`` once. Raises ``AgentNotRunning`` or ``CallFailed``."""
    try:
        async with asyncio.timeout(ANSWER_S_MAX), contextlib.aclosing(stream(socket, name, **args)) as answers:
            async for answer in answers:
                return answer
    except TimeoutError as exc:
        raise AgentNotRunning(
            f"the agent at {socket} has not answered within {ANSWER_S_MAX:g} s: it is stopped, stuck, or its machine "
            "is overloaded; see its log"
        ) from exc
    raise AssertionError("a stream yields an answer or raises")


async def stream(socket: Path, name: str, **args: Any) -> AsyncGenerator[Any]:
    """Ask the agent at ``socket``, and yield its answers as they come. Raises ``AgentNotRunning`` or ``CallFailed``."""
    try:
        async with asyncio.timeout(CONNECT_S_MAX):
            reader, writer = await asyncio.open_unix_connection(str(socket), limit=LINE_BYTES_MAX)
    except PermissionError as exc:
        raise AgentOutOfReach(f"you may not open {socket}; ask for membership of the group that owns it") from exc
    except (OSError, TimeoutError) as exc:
        raise AgentNotRunning(f"no agent answers at {socket}; is it running? (edge-agent run)") from exc
    try:
        writer.write(json.dumps({"call": name, "args": args}).encode() + b"\n")
        await writer.drain()
        while line := await reader.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise CallFailed(answer["error"])
            yield answer["result"]
        raise AgentNotRunning(f"the agent at {socket} closed the connection; has it stopped?")
    except (OSError, ValueError) as exc:
        raise AgentNotRunning(f"the connection to the agent at {socket} broke: {exc}") from exc
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def parse_request(line: bytes) -> tuple[str, dict[str, Any]]:
    """(name, arguments) of a request. Raises ``ValueError`` with a sentence."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise ValueError("a request is one JSON object on one line") from exc
    if not isinstance(document, dict) or not isinstance(document.get("call"), str):
        raise ValueError('a request looks like {"call": "status", "args": {}}')
    args = document.get("args", {})
    if not isinstance(args, dict):
        raise ValueError("the arguments of a request are a JSON object")
    return document["call"], args
