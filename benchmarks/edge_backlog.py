"""``edge-backlog``: ten million samples wait on disk while 5,000 samples a second go on coming.

An outbox is filled by an earlier start with batches of 500 samples, as a line with 5,000 samples/s commits them. Then
the agent starts with no broker to reach: its memory, its CPU time and its answers are those of a long outage. Then the
broker is there: how fast the backlog drains beside the live samples, how far the live view (previews) is behind
meanwhile, and how large the agent becomes. The host acknowledges as the bridge does.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from lineside.servers.mosquitto import MosquittoBroker

from benchmarks.edge_run import agent_file
from benchmarks.processes import BIN, Program, python
from benchmarks.report import Figure, report
from connectors.model.datatypes import DataType
from connectors.model.errors import LinesideError
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName, TagName, TagType
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.rows import NewBatch
from edge_agent.local_api.protocol import call
from tests.servers.modbus import ModbusServer

UNITS, FIELDS, POLL_S = 5, 1000, 1.0
RATE = UNITS * FIELDS / POLL_S
WAITING = 10_000_000
BATCH = 500
OUTAGE_S = 30.0
DRAIN_S_MAX = 600.0
DEVICE = DeviceName("oven0")


def main() -> None:
    """Fill, run without a broker, run with one until all is delivered."""
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        units = [stack.enter_context(ModbusServer()) for _ in range(UNITS)]
        for unit in units:
            unit.command(f"count holding 0 {2 * FIELDS} 500")
        broker = MosquittoBroker(folder / "mosquitto")
        config = agent_file(folder, broker.url, "\n".join(_device(n, unit) for n, unit in enumerate(units)) + "\n")
        (folder / "data").mkdir()
        _fill(folder / "data" / "outbox.db")
        agent = Program([str(BIN / "edge-agent"), "run", "-c", str(config)], folder / "agent.log")
        stack.callback(agent.stop)
        report("edge-backlog", [*_outage(agent, folder), *_drain(agent, folder, broker, stack)])


def _outage(agent: Program, folder: Path) -> list[Figure]:
    socket = folder / "data" / "agent.sock"
    agent.wait_until(lambda: _status(socket).get("outbox", {}).get("samples_committed", 0) > 0, "commit", 60.0)
    time.sleep(5.0)
    cpu_s, begun_s, resident = agent.cpu_s(), time.monotonic(), []
    while time.monotonic() - begun_s < OUTAGE_S:
        time.sleep(1.0)
        resident.append(agent.resident_mb())
    took_s = time.monotonic() - begun_s
    asked_s = time.monotonic()
    waiting = _status(socket)["outbox"]["samples"]
    answered_s = time.monotonic() - asked_s
    return [
        Figure("waiting when the outage ends", waiting, "samples"),
        Figure("outage: CPU of the agent", 100 * (agent.cpu_s() - cpu_s) / took_s, "% of a core"),
        Figure("outage: most resident", max(resident), "MB", 120.0, False),
        Figure("outage: the agent answers `status` within", answered_s, "s"),
    ]


def _drain(agent: Program, folder: Path, broker: MosquittoBroker, stack: ExitStack) -> list[Figure]:
    socket = folder / "data" / "agent.sock"
    broker.start()
    stack.callback(broker.stop)
    log = folder / "host.log"
    host = python("benchmarks.measuring_host", broker.url, log=log)
    host.wait_for("ready")
    agent.wait_until(lambda: _status(socket)["uplink"]["phase"] == "born", "connect", 90.0)
    waiting, cpu_s, begun_s = _status(socket)["outbox"]["samples"], agent.cpu_s(), time.monotonic()
    resident: list[float] = []
    while _status(socket)["outbox"]["samples"] > 2 * RATE and time.monotonic() - begun_s < DRAIN_S_MAX:
        time.sleep(1.0)
        resident.append(agent.resident_mb())
    took_s = time.monotonic() - begun_s
    left, cpu_s = _status(socket)["outbox"]["samples"], agent.cpu_s() - cpu_s
    host.stop()
    measured: dict[str, Any] = json.loads(log.read_text().split("measured ", 1)[1])
    ages_s = measured["preview_age_s"]
    delivered = waiting - left + RATE * took_s
    return [
        Figure("drain: speed, as a multiple of real time", (waiting - left) / took_s / RATE + 1, "x", 20.0),
        Figure("drain: delivered", delivered / took_s, "samples/s"),
        Figure("drain: delivered for each CPU-second of the agent", delivered / cpu_s, "samples/CPU-s"),
        Figure("drain: live view behind, median", statistics.median(ages_s), "s", 1.0, False),
        Figure("drain: live view behind, 99 of 100", float(np.percentile(ages_s, 99)), "s", 1.0, False),
        Figure("drain: most resident", max(resident), "MB", 130.0, False),
    ]


def _status(socket: Path) -> dict[str, Any]:
    """What the agent says of itself; nothing while it does not answer."""
    try:
        answer: dict[str, Any] = asyncio.run(call(socket, "status"))
    except LinesideError:
        return {}
    return answer


def _fill(path: Path) -> None:
    """What an earlier start has left: batches of one device, a tenth of a second each."""
    tags = [TagType(n, TagName(f"f{n}"), DataType.FLOAT) for n in range(FIELDS)]
    begin_ns = time.time_ns() - int(WAITING / RATE * 1e9)
    outbox = Outbox(path, "normal", now_ms=begin_ns // 1_000_000)
    definition, _ = outbox.define(DEVICE, tags, begin_ns // 1_000_000)
    aliases = np.array([metric.alias for metric in definition.metrics][:BATCH], np.int32)
    for number in range(0, WAITING // BATCH, 100):
        batches = []
        for at in range(number, number + 100):
            time_ns = np.full(BATCH, begin_ns + int(at * BATCH / RATE * 1e9), np.int64)
            values = np.arange(BATCH, dtype=np.float32) + at
            batches.append(NewBatch(DEVICE, definition.hash, (SampleBatch(DataType.FLOAT, aliases, time_ns, values),)))
        outbox.commit(Commit(batches, now_ns=begin_ns + int(number * BATCH / RATE * 1e9)))
    outbox.close()


def _device(number: int, unit: ModbusServer) -> str:
    lines = [f"  - {{name: oven{number}, driver: modbus, endpoint: '{unit.endpoint}', poll: 1s, in_flight: 16, tags: ["]
    lines += [f"      {{name: f{k}, at: holding {2 * k}, type: float32}}," for k in range(FIELDS)]
    return "\n".join([*lines, "    ]}"])
