"""``command-latency``: from the POST of a command to its result with read-back, and the bare echo beside it.

Everything is real: Mosquitto, PostgreSQL, a process of ``cloud-ingest`` for each of its roles, an agent that reads an
OPC UA server (open62541) and Modbus units (libmodbus) at 50,000 samples a second together. A command is asked for by
HTTP with a token; its result is heard on the WebSocket stream. Commands and bare echoes take turns on the same two
devices, after pauses of random length, so that they meet polls and commits at any moment.

Latencies hang on how busy the machine is, other than CPU time: of five rounds the median counts, and a second load of
5,000 samples a second (three rounds) shows how much of it is waiting for the processor.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from lineside.servers.child_process import free_port

from benchmarks.cloud_ingest import Ledger
from benchmarks.commanded_cloud import CommandedCloud
from benchmarks.commanding import Commander, Course, commander
from benchmarks.edge_run import agent_file, committed
from benchmarks.processes import BIN, Program, python
from benchmarks.report import Figure, report
from connectors.mqtt.session import MqttOptions, MqttSession
from connectors.ports.broker import Message
from tests.servers.modbus import ModbusServer

ROUNDS: Final = 5
ROUNDS_OF_TENTH: Final = 3
COMMANDS_A_ROUND: Final = 100
"""To each of both devices."""
PAUSE_S_MAX: Final = 0.06
UNITS: Final = 3
FIELDS, FIELDS_PER_BLOCK, BLOCK_STRIDE = 1000, 62, 200
NODES, FAN, HZ = 1000, 2, 10
REGISTER: Final = 4000
"""The agent's; the echo has the next one of the same unit."""
WARM_UP_S: Final = 8.0
GOAL_P50_MS, GOAL_P99_MS = 30.0, 100.0
DEVICES: Final = {"modbus": ("oven0", "setpoint"), "opcua": ("press", "speed")}
STAGES: Final = ("requested", "sent", "received", "executing", "succeeded")


@dataclass
class Round:
    """What one round has found, by protocol."""

    commands_ms: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in DEVICES})
    echoes_ms: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in DEVICES})
    stages_ms: dict[str, list[list[float]]] = field(default_factory=lambda: {name: [] for name in DEVICES})


class BareEcho:
    """Asks the bare echo."""

    def __init__(self) -> None:
        self._session = MqttSession(MqttOptions("bare-asking"))
        self._answer: asyncio.Future[float] | None = None
        self._number = 0

    async def connect(self, url: str) -> None:
        await self._session.connect(url, None, self._heard)
        await self._session.subscribe([("echo/done", 0)])

    async def close(self) -> None:
        await self._session.disconnect()

    async def ask(self, protocol: str, value: int) -> float:
        """How long it took, in ms."""
        self._number += 1
        self._answer = asyncio.get_running_loop().create_future()
        began_s = time.time()
        payload = json.dumps({"n": self._number, "value": value}).encode()
        self._session.publish(Message(f"echo/{protocol}", payload))
        async with asyncio.timeout(10.0):
            held = await self._answer
        if held != value:
            raise SystemExit(f"the echo wrote {value} and read {held}")
        return (time.time() - began_s) * 1000

    def _heard(self, message: Message) -> None:
        said = json.loads(message.payload)
        if self._answer is not None and said["n"] == self._number and not self._answer.done():
            self._answer.set_result(said["value"])


