"""Faults at random, as long as one likes: ``python -m tests.faults.soak MINUTES [--seed N] [--log kafka|postgresql]``.

Two machines number what they say (see ``counting_plant``). Every part is killed with kill -9 and frozen with SIGSTOP,
the links of agent and ingest to the broker are cut, silenced and slowed down, the agent's disk is filled, the machine
starts anew; often several at once. In the end everything is healed, and every number has to be stored exactly once, or
lie in a gap that was declared. Prints a table; the exit code is 1 when anything is unexplained. The same seed gives the
same faults in the same order.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from lineside.servers.postgres import PostgresServer

from tests.faults.counting_plant import COUNTERS, REGISTERS, CountingPlant, Hole, holes
from tests.faults.link import Link, Mode
from tests.servers.kafka import KafkaServer

DISK_MB: Final = 48
OUTBOX: Final = "size_max: 64MB, free_disk_min: 6MB, ballast: 2MB"
LONGEST_S: Final = 6.0
RECOVERY_S_MAX: Final = 180.0
MARGIN_S: Final = 0.3
"""A gap names the first and the last sample that is lost, a hole the samples beside them: some periods further."""


@dataclass
class Findings:
    """What a soak has shown."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    made: int = 0
    stored: int = 0
    doubled: int = 0
    given_up: dict[str, int] = field(default_factory=dict)
    gaps: Counter[str] = field(default_factory=Counter)
    in_gaps: int = 0
    duplicates_refused: int = 0
    missing_batches: int = 0
    dead_letters: int = 0
    unexplained: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every number is accounted for, once."""
        return not (self.unexplained or self.doubled or self.missing_batches or self.dead_letters)

    def lines(self) -> Iterator[str]:
        """The table."""
        yield f"seed {self.seed}"
        for name, count in sorted(self.faults.items()):
            yield f"fault: {name:<38} {count:>10,}"
        yield f"{'numbers that the machines made':<45} {self.made:>10,}"
        yield f"{'stored':<45} {self.stored:>10,}"
        yield f"{'stored twice':<45} {self.doubled:>10,}"
        yield f"{'not stored, in a declared gap':<45} {self.in_gaps:>10,}"
        for reason, count in sorted(self.gaps.items()):
            yield f"gap: {reason:<40} {count:>10,}"
        for reason, count in sorted(self.given_up.items()):
            yield f"samples given up: {reason:<27} {count:>10,}"
        yield f"{'duplicates refused (batches)':<45} {self.duplicates_refused:>10,}"
        yield f"{'dead letters':<45} {self.dead_letters:>10,}"
        yield f"{'batches missing from the ledger':<45} {self.missing_batches:>10,}"
        yield f"{'unexplained':<45} {len(self.unexplained):>10,}"
        yield from self.unexplained[:20]


class Soak:
    """One run against one plant."""

    def __init__(self, plant: CountingPlant, links: dict[str, Link], disk: Path | None, seed: int) -> None:
        self._plant = plant
        self._links = links
        self._disk = disk
        self._random = random.Random(seed)
        self.findings = Findings(seed)

    def run(self, seconds: float) -> Findings:
        """Faults for ``seconds``, then heal, and count."""
        plant = self._plant
        plant.wait_until_stored(10 * COUNTERS, RECOVERY_S_MAX)
        end_s = time.monotonic() + seconds
        todo = self._faults()
        while time.monotonic() < end_s:
            if not todo:
                todo = self._faults()
            chosen = [todo.pop() for _ in range(min(len(todo), self._random.choice((1, 1, 2, 3))))]
            with ExitStack() as together:
                for name, fault in chosen:
                    self.findings.faults[name] += 1
                    print(f"{time.strftime('%H:%M:%S')}  {name}", flush=True)
                    together.enter_context(fault())
                time.sleep(self._random.uniform(0.2, LONGEST_S))
            time.sleep(self._random.uniform(0.2, LONGEST_S / 2))
        last = plant.stand_still()
        plant.wait_until_delivered(RECOVERY_S_MAX)
        self._count(last)
        return self.findings

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
        faults: list[tuple[str, Callable[[], Any]]] = [("machine starts anew", self._machine)]
        for name, (part, start) in parts.items():
            faults.append((f"kill -9 of {name}", lambda part=part, start=start: _killed(part, start)))
            faults.append((f"SIGSTOP of {name}", lambda part=part: _stopped(part)))
        for name, link in self._links.items():
            faults += [
                (f"link of {name} {mode.value}", lambda link=link, mode=mode: _impaired(link, mode))
                for mode in (Mode.CUT, Mode.SILENT, Mode.SLOW)
            ]
        if self._disk is not None:
            faults.append(("disk of the agent full", self._disk_full))
        self._random.shuffle(faults)
        return faults

    @contextmanager
    def _machine(self) -> Iterator[None]:
        self._plant.restart_machine()
        yield

    @contextmanager
    def _disk_full(self) -> Iterator[None]:
        assert self._disk is not None
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

    def _count(self, last: dict[str, int]) -> None:
        plant, found = self._plant, self.findings
        numbers, gaps, ledger = plant.numbers(), plant.gaps(), plant.ledger()
        found.made = sum(rows[-1][0] - rows[0][0] + 1 for rows in numbers.values())
        found.stored = sum(len(rows) for rows in numbers.values())
        for (device, tag), rows in numbers.items():
            found.doubled += sum(len(list(same)) - 1 for _, same in groupby(number for number, _ in rows))
            if rows[-1][0] != last[device]:
                found.unexplained.append(f"{device}/{tag} ends with {rows[-1][0]}, its last number was {last[device]}")
        for device, tags in (("counters", COUNTERS), ("registers", REGISTERS)):
            if len([tag for of, tag in numbers if of == device]) != tags:
                found.unexplained.append(f"not all tags of {device} are there")
        found.gaps = Counter(gap["reason"] for gap in gaps)
        for gap in gaps:
            if gap["sample_count"]:
                found.given_up[gap["reason"]] = found.given_up.get(gap["reason"], 0) + gap["sample_count"]
        declared = {device: _merged(gaps, device) for device in ("counters", "registers")}
        for hole in holes(numbers):
            found.in_gaps += len(hole.numbers)
            if not _lies_in(hole, declared[hole.device]):
                first, end = hole.numbers.start, hole.numbers.stop - 1
                where = f"{hole.device}/{hole.tag} {first}-{end}"
                found.unexplained.append(f"{where} between {hole.after_s:.2f} and {hole.before_s:.2f} is in no gap")
        found.duplicates_refused = sum(epoch["duplicates"] for epoch in ledger["epochs"])
        found.missing_batches, found.dead_letters = ledger["missing"], ledger["dead_letters"]


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


def _merged(gaps: list[Any], device: str) -> list[tuple[float, float]]:
    """The times that the gaps of ``device`` cover together."""
    spans = sorted((gap["first_s"] - MARGIN_S, gap["last_s"] + MARGIN_S) for gap in gaps if gap["device"] == device)
    merged: list[tuple[float, float]] = []
    for first_s, last_s in spans:
        if merged and float(first_s) <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], float(last_s)))
        else:
            merged.append((float(first_s), float(last_s)))
    return merged


def _lies_in(hole: Hole, spans: list[tuple[float, float]]) -> bool:
    at = bisect_right(spans, (hole.after_s, float("inf"))) - 1
    return at >= 0 and hole.before_s <= spans[at][1]


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of its own for the agent, where this program may mount one."""
    disk = folder / "agent"
    disk.mkdir()
    if os.geteuid() != 0:
        print("not root: the agent gets no disk of its own, and the fault 'disk full' is left out", flush=True)
        yield None
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def soak(seconds: float, seed: int, folder: Path, postgres: PostgresServer, database: str,
         kafka: KafkaServer | None) -> Findings:  # fmt: skip
    """Run a plant with faults for ``seconds`` on running servers; what it has shown."""
    plant = CountingPlant(folder, postgres, database, kafka, outbox=OUTBOX)
    with ExitStack() as stack:
        links = {name: stack.enter_context(Link(plant.broker.port)) for name in ("agent", "ingest")}
        plant.agent_broker_port, plant.ingest_broker_port = links["agent"].port, links["ingest"].port
        disk = stack.enter_context(_small_disk(folder))
        stack.enter_context(plant)
        return Soak(plant, links, disk, seed).run(seconds)


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
        findings = soak(60 * chosen.minutes, chosen.seed, folder / "plant", postgres, "soak", kafka)
    print("\n".join(findings.lines()))
    return 0 if findings.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
