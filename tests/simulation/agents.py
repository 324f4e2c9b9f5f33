"""An agent's box: its disk, its machines, and one life of the agent after the other, as ``edge_agent.main`` has it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from connectors.model.delivery import Epoch
from connectors.ports.broker import Message
from connectors.ports.settings import DeviceSettings, DriverType, TagSettings
from connectors.sparkplug.delivery import read_delivery
from connectors.sparkplug.topics import Verb, parse_topic
from edge_agent.config.models import AgentConfig
from edge_agent.main import Agent
from edge_agent.uplink.sender import TAKE_BATCHES_MAX
from tests.simulation.broker import Broker, SimulatedSession
from tests.simulation.commanded import KEY, SETPOINT, Press, PressDriver
from tests.simulation.disk import OUTBOX, WAL, Disk, Files, knows_machines
from tests.simulation.machines import Machine, MachineDriver
from tests.simulation.plan import Plan
from tests.simulation.process import Process
from tests.simulation.trace import Trace
from tests.virtual_time import VirtualClock

GROUP: Final = "plant"
JOURNAL: Final = "commands.db"
TRUSTED_KEYS: Final = "trusted-keys.json"
_TRUSTED: Final = {"keys": {KEY.key_id: KEY.public_jwk()}}
UNSENT_BYTES_MAX: Final = 20_000
BIRTHS_BYTES_MAX: Final = 20_000
PUT_SAMPLES_MAX: Final = 40
BATCH_BYTES_MAX: Final = 60_000


class MachineSettings(DeviceSettings):
    """A simulated machine in the agent's configuration."""


class Box:
    """What stays when the agent's process ends: the files on the disk, and what the machines are like."""

    def __init__(
        self,
        name: str,
        plan: Plan,
        machines: list[Machine],
        *,
        folder: Path,
        broker: Broker,
        trace: Trace,
        draw: random.Random,
        violated: Callable[[str], None],
        press: Press | None = None,
    ) -> None:
        self.name = name
        self.machines = machines
        self.press = press
        """What is commanded, if anything."""
        self.files: Files = {} if press is None else {TRUSTED_KEYS: json.dumps(_TRUSTED).encode()}
        self.starts = 0
        self.disk: Disk | None = None
        self.slow_s = 0.0
        self.full = False
        self.failing_syncs = 0
        self.epochs_harmed = 0
        """Epochs up to the newest accident in which rows that had been committed have gone with a disk."""
        self.published: dict[int, set[int]] = {}
        """By epoch, the batches that ever left."""
        self._plan = plan
        self._folder = folder
        self._broker = broker
        self.clock = VirtualClock()
        """The box's own: it can be set, and nobody else's is."""
        self._trace = trace
        self._draw = draw
        self._violated = violated
        self.session: SimulatedSession | None = None
        self.epochs: list[Epoch] = []
        self._agent: Agent | None = None
        self._backup: Files | None = None
        self._stop = asyncio.Event()
        self._config = _config(name, plan, machines, press)
        by_name = {machine.name: machine for machine in machines}
        self._drivers: dict[str, DriverType] = {
            "machine": DriverType(MachineSettings, lambda settings, clock: MachineDriver(by_name[settings.name], draw))
        }
        if press is not None:
            self._drivers |= {"press": DriverType(MachineSettings, lambda settings, clock: PressDriver(press))}

    # -- one life of the agent -----------------------------------------------------------------------------------------

    def mount(self, process: Process) -> None:
        """The disk as the last life left it is there for ``process``."""
        self.starts += 1
        folder = self._folder / f"{self.name}-{self.starts}"
        disk = self.disk = Disk(folder, self.files, lambda: process.touch("disk"), self._draw)
        disk.is_full, disk.failing_syncs = self.full, self.failing_syncs
        process.box = self
        process.when_cut(lambda: disk.cut(power_lost=process.power_lost))
        process.work_takes_s = lambda: self._draw.uniform(0.0005, 0.005) + self.slow_s * self._draw.random()

    def unmount(self, process: Process) -> None:
        """The process has ended; its files stay, or what an accident has made of them."""
        assert self.disk is not None
        self.failing_syncs = self.disk.failing_syncs
        self.files, self.disk = self.disk.taken_apart(), None
        self._agent = self.session = None
        if process.power_lost and self._plan.durability == "normal":
            self._lost_rows()
            if not self._knows_machines(self.files):
                self._forget_machines()
        if self._backup is not None:
            self._trace.note("a backup comes back", *self._backup, who=self.name)
            self.files, self._backup = self._backup, None
            self._lost_rows()

    @property
    def lost_rows(self) -> bool:
        """Whether rows that had been committed have gone with a disk."""
        return self.epochs_harmed > 0

    def _lost_rows(self) -> None:
        self.epochs_harmed = max(1, len(self.epochs))

    def restore(self, backup: Files, *, whole: bool) -> None:
        """When the process has ended, ``backup`` is what the next one finds; only of the database, unless ``whole``."""
        assert self.disk is not None
        kept = {} if whole else {name: each for name, each in self.disk.image().items() if name not in (OUTBOX, WAL)}
        self._backup = {**kept, **{name: each for name, each in backup.items() if whole or name in (OUTBOX, WAL)}}

    def lose_log(self) -> None:
        """When the process has ended, the write-ahead log is gone; only if the database can stand without it."""
        if self.disk is None:
            return
        files = {name: content for name, content in self.disk.image().items() if name != WAL}
        if self._knows_machines(files):
            self._backup = files

    def _knows_machines(self, files: Files) -> bool:
        return knows_machines(files, self._folder / f"{self.name}-trial", len(self.machines))

    def _forget_machines(self) -> None:
        """The outbox is as old as before the first sample: nothing can be promised of what was said until now."""
        for machine in self.machines:
            machine.forgotten_s = asyncio.get_running_loop().time()

    def all_heard(self) -> bool:
        """Whether samples of every machine have been committed."""
        return all(machine.taken for machine in self.machines)

    def new_epoch(self) -> Epoch:
        """The epoch of a start."""
        self.epochs.append(Epoch(self._draw.randrange(1, 1 << 63)))
        return self.epochs[-1]

    def request_stop(self) -> None:
        """As systemd does."""
        self._stop.set()

    async def run(self, process: Process) -> None:
        """The life of ``process``, until it is asked to stop."""
        assert self.disk is not None
        self._stop = asyncio.Event()
        self.session = SimulatedSession(self._broker, process, self._trace, self._draw)
        self.session.published = self._sent
        outbox = self._config.outbox.model_copy(update={"path": self.disk.folder / OUTBOX})
        folder = self.disk.folder
        commands = self._config.commands.model_copy(
            update={"journal": folder / JOURNAL, "trusted_keys": folder / TRUSTED_KEYS}
        )
        config = self._config.model_copy(update={"outbox": outbox, "commands": commands})
        agent = await Agent.assemble(config, self._drivers, self.clock)
        self._agent = agent
        await agent.run(self._stop)

    # -- what is looked at ---------------------------------------------------------------------------------------------

    def look(self) -> None:
        """No queue is longer than it may be."""
        agent, session = self._agent, self.session
        if agent is None or session is None:
            return
        plan, uplink, collector = self._plan, agent._uplink, agent._collector
        sender, feed = uplink._sender, uplink._feed
        for what, size, size_max in (
            ("batches in the window", len(sender.window), plan.window_batches_max),
            ("bytes in the window", sender.window._bytes, plan.window_bytes_max + BATCH_BYTES_MAX),
            ("batches taken and not sent", len(sender._urgent) + len(sender._samples), TAKE_BATCHES_MAX),
            ("samples that wait for a commit", collector.samples_pending, plan.samples_pending_max + PUT_SAMPLES_MAX),
            ("bytes that wait for the socket", session.unsent_bytes, UNSENT_BYTES_MAX + BIRTHS_BYTES_MAX),
        ):
            if size > size_max:
                self._violated(f"{self.name}: {size} {what}; the bound is {size_max}")
        for stream in (feed._urgent, feed._samples):
            if stream._fresh_bytes > plan.fresh_bytes_max and len(stream._fresh) > 1:
                self._violated(f"{self.name}: {stream._fresh_bytes} bytes in the feed, not {plan.fresh_bytes_max}")

    def _sent(self, message: Message) -> None:
        topic = parse_topic(message.topic)
        if topic.verb in (Verb.NDATA, Verb.DDATA):
            delivery = read_delivery(message.payload)
            if delivery is not None and delivery.batch:  # 0 is a preview, which is no part of the outbox
                self.published.setdefault(delivery.epoch, set()).add(delivery.batch)
        size_max = self._broker.packet_bytes_max
        if size_max and len(message.topic) + len(message.payload) > size_max:
            self._violated(f"{self.name}: {len(message.payload)} bytes on {message.topic}; the broker takes {size_max}")


