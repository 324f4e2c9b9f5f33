"""One life of the agent after the other in one process: it stays, whatever its disk is like.

While the outbox cannot be opened it waits, and says so; when the outbox turns out to be damaged, all that rests on it
ends, and begins anew on what could be salvaged.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import signal
import sys
from collections.abc import Mapping
from typing import Final

from connectors.model.back_off import BackOff
from connectors.model.errors import OutboxDamaged, OutboxUnavailable
from connectors.observability.events import emit
from connectors.ports.clock import Clock, SystemClock
from connectors.ports.settings import DriverType
from edge_agent.buffer.folder_lock import only_one
from edge_agent.command_parts import Surroundings
from edge_agent.config.device_files import DeviceFiles
from edge_agent.config.in_use import ConfigInUse
from edge_agent.config.models import AgentConfig
from edge_agent.local_api.server import LocalApi
from edge_agent.local_api.waiting import WaitingView
from edge_agent.main import GOODBYE_S_MAX, Agent, cancel_all, supervised
from edge_agent.observability.agent_events import AgentStopping, MetricsUnavailable
from edge_agent.observability.metrics import REGISTRY
from edge_agent.observability.outbox_events import OutboxNotOpened, OutboxRecovered
from edge_agent.slices import facts_of

RETRY_FIRST_S: Final = 1.0
RETRY_LONGEST_S: Final = 15.0
METRICS_RETRY_LONGEST_S: Final = 60.0
STEADY_S: Final = 60.0
SILENT_S_MAX: Final = 2.0
"""When a start takes longer, ``edge-agent status`` says why."""


SWITCH_S: Final = 0.0005
"""So long a thread that has something to do waits for one that computes (``sys.setswitchinterval``). The disk has
threads of its own, and each statement there ends by waiting for the event loop: ten times as long by default."""
M_ARENA_MAX: Final = -8
"""malloc.h of glibc; mallopt(3)."""
TRIM_EVERY_S: Final = 5.0


class _Ending:
    """Whether the agent is to end, and whether it is to begin anew then: a signal is the last word."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.begins_anew = False

    def signalled(self, number: signal.Signals) -> None:
        """Somebody at the box, or systemd, ends it."""
        emit(AgentStopping(number.name))
        self.begins_anew = False
        self.stop.set()

    def restart(self, why: str) -> None:
        """A command asks for it."""
        if not self.stop.is_set():
            emit(AgentStopping(why))
            self.begins_anew = True
            self.stop.set()


async def run_agent(
    config: AgentConfig,
    drivers: Mapping[str, DriverType],
    clock: Clock | None = None,
    files: DeviceFiles | None = None,
    in_use: ConfigInUse | None = None,
) -> bool:
    """Run the agent until SIGTERM or SIGINT; then everything that was acquired is on disk.

    ``files`` are those that the cloud may send other versions of; ``in_use`` is ``config`` with the files that it came
    from, which a reload then reads. Whether the caller is to begin it anew: a command has
    asked for a restart.

    It stays, whatever the disk is like: while the outbox cannot be opened nothing is acquired, and ``status`` says why.
    An outbox that turns out to be damaged is opened anew, with all that depends on it.

    Raises ``AlreadyRunning`` when another agent uses the same data folder or socket, ``OutboxTooNew``.
    """
    clock = clock or SystemClock()
    sys.setswitchinterval(SWITCH_S)
    ending = _Ending()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.signalled, number)
    beside = [
        asyncio.create_task(supervised("metrics", lambda: _serve_metrics(config)), name="metrics"),
        asyncio.create_task(supervised("memory", _give_memory_back), name="memory"),
    ]
    try:
        await _live(config, drivers, clock, ending, files, in_use)
    finally:
        await cancel_all(beside, GOODBYE_S_MAX)
    return ending.begins_anew


