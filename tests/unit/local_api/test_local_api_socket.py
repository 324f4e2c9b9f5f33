"""The agent's socket: whoever asks gets an answer or a sentence, whatever he sends, and nobody else may ask."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket as sockets
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.model.errors import AlreadyRunning, OutboxUnavailable
from edge_agent.local_api.protocol import REQUEST_BYTES_MAX, AgentNotRunning, CallFailed, call, stream
from edge_agent.local_api.server import CLIENTS_MAX, LocalApi
from edge_agent.observability.metrics import FAULTS
from tests.patience import WAIT_S_MAX

MODE = 0o620


class Handlers:
    """What the agent would answer, played."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def echo(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        yield dict(args)

    async def count(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        try:
            for number in range(1_000_000):
                yield number
                await asyncio.sleep(0.001)
        finally:
            self.ended.append("count")

    async def full(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        yield "the first"
        raise OutboxUnavailable("the outbox cannot be read: the disk is gone")

    async def defect(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        yield 1 / 0

    async def endless(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        yield float("nan")

    def all(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("echo", "count", "full", "defect", "endless")}


@pytest.fixture
def path() -> Iterator[Path]:
    """In a folder whose name is short: the address of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="api") as folder:
        yield Path(folder) / "below" / "agent.sock"


def mode_of(path: Path) -> int | None:
    """The permissions of the socket; ``None`` while there is none."""
    with contextlib.suppress(FileNotFoundError):
        status = path.stat().st_mode
        assert stat.S_ISSOCK(status)
        return stat.S_IMODE(status)
    return None


@asynccontextmanager
async def serving(path: Path, handlers: Handlers | None = None) -> AsyncIterator[LocalApi]:
    api = LocalApi(path, MODE, (handlers or Handlers()).all())
    task = asyncio.create_task(api.run())
    try:
        while mode_of(path) != MODE:
            assert not task.done(), task.exception()
            await asyncio.sleep(0.001)
        yield api
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def to_its_end(answers: AsyncIterator[Any]) -> None:
    async for _ in answers:
        pass


async def said_to(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    """What the agent answers to these lines, one answer each."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    answers = []
    for line in lines:
        writer.write(line)
        answers.append(json.loads(await asyncio.wait_for(reader.readline(), WAIT_S_MAX)))
    writer.close()
    await writer.wait_closed()
    return answers


async def test_a_call_is_answered_with_its_arguments(path: Path) -> None:
    async with serving(path):
        assert await call(path, "echo", device="oven", text="°C") == {"device": "oven", "text": "°C"}


async def test_a_stream_goes_on_until_its_caller_leaves(path: Path) -> None:
    handlers = Handlers()
    async with serving(path, handlers):
        async with contextlib.aclosing(stream(path, "count")) as answers:
            assert [await anext(answers) for _ in range(5)] == [0, 1, 2, 3, 4]
        async with asyncio.timeout(WAIT_S_MAX):
            while not handlers.ended:  # noqa: ASYNC110  what it waits for is no event
                await asyncio.sleep(0.005)
        assert handlers.ended == ["count"]
        assert await call(path, "echo") == {}


async def test_only_those_whom_the_mode_allows_may_open_the_socket(path: Path) -> None:
    async with serving(path):
        assert mode_of(path) == MODE
    assert mode_of(path) is None, "a command finds no socket of an agent that has stopped"


async def test_who_may_not_open_the_socket_is_told_whom_to_ask(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_args: Any, **_more: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asyncio, "open_unix_connection", refuse)
    with pytest.raises(AgentNotRunning, match=r"you may not open .*; ask for membership of the group that owns it"):
        await call(path, "status")


async def test_where_no_agent_is_the_command_says_how_to_start_one(path: Path) -> None:
    with pytest.raises(AgentNotRunning, match=r"no agent answers at .*; is it running\? \(edge-agent run\)"):
        await call(path, "status")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"hello\n", "a request is one JSON object on one line"),
        (b"\xff\xfe\n", "a request is one JSON object on one line"),
        (b"[" * 50_000 + b"\n", "a request is one JSON object on one line"),
        (b"[]\n", 'a request looks like {"call": "status", "args": {}}'),
        (b'{"call": 5}\n', 'a request looks like {"call": "status", "args": {}}'),
        (b'{"call": "echo", "args": []}\n', "the arguments of a request are a JSON object"),
        (b'{"call": "ekho"}\n', "unknown call 'ekho'; known are count, defect, echo, endless, full"),
    ],
)
async def test_a_bad_request_gets_a_sentence_and_the_connection_goes_on(path: Path, line: bytes, sentence: str) -> None:
    async with serving(path):
        assert await said_to(path, line, b'{"call": "echo", "args": {"a": 1}}\n') == [
            {"error": sentence},
            {"result": {"a": 1}},
        ]


async def test_a_request_without_end_is_cut_off(path: Path) -> None:
    async with serving(path):
        reader, writer = await asyncio.open_unix_connection(str(path))
        with contextlib.suppress(ConnectionError):
            writer.write(b"x" * (REQUEST_BYTES_MAX * 4))
            await writer.drain()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), WAIT_S_MAX) == b""
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert await call(path, "echo") == {}


