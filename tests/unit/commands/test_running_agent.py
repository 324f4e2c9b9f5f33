"""The whole agent without machines: operators are heard over its socket, and what they do outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers
from edge_agent.lives import run_agent
from edge_agent.local_api.protocol import AgentNotRunning, CallFailed, call
from tests.patience import WAIT_S_MAX

CONFIG = """
agent: {{group: plant, name: line, data_dir: {folder}}}
uplink: {{brokers: ["mqtt://127.0.0.1:9"], insecure: true}}
devices:
  - name: oven
    driver: modbus
    endpoint: tcp://127.0.0.1:9
    tags: [{{name: zone1, at: holding 1, writable: {{min: 0, max: 9}}}}]
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, for the socket in it."""
    with tempfile.TemporaryDirectory(prefix="cmd") as made:
        yield Path(made)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Path]:
    """``edge-agent run``, asked to stop at the end."""
    file = folder / "agent.yaml"
    file.write_text(CONFIG.format(folder=folder))
    drivers = built_in_drivers()
    task = asyncio.create_task(run_agent(load_config(file, drivers), drivers))
    try:
        yield folder / "agent.sock"
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await task


async def status_of(socket: Path) -> dict[str, Any]:
    """When its journal is open."""
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            with contextlib.suppress(AgentNotRunning):
                status: dict[str, Any] = await call(socket, "status")
                if status.get("commands") and not status["commands"]["problem"]:
                    return status
            await asyncio.sleep(0.05)


async def test_a_lock_outlives_the_agent_and_keeps_a_write_from_being_done(folder: Path) -> None:
    async with running(folder) as socket:
        await status_of(socket)
        await call(socket, "lock", line="oven", reason="hands in the oven")
    async with running(folder) as socket:
        status = await status_of(socket)
        (lock,) = status["commands"]["locks"]
        assert (lock["line"], lock["actor"], lock["reason"]) == ("oven", getpass.getuser(), "hands in the oven")
        (tag,) = await call(socket, "tags")
        assert tag["locked"] == f"{getpass.getuser()}: hands in the oven"
        answer = await call(socket, "write", device="oven", tag="zone1", value=5, reason="a test")
        assert (answer["state"], answer["code"]) == ("refused", "locked")
        await call(socket, "unlock", line="oven")
        answer = await call(socket, "write", device="oven", tag="zone1", value=5, reason="a test")
        assert (answer["state"], answer["code"]) == ("refused", "device_unavailable")
        with pytest.raises(CallFailed, match="has not been connected yet"):
            await call(socket, "write", device="oven", tag="zone1", text="5", reason="a test")
