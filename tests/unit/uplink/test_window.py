"""The window of batches in flight against a plain list: bounded, in order, and each batch leaves once."""

from __future__ import annotations

from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connectors.model.delivery import BatchNumber, BatchRanges, Epoch
from connectors.model.tags import DefinitionHash, DeviceName
from edge_agent.buffer.rows import Kind, StoredBatch
from edge_agent.uplink.window import EARLY_S, RESEND_LONGEST_S, Window
from tests.exploration import histories

RESEND_S = 10.0
NUMBERS = st.integers(0, 40)


def batch(number: int, epoch: int = 1, size: int = 10) -> StoredBatch:
    return StoredBatch(
        BatchNumber(number), Epoch(epoch), Kind.SAMPLES, DeviceName("press"), DefinitionHash("d"), 0, 1, size
    )


def window(batches: int = 100, size: int = 1_000_000) -> Window:
    return Window(batches_max=batches, bytes_max=size, resend_after_s=RESEND_S)


def numbers(batches: list[StoredBatch]) -> list[int]:
    return [each.number for each in batches]


@dataclass
class Model:
    """The batches in flight in the order in which they were first sent, and when each was sent last."""

    sent: list[tuple[int, int]] = field(default_factory=list)
    sent_s: dict[tuple[int, int], float] = field(default_factory=dict)
    done: set[tuple[int, int]] = field(default_factory=set)


