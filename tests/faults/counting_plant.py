"""A plant whose machines number what they say, from the machines to PostgreSQL, each part its own process.

Two devices count: open62541, which reports every number, and libmodbus, which goes one further at each read. So a
sample that was lost leaves a hole between two numbers, and one that was stored twice is there twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from lineside.servers.child_process import ChildProcess, free_port
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer

from connectors.model.errors import DatabaseUnavailable
from connectors.postgres.database import open_database
from tests.faults.accounting import DeclaredGap
from tests.patience import WAIT_S_MAX
from tests.servers.kafka import KafkaServer
from tests.servers.modbus import ModbusServer

BIN: Final = Path(sys.executable).parent
COUNTERS: Final = 100
COUNTS_PER_S: Final = 20.0
REGISTERS: Final = 20
START_S_MAX: Final = 60.0
GROUP, AGENT = "plant-1", "line-1"


class CountingMachine:
    """The OPC UA server that counts, in a process of its own."""

    def __init__(self, port: int, after: int = 0) -> None:
        """Count on after the number ``after``."""
        self.port = port
        self.after = after
        command = [
            sys.executable,
            "-m",
            "tests.faults.counting_server",
            str(self.port),
            str(COUNTERS),
            str(COUNTS_PER_S),
            str(after),
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        while (line := self._output.readline()) != "ready\n":  # the server greets first
            assert line, "the OPC UA server has ended"

    def stand_still(self) -> int:
        """Stop counting, also when it is frozen; the last number."""
        self.resume()
        self._input.write("\n")
        self._input.flush()
        return int(self._output.readline())

    def pause(self) -> None:
        """Freeze it: connections stay open and silent, and it counts no further."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo ``pause``."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        self.resume()
        self._input.close()
        self._output.close()
        self._process.terminate()
        self._process.wait(WAIT_S_MAX)


