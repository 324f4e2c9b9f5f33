"""The agent stays: it waits for a disk that does not work, and begins anew on an outbox that proves damaged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sqlite3
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.model.errors import AlreadyRunning, OutboxTooNew, OutboxUnavailable
from edge_agent import lives
from edge_agent.buffer.folder_lock import only_one
from edge_agent.buffer.outbox import Outbox
from edge_agent.buffer.schema import PAGE_BYTES, SCHEMA_VERSION
from edge_agent.config.models import AgentConfig
from edge_agent.local_api.protocol import AgentNotRunning, CallFailed, call
from edge_agent.main import Agent
from edge_agent.observability.metrics import OUTBOX_BLOCKED, OUTBOX_SALVAGES
from tests.patience import WAIT_S_MAX

Begun = list[Agent]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Short, for the socket in it."""
    monkeypatch.setattr(lives, "RETRY_FIRST_S", 0.05)
    monkeypatch.setattr(lives, "RETRY_LONGEST_S", 0.05)
    monkeypatch.setattr(lives, "SILENT_S_MAX", 0.01)
    with tempfile.TemporaryDirectory(prefix="life") as made:
        yield Path(made)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Begun:
    """Every agent that was assembled."""
    found: Begun = []
    really: Callable[..., Any] = Agent.assemble

    async def assemble(*args: Any) -> Agent:
        found.append(await really(*args))
        return found[-1]

    monkeypatch.setattr(Agent, "assemble", assemble)
    return found


@asynccontextmanager
async def running(folder: Path, **more: Any) -> AsyncIterator[asyncio.Task[None]]:
    """``edge-agent run`` without machines; asked to stop at the end, which it does."""
    uplink = {"brokers": ("mqtt://127.0.0.1:9",), "insecure": True}
    agent = {"group": "plant", "name": "line", "data_dir": folder / "data"}
    config = AgentConfig.model_validate({"agent": agent, "uplink": uplink, **more})
    task = asyncio.create_task(lives.run_agent(config, {}))
    try:
        yield task
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait([task], timeout=WAIT_S_MAX)
    await task


async def status(folder: Path, *, waits: bool = False) -> Any:
    """What ``edge-agent status`` is told, by an agent that waits for its disk or by one that does not."""
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            with contextlib.suppress(AgentNotRunning, CallFailed):
                found = await call(folder / "data" / "agent.sock", "status")
                if bool(found["waiting_for_outbox"]) == waits:
                    return found
            await asyncio.sleep(0.01)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not condition():  # noqa: ASYNC110  what it waits for is no event
            await asyncio.sleep(0.01)


async def test_a_port_for_metrics_that_is_taken_is_waited_for_and_the_agent_works(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        metrics = {"metrics": {"host": "127.0.0.1", "port": port}}
        async with running(folder, observability=metrics) as task:
            assert (await status(folder))["waiting_for_outbox"] == ""
            assert not task.done()
            taken.close()
            await until(lambda: "lineside_" in served_at(port))


def served_at(port: int) -> str:
    """What is served there; nothing when nothing is."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1) as answer:
        return str(answer.read().decode())
    return ""


async def test_while_the_folder_cannot_be_used_it_waits_says_so_and_begins_by_itself(
    folder: Path, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [True]
    really = Outbox.__init__

    def fails(self: Outbox, *args: Any, **more: Any) -> None:
        if failing:
            raise OutboxUnavailable("the outbox cannot be opened: the disk is full")
        really(self, *args, **more)

    monkeypatch.setattr(Outbox, "__init__", fails)
    async with running(folder):
        waiting = await status(folder, waits=True)
        assert (waiting["agent"], begun) == ("plant/line", [])
        await until(lambda: OUTBOX_BLOCKED._value.get() == 1)
        waiting = await status(folder, waits=True)
        assert waiting["waiting_for_outbox"] == "the outbox cannot be opened: the disk is full"
        with pytest.raises(CallFailed, match="acquires nothing yet, as it waits for its outbox"):
            await call(folder / "data" / "agent.sock", "tags")
        failing.clear()
        await until(lambda: begun)
        await status(folder)
        assert OUTBOX_BLOCKED._value.get() == 0


async def test_a_place_that_is_no_folder_is_waited_for_too(folder: Path, begun: Begun) -> None:
    (folder / "data").write_text("in the way")
    async with running(folder):
        await until(lambda: OUTBOX_BLOCKED._value.get() == 1)
        (folder / "data").unlink()
        await until(lambda: begun)


async def test_an_agent_that_waits_can_be_stopped(folder: Path, begun: Begun) -> None:
    (folder / "data").write_text("in the way")
    async with running(folder):
        await until(lambda: OUTBOX_BLOCKED._value.get() == 1)
    assert begun == []


async def test_an_outbox_that_turns_out_to_be_damaged_is_salvaged_and_the_agent_begins_anew(
    folder: Path, begun: Begun
) -> None:
    salvaged = OUTBOX_SALVAGES._value.get()
    path = folder / "data" / "outbox.db"
    async with running(folder) as task:
        first = (await status(folder))["epoch"]
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name='gap'").fetchone()
        connection.close()
        with path.open("r+b") as file:
            file.seek((root - 1) * PAGE_BYTES)
            file.write(bytes(PAGE_BYTES))
        begun[0]._writer.damage.notice("somebody has read noise")
        await until(lambda: len(begun) == 2)
        assert (await status(folder))["epoch"] != first
        assert not task.done()
        assert OUTBOX_SALVAGES._value.get() == salvaged + 1
        assert len(list(path.parent.glob("outbox.db.damaged-*"))) == 1


async def test_a_suspicion_that_proves_wrong_costs_no_salvage(folder: Path, begun: Begun) -> None:
    async with running(folder):
        await status(folder)
        begun[0]._writer.damage.notice("somebody has read noise")
        await until(lambda: len(begun) == 2)
        assert (await status(folder))["outbox"]["set_aside"] == []


async def test_a_second_agent_on_the_same_folder_ends_with_a_sentence(folder: Path) -> None:
    with only_one(folder / "data"), pytest.raises(AlreadyRunning, match="another agent uses the data folder"):
        async with running(folder) as task:
            await asyncio.wait([task], timeout=WAIT_S_MAX)


async def test_an_outbox_of_a_newer_version_ends_it_with_a_sentence(folder: Path) -> None:
    async with running(folder):
        await status(folder)
    connection = sqlite3.connect(folder / "data" / "outbox.db")
    with connection:
        connection.execute("UPDATE meta SET value=value + 1 WHERE key='schema'")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(OutboxTooNew, match="newer Lineside"):
        async with running(folder) as task:
            await asyncio.wait([task], timeout=WAIT_S_MAX)


async def test_an_end_that_was_asked_for_while_it_waited_for_its_disk_is_no_crash_in_the_trial_of_a_device_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[str] = []
    tried: list[None] = []

    async def assemble(*_args: Any) -> Agent:
        tried.append(None)
        raise OutboxUnavailable("the disk is gone")

    class Store:
        def stopped(self) -> None:
            with pytest.raises(AlreadyRunning), only_one(folder / "data"):
                pass
            ends.append("asked to")

    class Files:
        store = Store()

    monkeypatch.setattr(Agent, "assemble", assemble)
    really = lives.run_agent
    monkeypatch.setattr(lives, "run_agent", lambda config, drivers: really(config, drivers, None, Files()))  # type: ignore[arg-type]
    async with running(folder):
        await until(lambda: tried)
        assert ends == []
    assert ends == ["asked to"]
