"""The delivery ledger against a model: agents that start again, lose and repeat batches, and historians that race.

Two historians take turns on one log, each with what it remembers; one that is behind must store nothing.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from rich.console import Console

from cloud_ingest.cli.ledger_screens import ledger_screen
from cloud_ingest.event_log.topics import raw_record
from cloud_ingest.gateway.ledger import ledger as ledger_of
from cloud_ingest.historian.partitions import Partitions
from cloud_ingest.historian.projector import Projector, Stores
from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.errors import OffsetMoved
from connectors.ports.clock import SystemClock
from connectors.ports.event_log import LogRecord
from connectors.sparkplug.delivery import format_epoch
from tests.contract.historian_steps import RETENTION_DAYS, Plant, RawLogOnPostgres, plant
from tests.played_agent import NOW_MS, PlayedAgent, Sample, Wire

_numbers = count(1)


@dataclass
class EpochModel:
    """What the ledger should say of one epoch."""

    arrived: set[int] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)
    first: int | None = None
    last: int | None = None
    samples: int = 0
    duplicates: int = 0

    @property
    def missing(self) -> set[int]:
        begin = self.first if self.first is not None else min(self.arrived, default=None)
        numbered = set() if begin is None else set(range(begin, max(self.last or 0, *self.arrived, 0) + 1))
        return (numbered | self.dead) - self.arrived


@dataclass
class Sent:
    """A message in the log, and what the ledger makes of it."""

    wire: Wire
    epoch: Epoch
    batch: int
    samples: int = 0
    dead: bool = False
    earlier: tuple[tuple[Epoch, int, int], ...] = ()
    starts_at: int | None = None


class LedgerMachine(RuleBasedStateMachine):
    """One agent with its starts, one partition of the log, two historians."""

    def __init__(self, runner: asyncio.Runner, made: Plant) -> None:
        super().__init__()
        self.runner, self.made = runner, made
        self.name = f"line-{next(_numbers)}"
        self.identity = f"log of {self.name}"
        self.starts: list[PlayedAgent] = []
        self.log: list[Sent] = []
        self.lost: list[Sent] = []
        self.place = 0
        self.model: dict[Epoch, EpochModel] = {}
        self.historians: list[Projector] = []

    @initialize()
    def begin(self) -> None:
        self.historians = [self._historian(), self._historian()]
        self.restart(in_time=True)

    def _historian(self) -> Projector:
        partitions = Partitions(self.made.database, SystemClock(), RETENTION_DAYS)
        self.runner.run(partitions.prepare())
        stores = Stores(self.made.database, self.made.log, partitions, None, SystemClock())
        historian = Projector(stores, self.identity, 0)
        historian.next_offset = self.runner.run(historian._place.read())
        return historian

    @property
    def agent(self) -> PlayedAgent:
        return self.starts[-1]

    def _send(self, sent: Sent, in_time: bool) -> None:
        (self.log if in_time else self.lost).append(sent)

    @rule(in_time=st.booleans())
    def restart(self, in_time: bool) -> None:
        """A start: a fresh epoch, which says how far the one before went."""
        first = 1 if not self.starts or self.starts[-1].last > 8 else self.starts[-1].next
        agent = PlayedAgent(self.name, first=first)
        earlier = self.starts[-1:]
        self.starts.append(agent)
        spans = tuple((one.epoch, one.first, one.last) for one in earlier)
        self._send(Sent(agent.start(earlier), agent.epoch, first, earlier=spans, starts_at=first), in_time)
        definition = agent.define("press", {"force": DataType.DOUBLE})
        self._send(Sent(definition, agent.epoch, agent.last), in_time=True)

    @rule(size=st.integers(1, 3), in_time=st.booleans())
    def sample(self, size: int, in_time: bool) -> None:
        wire = self.agent.samples("press", [Sample("force", NOW_MS * 10**6 + n, 1.0) for n in range(size)])
        self._send(Sent(wire, self.agent.epoch, self.agent.last, size), in_time)

    @rule(in_time=st.booleans())
    def unreadable(self, in_time: bool) -> None:
        self._send(Sent(self.agent.raw("press", b"", 5), self.agent.epoch, self.agent.last, dead=True), in_time)

    @precondition(lambda self: self.lost)
    @rule(source=st.randoms(use_true_random=False))
    def arrive_late(self, source: Any) -> None:
        """What was lost on its way is sent again, in any order."""
        self.log.append(self.lost.pop(source.randrange(len(self.lost))))

    @precondition(lambda self: self.log)
    @rule(source=st.randoms(use_true_random=False))
    def arrive_twice(self, source: Any) -> None:
        self.log.append(source.choice(self.log))

    @rule(which=st.integers(0, 1), most=st.integers(1, 6))
    def project(self, which: int, most: int) -> None:
        """A historian goes on from where it believes to be."""
        historian = self.historians[which]
        at = historian.next_offset
        records = [self._record(offset) for offset in range(at, min(at + most, len(self.log)))]
        if not records:
            return
        try:
            self.runner.run(historian._project(records))
        except OffsetMoved:
            assert at != self.place, "it was not behind"
            self.historians[which] = self._historian()
        else:
            assert at == self.place, "a historian that was behind has stored something"
            self._expect(self.log[at : at + len(records)])
            self.place = at + len(records)

    @rule(which=st.integers(0, 1))
    def kill(self, which: int) -> None:
        self.historians[which] = self._historian()

    def _record(self, offset: int) -> LogRecord:
        wire = self.log[offset].wire
        record = raw_record(f"plant/{self.name}", wire.topic, wire.payload, NOW_MS)
        return LogRecord(offset, record.key, record.value, record.time_ms, record.headers)

    def _expect(self, stored: list[Sent]) -> None:
        for sent in stored:
            epoch = self.model.setdefault(sent.epoch, EpochModel())
            if sent.batch in epoch.arrived:
                epoch.duplicates += 1
            elif sent.dead:
                epoch.dead.add(sent.batch)
            else:
                epoch.arrived.add(sent.batch)
                epoch.samples += sent.samples
                if sent.starts_at is not None:
                    epoch.first = sent.starts_at
                for number, first, last in sent.earlier:
                    before = self.model.setdefault(number, EpochModel())
                    before.first, before.last = first, last

    @invariant()
    def the_ledger_says_what_arrived_and_what_is_missing(self) -> None:
        entries = self.runner.run(ledger_of(self.made.database, f"plant/{self.name}"))
        found = {epoch["epoch"]: epoch for entry in entries for epoch in entry["epochs"]}
        assert set(found) == {format_epoch(number) for number in self.model}
        for number, epoch in self.model.items():
            row = found[format_epoch(number)]
            assert row["arrived"] == ranges(epoch.arrived)
            assert row["missing"] == ranges(epoch.missing)
            assert (row["samples"], row["duplicates"]) == (epoch.samples, epoch.duplicates)
            assert (row["first_batch"], row["last_batch"]) == (epoch.first, epoch.last)

    def teardown(self) -> None:
        """What the ledger counts is what is stored."""
        (row,) = self.runner.run(self.made.fetch(
            "SELECT count(*) AS n FROM sample JOIN tag USING (tag_id) JOIN agent USING (agent_id) "
            "WHERE agent.name = $1", self.name,
        ))  # fmt: skip
        assert row["n"] == sum(epoch.samples for epoch in self.model.values())


def ranges(numbers: set[int]) -> list[tuple[int, int]]:
    found = BatchRanges()
    for number in numbers:
        found.add(number)
    return list(found)


def test_the_ledger_is_as_its_model(database_dsn: str) -> None:
    with asyncio.Runner() as runner:
        opened = plant(RawLogOnPostgres(database_dsn), database_dsn)
        made = runner.run(opened.__aenter__())
        try:
            run_state_machine_as_test(
                lambda: LedgerMachine(runner, made),
                settings=settings(max_examples=40, stateful_step_count=40, deadline=None, print_blob=True),
            )
        finally:
            runner.run(opened.__aexit__(None, None, None))


async def test_a_closed_dead_letter_is_no_longer_missing(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE})]
        wires += [agent.raw("press", b"", 5), agent.samples("press", [Sample("force", NOW_MS * 10**6, 1.0)])]
        wires += [agent.raw("press", b"", 5)]
        await made.project(*wires)
        assert (await made.epoch(agent))["missing"] == [(3, 3), (5, 5)]
        await made.fetch(
            "UPDATE dead_letter SET closed = now(), closed_reason = 'repaired by hand' WHERE batch = 5 RETURNING 1"
        )
        assert (await made.epoch(agent))["missing"] == [(3, 3)]
        (entry,) = await ledger_of(made.database)
        assert (entry["missing"], entry["dead_letters"]) == (1, 1)


async def test_a_batch_that_its_agent_declared_as_refused_is_given_up_and_not_missing(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE})]
        refused = agent.samples("press", [Sample("force", NOW_MS * 10**6, 1.0)])
        await made.project(*wires, agent.gap("press", "device_unavailable", 1, 2))
        assert (await made.epoch(agent))["missing"] == [(3, 3)], "a gap that names no batch explains none"
        await made.fetch(
            "INSERT INTO dead_letter (tenant_id, agent_id, epoch, batch, topic, payload, reason, received) "
            "SELECT 1, agent_id, $1, 3, '', '', 'too large', now() FROM agent RETURNING 1",
            agent.epoch,
        )
        gap = {"epoch": format_epoch(agent.epoch), "batches": [[3, 3]], "detail": "too large"}
        await made.project(agent.gap("press", "refused", 1, 2, **gap))
        epoch = await made.epoch(agent)
        assert (epoch["missing"], epoch["given_up"]) == ([], [(3, 3)])
        (entry,) = await ledger_of(made.database)
        assert (entry["missing"], entry["given_up"], entry["dead_letters"]) == (0, 1, 1)
        assert "1 batch given up: 3 of" in printed(entry)
        await made.project(refused)
        epoch = await made.epoch(agent)
        assert (epoch["arrived"], epoch["given_up"]) == ([(1, 5)], []), "what arrived all the same is not given up"


@pytest.mark.parametrize(
    "named",
    [
        {"epoch": 5, "batches": [[1, 1]]},
        {"epoch": "x", "batches": [[1, 1]]},
        {"epoch": "1", "batches": [[1, 1 << 63]]},
        {"epoch": "1", "batches": [[0, 3]]},
        {"epoch": "1", "batches": [[7, 3]]},
        {"epoch": "1", "batches": 7},
        {"epoch": "1", "batches": [7]},
        {"epoch": "1", "batches": [[number, number] for number in range(1, 20_003, 2)]},
    ],
)
async def test_a_gap_that_names_no_possible_batch_is_set_aside(database_dsn: str, named: dict[str, Any]) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(agent.start(), agent.gap("press", "refused", 1, 2, **named))
        assert [reason[:16] for reason in await made.reasons()] == ["not a gap record"]


async def test_a_restored_image_takes_no_batch_out_of_the_ledger(database_dsn: str) -> None:
    first, restored = PlayedAgent(), PlayedAgent(first=6)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        wires = [first.start(), first.define("press", {"force": DataType.DOUBLE})]
        wires += [first.samples("press", [Sample("force", NOW_MS * 10**6, 1.0)]) for _ in range(8)]
        await made.project(*wires[:8], PlayedAgent(first=11).start([first]))
        assert (await made.epoch(first))["missing"] == [(9, 10)]
        first.next = 6  # the image knows of five batches
        await made.project(restored.start([first]))
        epoch = await made.epoch(first)
    assert (epoch["first_batch"], epoch["last_batch"], epoch["missing"]) == (1, 10, [(9, 10)])


async def test_batches_that_wait_for_their_definition_are_counted(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        start, definition = agent.start(), agent.define("press", {"force": DataType.DOUBLE})
        data = [agent.samples("press", [Sample("force", NOW_MS * 10**6 + n, 1.0)]) for n in range(3)]
        await made.project(start, *data)
        (entry,) = await ledger_of(made.database)
        assert entry["parked"] == 3
        assert "3 batches wait for their definition" in printed(entry)
        await made.project(definition)
        (entry,) = await ledger_of(made.database)
        assert (entry["parked"], entry["missing"]) == (0, 0)


async def test_a_batch_whose_definition_has_not_come_for_a_quarter_of_an_hour_is_missing_until_it_comes(
    database_dsn: str,
) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        start, definition = agent.start(), agent.define("press", {"force": DataType.DOUBLE})
        data = [agent.samples("press", [Sample("force", NOW_MS * 10**6 + n, 1.0)]) for n in range(2)]
        await made.project(start, *data)
        assert (await made.epoch(agent))["missing"] == [(2, 2)], "only the definition itself, so far"
        await made.fetch("UPDATE parked_batch SET parked = now() - interval '16 minutes' WHERE batch = 4")
        (entry,) = await ledger_of(made.database)
        epoch = entry["epochs"][0]
        assert (epoch["arrived"], epoch["missing"], epoch["stuck"]) == ([(1, 1), (3, 3)], [(2, 2), (4, 4)], [(4, 4)])
        assert "1 batch of them missing" in printed(entry)
        await made.project(definition)
        epoch = await made.epoch(agent)
        assert (epoch["arrived"], epoch["missing"], epoch["stuck"]) == ([(1, 4)], [], [])


def printed(entry: dict[str, Any]) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(ledger_screen([entry], 0))
    return console.export_text()


async def test_what_an_earlier_epoch_never_sent_is_missing(database_dsn: str) -> None:
    first, second, third = (PlayedAgent() for _ in range(3))
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        start = first.start()
        first.next = 10
        await made.project(start, second.start([first]), third.start([first, second]))
        epochs = [await made.epoch(agent) for agent in (first, second, third)]
        assert [epoch["missing"] for epoch in epochs] == [[(2, 9)], [], []]
        assert [(epoch["first_batch"], epoch["last_batch"]) for epoch in epochs] == [(1, 9), (1, 1), (1, None)]


async def test_the_clock_error_of_an_agent_is_recorded(database_dsn: str) -> None:
    """Its messages say when they were sent; the ingest knows when they came."""
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.append(agent.start(), agent.define("press", {"force": DataType.DOUBLE}), received_ms=NOW_MS)
        await made.append(
            agent.samples("press", [Sample("force", NOW_MS * 10**6, 1.0)]), received_ms=NOW_MS - 3_600_000
        )
        async with made.projecting():
            await made.caught_up()
        (entry,) = await ledger_of(made.database, str(agent.name))
        assert entry["clock_error_s"] == 3600.0