class CountingPlant:
    """Machines, agent, broker, event log, ingest, historian and PostgreSQL. ``kafka`` is the event log, if given."""

    def __init__(
        self,
        folder: Path,
        postgres: PostgresServer,
        database: str,
        kafka: KafkaServer | None,
        *,
        outbox: str = "",
    ) -> None:
        """``outbox`` is what the agent's file says of it."""
        self.folder = folder
        self._outbox = outbox
        self.postgres = postgres
        self.kafka = kafka
        self.broker = MosquittoBroker(folder / "mosquitto")
        self.agent = ChildProcess("edge-agent", folder / "agent.log")
        self.ingest = ChildProcess("ingest", folder / "ingest.log")
        self.historian = ChildProcess("historian", folder / "historian.log")
        self.opcua_port = self.agent_opcua_port = free_port()
        self.modbus = ModbusServer()
        self.agent_modbus_port = self.modbus.port
        self.made: dict[str, list[range]] = {"counters": [], "registers": []}
        """Of each device: the numbers that its machine has given each of its tags, run by run."""
        self._registers_after = 0
        self._dsn = postgres.dsn(database)
        self._cleanup = ExitStack()
        self.agent_broker_port = self.ingest_broker_port = self.broker.port

    # -- start and stop ------------------------------------------------------------------------------------------------

    def __enter__(self) -> CountingPlant:
        with ExitStack() as cleanup:
            cleanup.callback(self.broker.stop)
            self.broker.start()
            self.opcua = CountingMachine(self.opcua_port)
            cleanup.callback(self._stop_machine)
            cleanup.enter_context(self.modbus)
            cleanup.callback(self.resume_modbus)
            self.modbus.command(f"count holding 0 {REGISTERS - 1} read")
            self._write_agent_file()
            self._write_cloud_file()
            for process in (self.agent, self.ingest, self.historian):
                cleanup.callback(process.stop)
            self.start_ingest()
            self.start_historian()
            self.start_agent()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _stop_machine(self) -> None:
        self.opcua.stop()

    def pause_machine(self) -> None:
        """Freeze the OPC UA server."""
        self.opcua.pause()

    def resume_machine(self) -> None:
        """Undo ``pause_machine``."""
        self.opcua.resume()

    def restart_machine(self) -> None:
        """End the OPC UA server, and start it again a little later; it goes on with the next thousand."""
        last = self.opcua.stand_still()
        self.made["counters"].append(range(self.opcua.after + 1, last + 1))
        self.opcua.stop()
        time.sleep(1.0)
        self.opcua = CountingMachine(self.opcua.port, (last // 1000 + 1) * 1000)

    def restart_modbus(self) -> None:
        """The same with the Modbus unit; its registers have 16 bits."""
        last = self._end_of_registers()
        self.modbus.stop()
        time.sleep(1.0)
        self.modbus.start()
        self._registers_after = (last // 1000 + 1) * 1000
        self.modbus.set("holding", 0, *[self._registers_after] * REGISTERS)
        self.modbus.command(f"count holding 0 {REGISTERS - 1} read")

    def pause_modbus(self) -> None:
        """Freeze the Modbus unit."""
        os.kill(self.modbus.pid, signal.SIGSTOP)

    def resume_modbus(self) -> None:
        """Undo ``pause_modbus``."""
        if self.modbus.running:
            os.kill(self.modbus.pid, signal.SIGCONT)

    def _end_of_registers(self) -> int:
        """The registers stand still; the last number that the agent can have read."""
        self.resume_modbus()
        self.modbus.command("count clear")
        last = self.modbus.get("holding", 0)[0]
        self.made["registers"].append(range(self._registers_after, last + 1))
        return last

    def start_agent(self) -> None:
        """Start the agent; it is ready when it has committed."""
        command = [str(BIN / "edge-agent"), "run", "-c", str(self.folder / "agent.yaml")]
        self.agent.start(command, lambda: self._agent_status() is not None, timeout_s=START_S_MAX)

    def start_ingest(self) -> None:
        """Start the bridge; it need not be connected yet."""
        self._start_cloud(self.ingest)

    def start_historian(self) -> None:
        """Start the historian; it need not be connected yet."""
        self._start_cloud(self.historian)

    def _start_cloud(self, process: ChildProcess) -> None:
        command = [str(BIN / "cloud-ingest"), "run", "--roles", process.name, "-c", str(self.folder / "cloud.yaml")]
        process.start(command, lambda: "cloud_started" in process.log(), timeout_s=START_S_MAX)

    def _write_agent_file(self) -> None:
        counters = "".join(
            f"    - {{name: n{node}, at: 'ns=1;s=N{node}', sampling: 0s, queue_size: 1000}}\n"
            for node in range(COUNTERS)
        )
        registers = "".join(
            f"    - {{name: r{address}, at: holding {address}, type: uint16}}\n" for address in range(REGISTERS)
        )
        (self.folder / "agent.yaml").write_text(
            f"agent: {{group: {GROUP}, name: {AGENT}, data_dir: {self.folder / 'agent'}}}\n"
            f"uplink: {{brokers: ['mqtt://127.0.0.1:{self.agent_broker_port}'], insecure: true, resend_after: 3s}}\n"
            f"outbox: {{{self._outbox}}}\n"
            "devices:\n"
            "- name: counters\n  driver: opcua\n  insecure: true\n"
            f"  endpoint: opc.tcp://127.0.0.1:{self.agent_opcua_port}\n"
            f"  tags:\n{counters}"
            "- name: registers\n  driver: modbus\n  poll: 100ms\n"
            f"  endpoint: tcp://127.0.0.1:{self.agent_modbus_port}\n"
            f"  tags:\n{registers}"
        )

    def _write_cloud_file(self) -> None:
        place = urlsplit(self._dsn)
        (self.folder / "password").write_text(place.password or "")
        lines = [
            f"ingest: {{brokers: ['mqtt://127.0.0.1:{self.ingest_broker_port}'], insecure: true}}",
            f"database: {{host: {place.hostname}, port: {place.port}, user: {place.username}, name: {place.path[1:]}, "
            f'password: "${{file:{self.folder}/password}}", insecure: true}}',
        ]
        if self.kafka is not None:
            where = f"brokers: ['{self.kafka.bootstrap}'], insecure: true, replication: 1, in_sync: 1"
            lines.append(f"event_log: {{kafka: {{{where}}}}}")
        (self.folder / "cloud.yaml").write_text("\n".join(lines) + "\n")

    # -- what it does --------------------------------------------------------------------------------------------------

    def stored(self) -> int:
        """How many samples are in PostgreSQL; 0 while it cannot be asked."""
        try:
            return int(self.query("SELECT count(*) AS n FROM sample")[0]["n"])
        except DatabaseUnavailable:
            return 0

    def query(self, statement: str) -> list[Any]:
        """Rows of the database."""

        async def ask() -> list[Any]:
            database = await open_database(self._dsn, connections_max=1, application_name="lineside-tests")
            try:
                async with database.session() as session:
                    return list(await session.fetch(statement))
            finally:
                await database.close()

        return asyncio.run(ask())

    def wait_until_stored(self, samples: int, timeout_s: float) -> None:
        """Wait until so many samples are stored, or fail with the ends of the logs."""
        self._wait(lambda: self.stored() >= samples, f"{samples} samples are stored", timeout_s)

    def wait_until_read(self, timeout_s: float) -> None:
        """After all is healed: wait until the agent reads from both machines again; it may be waiting to retry."""
        before = self._samples_by_device(timeout_s)
        self._wait(
            lambda: all(samples > before[device] for device, samples in self._samples_by_device(timeout_s).items()),
            f"more samples than {before} are read",
            timeout_s,
        )

    def wait_until_delivered(self, timeout_s: float) -> None:
        """After the machines stand still: wait until the agent has nothing left that is not acknowledged."""
        quiet_s = 1.5  # longer than a publishing interval, a poll and a commit together
        time.sleep(quiet_s)
        self._wait(lambda: self._waiting_batches() == 0, "the outbox is empty", timeout_s)
        last = -1
        end_s = time.monotonic() + timeout_s
        while (stored := self.stored()) != last or stored == 0:
            assert time.monotonic() < end_s, "the historian never came to an end"
            last = stored
            time.sleep(1.0)

    def stand_still(self) -> dict[str, int]:
        """Stop both machines from counting; the last number of each device that the agent can have read."""
        last = {"counters": self.opcua.stand_still(), "registers": self._end_of_registers()}
        self.made["counters"].append(range(self.opcua.after + 1, last["counters"] + 1))
        return last

    def _samples_by_device(self, timeout_s: float) -> dict[str, int]:
        self._wait(lambda: self._agent_status() is not None, "the agent answers", timeout_s)
        status = self._agent_status()
        assert status is not None
        return {device["device"]: device["samples"] for device in status["devices"]}

    def _waiting_batches(self) -> int:
        status = self._agent_status()
        return -1 if status is None else int(status["outbox"]["batches"])

    def _agent_status(self) -> dict[str, Any] | None:
        command = [str(BIN / "edge-agent"), "status", "--json", "-c", str(self.folder / "agent.yaml")]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        try:
            answer: dict[str, Any] = json.loads(finished.stdout)
        except ValueError:
            return None
        return answer if "outbox" in answer else None

    def _wait(self, done: Callable[[], bool], what: str, timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end_s:
                logs = "\n".join(f"-- {p.name}\n{p.log_tail()}" for p in (self.agent, self.ingest, self.historian))
                raise AssertionError(f"after {timeout_s:g} s it is not so that {what}\n{logs}")
            time.sleep(0.25)

    # -- what became of the numbers ------------------------------------------------------------------------------------

    def numbers(self) -> dict[tuple[str, str], list[tuple[int, float]]]:
        """Of each (device, tag): the stored numbers in order, each with its source time in seconds of Unix time."""
        rows = self.query(
            "SELECT tag.device, tag.name, sample.value_int AS number, extract(epoch FROM sample.time) AS time_s "
            "FROM sample JOIN tag USING (tag_id) WHERE quality = 0 ORDER BY 1, 2, 3, 4"
        )
        found: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for row in rows:
            found.setdefault((row["device"], row["name"]), []).append((row["number"], float(row["time_s"])))
        return found

    def gaps(self) -> list[DeclaredGap]:
        """The declared gaps."""
        rows = self.query(
            "SELECT device, reason, tags, sample_count, extract(epoch FROM first_time)::float8 AS first_s, "
            "extract(epoch FROM last_time)::float8 AS last_s FROM gap ORDER BY first_time"
        )
        return [
            DeclaredGap(
                row["device"],
                row["reason"],
                row["first_s"],
                row["last_s"],
                None if row["tags"] is None else frozenset(row["tags"]),
                row["sample_count"] or 0,
            )
            for row in rows
        ]

    def ledger(self) -> dict[str, Any]:
        """What ``cloud-ingest ledger --json`` says of the agent."""
        command = [str(BIN / "cloud-ingest"), "ledger", "--json", "-c", str(self.folder / "cloud.yaml")]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert finished.stdout, finished.stderr
        (agent,) = json.loads(finished.stdout)["agents"]
        assert isinstance(agent, dict)
        return agent
