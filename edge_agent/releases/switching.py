"""From one release to the next, and back: what is known, and what follows from what happens. Pure.

A release that was ordered is on trial. Until the agent in it has said that it is healthy, the release before is the one
that counts: whatever stops the launcher, and whatever is wrong with the new one, that one runs again in the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

STARTS_MAX: Final = 3
"""So often a release on trial is started; power cuts and restarts of the box count, too."""
LIMIT_S_MAX: Final = 3600.0
REASON_CHARS_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Order:
    """Go to the release ``to``. ``devices`` are those that were read before, and have to be read again."""

    order: str
    to: str
    limit_s: float
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order. ``runs`` is the release that runs since then; empty for the base installation."""

    order: str
    to: str
    runs: str
    succeeded: bool
    reason: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class State:
    """What the launcher knows. ``current`` is the release that is known to work; empty for the base installation.

    ``starts``: how often the one on trial was started.
    """

    current: str = ""
    previous: str = ""
    trial: Order | None = None
    starts: int = 0
    outcome: Outcome | None = None

    @property
    def runs(self) -> str:
        """The release that is to run now."""
        return self.current if self.trial is None else self.trial.to


def ordered(state: State, order: Order, problem: str, now_ms: int) -> State:
    """An order was found. ``problem``: why the release cannot be run at all. One that is known changes nothing."""
    known = {each.order for each in (state.trial, state.outcome) if each is not None}
    if order.order in known:
        return state
    if state.trial is not None:
        state = given_up(state, "another release was ordered meanwhile", now_ms)
    begun = replace(state, trial=replace(order, limit_s=min(max(order.limit_s, 1.0), LIMIT_S_MAX)), starts=0)
    if problem:
        return given_up(begun, problem, now_ms)
    if order.to == state.current:
        return proved(begun, order.order, now_ms)
    return begun


def starting(state: State, now_ms: int) -> State:
    """What ``state.runs`` names is about to be started; a trial that was started too often is over before."""
    if state.trial is None:
        return state
    if state.starts >= STARTS_MAX:
        return given_up(state, f"it was started {state.starts} times, and never got healthy", now_ms)
    return replace(state, starts=state.starts + 1)


def proved(state: State, order: str, now_ms: int) -> State:
    """The agent has said that it is healthy, in the trial of ``order``; that of another one says nothing."""
    trial = state.trial
    if trial is None or trial.order != order:
        return state
    before = state.previous if trial.to == state.current else state.current
    outcome = Outcome(trial.order, trial.to, trial.to, succeeded=True, reason="", time_ms=now_ms)
    return State(current=trial.to, previous=before, outcome=outcome)


def given_up(state: State, reason: str, now_ms: int) -> State:
    """The trial has failed: the release before goes on."""
    trial = state.trial
    if trial is None:
        return state
    said = reason[:REASON_CHARS_MAX]
    outcome = Outcome(trial.order, trial.to, state.current, succeeded=False, reason=said, time_ms=now_ms)
    return State(current=state.current, previous=state.previous, outcome=outcome)


def unusable(state: State, now_ms: int, reason: str) -> State:
    """What ``state.runs`` names cannot be run: the one before does, and at last the base installation."""
    if state.trial is not None:
        return given_up(state, reason, now_ms)
    return State(current=state.previous if state.current else "", outcome=state.outcome)
