"""Whatever happens in whatever order, a release that counts has proved itself, and each order has one outcome."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge_agent.releases.switching import (
    LIMIT_S_MAX,
    STARTS_MAX,
    Order,
    State,
    given_up,
    ordered,
    proved,
    starting,
    unusable,
)
from tests.exploration import histories

NAMES = st.sampled_from(["1.0-aaa", "1.1-bbb", "2.0-ccc"])


def test_a_release_on_trial_counts_once_it_has_said_that_it_is_healthy() -> None:
    state = State(current="1.0-a", previous="0.9-z")
    trial = starting(ordered(state, Order("A", "1.1-b", 60.0), "", 1), 2)
    assert (trial.current, trial.runs, trial.starts) == ("1.0-a", "1.1-b", 1)
    assert proved(trial, "B", 3) == trial, "another one's word"
    done = proved(trial, "A", 3)
    assert (done.current, done.previous, done.trial, done.runs) == ("1.1-b", "1.0-a", None, "1.1-b")
    assert done.outcome is not None
    assert (done.outcome.order, done.outcome.succeeded, done.outcome.runs) == ("A", True, "1.1-b")
    assert ordered(done, Order("A", "1.1-b", 60.0), "", 4) == done, "an order that was carried out already"


def test_a_release_that_is_started_too_often_is_given_up_for_the_one_before() -> None:
    state = ordered(State(current="1.0-a", previous="0.9-z"), Order("A", "1.1-b", 60.0), "", 1)
    for _ in range(STARTS_MAX):
        state = starting(state, 2)
        assert state.runs == "1.1-b"
    state = starting(state, 3)
    assert (state.runs, state.current, state.previous) == ("1.0-a", "1.0-a", "0.9-z")
    assert state.outcome is not None
    assert not state.outcome.succeeded
    assert state.outcome.runs == "1.0-a"
    assert "never got healthy" in state.outcome.reason


def test_what_cannot_be_run_is_refused_at_once_and_what_runs_already_is_done() -> None:
    state = State(current="1.0-a")
    refused = ordered(state, Order("A", "1.1-b", 60.0), "it is not installed", 1)
    assert refused.runs == "1.0-a"
    assert refused.outcome is not None
    assert (refused.outcome.succeeded, refused.outcome.reason) == (False, "it is not installed")
    same = ordered(replace(state, previous="0.9-z"), Order("B", "1.0-a", 60.0), "", 1)
    assert (same.runs, same.previous) == ("1.0-a", "0.9-z")
    assert same.outcome is not None
    assert same.outcome.succeeded


def test_a_release_that_was_removed_leaves_the_one_before_and_then_the_base() -> None:
    state = unusable(State(current="1.1-b", previous="1.0-a"), 1, "gone")
    assert (state.current, state.previous) == ("1.0-a", "")
    assert unusable(state, 1, "gone") == State()


def test_a_limit_is_bounded() -> None:
    trial = ordered(State(), Order("A", "1.1-b", 1e9), "", 1).trial
    assert trial is not None
    assert trial.limit_s == LIMIT_S_MAX


class Switching(RuleBasedStateMachine):
    """``self.good``: releases that have said in a trial that they are healthy."""

    @initialize()
    def begin(self) -> None:
        self.state = State()
        self.good = {""}
        self.orders: dict[str, Order] = {}
        self.outcomes: dict[str, bool] = {}

    @rule(to=NAMES, again=st.booleans(), problem=st.sampled_from(["", "", "not installed"]))
    def order(self, to: str, again: bool, problem: str) -> None:
        if again and self.orders:
            order = list(self.orders.values())[-1]
        else:
            order = Order(f"order {len(self.orders)}", to, 60.0)
            self.orders[order.order] = order
        self.state = ordered(self.state, order, problem, 1)

    @rule()
    def start(self) -> None:
        self.state = starting(self.state, 1)
        assert self.state.starts <= STARTS_MAX

    @rule(late=st.booleans())
    def healthy(self, late: bool) -> None:
        trial = self.state.trial
        if late or trial is None:
            before = self.state
            self.state = proved(self.state, "an order of before", 1)
            assert self.state == before
        else:
            self.state = proved(self.state, trial.order, 1)
            self.good.add(trial.to)

    @rule()
    def give_up(self) -> None:
        self.state = given_up(self.state, "time is up", 1)

    @rule()
    def gone(self) -> None:
        self.state = unusable(self.state, 1, "gone")

    @invariant()
    def what_counts_has_proved_itself(self) -> None:
        assert self.state.current in self.good
        assert self.state.previous in self.good
        assert self.state.trial is None or self.state.runs == self.state.trial.to

    @invariant()
    def an_outcome_never_changes(self) -> None:
        outcome = self.state.outcome
        if outcome is not None:
            assert self.outcomes.setdefault(outcome.order, outcome.succeeded) == outcome.succeeded


Switching.TestCase.settings = settings(max_examples=histories(100), stateful_step_count=30, deadline=None)
TestSwitching = Switching.TestCase
