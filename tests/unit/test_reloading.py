"""A reload ends and begins what has changed, and nothing else; whatever is wrong with the files, what runs goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import sqlite3
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.modbus.settings import ModbusDevice
from connectors.ports.clock import Clock, SystemClock
from connectors.ports.device import Acquisition
from connectors.ports.settings import DriverType
from edge_agent import lives, reloading
from edge_agent.acquisition.device import DeviceAcquisition
from edge_agent.buffer.reading import read_batches
from edge_agent.buffer.rows import Kind
from edge_agent.commands.executor import Executor
from edge_agent.config.in_use import ConfigInUse
from edge_agent.config.load import load_with_origins
from edge_agent.local_api.protocol import AgentNotRunning, CallFailed, call
from edge_agent.main import Agent
from tests.patience import WAIT_S_MAX
from tests.unit.rising_driver import PlayedDriver

LET_GO = reloading._let_go


@pytest.fixture(autouse=True)
def no_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have reloads not look for garbage among all that the tests have loaded: it takes half a second each time."""
    monkeypatch.setattr(reloading, "_let_go", lambda: None)


class Line:
    """An agent in this process, with its files and with every driver that it has ever made."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, list[PlayedDriver]()
        self.file = folder / "agent.yaml"
        self.devices: dict[str, dict[str, Any]] = {"press": {}, "oven": {}}
        self.more: dict[str, Any] = {}
        self.drivers = {"modbus": DriverType(ModbusDevice, self._make)}
        self.write()

    def _make(self, settings: ModbusDevice, clock: Clock) -> PlayedDriver:
        self.made.append(PlayedDriver(settings, clock))
        return self.made[-1]

    def write(self) -> None:
        """Write the file anew, as ``devices`` and ``more`` say."""
        usual = {"driver": "modbus", "endpoint": "tcp://10.0.0.2", "tags": [{"name": "a", "at": "coil 1"}]}
        document = {
            "agent": {"group": "plant", "name": "line", "data_dir": "data"},
            "uplink": {"brokers": ["mqtt://127.0.0.1:9"], "insecure": True},
            "devices": [{"name": name, **usual, **device} for name, device in self.devices.items()],
            **self.more,
        }
        self.file.write_text(json.dumps(document))

    def of(self, name: str) -> list[PlayedDriver]:
        """The drivers of one device, the oldest first."""
        return [driver for driver in self.made if driver.settings.name == name]

    async def call(self, name: str, **args: Any) -> Any:
        return await call(self.folder / "data" / "agent.sock", name, **args)

    async def reload(self, **args: Any) -> Any:
        return await self.call("reload", **args)

    async def sync(self) -> dict[str, Any]:
        return dict((await self.call("status"))["configuration"])

    async def until_sync(self, state: str) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S_MAX):
            while (found := await self.sync())["state"] != state:  # noqa: ASYNC110  what it waits for is no event
                await asyncio.sleep(0.02)
        return found

    async def until_sampled(self, *names: str) -> None:
        """Wait until each of these has given a sample from now on."""
        before = {name: self.of(name)[-1].given for name in names}
        await until(lambda: all(self.of(name)[-1].given > before[name] for name in names))

    def gaps(self) -> list[dict[str, Any]]:
        """The gaps in the outbox, after the agent has ended."""
        with contextlib.closing(sqlite3.connect(self.folder / "data" / "outbox.db")) as connection:
            rows = read_batches(connection, 0, 10_000, 1 << 30, urgent=True)
        return [json.loads(row.record) for row in rows if row.kind is Kind.GAP]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not condition():  # noqa: ASYNC110  what it waits for is no event
            await asyncio.sleep(0.005)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setattr(reloading, "LOOK_S", 0.05)
    with tempfile.TemporaryDirectory(prefix="load") as folder:
        yield Line(Path(folder))


@asynccontextmanager
async def running(line: Line) -> AsyncIterator[None]:
    loaded, clock = load_with_origins(line.file, line.drivers), SystemClock()
    in_use = ConfigInUse(line.file, line.drivers, loaded, clock)
    task = asyncio.create_task(lives.run_agent(loaded.config, line.drivers, clock, None, in_use))
    try:
        async with asyncio.timeout(WAIT_S_MAX):
            while not await answers(line):  # noqa: ASYNC110  what it waits for is no event
                await asyncio.sleep(0.01)
        await until(lambda: all(driver.given for driver in line.made))
        yield
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait([task], timeout=WAIT_S_MAX)
    await task


async def answers(line: Line) -> bool:
    with contextlib.suppress(AgentNotRunning, CallFailed):
        return not (await line.call("status"))["waiting_for_outbox"]
    return False


async def test_what_has_not_changed_goes_on_and_the_rest_is_ended_begun_or_begun_anew(line: Line) -> None:
    line.devices["saw"] = {}
    line.write()
    async with running(line):
        press, oven, saw = (line.of(name)[0] for name in ("press", "oven", "saw"))
        line.devices = {"press": {}, "oven": {"timeout": "3s"}, "kiln": {}}
        line.write()
        answer = await line.reload()
        assert answer["done"]
        assert [(change["device"], change["how"], change["said"]) for change in answer["devices"]] == [
            ("kiln", "added", "1 tag"), ("oven", "changed", "timeout"), ("saw", "removed", "1 tag"),
        ]  # fmt: skip
        assert (oven.is_connected, saw.is_connected) == (False, False), "before others are begun"
        assert line.of("press") == [press]
        assert press.is_connected
        await line.until_sampled("press")
        await until(lambda: line.of("oven")[1].given and line.of("kiln")[0].given)
        status = await line.call("status")
        assert [(device["device"], device["online"]) for device in status["devices"]] == [
            ("press", True), ("oven", True), ("kiln", True),
        ]  # fmt: skip
        assert status["configuration"]["state"] == "in_sync"
    declared = [(gap["device"], gap["reason"], gap["detail"]) for gap in line.gaps()]
    assert declared == [("oven", "reconfigured", "its configuration was changed")]


async def test_files_that_are_not_valid_change_nothing_and_say_why_until_they_are_put_right(line: Line) -> None:
    async with running(line):
        line.devices["oven"]["endpoint"] = "nowhere"
        line.devices["kiln"] = {}
        line.write()
        answer = await line.reload()
        assert not answer["done"]
        assert "'nowhere'" in answer["reasons"][0]
        await line.until_sampled("press", "oven")
        assert len(line.made) == 2
        failed = await line.until_sync("failed")
        assert (failed["reasons"], failed["files"]) == (answer["reasons"], ["agent.yaml"])
        line.devices["oven"] = {}
        line.write()
        assert (await line.reload())["done"]
        assert (await line.until_sync("in_sync"))["reasons"] == []
        assert [driver.settings.name for driver in line.made] == ["press", "oven", "kiln"]


async def test_a_changed_file_is_noticed_and_not_used_before_somebody_says_so(line: Line) -> None:
    async with running(line):
        before = line.file.read_text()
        line.devices.pop("oven")
        line.write()
        assert (await line.until_sync("out_of_sync"))["files"] == ["agent.yaml"]
        asked = await line.reload(dry_run=True)
        assert (asked["done"], [change["how"] for change in asked["devices"]]) == (False, ["removed"])
        await line.until_sampled("press", "oven")
        line.file.write_text(before)
        await line.until_sync("in_sync")


async def test_with_watch_a_valid_file_is_used_by_itself(line: Line) -> None:
    line.more["reload"] = {"watch": True, "settle": "100ms"}
    line.write()
    async with running(line):
        line.devices["kiln"] = {"endpoint": "nowhere"}
        line.write()
        failed = await line.until_sync("failed")
        assert failed["by"] == "file watching"
        line.devices["kiln"] = {}
        line.write()
        await until(lambda: line.of("kiln") and line.of("kiln")[0].given)
        assert (await line.until_sync("in_sync"))["by"] == "file watching"


async def test_a_file_that_stays_wrong_is_not_tried_again_and_again(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[None] = []
    really = ConfigInUse.load

    def load(self: ConfigInUse) -> Any:
        tried.append(None)
        return really(self)

    monkeypatch.setattr(ConfigInUse, "load", load)
    line.more["reload"] = {"watch": True, "settle": "100ms"}
    line.write()
    async with running(line):
        line.devices["kiln"] = {"endpoint": "nowhere"}
        line.write()
        await line.until_sync("failed")
        looks: list[None] = []
        seen = ConfigInUse.look
        monkeypatch.setattr(ConfigInUse, "look", lambda self: (looks.append(None), seen(self))[1])
        await until(lambda: len(looks) > 5)
        assert len(tried) == 1


async def test_the_signal_of_a_service_manager_reloads(line: Line) -> None:
    async with running(line):
        line.devices["kiln"] = {}
        line.write()
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: line.of("kiln") and line.of("kiln")[0].given)
        assert (await line.until_sync("in_sync"))["by"] == "SIGHUP"


async def test_other_rules_of_reporting_hold_at_once_and_the_driver_goes_on(line: Line) -> None:
    async with running(line):
        press = line.of("press")[0]
        line.devices["press"] = {"tags": [{"name": "a", "at": "coil 1", "max_interval": "1h", "min_interval": "1h"}]}
        line.write()
        answer = await line.reload()
        assert [(change["device"], change["how"]) for change in answer["devices"]] == [("press", "adjusted")]
        await line.until_sampled("press")
        before = next(device for device in (await line.call("status"))["devices"] if device["device"] == "press")
        await line.until_sampled("press")
        assert line.of("press") == [press]
        assert press.is_connected
        assert before["online"]
    assert line.gaps() == []


async def test_a_setting_that_takes_a_restart_is_named_and_stays_as_it_was(line: Line) -> None:
    async with running(line):
        line.more["outbox"] = {"size_max": "1GiB"}
        line.devices["kiln"] = {}
        line.write()
        answer = await line.reload()
        assert (answer["done"], answer["restart"]) == (True, ["outbox.size_max"])
        await until(lambda: line.of("kiln") and line.of("kiln")[0].given)
        found = await line.until_sync("out_of_sync")
        assert (found["files"], found["restart"]) == ([], ["outbox.size_max"])


async def test_what_was_reloaded_is_what_a_later_life_of_the_agent_runs_with(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Agent] = []
    really: Callable[..., Any] = Agent.assemble

    async def assemble(*args: Any) -> Agent:
        begun.append(await really(*args))
        return begun[-1]

    monkeypatch.setattr(Agent, "assemble", assemble)
    monkeypatch.setattr(lives, "RETRY_FIRST_S", 0.01)
    async with running(line):
        line.devices["kiln"] = {}
        line.write()
        assert (await line.reload())["done"]
        await until(lambda: line.of("kiln") and line.of("kiln")[0].given)
        line.devices.pop("kiln")
        line.devices["saw"] = {}
        line.write()
        begun[0]._writer.damage.notice("somebody has read noise")
        await until(lambda: len(line.of("kiln")) == 2)
        assert line.of("saw") == []
        await until(lambda: line.of("kiln")[1].given)


async def test_a_driver_that_does_not_end_gives_nothing_beside_the_one_in_its_place(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.acquisition.running_devices.END_S_MAX", 0.05)
    really, deaf = PlayedDriver.acquire, asyncio.Event()

    async def acquire(self: PlayedDriver, acquisition: Acquisition) -> None:
        try:
            await really(self, acquisition)
        except asyncio.CancelledError:
            if self is not line.of("oven")[0]:
                raise
            deaf.set()
            await really(self, acquisition)

    monkeypatch.setattr(PlayedDriver, "acquire", acquire)
    async with running(line):
        line.devices["oven"] = {"timeout": "3s"}
        line.write()
        assert (await line.reload())["done"]
        await line.until_sampled("oven")
        before, _ = line.of("oven")
        given = before.given
        await line.until_sampled("oven", "press")
        assert deaf.is_set()
        assert (before.given, before.is_connected) == (given, False)


async def test_what_reloads_have_replaced_is_freed(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[DeviceAcquisition]] = []
    really: Callable[..., None] = DeviceAcquisition.__init__

    def init(self: DeviceAcquisition, *args: Any, **more: Any) -> None:
        really(self, *args, **more)
        made.append(weakref.ref(self))

    monkeypatch.setattr(DeviceAcquisition, "__init__", init)
    monkeypatch.setattr(reloading, "_let_go", LET_GO)
    async with running(line):
        for timeout_s in range(3, 9):
            line.devices["oven"] = {"timeout": f"{timeout_s}s"}
            line.write()
            assert (await line.reload())["done"]
            await line.until_sampled("oven")
            line.made = [*line.of("press"), line.of("oven")[-1]]
        gc.collect()
        assert len(made) == 8
        assert sum(device() is not None for device in made) <= 3  # both, and one that a loop has looked at last
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def test_a_reload_that_waits_for_a_command_in_vain_begins_nothing(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "QUIET_S_MAX", 0.05)
    line.devices["kiln"] = {}
    line.write()

    def stored(question: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(line.folder / "data" / "outbox.db")) as connection:
            return connection.execute(question).fetchall()

    async with running(line):
        newest = "SELECT last_source_ns FROM device_state WHERE device = 'kiln' AND last_source_ns NOT NULL"
        await until(lambda: stored(newest))
        line.devices.pop("kiln")
        line.write()
        assert (await line.reload())["done"]
        line.devices = {"press": {"timeout": "3s"}, "oven": {}, "kiln": {}}
        line.write()
        with monkeypatch.context() as patched:
            patched.setattr(Executor, "busy", lambda self, devices: ["press/a"])
            answer = await line.reload()
        assert (answer["done"], answer["passes"]) == (False, True)
        press, never_begun = line.of("press")
        given = press.given
        await until(lambda: press.given > given)
        assert not never_begun.given
    assert stored("SELECT * FROM gap") == []


async def test_who_waits_for_a_reload_that_cannot_be_answered_hears_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_self: Any, _asked: Any) -> dict[str, Any]:
        raise OSError("the disk")

    monkeypatch.setattr(reloading.Reloading, "_answer", fail)
    waited_for = reloading.Reloading(None, None, SystemClock())  # type: ignore[arg-type]
    running = asyncio.create_task(waited_for.run())
    async with asyncio.timeout(WAIT_S_MAX):
        with pytest.raises(reloading.NotReloaded, match="in the middle of it"):
            await waited_for.reload("somebody")
        with pytest.raises(OSError, match="the disk"):
            await running
