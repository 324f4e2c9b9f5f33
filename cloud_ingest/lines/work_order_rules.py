"""What may become of a work order, and which of a line's is the next one. Pure: no I/O, no clock.

::

    planned ⇄ ready ⇄ next → running ⇄ paused → complete → closed
        (anything before complete) → cancelled      complete → paused (it was not over after all)

On a line at most one is ``running``, and one is ``next`` exactly when any is ready: the first of them in the line's
sequence. A work order is one step of a job; it gets ready when enough of the step before is done (IEC 62264-1 calls the
job an operations request, and its steps segments).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Final

ZERO: Final = Decimal(0)
MEASURED_PIECES_MIN: Final = 5
"""From so many good pieces on, a forecast goes by what was made, and not by the routing."""
MEASURED_S_MIN: Final = 10


class WorkOrderState(StrEnum):
    """Where a work order stands; the words are part of the API and of its events."""

    PLANNED = "planned"
    """Not released, or the step before has not made enough."""
    READY = "ready"
    """It could be made."""
    NEXT = "next"
    """The first of those that are ready: it can be started when the line is free."""
    RUNNING = "running"
    PAUSED = "paused"
    """It has run and will again; the line may make another one meanwhile."""
    COMPLETE = "complete"
    """No more is made of it; what is counted late still belongs to it."""
    CLOSED = "closed"
    """Complete, and somebody has said that its numbers are right."""
    CANCELLED = "cancelled"


class Deed(StrEnum):
    """What people, and the line by itself, do with a work order."""

    RELEASE = "release"
    HOLD = "hold"
    START = "start"
    RESUME = "resume"
    ABORT = "abort"
    """Not to start after all: recipe and set-points were still under way."""
    PAUSE = "pause"
    COMPLETE = "complete"
    REOPEN = "reopen"
    CLOSE = "close"
    CANCEL = "cancel"


_S = WorkOrderState
WAITING: Final = frozenset({_S.READY, _S.NEXT})
OVER: Final = frozenset({_S.COMPLETE, _S.CLOSED, _S.CANCELLED})
"""Nothing more is made of it."""
FROM: Final[Mapping[Deed, frozenset[WorkOrderState]]] = {
    Deed.RELEASE: frozenset({_S.PLANNED}),
    Deed.HOLD: frozenset({_S.PLANNED, _S.READY, _S.NEXT}),
    Deed.START: frozenset({_S.NEXT}),
    Deed.RESUME: frozenset({_S.PAUSED}),
    Deed.ABORT: frozenset({_S.NEXT, _S.PAUSED}),
    Deed.PAUSE: frozenset({_S.RUNNING}),
    Deed.COMPLETE: frozenset({_S.RUNNING, _S.PAUSED}),
    Deed.REOPEN: frozenset({_S.COMPLETE}),
    Deed.CLOSE: frozenset({_S.COMPLETE}),
    Deed.CANCEL: frozenset({_S.PLANNED, _S.READY, _S.NEXT, _S.RUNNING, _S.PAUSED}),
}
FOLLOWS: Final[Mapping[WorkOrderState, frozenset[WorkOrderState]]] = {
    _S.PLANNED: frozenset({_S.READY, _S.CANCELLED}),
    _S.READY: frozenset({_S.NEXT, _S.PLANNED, _S.CANCELLED}),
    _S.NEXT: frozenset({_S.READY, _S.PLANNED, _S.RUNNING, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.PAUSED, _S.COMPLETE, _S.CANCELLED}),
    _S.PAUSED: frozenset({_S.RUNNING, _S.COMPLETE, _S.CANCELLED}),
    _S.COMPLETE: frozenset({_S.CLOSED, _S.PAUSED}),
    _S.CLOSED: frozenset(),
    _S.CANCELLED: frozenset(),
}
"""Which state may follow which; the diagram above is drawn from it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A work order and its line, as a deed finds them.

    ``running`` and ``starting`` are the ids of other work orders of the line that run, or whose recipe is under way.
    """

    state: WorkOrderState
    is_starting: bool = False
    running: str | None = None
    starting: str | None = None
    is_short: bool = False
    """Fewer were made than were wanted."""


def problem(deed: Deed, at: Standing, reason: str = "") -> str:
    """Why ``deed`` cannot be done; empty when it can."""
    if at.state not in FROM[deed]:
        return f"it is {at.state}, and {deed} is for one that is {_or(FROM[deed])}"
    if deed is Deed.ABORT:
        return "" if at.is_starting else "it is not starting"
    if at.is_starting and deed is not Deed.CANCEL:
        return "its recipe is on the way to the machines: abort the start first, or wait for its end"
    if deed in (Deed.START, Deed.RESUME):
        if at.running is not None:
            return f"work order {at.running} runs on the line: pause or complete it first, or change over"
        if at.starting is not None:
            return f"work order {at.starting} is about to start on the line"
    if deed is Deed.COMPLETE and at.is_short and not reason.strip():
        return "fewer were made than were ordered: give a reason"
    return ""


def _or(states: frozenset[WorkOrderState]) -> str:
    return " or ".join(state for state in WorkOrderState if state in states)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A work order that is ready or next."""

    work_order: str
    state: WorkOrderState
    is_starting: bool = False


