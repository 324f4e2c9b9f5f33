"""The feed hands out every batch once and in order, whatever comes in between."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connectors.model.delivery import BatchNumber, Epoch
from connectors.model.tags import DefinitionHash, DeviceName
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.rows import Kind, Lane, StoredBatch
from edge_agent.buffer.writer import OutboxReader
from tests.exploration import histories

FRESH_BYTES_MAX = 100
LANES = st.sampled_from(Lane)
SIZES = st.lists(st.tuples(st.integers(1, 70), LANES), min_size=1, max_size=6)


def row(number: int, size_bytes: int, lane: Lane = Lane.SAMPLES) -> StoredBatch:
    press, definition = DeviceName("press"), DefinitionHash("d")
    return StoredBatch(BatchNumber(number), Epoch(1), Kind.SAMPLES, press, definition, 0, 1, size_bytes, lane=lane)


def samples(*sizes: int) -> list[tuple[int, Lane]]:
    return [(size, Lane.SAMPLES) for size in sizes]


class Pause:
    """Gives control back to whoever drives the coroutine, once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Disk:
    """Stands in for the reader: looks at the rows when it is asked, and answers later."""

    def __init__(self) -> None:
        self.rows: list[StoredBatch] = []
        self.looks_late = False

    async def read(self, after: int, count_max: int, bytes_max: int, *, urgent: bool) -> list[StoredBatch]:
        found = self._find(after, count_max, bytes_max, urgent)
        await Pause()
        return self._find(after, count_max, bytes_max, urgent) if self.looks_late else found

    def _find(self, after: int, count_max: int, bytes_max: int, urgent: bool) -> list[StoredBatch]:
        found: list[StoredBatch] = []
        for each in self.rows:
            if each.number <= after or (each.lane < Lane.SAMPLES) is not urgent:
                continue
            if len(found) == count_max or sum(taken.size_bytes for taken in found) >= bytes_max:
                break
            found.append(each)
        return found


class FeedMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()
        self.feed = Feed(cast(OutboxReader, self.disk), FRESH_BYTES_MAX)
        self.number = 0
        self.taken: list[StoredBatch] = []
        self.committed: list[StoredBatch] = []
        self.taking: Coroutine[Any, Any, list[StoredBatch]] | None = None
        self.untold: list[list[StoredBatch]] = []

    @initialize(sizes=st.lists(st.tuples(st.integers(1, 70), LANES), max_size=8), skipped=st.integers(0, 3))
    def begin(self, sizes: list[tuple[int, Lane]], skipped: int) -> None:
        """An earlier start has left rows; the first ones have been acknowledged."""
        self.number = skipped
        self._commit(sizes)

    @rule(sizes=SIZES)
    def commit(self, sizes: list[tuple[int, Lane]]) -> None:
        """The disk has rows, of which the feed will be told."""
        self.untold.append(self._commit(sizes))

    @precondition(lambda self: self.untold)
    @rule()
    def push(self) -> None:
        self.feed.push(self.untold.pop(0))

    @rule(sizes=SIZES)
    def commit_and_push(self, sizes: list[tuple[int, Lane]]) -> None:
        self.commit(sizes)
        while self.untold:
            self.push()

    @rule(sizes=SIZES)
    def commit_and_be_cancelled(self, sizes: list[tuple[int, Lane]]) -> None:
        """Whoever waited for a commit was cancelled while the disk did it: nobody tells the feed."""
        self._commit(sizes)

    @precondition(lambda self: self.taking is None)
    @rule(count=st.integers(1, 4), size=st.integers(1, 100))
    def take(self, count: int, size: int) -> None:
        self.taking = self.feed.take(count, size)
        self._step()

    @precondition(lambda self: self.taking is not None)
    @rule(late=st.booleans())
    def answer(self, late: bool) -> None:
        self.disk.looks_late = late
        self._step()

    @precondition(lambda self: self.taking is not None)
    @rule()
    def cancel(self) -> None:
        assert self.taking is not None
        self.taking.close()
        self.taking = None

    @rule(count=st.integers(1, 5))
    def acknowledge(self, count: int) -> None:
        """What was handed out leaves the disk."""
        done = {each.number for each in self.taken[:count]}
        self.disk.rows = [each for each in self.disk.rows if each.number not in done]

    @invariant()
    def in_order_and_each_once(self) -> None:
        for urgent in (True, False):
            taken, committed = self._of(self.taken, urgent), self._of(self.committed, urgent)
            assert taken == committed[: len(taken)]

    def teardown(self) -> None:
        while self.taking is not None:
            self._step()
        self.commit_and_push(samples(1))
        for _ in range(len(self.committed) + 2):
            if self.feed.has_more and self.taking is None:
                self.taking = self.feed.take(3, 100)
            while self.taking is not None:
                self._step()
        assert len(self.taken) == len(self.committed)
        assert not self.feed.has_more

    @staticmethod
    def _of(rows: list[StoredBatch], urgent: bool) -> list[int]:
        return [each.number for each in rows if (each.lane < Lane.SAMPLES) is urgent]

    def _commit(self, sizes: list[tuple[int, Lane]]) -> list[StoredBatch]:
        rows = [row(self.number + 1 + at, *size) for at, size in enumerate(sizes)]
        self.number += len(rows)
        self.disk.rows += rows
        self.committed += rows
        return rows

    def _step(self) -> None:
        assert self.taking is not None
        try:
            self.taking.send(None)
        except StopIteration as done:
            self.taking = None
            self.taken += done.value


