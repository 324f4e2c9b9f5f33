"""The command part of the agent, put together: who does what is for the agent itself, and what may be told of files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connectors.model.tags import DeviceName
from connectors.observability.logs import configure_logs
from connectors.ports.clock import Clock, SystemClock
from edge_agent.acquisition.device import DeviceAcquisition
from edge_agent.commands.agent_actions import Restarting, agent_works
from edge_agent.commands.apply_file import ApplyFileWork
from edge_agent.commands.executor import Switches
from edge_agent.commands.journal_thread import JournalThread
from edge_agent.commands.own_key import KEY_FILE
from edge_agent.commands.plant import LivePlant
from edge_agent.commands.release_work import InstallWork
from edge_agent.commands.service import Commands
from edge_agent.commands.targets import Targets
from edge_agent.commands.telling import Records
from edge_agent.config.device_files import DeviceFiles
from edge_agent.config.in_use import ConfigInUse
from edge_agent.config.models import AgentConfig
from edge_agent.releases.trial import Releases


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the program around the agent gives it.

    ``restart`` is told when the agent is to end and begin anew, and why; ``files`` are those that the cloud may send
    other versions of, if it may; ``in_use`` is the configuration with the files that it came from, if it came from any.
    """

    restart: Callable[[str], None] = lambda _why: None
    files: DeviceFiles | None = None
    in_use: ConfigInUse | None = None


@dataclass(slots=True)
class CommandParts:
    """The commands, and what tries other versions of device files, which runs beside them."""

    config: AgentConfig
    targets: Targets
    commands: Commands
    applying: ApplyFileWork | None

    def adopt(self, config: AgentConfig) -> None:
        """Another configuration runs: every check that begins from now on is by it."""
        before, self.config = self.config, config
        self.targets.adopt(config.devices)
        executor = self.commands.executor
        executor.switches = _switches(config)
        executor.follow_targets()
        if self.applying is not None:
            self.applying.adopt(config)
        if config.observability.log_level != before.observability.log_level:
            configure_logs(config.observability.log_level, config.observability.log_format)


def command_parts(
    config: AgentConfig,
    around: Surroundings,
    journal: JournalThread,
    records: Records,
    devices: Mapping[DeviceName, DeviceAcquisition],
    rebirth: Callable[[], bool],
    clock: Clock,
) -> CommandParts:
    """The part for commands; ``devices`` are looked at when a command has its turn, and may come later than this."""
    logs, targets = config.observability, Targets(config.devices)
    restarting = Restarting(around.restart)

    def set_level(level: str) -> None:
        configure_logs(level, logs.log_format)

    def read() -> set[str]:
        return {str(name) for name, device in devices.items() if device.is_read}

    actions = agent_works(restarting, rebirth, set_level, lambda: parts.config.observability.log_level)
    installing = InstallWork(config, Releases(os.environ), restarting, lambda: sorted(read()))
    actions["install_release"] = installing
    applying = None
    if around.files is not None:
        applying = ApplyFileWork(around.files, config, restarting, read=read, clock=clock)
        actions["apply_file"] = applying
    commands = Commands(
        journal,
        records,
        LivePlant(devices, clock),
        targets,
        agent=f"{config.agent.group}/{config.agent.name}",
        switches=_switches(config),
        keys_file=config.commands.trusted_keys,
        own_key_file=config.agent.data_dir / KEY_FILE,
        clock=clock,
        elapsed_s=_elapsed_s if isinstance(clock, SystemClock) else None,
        actions=actions,
        files=None if applying is None else lambda: applying.now,
    )
    restarting.being_done = commands.executor.being_done
    restarting.hold, restarting.let_go = commands.executor.gate.close, commands.executor.gate.open
    installing.locks = lambda: commands.operators.locks
    if applying is not None:
        applying.locks, applying.changed = lambda: commands.operators.locks, commands.say_hello
    parts = CommandParts(config, targets, commands, applying)
    return parts


def _switches(config: AgentConfig) -> Switches:
    return Switches(config.agent.remote_commands, config.agent.commissioning)


def _elapsed_s() -> float:
    """Seconds that go on while the box sleeps, as those of the monotonic clock do not (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
