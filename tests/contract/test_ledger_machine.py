"""The delivery ledger against a model: agents that start again, lose, repeat and give up batches, and people who close.

Two historians take turns on one log, each with what it remembers; one that is behind must store nothing. Batches come
before their definition, are refused by the log, cannot be read, wait for too long, are closed and replayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count

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

from cloud_ingest.event_log.topics import raw_record
from cloud_ingest.gateway.ledger import ledger as ledger_of
from cloud_ingest.historian.closing import NotClosed, close_epoch
from cloud_ingest.historian.dead_letters import letters
from cloud_ingest.historian.identities import Identities
from cloud_ingest.historian.partitions import Partitions
from cloud_ingest.historian.projector import Projector, Stores
from cloud_ingest.historian.replaying import Replaying
from cloud_ingest.historian.storing import store_dead_letters
from cloud_ingest.historian.work import DeadLetter, Work
from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.errors import OffsetMoved
from connectors.ports.clock import SystemClock
from connectors.ports.event_log import LogRecord
from connectors.sparkplug.delivery import format_epoch
from tests.contract.historian_steps import RETENTION_DAYS, Plant, RawLogOnPostgres, plant
from tests.contract.ledger_model import LedgerModel, Sent, transactions
from tests.exploration import histories
from tests.played_agent import NOW_MS, PlayedAgent, Sample

_numbers = count(1)
DEFINITIONS = ({"force": DataType.DOUBLE}, {"force": DataType.DOUBLE, "speed": DataType.DOUBLE})
ANY = st.integers(0, 99)
"""Which one of a list, counted round."""


class LedgerMachine(RuleBasedStateMachine):
    """One agent with its starts, one partition of the log, two historians."""

    def __init__(self, runner: asyncio.Runner, made: Plant) -> None:
        super().__init__()
        self.runner, self.made = runner, made
        self.name = f"line-{next(_numbers)}"
        self.identity = f"log of {self.name}"
        self.partitions = Partitions(made.database, SystemClock(), RETENTION_DAYS)
        self.starts: list[PlayedAgent] = []
        self.sent: dict[tuple[Epoch, int], Sent] = {}
        self.log: list[Sent] = []
        self.lost: list[Sent] = []
        self.place = 0
        self.model = LedgerModel()
        self.historians: list[Projector] = []
        self.is_outdated = [False, False]
        """Whether somebody else has written the ledger since the historian has read it."""

    @initialize()
    def begin(self) -> None:
        self.runner.run(self.partitions.prepare())
        self.historians = [self._historian(), self._historian()]
        self.restart(in_time=True, is_defined_in_time=False, definition=0)  # until it comes, samples are parked

    def _historian(self) -> Projector:
        stores = Stores(self.made.database, self.made.log, self.partitions, None, SystemClock())
        historian = Projector(stores, self.identity, 0)
        historian.next_offset = self.runner.run(historian._place.read())
        return historian

    # -- the agent -----------------------------------------------------------------------------------------------------

    @property
    def agent(self) -> PlayedAgent:
        return self.starts[-1]

    def _send(self, sent: Sent, in_time: bool) -> None:
        self.sent[sent.key] = sent
        (self.log if in_time else self.lost).append(sent)

    @rule(in_time=st.booleans(), is_defined_in_time=st.booleans(), definition=st.integers(0, 1))
    def restart(self, in_time: bool, is_defined_in_time: bool, definition: int) -> None:
        """A start: a fresh epoch, which says how far the one before went."""
        first = 1 if not self.starts or self.starts[-1].last > 8 else self.starts[-1].next
        agent = PlayedAgent(self.name, first=first)
        earlier = self.starts[-1:]
        self.starts.append(agent)
        spans = tuple((one.epoch, one.first, one.last) for one in earlier)
        self._send(Sent(agent.start(earlier), agent.epoch, first, starts_at=first, earlier=spans), in_time)
        wire = agent.define("press", DEFINITIONS[definition])
        self._send(Sent(wire, agent.epoch, agent.last, defines=self._needs()), is_defined_in_time)

    def _needs(self) -> str:
        return str(self.agent.definitions["press"].hash)

    @rule(sizes=st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=5))
    def deliver(self, sizes: list[tuple[int, bool]]) -> None:
        """Batches of so many samples each, in time or not; one of none cannot be read."""
        for size, in_time in sizes:
            samples = [Sample("force", NOW_MS * 10**6 + n, 1.0) for n in range(size)]
            wire = self.agent.samples("press", samples) if size else self.agent.raw("press", b"", 5)
            sent = Sent(wire, self.agent.epoch, self.agent.last, self._needs(), size, is_readable=size > 0)
            self._send(sent, in_time)

    @precondition(lambda self: self.sent)
    @rule(which=st.lists(ANY, min_size=1, max_size=3), in_time=st.booleans())
    def give_up(self, which: list[int], in_time: bool) -> None:
        """Batches of one epoch give way, and a gap record names them; they may arrive all the same."""
        sent = list(self.sent.values())
        epoch = sent[which[0] % len(sent)].epoch
        batches = sorted({one.batch for one in (sent[at % len(sent)] for at in which) if one.epoch == epoch})
        named = {"epoch": format_epoch(epoch), "batches": [[batch, batch] for batch in batches]}
        wire = self.agent.gap("press", "outbox_full", 1, 2, **named)
        names = tuple((epoch, batch) for batch in batches)
        self._send(Sent(wire, self.agent.epoch, self.agent.last, names=names), in_time)

    # -- the way to the log --------------------------------------------------------------------------------------------

    @precondition(lambda self: self.lost)
    @rule(which=st.lists(ANY, min_size=1, max_size=4))
    def arrive_late(self, which: list[int]) -> None:
        """What was lost on its way is sent again, in any order."""
        for at in which[: len(self.lost)]:
            self.log.append(self.lost.pop(at % len(self.lost)))

    @precondition(lambda self: self.log)
    @rule(which=st.lists(ANY, min_size=1, max_size=2))
    def arrive_twice(self, which: list[int]) -> None:
        for at in which:
            self.log.append(self.log[at % len(self.log)])

    @precondition(lambda self: any(sent.defines for sent in self.lost))
    @rule()
    def a_definition_arrives(self) -> None:
        """Whatever waits for it is in the log already, most of the time."""
        late = next(sent for sent in self.lost if sent.defines)
        self.lost.remove(late)
        self.log.append(late)

    @precondition(lambda self: self.lost)
    @rule(which=ANY, is_gone=st.booleans())
    def refuse(self, which: int, is_gone: bool) -> None:
        """The log does not take a message, and the ingest sets it aside; another ingest may have it taken after all."""
        refused = self.lost.pop(which % len(self.lost))
        if not is_gone:
            self.lost.append(refused)
        self.runner.run(self._set_aside(refused))
        self.model.refuse(refused)

    async def _set_aside(self, sent: Sent) -> None:
        agent = await Identities(self.made.database).agent(self.agent.name)
        topic, payload = sent.wire
        letter = DeadLetter(topic, payload, "too large", NOW_MS, agent, sent.epoch, sent.batch, sent.defines)
        async with self.made.database.transaction() as session:
            await store_dead_letters(session, Work(0, dead_letters=[letter]))

    # -- the historians ------------------------------------------------------------------------------------------------

    @rule(which=st.integers(0, 1), most=st.integers(1, 8), is_fresh=st.booleans())
    def project(self, which: int, most: int, is_fresh: bool) -> None:
        """A historian goes on from where it believes to be, or, started afresh, from where the place is."""
        if is_fresh:
            self._start(which)
        historian = self.historians[which]
        at = historian.next_offset
        messages = self.log[at : at + most]
        if not messages:
            return
        try:
            self.runner.run(historian._project([self._record(at + n, sent) for n, sent in enumerate(messages)]))
        except OffsetMoved:
            assert at != self.place or self.is_outdated[which], "nobody else has written anything"
            self._start(which)
        place = self.runner.run(historian._place.read())
        if at != self.place:
            assert place == self.place, "a historian that was behind has stored something"
        else:
            self._expect(messages, place - at)
            messages = messages[place - at :]
        self.place = place
        self._expect_unparked(messages)
        self.is_outdated[1 - which] = True

    def _record(self, offset: int, sent: Sent) -> LogRecord:
        record = raw_record(f"plant/{self.name}", *sent.wire, NOW_MS)
        return LogRecord(offset, record.key, record.value, record.time_ms, record.headers)

    def _expect(self, messages: Sequence[Sent], stored: int) -> None:
        """So many of ``messages`` are stored: whole transactions."""
        for part in transactions(messages):
            if stored <= 0:
                break
            self.model.store(part)
            stored -= len(part)
        assert stored == 0, "a part of a transaction was stored"

    def _expect_unparked(self, unstored: Sequence[Sent]) -> None:
        """A historian that fails afterwards may have learnt definitions, and stored all that waits for one of them."""
        read = {sent.defines for sent in unstored if sent.defines}
        definitions = self.runner.run(self.made.fetch(
            "SELECT hash FROM definition JOIN agent USING (agent_id) WHERE agent.name = $1", self.name
        ))  # fmt: skip
        learnt = {row["hash"] for row in definitions} - self.model.known
        assert learnt <= read
        self.model.known |= learnt
        rows = self.runner.run(self.made.fetch(
            "SELECT epoch, batch FROM parked_batch JOIN agent USING (agent_id) WHERE agent.name = $1", self.name
        ))  # fmt: skip
        parked = {(row["epoch"], row["batch"]) for row in rows}
        for definition in read & {needs for key, needs in self.model.parked().items() if key not in parked}:
            self.model.unpark(definition)
        assert self.model.parked().keys() == parked

    @rule(which=st.integers(0, 1))
    def catch_up(self, which: int) -> None:
        self.project(which, len(self.log), is_fresh=True)

    def _start(self, which: int) -> None:
        """It forgets what it knew."""
        self.historians[which] = self._historian()
        self.is_outdated[which] = False

    # -- time and people -----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.parked())
    @rule()
    def wait_a_quarter_of_an_hour(self) -> None:
        self.runner.run(self.made.fetch(
            "UPDATE parked_batch SET parked = now() - interval '16 minutes' "
            "WHERE agent_id = (SELECT agent_id FROM agent WHERE name = $1)", self.name
        ))  # fmt: skip
        self.model.wait_long()

    @precondition(lambda self: self.model.epochs)
    @rule(which=ANY, one=st.none() | ANY, strange=st.sets(st.integers(1, 12), max_size=1))
    def close(self, which: int, one: int | None, strange: set[int]) -> None:
        """All that is missing of an epoch, or one batch of it; with another one that may not be missing."""
        epoch = list(self.model.epochs)[which % len(self.model.epochs)]
        missing = sorted(self.model.missing(epoch))
        batches = None if one is None or not missing else {missing[one % len(missing)]} | strange
        self._close(epoch, batches)

    @precondition(lambda self: len(self.model.epochs) > 1)
    @rule()
    def close_everything(self) -> None:
        for epoch in list(self.model.epochs):
            self._close(epoch, None)

    def _close(self, epoch: Epoch, batches: set[int] | None) -> None:
        asked = None if batches is None else BatchRanges(ranges(batches))
        expected = self.model.close(epoch, batches)
        try:
            closed = self.runner.run(
                close_epoch(self.made.database, f"plant/{self.name}", epoch, asked, reason="lost", by="anna", quiet_s=0)
            )
        except NotClosed:
            assert expected.is_refused
        else:
            assert not expected.is_refused
            assert (list(closed.batches), closed.end) == (ranges(expected.batches), expected.end)
            assert closed.dead_letters == expected.letters

    @rule(which=ANY)
    def replay(self, which: int) -> None:
        found = self.runner.run(letters(self.made.database, agent=f"plant/{self.name}", with_closed=True))
        if not found:
            return
        one = found[which % len(found)]
        assert one.epoch is not None
        assert one.batch is not None
        expected = "closed" if one.closed is not None else self.model.replay(self.sent[one.epoch, one.batch])
        replayed = self.runner.run(Replaying(self.made.database, self.partitions, None).replay(one.number, "anna"))
        assert replayed.outcome == expected, replayed.reason
        self.is_outdated = [True, True]

    # ------------------------------------------------------------------------------------------------------------------

    @invariant()
    def the_ledger_says_what_arrived_what_is_missing_and_why(self) -> None:
        entries = self.runner.run(ledger_of(self.made.database, f"plant/{self.name}"))
        found = {epoch["epoch"]: epoch for entry in entries for epoch in entry["epochs"]}
        assert set(found) == {format_epoch(number) for number in self.model.epochs}
        for number, epoch in self.model.epochs.items():
            row = found[format_epoch(number)]
            for name in ("arrived", "missing", "given_up", "closed", "stuck"):
                assert (name, row[name]) == (name, ranges(getattr(self.model, name)(number)))
            assert (row["samples"], row["duplicates"]) == (epoch.samples, epoch.duplicates)
            assert (row["first_batch"], row["last_batch"]) == (epoch.first, epoch.last)
            assert row["has_closed_end"] == epoch.has_closed_end
            assert (row["missing_since"] is not None) == bool(row["missing"])
        assert sum(entry["parked"] for entry in entries) == len(self.model.parked())

    def teardown(self) -> None:
        """What the ledger counts is what is stored."""
        (row,) = self.runner.run(self.made.fetch(
            "SELECT count(*) AS n FROM sample JOIN tag USING (tag_id) JOIN agent USING (agent_id) "
            "WHERE agent.name = $1", self.name,
        ))  # fmt: skip
        assert row["n"] == sum(epoch.samples for epoch in self.model.epochs.values())


def ranges(numbers: set[int]) -> list[tuple[int, int]]:
    return list(BatchRanges((number, number) for number in numbers))


def test_the_ledger_is_as_its_model(database_dsn: str) -> None:
    with asyncio.Runner() as runner:
        opened = plant(RawLogOnPostgres(database_dsn), database_dsn)
        made = runner.run(opened.__aenter__())
        try:
            run_state_machine_as_test(
                lambda: LedgerMachine(runner, made),
                settings=settings(max_examples=histories(40), stateful_step_count=40, deadline=None, print_blob=True),
            )
        finally:
            runner.run(opened.__aexit__(None, None, None))