class Plant:
    """The devices, and an agent at one of two loads."""

    def __init__(self, folder: Path, cloud: CommandedCloud, stack: ExitStack) -> None:
        self._folder = folder
        self._cloud = cloud
        self._tags = 0
        self.opcua_port = free_port()
        server = python("benchmarks.opcua_server", str(self.opcua_port), str(NODES), str(HZ), "double",
                        log=folder / "opcua.log")  # fmt: skip
        stack.callback(server.stop)
        self.units = [stack.enter_context(ModbusServer()) for _ in range(UNITS)]
        for unit in self.units:
            unit.command(f"count holding 0 {FIELDS // FIELDS_PER_BLOCK * BLOCK_STRIDE + 2 * FIELDS_PER_BLOCK} 50")
        server.wait_for("ready", 60.0)
        places = (str(self.units[0].port), str(REGISTER + 1), f"opc.tcp://127.0.0.1:{self.opcua_port}", "ns=1;s=echo")
        self.echo = python("benchmarks.command_echo", cloud.broker.url, *places, log=folder / "echo.log")
        stack.callback(self.echo.stop)
        self.echo.wait_for("ready", 30.0)

    def agent(self, name: str, share: float) -> tuple[Program, Path]:
        """An agent that reads ``share`` of all tags, started; and its local socket."""
        folder = self._folder / name
        folder.mkdir()
        devices = "".join(self._modbus(number, round(FIELDS * share)) for number in range(UNITS))
        tags = round(NODES * share)
        config = agent_file(folder, self._cloud.broker.url, devices + self._opcua(tags))
        config.write_text(config.read_text().replace("name: agent,", f"name: {name},"))
        self._cloud.pin_keys(folder / "data")
        agent = Program([str(BIN / "edge-agent"), "run", "-c", str(config)], folder / "agent.log")
        socket = folder / "data" / "agent.sock"
        agent.wait_until(lambda: committed(socket) > 0, "commit a sample", 60.0)
        self._tags += UNITS * (round(FIELDS * share) + 1) + FAN * tags + 1
        self._cloud.wait_for_tags(self._tags)
        return agent, socket

    def _modbus(self, number: int, fields: int) -> str:
        lines = [f"  - name: oven{number}", "    driver: modbus", f"    endpoint: {self.units[number].endpoint}",
                 "    poll: 100ms", "    in_flight: 16", "    tags:",
                 f"      - {{name: setpoint, at: holding {REGISTER}, writable: {{min: 0, max: 60000}}}}"]  # fmt: skip
        for at in range(fields):
            block, place = divmod(at, FIELDS_PER_BLOCK)
            lines.append(f"      - {{name: t{at}, at: holding {block * BLOCK_STRIDE + 2 * place}, type: float32}}")
        return "\n".join(lines) + "\n"

    def _opcua(self, nodes: int) -> str:
        lines = ["  - name: press", "    driver: opcua", f"    endpoint: opc.tcp://127.0.0.1:{self.opcua_port}",
                 "    insecure: true", "    tags:",
                 "      - {name: speed, at: ns=1;s=command, writable: {min: 0, max: 60000}}"]  # fmt: skip
        lines += [f"      - {{name: t{fan}/{at}, at: ns=1;s=T{at}}}" for fan in range(FAN) for at in range(nodes)]
        return "\n".join(lines) + "\n"


async def one_round(client: Commander, echo: BareEcho, agent: str, number: int) -> Round:
    """Commands and echoes in turn."""
    found = Round()
    for at in range(COMMANDS_A_ROUND):
        for protocol, (device, tag) in DEVICES.items():
            value = 1 + (number * COMMANDS_A_ROUND + at) % 50_000
            await asyncio.sleep(random.uniform(0, PAUSE_S_MAX))
            course = await client.command(agent, device, tag, value, f"{agent} {protocol} {number} {at}")
            if course.state != "succeeded":
                raise SystemExit(f"a command has ended as {course.states[-1]}")
            found.commands_ms[protocol].append(course.took_ms)
            found.stages_ms[protocol].append(stages_ms(course))
            await asyncio.sleep(random.uniform(0, PAUSE_S_MAX))
            found.echoes_ms[protocol].append(await echo.ask(protocol, value))
    return found