FeedMachine.TestCase.settings = settings(max_examples=histories(200), stateful_step_count=30)
TestFeed = FeedMachine.TestCase


class Asked:
    """A feed that is asked once, with what happens while the disk is slow."""

    def __init__(self) -> None:
        self.machine = FeedMachine()

    def take(self, while_waiting: Callable[[FeedMachine], None] | None = None, *, late: bool = False) -> list[int]:
        machine, before = self.machine, len(self.machine.taken)
        machine.disk.looks_late = late
        machine.take(10, 1000)
        if while_waiting is not None:
            while_waiting(machine)
        while machine.taking is not None:
            machine._step()
        return [each.number for each in machine.taken[before:]]


def test_a_batch_that_the_disk_gave_before_the_feed_was_told_of_it_is_not_handed_out_again() -> None:
    asked = Asked()
    assert asked.take(lambda machine: machine.commit(samples(1)), late=True) == [1]
    asked.machine.push()
    assert asked.take() == []


def test_a_batch_whose_committer_was_cancelled_is_handed_out_all_the_same() -> None:
    asked = Asked()
    asked.machine.commit_and_push(samples(1))
    assert asked.take() == [1]
    asked.machine.commit_and_push(samples(1))
    asked.machine.commit_and_be_cancelled(samples(1))
    asked.machine.commit_and_push(samples(1))
    assert asked.take() == [2, 3, 4]


def test_batches_that_leave_the_memory_while_the_disk_is_asked_are_read_from_disk() -> None:
    asked = Asked()
    assert asked.take(lambda machine: machine.commit_and_push(samples(60, 60, 60))) == [1, 2, 3]


def test_what_is_urgent_overtakes_the_samples_that_wait() -> None:
    asked = Asked()
    asked.machine.commit_and_push([(1, Lane.SAMPLES), (90, Lane.SAMPLES), (90, Lane.SAMPLES), (1, Lane.ALARMS)])
    assert (asked.take(), asked.take()) == ([4], [1, 2, 3])
    asked.machine.commit_and_push([(1, Lane.SAMPLES), (1, Lane.RECORDS)])
    assert (asked.take(), asked.take(), asked.take()) == ([6], [5], [])


def test_the_newest_batch_stays_in_memory_however_large_it_is() -> None:
    asked = Asked()
    asked.take()
    asked.machine.commit_and_push(samples(5000))
    asked.machine.disk.rows.clear()
    assert asked.take() == [1]


def test_a_take_keeps_to_its_bounds_but_for_the_first_batch() -> None:
    feed = Feed(cast(OutboxReader, Disk()), 10_000)
    first = feed.take(9, 9)
    for _ in ("records", "samples"):
        first.send(None)
    with pytest.raises(StopIteration):
        first.send(None)
    feed.push([row(number, 100) for number in range(1, 6)])
    for count, size, expected in ((9, 1, [1]), (2, 1000, [2, 3]), (9, 150, [4, 5])):
        with pytest.raises(StopIteration) as done:
            feed.take(count, size).send(None)
        assert [each.number for each in done.value.value] == expected