async def _give_memory_back() -> None:
    """Keep one heap for all threads, and give back to the system what is free in it.

    A heap for each of a few threads that take turns all the same, and the pieces that binding thousands of tags leaves,
    are megabytes on a small box. Only glibc knows of these; elsewhere nothing happens.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(M_ARENA_MAX, 1)
        trim = library.malloc_trim
    except (OSError, AttributeError):
        return
    while True:
        await asyncio.sleep(TRIM_EVERY_S)
        trim(0)


async def _live(
    config: AgentConfig,
    drivers: Mapping[str, DriverType],
    clock: Clock,
    ending: _Ending,
    files: DeviceFiles | None,
    in_use: ConfigInUse | None,
) -> None:
    """One life after the other, until it is to end."""
    stop = ending.stop
    back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
    with contextlib.ExitStack() as folder:
        start = _Start(config, drivers, clock, folder, ending, files, in_use)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, start.reload)
        suspicion = ""
        while (agent := await start.agent(suspicion)) is not None:
            gc.freeze()  # what was loaded so far stays: the collector need not look at it, now or later
            gc.enable()
            begun_s = clock.monotonic_s()
            try:
                await agent.run(stop)
                return
            except OutboxDamaged as exc:
                suspicion = str(exc)
            if clock.monotonic_s() - begun_s > STEADY_S:
                back_off.reset()
            await _pause(stop, back_off.next_s())


class _Start:
    """Assembles the agent, as soon as the disk lets it."""

    def __init__(
        self,
        config: AgentConfig,
        drivers: Mapping[str, DriverType],
        clock: Clock,
        folder: contextlib.ExitStack,
        ending: _Ending,
        files: DeviceFiles | None,
        in_use: ConfigInUse | None,
    ) -> None:
        self._config = config
        self._in_use = in_use
        self._agent: Agent | None = None
        self._drivers = drivers
        self._clock = clock
        self._folder = folder
        self._holds_folder = False
        self._ending = ending
        self._files = files
        self._stop = ending.stop
        self._view = WaitingView(facts_of(config, clock), config.outbox.path, clock)

    def reload(self) -> None:
        """SIGHUP: use the files as they are now. Before the agent runs, there is nothing that could."""
        if self._agent is not None and self._agent.reloading is not None:
            self._agent.reloading.ask(signal.SIGHUP.name)

    async def agent(self, suspicion: str) -> Agent | None:
        """The agent; ``None`` when it is asked to stop before. Raises ``AlreadyRunning``, ``OutboxTooNew``."""
        if suspicion:
            self._view.reason = f"it is looked at, and salvaged where it is damaged: {suspicion}"
        serving = asyncio.create_task(self._serve_while_waiting(), name="local api")
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        has_waited = False
        try:
            while not self._stop.is_set():
                attempt = asyncio.create_task(self._attempt(suspicion), name="start")
                try:
                    # Also when it is asked to stop meanwhile: whoever opens the outbox is never left alone with it.
                    await asyncio.wait([attempt, serving], return_when=asyncio.FIRST_COMPLETED)
                    if serving.done():
                        await serving  # another agent answers at the socket
                    self._agent = agent = await attempt
                    if has_waited:
                        emit(OutboxRecovered())
                    return agent
                except OutboxUnavailable as exc:
                    wait_s = back_off.next_s()
                    has_waited, self._view.reason = True, str(exc)
                    emit(OutboxNotOpened(str(exc), round(wait_s, 1)))
                finally:
                    await cancel_all([attempt], GOODBYE_S_MAX)
                await _pause(self._stop, wait_s)
            return None
        finally:
            await cancel_all([serving], GOODBYE_S_MAX)

    async def _attempt(self, suspicion: str) -> Agent:
        if not self._holds_folder:
            self._folder.enter_context(only_one(self._config.agent.data_dir))
            self._folder.callback(self._stopped)  # while nobody else can have it
            self._holds_folder = True
        around = Surroundings(self._ending.restart, self._files, self._in_use)
        config = self._config if self._in_use is None else self._in_use.config  # a reload may have brought another
        return await Agent.assemble(config, self._drivers, self._clock, suspicion, around)

    def _stopped(self) -> None:
        """It ends: a trial of a device file that nobody watches now was not survived, unless it was asked to end."""
        if self._stop.is_set() and self._files is not None:
            with contextlib.suppress(OSError):
                self._files.store.stopped()

    async def _serve_while_waiting(self) -> None:
        """Answer at the socket when a start takes longer than usual."""
        await asyncio.sleep(SILENT_S_MAX)
        gc.enable()
        settings = self._config.local_api
        await supervised("local api", LocalApi(settings.socket, settings.mode, self._view.handlers).run)


async def _pause(stop: asyncio.Event, longest_s: float) -> None:
    """Wait so long, or until ``stop`` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await stop.wait()


async def _serve_metrics(config: AgentConfig) -> None:
    """Serve the metrics in a thread. While their address cannot be used it is tried again; the agent works without."""
    metrics = config.observability.metrics
    if metrics is None:
        return
    from prometheus_client import start_http_server

    back_off = BackOff(RETRY_FIRST_S, METRICS_RETRY_LONGEST_S)
    while True:
        try:
            start_http_server(metrics.port, metrics.host, REGISTRY)
            return
        except OSError as exc:
            wait_s = back_off.next_s()
            emit(MetricsUnavailable(f"{metrics.host}:{metrics.port}", exc.strerror or str(exc), round(wait_s, 1)))
            await asyncio.sleep(wait_s)