def stages_ms(course: Course) -> list[float]:
    """How long each stage took: to each of ``STAGES``, and then to the client. Their stamps are whole milliseconds."""
    stamps = {one["state"]: one["time_ms"] + 0.5 for one in course.states}
    times = [course.began_s * 1000, *(stamps.get(stage, float("nan")) for stage in STAGES), course.ended_s * 1000]
    return [after - before for before, after in pairwise(times)]


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which ``part`` of them lie; 0.99 of a hundred is the last but one."""
    return sorted(values)[min(len(values) - 1, round(part * len(values)) - 1)]


def figures_of(title: str, rounds: Sequence[Round], *, with_goal: bool) -> list[Figure]:
    """The figures of one load: of each, the median of the rounds."""
    figures: list[Figure] = []

    def median(of: Callable[[Round], float]) -> float:
        return statistics.median(of(one) for one in rounds)

    for protocol in DEVICES:
        for name, part, goal in (("p50", 0.5, GOAL_P50_MS), ("p99", 0.99, GOAL_P99_MS)):
            command = median(lambda one, p=protocol, q=part: quantile(one.commands_ms[p], q))
            echo = median(lambda one, p=protocol, q=part: quantile(one.echoes_ms[p], q))
            over = median(
                lambda one, p=protocol, q=part: quantile(one.commands_ms[p], q) - quantile(one.echoes_ms[p], q)
            )
            found = f"{title}: {protocol}, {name}"
            figures.append(Figure(found, command, "ms"))
            figures.append(Figure(f"{title}: {protocol}, bare echo, {name}", echo, "ms"))
            figures.append(
                Figure(f"{found} over the bare echo", over, "ms", goal if with_goal else None, at_least=False)
            )
        every = [stages for one in rounds for stages in one.stages_ms[protocol]]
        names = ("POST to requested", "to sent", "to received", "to executing", "to succeeded", "to the client")
        for at, name in enumerate(names):
            middle = statistics.median(stages[at] for stages in every)
            figures.append(Figure(f"{title}: {protocol}, {name}, median", middle, "ms"))
    return figures


def measure(plant: Plant, cloud: CommandedCloud, name: str, share: float, rounds: int) -> list[Figure]:
    """All figures of one load."""
    agent, socket = plant.agent(name, share)
    try:
        time.sleep(WARM_UP_S)
        with Ledger(cloud.dsn) as ledger:
            stored, has, began_s = ledger.samples(), committed(socket), time.monotonic()
            programs = {"agent": agent, **cloud.programs}
            cpu_s = {title: program.cpu_s() for title, program in programs.items()}
            found = asyncio.run(_rounds(cloud, f"bench/{name}", rounds))
            passed_s = time.monotonic() - began_s
            rate, stored_rate = (committed(socket) - has) / passed_s, (ledger.samples() - stored) / passed_s
            for title, program in programs.items():
                print(f"{title}: {100 * (program.cpu_s() - cpu_s[title]) / passed_s:.0f} % of a core", flush=True)
    finally:
        agent.stop()
    title = f"{(UNITS * FIELDS + FAN * NODES) * HZ * share:,.0f} samples/s"
    return [
        Figure(f"{title}: rate of the agent", rate, "samples/s"),
        Figure(f"{title}: rate stored", stored_rate, "samples/s"),
        *figures_of(title, found, with_goal=share == 1.0),
    ]


async def _rounds(cloud: CommandedCloud, agent: str, rounds: int) -> list[Round]:
    echo = BareEcho()
    await echo.connect(cloud.broker.url)
    try:
        async with commander(cloud.url, cloud.token) as client:
            await one_first(client, agent)
            return [await one_round(client, echo, agent, number) for number in range(rounds)]
    finally:
        await echo.close()


async def one_first(client: Commander, agent: str) -> None:
    """The first command to each device: it loads what the others find loaded, and waits for the cloud's time."""
    for device, tag in DEVICES.values():
        course = await client.command(agent, device, tag, 59_999, f"{agent} {device} first")
        if course.state != "succeeded":
            raise SystemExit(f"the first command has ended as {course.states[-1]}")


def main() -> None:
    """Run both loads."""
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name, ExitStack() as stack:
        cloud = CommandedCloud(Path(name))
        stack.callback(cloud.stop)
        cloud.start()
        plant = Plant(Path(name), cloud, stack)
        figures = measure(plant, cloud, "full", 1.0, ROUNDS)
        figures += measure(plant, cloud, "tenth", 0.1, ROUNDS_OF_TENTH)
    report("command-latency", figures)