class NoSocket:
    """In place of the agent's socket, which nobody asks here."""

    def __init__(self, *_: Any) -> None:
        pass

    async def run(self) -> None:
        """Serve nobody."""
        await asyncio.Event().wait()


class NoCommands:
    """In place of the command part and its journal, where nobody commands anything."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.operators: Any = None
        self.is_connected: Any = None

    async def run(self) -> None:
        """Do nothing."""
        await asyncio.Event().wait()

    def connected(self) -> None:
        """See ``CommandListener``."""

    async def close(self) -> None:
        """See ``JournalThread``."""


def _config(name: str, plan: Plan, machines: list[Machine], press: Press | None) -> AgentConfig:
    devices: tuple[MachineSettings, ...] = tuple(
        MachineSettings(
            name=machine.name,
            driver="machine",
            tags=tuple(
                TagSettings(name=tag.name, lane="alarms" if tag.is_alarm else "samples") for tag in machine.tags
            ),
        )
        for machine in machines
    )
    if press is not None:
        setpoint = TagSettings.model_validate({"name": SETPOINT, "writable": {"min": 0, "max": 1000}})
        devices += (MachineSettings(name=press.name, driver="press", commands={}, tags=(setpoint,)),)
    uplink = {"brokers": ("mqtt://broker:1883",), "insecure": True, "primary_host": plan.waits_for_host}
    config = AgentConfig.model_validate(
        {"agent": {"group": GROUP, "name": name, "data_dir": Path("/nowhere")}, "uplink": uplink, "devices": devices}
    )
    return config.model_copy(
        update={
            "uplink": config.uplink.model_copy(
                update={
                    "window_batches_max": plan.window_batches_max,
                    "resend_after_s": plan.resend_after_s,
                    "packet_bytes_max": 16_384,
                }
            ),
            "outbox": config.outbox.model_copy(
                update={
                    "durability": plan.durability,
                    "bytes_max": plan.bytes_max if plan.page_bytes == 1024 else 1 << 40,
                    "age_s_max": plan.age_s_max,
                    "ballast_bytes": plan.ballast_bytes,
                    "free_disk_bytes_min": 0,
                    "when_full": plan.when_full,
                    "when_full_alarms": plan.when_full_alarms,
                    "commit_interval_s": plan.commit_interval_s,
                    "samples_pending_max": plan.samples_pending_max,
                }
            ),
        }
    )
