"""The processes of the demo: how each is started, when it is ready, and in which order all of them stop."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Protocol

from connectors.model.errors import LinesideError
from lineside.demo.access import Access, AccessNotMade
from lineside.demo.folder import DemoFolder, Ports
from lineside.demo.questions import Questions
from lineside.demo.three_commands import held
from lineside.servers.child_process import (
    LOOPBACK,
    ChildProcess,
    ProgramMissing,
    accepts_connections,
    find_program,
)
from lineside.servers.iotcore_broker import IotcoreBroker
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer

BrokerKind = Literal["mosquitto", "iotcore"]
DATABASE: Final = "lineside"
READY_S_MAX: Final = 60.0
ASK_EVERY_S: Final = 0.05
SETTLE_S_MAX: Final = 30.0
STOP_S_MAX: Final = 30.0
"""On a machine that is slow or stands still; usually a second."""
_POLL_S: Final = 0.02


class ProcessEnded(LinesideError):
    """A process of the plant has ended by itself: which, and the last lines of its log."""


class StopAsked(LinesideError):
    """The demo was told to stop while it waited for something."""


class Steps(Protocol):
    """Who shows the steps of a start and a stop."""

    def step(
        self, name: str, place: str = "", *, since_s: float | None = None
    ) -> contextlib.AbstractContextManager[None]:
        """Show a step while its block runs, and then how long it took (from ``since_s`` on the monotonic clock)."""
        ...


def chosen_broker(wish: str) -> BrokerKind:
    """The broker for ``wish`` (``mosquitto``, ``iotcore``, ``auto``). Raises ``ProgramMissing``."""
    if wish == "iotcore":
        return "iotcore"
    try:
        find_program("mosquitto", "apt-get install mosquitto")
    except ProgramMissing:
        if wish == "mosquitto":
            raise
        return "iotcore"
    return "mosquitto"


def program(name: str) -> str:
    """A console script of this installation."""
    return str(Path(sys.executable).with_name(name))


class Plant:
    """All processes of one demo.

    ``stops_asked`` says how often the demo was told to stop: once ends every wait of ``start``, twice those of
    ``stop``, which then kills what is left.
    """

    def __init__(
        self, folder: DemoFolder, ports: Ports, broker: BrokerKind, steps: Steps, stops_asked: Callable[[], int]
    ) -> None:
        self._folder = folder
        self._ports = ports
        self._access = Access(folder, program("cloud-ingest"))
        self._steps = steps
        self._stops_asked = stops_asked
        logs = folder.logs
        self._postgres = PostgresServer(folder.postgres, port=ports.postgres, log_path=logs / "postgres.log")
        self._broker: MosquittoBroker | IotcoreBroker
        if broker == "mosquitto":
            self.broker_name = "Mosquitto"
            self._broker = MosquittoBroker(folder.broker, port=ports.broker, log_path=logs / "mosquitto.log")
        else:
            self.broker_name = "iotcore"
            self._broker = IotcoreBroker(folder.broker, port=ports.broker, log_path=logs / "iotcore.log")
        self._press = ChildProcess("press", logs / "press.log")
        self._oven = ChildProcess("oven", logs / "oven.log")
        self._cloud = ChildProcess("cloud-ingest", logs / "cloud-ingest.log")
        self._agent = ChildProcess("edge-agent", logs / "edge-agent.log")
        self._running: list[ChildProcess] = []

    def start(self, questions: Questions) -> None:
        """Start everything, and wait until each part does its work.

        The machines take longest, so they are started first. Raises ``StopAsked``, ``ProcessEnded``,
        ``AccessNotMade``, ``ServerNotStarted`` or ``ProgramMissing``; ``stop`` is due then, too.
        """
        ports, step = self._ports, self._steps.step
        begun_s = time.monotonic()
        if not self._folder.postgres.exists():
            self._access.forget()
        for machine, port in ((self._press, ports.press), (self._oven, ports.oven)):
            memory = self._folder.machines / f"{machine.name}.json"
            arguments = ["machine", machine.name, "--port", str(port), "--memory", str(memory)]
            self._launch(machine, [program("lineside"), *arguments])
        with step("PostgreSQL", f"{LOOPBACK}:{ports.postgres}"):
            self._postgres.start()
            self._running.append(self._postgres.process)
            self._postgres.ensure_database(DATABASE)
        if not self._access.is_made:
            with step("signing key, token", "and the agent trusts the key"):
                self._make_access()
        with step(f"MQTT broker {self.broker_name}", self._broker.url):
            self._broker.start()
            self._running.append(self._broker.process)
        with step("cloud-ingest", questions.api_url):
            self._launch(self._cloud, [program("cloud-ingest"), "run", "--config", str(self._folder.cloud_config)])
            self._wait(self._cloud, questions.cloud_is_ready)
        with step("press, an OPC UA server", f"opc.tcp://{LOOPBACK}:{ports.press}", since_s=begun_s):
            self._wait(self._press, lambda: accepts_connections(ports.press))
        with step("oven, a Modbus TCP unit", f"tcp://{LOOPBACK}:{ports.oven}", since_s=begun_s):
            self._wait(self._oven, lambda: accepts_connections(ports.oven))
        with step("edge-agent", f"metrics on http://{LOOPBACK}:{ports.agent_metrics}"):
            self._launch(self._agent, [program("edge-agent"), "run", "--config", str(self._folder.agent_config)])
            self._wait(self._agent, questions.agent_is_ready)

    def apply_model(self) -> None:
        """Have the lines be as the file of the factory says. Raises ``AccessNotMade``."""
        self._access.apply_plant()

    def broker_stands_still(self) -> contextlib.AbstractContextManager[None]:
        """While it is entered, the broker does nothing: nothing is lost, and everything is late."""
        return held(self._broker.process.pause, self._broker.process.resume)

    def check(self) -> None:
        """Raise ``ProcessEnded`` when a process has ended that nobody told to."""
        for process in self._running:
            if not process.running:
                raise ProcessEnded(
                    f"{process.name} has ended by itself. The end of {process.log_path}:\n{process.log_tail()}"
                )

    def settle(self, questions: Questions) -> bool:
        """Let the machines stand still, and wait until the cloud has stored all that the agent has read of them.

        False when that took too long, or was not waited for. Raises ``ProcessEnded``.
        """
        for machine in (self._press, self._oven):
            machine.send(signal.SIGUSR1)
        deadline_s = time.monotonic() + SETTLE_S_MAX
        read = -1
        while time.monotonic() < deadline_s and self._stops_asked() < 2:
            self.check()
            status = questions.status()
            if status is not None:
                before, read = read, sum(device["samples"] for device in status["devices"])
                if read == before and _is_delivered(status):
                    return True
            time.sleep(0.3)
        return False

    def stop_agent(self) -> None:
        """End the agent, and tell the machines to end; the cloud side goes on."""
        self._stop(self._agent)
        for machine in (self._press, self._oven):
            self._running.remove(machine)
            machine.send(signal.SIGTERM)

    def stop(self) -> None:
        """End everything, in the order in which nothing is lost; nothing is left afterwards."""
        for process in (self._agent, self._press, self._oven, self._cloud, self._broker.process):
            self._stop(process)
        self._stop(self._postgres.process, signal.SIGINT)  # a fast shutdown: connections are closed

    def _make_access(self) -> None:
        try:
            self._access.make()
        except AccessNotMade as exc:
            if self._stops_asked():
                raise StopAsked("stopped before everything was running") from exc
            raise

    def _launch(self, process: ChildProcess, command: list[str]) -> None:
        process.launch(command)
        self._running.append(process)

    def _wait(self, process: ChildProcess, ready: Callable[[], bool]) -> None:
        asked_s = float("-inf")

        def is_ready() -> bool:
            nonlocal asked_s
            if self._stops_asked():
                raise StopAsked("stopped before everything was running")
            self.check()
            if time.monotonic() < asked_s + ASK_EVERY_S:
                return False
            asked_s = time.monotonic()
            return ready()

        process.wait_until(is_ready, timeout_s=READY_S_MAX)

    def _stop(self, process: ChildProcess, with_signal: signal.Signals = signal.SIGTERM) -> None:
        if process in self._running:
            self._running.remove(process)
        process.send(with_signal)
        deadline_s = time.monotonic() + STOP_S_MAX
        while process.running:
            if time.monotonic() > deadline_s or self._stops_asked() > 1:
                break
            time.sleep(_POLL_S)
        process.kill()


def _is_delivered(status: dict[str, object]) -> bool:
    outbox, uplink = status["outbox"], status["uplink"]
    assert isinstance(outbox, dict)
    assert isinstance(uplink, dict)
    return not (outbox["batches"] or outbox["samples_pending"] or uplink["in_flight"])
