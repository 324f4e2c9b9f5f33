"""Faults at random, as long as one likes: ``python -m tests.faults.soak MINUTES [--seed N] [--log kafka|postgresql]``.

Two machines number what they say (see ``counting_plant``). Every part is killed with kill -9, restarted in an orderly
way, and frozen with SIGSTOP; the links of agent and ingest to the broker, and of the agent to the machines, are cut,
silenced and slowed down; the agent's disk is filled; the machines freeze and start anew; often several at once. In the
end everything is healed, and every number has to be stored exactly once, or lie in a gap that was declared for its tag
(see ``accounting``). Prints a table; the exit code is 1 when anything is unexplained. The same seed gives the same
faults in the same order. Root only, as the agent gets a disk of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from lineside.servers.child_process import ProgramMissing
from lineside.servers.postgres import PostgresServer

from tests.faults.accounting import AFTER_S, Findings, Span, count
from tests.faults.counting_plant import COUNTERS, REGISTERS, CountingPlant
from tests.faults.link import Link, Mode
from tests.servers.kafka import KafkaServer

DISK_MB: Final = 48
OUTBOX: Final = "size_max: 64MB, free_disk_min: 6MB, ballast: 2MB"
LONGEST_S: Final = 6.0
RECOVERY_S_MAX: Final = 180.0
_COSTLY: Final = ("agent", "disk", "OPC UA", "Modbus")
"""What may cost samples: a fault of the machines, of the agent, or between them. All others only make them late."""


class Soak:
    """One run against one plant. ``links``: to the broker, and to the machines, by name."""

    def __init__(self, plant: CountingPlant, links: dict[str, Link], disk: Path, seed: int) -> None:
        self._plant = plant
        self._links = links
        self._disk = disk
        self._random = random.Random(seed)
        self._costly: list[Span] = []
        self._unanswered: list[Span] = []
        self.findings = Findings(seed)

    @property
    def kinds(self) -> list[str]:
        """The names of all faults that it deals."""
        return sorted(name for name, _ in self._faults())

    def run(self, seconds: float, at_once: tuple[int, ...] = (1, 1, 2, 3), longest_s: float = LONGEST_S) -> Findings:
        """Faults for ``seconds``, and until each kind was dealt once; then heal, and count.

        ``at_once``: how many, one of these numbers each time. ``longest_s``: how long they last at most.
        """
        plant = self._plant
        plant.wait_until_stored(10 * COUNTERS, RECOVERY_S_MAX)
        end_s = time.monotonic() + seconds
        todo = self._faults()
        is_first_round = True
        while is_first_round or time.monotonic() < end_s:
            chosen = [todo.pop() for _ in range(min(len(todo), self._random.choice(at_once)))]
            self._deal(chosen, longest_s)
            if not todo:
                todo, is_first_round = self._faults(), False
        plant.wait_until_read(RECOVERY_S_MAX)
        plant.stand_still()
        plant.wait_until_delivered(RECOVERY_S_MAX)
        self._count()
        return self.findings

    def _deal(self, chosen: list[tuple[str, Callable[[], Any]]], longest_s: float) -> None:
        """Some faults at once, for a while; then all is well for a while."""
        first_s = time.time()
        with ExitStack() as together:
            for name, fault in chosen:
                self.findings.faults[name] += 1
                print(f"{time.strftime('%H:%M:%S')}  {name}", flush=True)
                together.enter_context(fault())
            time.sleep(self._random.uniform(0.2, longest_s))
        if any(part in name for part in _COSTLY for name, _ in chosen):
            self._costly.append((first_s, time.time()))
        if any("Modbus" in name for name, _ in chosen):
            self._unanswered.append((first_s, time.time() + AFTER_S))
        time.sleep(self._random.uniform(0.2, longest_s / 2))

    # -- faults: a context each, healed at its end ---------------------------------------------------------------------

    def _faults(self) -> list[tuple[str, Callable[[], Any]]]:
        """Every fault once, in a random order."""
        plant = self._plant
        parts: dict[str, tuple[Any, Callable[[], None]]] = {
            "agent": (plant.agent, plant.start_agent),
            "broker": (plant.broker, plant.broker.start),
            "ingest": (plant.ingest, plant.start_ingest),
            "historian": (plant.historian, plant.start_historian),
            "PostgreSQL": (plant.postgres, plant.postgres.start),
        }
        if plant.kafka is not None:
            parts["Kafka"] = (plant.kafka, plant.kafka.start)
        faults: list[tuple[str, Callable[[], Any]]] = [
            ("OPC UA server starts anew", lambda: _at_once(plant.restart_machine)),
            ("Modbus unit starts anew", lambda: _at_once(plant.restart_modbus)),
            ("SIGSTOP of OPC UA server", lambda: _frozen(plant.pause_machine, plant.resume_machine)),
            ("SIGSTOP of Modbus unit", lambda: _frozen(plant.pause_modbus, plant.resume_modbus)),
            ("disk of the agent full", self._disk_full),
        ]
        for name, (part, start) in parts.items():
            faults.append((f"kill -9 of {name}", lambda part=part, start=start: _killed(part, start)))
            faults.append((f"orderly restart of {name}", lambda part=part, start=start: _restarted(part, start)))
            faults.append((f"SIGSTOP of {name}", lambda part=part: _stopped(part)))
        for name, link in self._links.items():
            faults += [
                (f"link {name} {mode.value}", lambda link=link, mode=mode: _impaired(link, mode))
                for mode in (Mode.CUT, Mode.SILENT, Mode.SLOW)
            ]
        self._random.shuffle(faults)
        return faults

    @contextmanager
    def _disk_full(self) -> Iterator[None]:
        filler = self._disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(b"\0" * 65_536):
                    pass
            except OSError:
                pass
        try:
            yield
        finally:
            filler.unlink()

    # -- the count -----------------------------------------------------------------------------------------------------

    def _count(self) -> None:
        plant, found = self._plant, self.findings
        numbers, ledger = plant.numbers(), plant.ledger()
        count(found, numbers, plant.made, plant.gaps(), self._costly, {"registers": self._unanswered})
        for device, tags in (("counters", COUNTERS), ("registers", REGISTERS)):
            if len([tag for of, tag in numbers if of == device]) != tags:
                found.unexplained.append(f"not all tags of {device} are there")
        found.duplicates_refused = sum(epoch["duplicates"] for epoch in ledger["epochs"])
        found.missing_batches, found.dead_letters = ledger["missing"], ledger["dead_letters"]


@contextmanager
def _at_once(fault: Callable[[], None]) -> Iterator[None]:
    fault()
    yield


@contextmanager
def _frozen(freeze: Callable[[], None], thaw: Callable[[], None]) -> Iterator[None]:
    freeze()
    try:
        yield
    finally:
        thaw()


@contextmanager
def _restarted(part: Any, start: Callable[[], None]) -> Iterator[None]:
    part.stop()
    try:
        yield
    finally:
        start()


@contextmanager
def _killed(part: Any, start: Callable[[], None]) -> Iterator[None]:
    part.kill()
    try:
        yield
    finally:
        start()


@contextmanager
def _stopped(part: Any) -> Iterator[None]:
    if not part.running:
        yield
        return
    part.pause()
    try:
        yield
    finally:
        if part.running:
            part.resume()


@contextmanager
def _impaired(link: Link, mode: Mode) -> Iterator[None]:
    link.become(mode)
    try:
        yield
    finally:
        link.become(Mode.GOOD)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A disk of its own for the agent. Raises ``ProgramMissing`` where this program may not mount one."""
    if os.geteuid() != 0:
        raise ProgramMissing(
            "the agent of a soak has a disk of its own, to be filled: run it as root, who may mount one"
        )
    disk = folder / "agent"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