def next_changes(current: Waiting | None, first: Waiting | None) -> tuple[tuple[str, WorkOrderState], ...]:
    """What has to change so that the right one is next, in this order.

    ``current`` is the one that is next now, ``first`` the first in the sequence of those that are ready or next. One
    that is starting stays.
    """
    if current is not None and current.is_starting:
        return ()
    if first is None or (current is not None and current.work_order == first.work_order):
        return ()
    made_next = (first.work_order, WorkOrderState.NEXT)
    return (made_next,) if current is None else ((current.work_order, WorkOrderState.READY), made_next)


def resequenced(now: Sequence[str], wanted: Sequence[str], pinned: str | None) -> str:
    """Why ``wanted`` cannot be the new sequence of ``now``; empty when it can. ``pinned`` is the one that is starting.

    A sequence names each work order that is waiting on the line, once.
    """
    if len(set(wanted)) != len(wanted):
        return "a work order stands in it twice"
    if missing := [order for order in now if order not in set(wanted)]:
        return f"it leaves out {', '.join(missing[:5])}: name every work order of the line that does not run yet"
    if unknown := [order for order in wanted if order not in set(now)]:
        return f"{', '.join(unknown[:5])} does not wait on this line"
    if pinned is not None and wanted[0] != pinned:
        return f"work order {pinned} is starting: it stays in the first place"
    return ""


# -- quantities --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Before:
    """The step before in the same job."""

    good: Decimal
    is_over: bool


def is_enough(before: Before | None, transfer: Decimal) -> bool:
    """Whether a step can begin: there is none before it, it has made ``transfer``, or all that it ever will."""
    return before is None or before.good >= transfer or (before.is_over and before.good > ZERO)


def is_done(good: Decimal, reject: Decimal, quantity: Decimal, before: Before | None) -> bool:
    """Whether nothing is left to be made: the quantity is there, or nothing more comes from the step before."""
    if good >= quantity:
        return True
    return before is not None and before.is_over and good + reject >= before.good


def remaining(good: Decimal, quantity: Decimal) -> Decimal:
    """How many good ones are still wanted."""
    return max(ZERO, quantity - good)


def surplus(good: Decimal, quantity: Decimal) -> Decimal:
    """How many more than were wanted have been made."""
    return max(ZERO, good - quantity)


def pieces_per_s(good: Decimal, ran_s: Decimal, cycle_s: Decimal) -> Decimal:
    """How fast it goes: as it went, stops and rejects and all, once there is enough of that; before, as planned."""
    if good >= MEASURED_PIECES_MIN and ran_s >= MEASURED_S_MIN:
        return good / ran_s
    return 1 / cycle_s


def needed_s(good: Decimal, quantity: Decimal, ran_s: Decimal, cycle_s: Decimal) -> Decimal:
    """How many seconds of work are left."""
    return remaining(good, quantity) / pieces_per_s(good, ran_s, cycle_s)


def divided(quantity: Decimal, batch_maxima: Sequence[Decimal | None]) -> tuple[Decimal, ...]:
    """``quantity`` as jobs that no step finds too large; they add up to it."""
    sizes = [size for size in batch_maxima if size is not None]
    if not sizes or quantity <= min(sizes):
        return (quantity,)
    size = min(sizes)
    count = int((quantity / size).to_integral_value(ROUND_CEILING))
    return (*[size] * (count - 1), quantity - size * (count - 1))


# -- what is written to the machines -----------------------------------------------------------------------------------


class Step(StrEnum):
    """What the download of a recipe does next."""

    ARM = "arm"
    EXECUTE = "execute"
    WAIT = "wait"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Write:
    """One value, and where its commands stand: ``None`` when one was not asked for yet."""

    is_armed: bool
    arm: str | None = None
    execute: str | None = None
    refused: str = ""


_FAILED: Final = frozenset({"failed", "refused", "expired", "cancelled", "unknown"})
_SUCCEEDED: Final = "succeeded"


def next_write(writes: Sequence[Write]) -> tuple[int, Step]:
    """What comes next: (place of the write, what to do). One value after the other, and none behind one that failed."""
    for place, write in enumerate(writes):
        if write.refused:
            return place, Step.FAILED
        if write.is_armed:
            if write.arm is None:
                return place, Step.ARM
            if write.arm != _SUCCEEDED:
                return place, Step.FAILED if write.arm in _FAILED else Step.WAIT
        if write.execute is None:
            return place, Step.EXECUTE
        if write.execute != _SUCCEEDED:
            return place, Step.FAILED if write.execute in _FAILED else Step.WAIT
    return len(writes), Step.DONE
