"""A box with device files, on which one start of a played agent follows the other."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from connectors.commands.envelope import ApplyDeviceFile
from edge_agent.commands.agent_actions import Restarting, agent_works
from edge_agent.commands.apply_file import ApplyFileWork
from edge_agent.commands.executor import Switches
from edge_agent.config.device_files import DeviceFiles
from edge_agent.config.starting import load_for_start
from edge_agent.drivers import built_in_drivers
from tests.unit.commands.played_line import Line, running

NAME: Final = "devices/press.yaml"
AGENT: Final = """
agent: {{group: plant, name: line, data_dir: data{more}}}
uplink: {{brokers: ['mqtt://127.0.0.1:1'], insecure: true}}
include: [devices/*.yaml]
"""
PRESS: Final = """
devices:
- name: press
  driver: modbus
  endpoint: tcp://127.0.0.1:502
  tags:
  - {name: state, at: holding 0}
  - {name: speed, at: holding 1, writable: {min: 0, max: 250, interlock: press/state == 0}}
"""


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def inline(work: Callable[..., Any], *args: Any) -> Any:
    """A thread would not know of the virtual time."""
    await asyncio.sleep(0)
    return work(*args)


class Box:
    """The folder of an agent; ``reads`` are the devices that can be read, ``reads_with`` those with a content."""

    def __init__(self, folder: Path, content: str | None = PRESS, *, more: str = "") -> None:
        self.folder = folder
        self.config = folder / "agent.yaml"
        folder.mkdir(exist_ok=True)
        self.config.write_text(AGENT.format(more=more))
        self.file = folder / NAME
        self.file.parent.mkdir(parents=True)
        (folder / "data").mkdir()
        if content is not None:
            self.file.write_text(content)
        self.reads = {"press"}
        self.reads_with: dict[str, set[str]] = {}
        self.starts = 0

    @property
    def content(self) -> str | None:
        return self.file.read_text() if self.file.exists() else None

    def start(self, switches: Switches | None = None) -> Start:
        """What ``edge-agent run`` does."""
        self.starts += 1
        return Start(self, switches)

    def version(self, content: str, version: int = 1, *, replaces: str | None = None, **more: Any) -> ApplyDeviceFile:
        known = more.pop("sha256", sha(content))
        name = more.pop("name", NAME)
        return ApplyDeviceFile(name=name, version=version, content=content, sha256=known, replaces=replaces, **more)


class Start(Line):
    """One start of the agent; ``restarts`` is why it was to end."""

    def __init__(self, box: Box, switches: Switches | None) -> None:
        drivers = built_in_drivers()
        loaded, self.notes = load_for_start(box.config, drivers, lambda _folder: False)
        config = loaded.config
        self.content = box.content or ""
        """What it runs with."""
        self.box = box
        self.not_reloaded = ""
        """Why a reload is not possible."""
        self.reloads = 0
        self.restarts: list[str] = []
        self.hellos_due = 0
        restarting = Restarting(self.restarts.append)
        self.files = DeviceFiles(box.config, config.agent.data_dir, drivers, include=config.include)
        super().__init__(box.folder / "data", start=box.starts, switches=switches)
        self.work = ApplyFileWork(
            self.files,
            config,
            restarting,
            read=lambda: box.reads_with.get(self.content, box.reads),
            clock=self.clock,
            in_thread=inline,
        )
        actions = {
            **agent_works(restarting, lambda: True, lambda _level: None, lambda: "info"),
            "apply_file": self.work,
        }
        self.journal.journal.close()
        Line.__init__(self, box.folder / "data", start=box.starts, switches=switches, actions=actions)
        self.work._clock = self.clock
        restarting.being_done = self.commands.executor.being_done
        restarting.hold, restarting.let_go = self.commands.executor.gate.close, self.commands.executor.gate.open
        self.work.locks = lambda: self.commands.operators.locks
        self.commands.files = lambda: self.work.now
        self.work.changed = self.commands.say_hello

    def reloads_in_place(self) -> None:
        """It can use its files without a restart."""
        self.work.reload = self._reload

    async def _reload(self) -> str:
        await asyncio.sleep(0)
        if not self.not_reloaded:
            self.reloads += 1
            self.content = self.box.content or ""
        return self.not_reloaded

    def ask(self, action: ApplyDeviceFile, **more: Any) -> str:
        """The cloud asks for ``action``; the id of the command."""
        return self.send(self.envelope(action=action, **more), device="").id


@asynccontextmanager
async def living(start: Start, *, dies: bool = False) -> AsyncIterator[Start]:
    """Run it. ``dies``: it is killed at the end, so that nothing of what an end does is done."""
    watching = asyncio.create_task(start.work.run())
    try:
        async with running(start):
            yield start
            if dies:
                start.files.store.stopped = lambda: None  # type: ignore[method-assign]
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