@contextmanager
def soak(folder: Path, postgres: PostgresServer, database: str, kafka: KafkaServer | None,
         seed: int) -> Iterator[Soak]:  # fmt: skip
    """A plant on running servers, with links that can be impaired, and a disk for the agent."""
    plant = CountingPlant(folder, postgres, database, kafka, outbox=OUTBOX)
    with ExitStack() as stack:
        targets = {
            "agent to broker": plant.broker.port,
            "ingest to broker": plant.broker.port,
            "agent to OPC UA": plant.opcua_port,
            "agent to Modbus": plant.modbus.port,
        }
        links = {name: stack.enter_context(Link(port)) for name, port in targets.items()}
        plant.agent_broker_port = links["agent to broker"].port
        plant.ingest_broker_port = links["ingest to broker"].port
        plant.agent_opcua_port = links["agent to OPC UA"].port
        plant.agent_modbus_port = links["agent to Modbus"].port
        disk = stack.enter_context(_small_disk(folder))
        stack.enter_context(plant)
        yield Soak(plant, links, disk, seed)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--log", choices=["kafka", "postgresql"], default="kafka")
    chosen = parser.parse_args()
    print(f"soak for {chosen.minutes:g} minutes at the {chosen.log} log, seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="lineside-soak-") as name, ExitStack() as stack:
        folder = Path(name)
        postgres = PostgresServer(folder / "postgres", settings={"max_connections": "200"})
        postgres.start()
        stack.callback(postgres.stop)
        postgres.create_database("soak")
        kafka = None
        if chosen.log == "kafka":
            kafka = KafkaServer(folder / "kafka")
            kafka.start()
            stack.callback(kafka.stop)
        (folder / "plant").mkdir()
        with soak(folder / "plant", postgres, "soak", kafka, chosen.seed) as made:
            findings = made.run(60 * chosen.minutes)
    print("\n".join(findings.lines()))
    return findings.exit_code


if __name__ == "__main__":
    sys.exit(main())