class WindowMachine(RuleBasedStateMachine):
    """Whatever is sent, acknowledged, refused, lost and waited for: the window knows what a list would know."""

    @initialize(batches=st.integers(1, 6), size=st.integers(1, 60))
    def begin(self, batches: int, size: int) -> None:
        self.batches_max, self.bytes_max = batches, size
        self.window = window(batches, size)
        self.model = Model()
        self.sizes: dict[tuple[int, int], int] = {}
        self.now_s = 0.0
        self.next = 1
        self.epoch = 1
        self.reconnected: list[tuple[int, int]] = []

    @rule(size=st.integers(1, 40))
    def send_the_next_while_there_is_room(self, size: int) -> None:
        assert self.window.room_batches <= self.batches_max
        if not self.model.sent:
            assert self.window.room_batches > 0, "an empty window takes a batch of any size"
        if self.window.room_batches > 0:
            key = (self.epoch, self.next)
            self.next += 1
            self.window.sent(batch(key[1], key[0], size), self.now_s)
            self.model.sent.append(key)
            self.model.sent_s[key] = self.now_s
            self.sizes[key] = size

    @rule()
    def the_agent_starts_anew(self) -> None:
        self.epoch += 1

    @rule(first=NUMBERS, more=st.integers(0, 5), epoch=st.integers(1, 3))
    def acknowledge(self, first: int, more: int, epoch: int) -> None:
        expected = [key for key in self.model.sent if key[0] == epoch and first <= key[1] <= first + more]
        found = self.window.acknowledge(Epoch(epoch), BatchRanges([(first, first + more)]), self.now_s)
        assert [(each.epoch, each.number) for each in found] == expected
        assert not self.model.done & set(expected), "a batch is acknowledged once"
        self.forget(expected)

    @rule(number=NUMBERS, epoch=st.integers(1, 3))
    def refuse(self, number: int, epoch: int) -> None:
        found = self.window.refuse(Epoch(epoch), number)
        assert (found is not None) == ((epoch, number) in self.model.sent)
        self.forget([(epoch, number)] if found is not None else [])

    @rule()
    def reconnect(self) -> None:
        self.window.reconnected()
        self.reconnected = list(self.model.sent)

    @rule(seconds=st.sampled_from([0.0, 1.0, RESEND_S, 45.0, 300.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def send_what_is_due(self) -> None:
        self.send_again()

    def send_again(self) -> list[tuple[int, int]]:
        waited_s = {key: self.now_s - self.model.sent_s[key] for key in self.model.sent}
        again = [(each.epoch, each.number) for each in self.window.due(self.now_s)]
        assert again == [key for key in self.model.sent if key in again], "in order, each once, and only what is there"
        if self.reconnected:
            assert again == [key for key in self.reconnected if key in self.model.sent]
            self.reconnected = []
        else:
            assert all(waited_s[key] >= RESEND_S - EARLY_S for key in again)
        for key in again:
            self.window.sent(batch(key[1], key[0], self.sizes[key]), self.now_s)
            self.model.sent_s[key] = self.now_s
        return again

    @precondition(lambda self: self.model.sent)
    @rule()
    def whoever_waits_long_enough_is_told_to_send(self) -> None:
        due_s = self.window.next_due_s(self.now_s)
        assert due_s is not None
        assert due_s <= RESEND_LONGEST_S
        self.now_s += due_s
        assert self.window.next_due_s(self.now_s) == 0.0
        was_reconnected = bool(self.reconnected)
        assert self.send_again() or was_reconnected

    @invariant()
    def the_window_and_the_list_agree(self) -> None:
        assert len(self.window) == len(self.model.sent) <= self.batches_max
        in_flight = sum(self.sizes[key] for key in self.model.sent)
        assert self.window.room_bytes == max(0, self.bytes_max - in_flight)
        if len(self.model.sent) > 1:
            assert in_flight - self.sizes[self.model.sent[-1]] < self.bytes_max, "one batch too many at most"
        assert (self.window.next_due_s(self.now_s) is None) == (not self.model.sent)

    def forget(self, keys: list[tuple[int, int]]) -> None:
        for key in keys:
            self.model.sent.remove(key)
            self.model.done.add(key)


TestWindow = WindowMachine.TestCase
TestWindow.settings = settings(max_examples=histories(80), stateful_step_count=40, deadline=None)


def test_while_the_cloud_is_silent_only_the_oldest_is_sent_again_at_growing_intervals() -> None:
    in_flight = window()
    for number in range(1, 6):
        in_flight.sent(batch(number), 0.0)
    sent_again_s: list[float] = []
    now_s = 0.0
    while now_s < 400.0:
        due = in_flight.due(now_s)
        if due:
            assert numbers(due) == [1]
            in_flight.sent(due[0], now_s)
            sent_again_s.append(now_s)
        now_s += 1.0
    assert sent_again_s == [10.0, 30.0, 70.0, 130.0, 190.0, 250.0, 310.0, 370.0]
    assert in_flight.is_silent


def test_once_the_cloud_answers_all_that_was_sent_before_is_due_when_its_time_has_passed() -> None:
    in_flight = window()
    for number in range(1, 6):
        in_flight.sent(batch(number), 0.0)
    in_flight.sent(batch(6), 9.0)
    assert numbers(in_flight.due(10.0)) == [1]
    in_flight.sent(batch(1), 10.0)
    assert numbers(in_flight.acknowledge(Epoch(1), BatchRanges([(3, 3)]), 12.0)) == [3]
    assert not in_flight.is_silent
    assert in_flight.next_due_s(12.0) == 0.0
    lost = in_flight.due(12.0)
    assert numbers(lost) == [2, 4, 5]
    for each in lost:
        in_flight.sent(each, 12.0)
    assert in_flight.next_due_s(12.0) == 7.0
    assert numbers(in_flight.due(19.0)) == [6]


def test_after_a_reconnect_everything_is_due_at_once_and_then_nothing_again() -> None:
    in_flight = window()
    for number in range(1, 4):
        in_flight.sent(batch(number), 0.0)
    in_flight.reconnected()
    in_flight.acknowledge(Epoch(1), BatchRanges([(2, 2)]), 0.5)
    assert in_flight.next_due_s(0.5) == 0.0
    assert numbers(in_flight.due(0.5)) == [1, 3]
    assert in_flight.due(0.5) == []


def test_whoever_waits_as_long_as_it_was_told_never_spins_for_rounding() -> None:
    for number in range(1, 2000):
        in_flight, sent_s = window(), number * 0.1 + 1e-7
        in_flight.sent(batch(1), sent_s)
        now_s = sent_s + number * 0.004999
        due_s = in_flight.next_due_s(now_s)
        assert due_s is not None
        assert numbers(in_flight.due(now_s + due_s - 1e-12)) == [1]


def test_an_acknowledgement_of_another_epoch_takes_nothing_out() -> None:
    in_flight = window()
    in_flight.sent(batch(1, epoch=7), 0.0)
    assert in_flight.acknowledge(Epoch(8), BatchRanges([(1, 1)]), 1.0) == []
    assert in_flight.refuse(Epoch(8), 1) is None
    assert len(in_flight) == 1