async def test_what_the_agent_cannot_do_is_said_in_its_own_words(path: Path) -> None:
    async with serving(path):
        answers = stream(path, "full")
        assert await anext(answers) == "the first"
        with pytest.raises(CallFailed, match="the outbox cannot be read: the disk is gone"):
            await anext(answers)


async def test_a_defect_of_one_answer_is_counted_and_ends_nothing(path: Path) -> None:
    def faults() -> float:
        return FAULTS.labels("local api")._value.get()

    async with serving(path):
        before = faults()
        with pytest.raises(CallFailed, match="the agent failed to answer: division by zero"):
            await call(path, "defect")
        assert faults() == before + 1
        assert await call(path, "echo") == {}


async def test_a_value_that_json_does_not_have_is_an_error_and_no_broken_line(path: Path) -> None:
    async with serving(path):
        with pytest.raises(CallFailed, match="not JSON compliant"):
            await call(path, "endless")


async def test_a_text_that_is_no_utf_8_reaches_the_caller_with_a_mark(path: Path) -> None:
    async with serving(path):
        assert await call(path, "echo", value="pi\udce8ce") == {"value": "pi\N{REPLACEMENT CHARACTER}ce"}


async def test_an_agent_that_stops_ends_its_streams_and_says_so(path: Path) -> None:
    handlers = Handlers()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(serving(path, handlers))
        answers = stream(path, "count")
        assert await anext(answers) == 0
        await stack.aclose()
        with pytest.raises(AgentNotRunning, match="closed the connection; has it stopped"):
            await to_its_end(answers)


async def test_too_many_callers_are_told_to_come_back(path: Path) -> None:
    async with serving(path):
        async with contextlib.AsyncExitStack() as callers:
            for _ in range(CLIENTS_MAX):
                answers = await callers.enter_async_context(contextlib.aclosing(stream(path, "count")))
                await anext(answers)
            with pytest.raises(CallFailed, match=f"{CLIENTS_MAX} commands are connected already; try again later"):
                await call(path, "echo")
        for _ in range(2000):
            with contextlib.suppress(CallFailed):
                assert await call(path, "echo") == {}
                break
            await asyncio.sleep(0.005)
        else:
            pytest.fail("nobody was let in again")


async def test_the_socket_of_a_killed_agent_makes_way(path: Path) -> None:
    path.parent.mkdir()
    with sockets.socket(sockets.AF_UNIX) as left:
        left.bind(str(path))
    assert mode_of(path) not in (None, MODE)
    async with serving(path):
        assert await call(path, "echo") == {}


async def test_the_socket_of_a_living_agent_is_not_taken_away(path: Path) -> None:
    async with serving(path):
        with pytest.raises(AlreadyRunning, match="another agent answers at"):
            await LocalApi(path, MODE, {}).run()
        assert await call(path, "echo") == {}


@pytest.mark.parametrize("steps", range(5))
async def test_one_that_is_ended_while_it_begins_leaves_nobody_at_the_socket(path: Path, steps: int) -> None:
    """Else the next part of the same agent would find its own socket taken, and take it for another agent's."""
    begins = asyncio.create_task(LocalApi(path, MODE, {}).run())
    for _ in range(steps):
        await asyncio.sleep(0)
    begins.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begins
    async with serving(path):
        assert await call(path, "echo") == {}


async def test_a_socket_whose_mode_cannot_be_set_is_not_left_open_and_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.local_api.server.RETRY_FIRST_S", 0.01)
    refused = iter([PermissionError(1, "Operation not permitted")])
    really = os.chmod

    def chmod(*args: Any) -> None:
        if (error := next(refused, None)) is not None:
            raise error
        really(*args)

    monkeypatch.setattr("edge_agent.local_api.server.os.chmod", chmod)
    async with serving(path):
        assert next(refused, None) is None
        assert await call(path, "echo") == {}


async def test_an_agent_that_does_not_answer_is_said_to_be_stuck(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was stopped with SIGSTOP takes connections all the same."""
    monkeypatch.setattr("edge_agent.local_api.protocol.ANSWER_S_MAX", 0.2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with sockets.socket(sockets.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(AgentNotRunning, match=r"has not answered within 0\.2 s"):
            await call(path, "status")
