"""What a counter of a machine has counted between two of its samples. Pure: no I/O, no clock.

Counters of controllers roll over (16 or 32 bit), are reset at a shift's begin or by a restart, and jump for a moment
when a communication fails. A value that does not follow from the last accepted one waits as a *candidate* until the
next other one decides: when that follows from the accepted value the candidate was a glitch and counts nothing, when it
follows from the candidate the counter was reset. The candidate again decides nothing: a machine that stands after a
reset says the same as a communication that has failed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

ROLLOVER_PART: Final = 4
"""Without a highest rate, a step back is a rollover when it counts at most a quarter of the range, else a reset."""
JITTER_S: Final = Decimal(1)
"""Samples are this much apart in truth when their times are equal."""
PLACES: Final = Decimal("0.000000001")
"""Nothing smaller is counted: tables keep so much."""
AMOUNT_MAX: Final = Decimal(10) ** 9
"""No machine counts more between two samples: what says so is a glitch. Tables hold a million of such."""
_NS_A_S: Final = Decimal(1_000_000_000)
_NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class CounterRule:
    """How a counter counts. ``modulus``: where it begins again at 0, as 65536; ``rate_max``: at most so many a second.

    ``reset_to`` is what it holds after a reset; ``scale`` how much one count is.
    """

    modulus: Decimal | None = None
    rate_max: Decimal | None = None
    reset_to: Decimal = _NOTHING
    scale: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class CounterState:
    """The value that was accepted last, and the one that waits for the next to decide."""

    value: Decimal
    time_ns: int
    candidate: Decimal | None = None
    candidate_ns: int = 0


@dataclass(frozen=True, slots=True)
class Increment:
    """What was counted from ``begin_ns`` to the sample, in units of the scale."""

    amount: Decimal
    begin_ns: int


def count(
    rule: CounterRule, state: CounterState | None, value: Decimal, time_ns: int
) -> tuple[CounterState, Increment | None]:
    """Take the next good sample, in the order of its times: the state behind it, and what it adds, if anything.

    The first sample counts nothing: nobody knows when what it says was made.
    """
    if state is None:
        return CounterState(value, time_ns), None
    step = _step(rule, state.value, value, time_ns - state.time_ns)
    if step is not None:
        return CounterState(value, time_ns), _increment(rule, step, state.time_ns)
    if value == state.candidate:  # it says the same again, as a failed communication does: nothing is decided yet
        return state, None
    if state.candidate is not None:
        step = _step(rule, state.candidate, value, time_ns - state.candidate_ns)
        if step is not None:
            amount = step + _since_reset(rule, state.candidate, state.candidate_ns - state.time_ns)
            return CounterState(value, time_ns), _increment(rule, amount, state.time_ns)
    return replace(state, candidate=value, candidate_ns=time_ns), None


def _increment(rule: CounterRule, step: Decimal, begin_ns: int) -> Increment | None:
    return Increment((step * rule.scale).quantize(PLACES), begin_ns) if step else None


def _since_reset(rule: CounterRule, candidate: Decimal, elapsed_ns: int) -> Decimal:
    """What the counter had counted since its reset when the candidate came; nothing when that cannot be."""
    amount = candidate - rule.reset_to
    return amount if 0 <= amount <= _most(rule, elapsed_ns) else _NOTHING


def _step(rule: CounterRule, before: Decimal, after: Decimal, elapsed_ns: int) -> Decimal | None:
    """How far it is from one value to a later one; ``None`` when the later one does not follow."""
    step = after - before
    if step >= 0:
        return step if step <= _most(rule, elapsed_ns) else None
    if rule.modulus is None:
        return None
    step += rule.modulus
    most = _most(rule, elapsed_ns)
    if rule.rate_max is None:
        most = min(most, rule.modulus / ROLLOVER_PART)
    return step if 0 <= step <= most else None


def _most(rule: CounterRule, elapsed_ns: int) -> Decimal:
    """The largest step that can be true."""
    most = AMOUNT_MAX / rule.scale
    return most if rule.rate_max is None else min(most, rule.rate_max * (elapsed_ns / _NS_A_S + JITTER_S))
