"""What the samples of a line mean: states and counts, sample by sample in the order of their times. Pure.

A fold is the sum of all samples up to a time. Whoever has the fold before a sample that came late takes it and all
later ones again, and gets what he would have got had it come in time: the result depends on the samples alone, never
on the order in which they arrived.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import Enum
from typing import Final, assert_never

from cloud_ingest.lines.counter_rules import CounterRule, CounterState, count
from cloud_ingest.lines.events import LineState

MINUTE_NS: Final = 60_000_000_000
SPEED_MAX: Final = Decimal(10) ** 12
"""What says more is no speed, and no table holds it."""
_NOTHING: Final = Decimal(0)


class SignalKind(Enum):
    """What a tag means for its line."""

    STATE = "state"
    GOOD = "good"
    REJECT = "reject"
    TOTAL = "total"
    """Good and reject together."""
    SPEED = "speed"
    FAULT = "fault"
    ENERGY = "energy"
    ALARM = "alarm"


COUNTERS: Final = frozenset({SignalKind.GOOD, SignalKind.REJECT, SignalKind.TOTAL, SignalKind.ENERGY})
PRODUCED: Final = COUNTERS - {SignalKind.ENERGY}


class Mark(Enum):
    """What an observation is: a sample, or word that its device was lost, or is back."""

    SAMPLE = 0
    LOST = 1
    BACK = 2


@dataclass(frozen=True, slots=True)
class Observation:
    """A sample of a signal. A truth value is the number 0 or 1; a bad or missing value is ``is_bad``."""

    time_ns: int
    signal: int
    number: Decimal | None = None
    text: str | None = None
    is_bad: bool = False
    mark: Mark = Mark.SAMPLE


@dataclass(frozen=True, slots=True)
class Meaning:
    """The state that a value of the state tag says, and the reason code of its stops."""

    state: LineState
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class LineRule:
    """How a line is read. Without a state tag its state follows from its speed, else from its counts."""

    kinds: Mapping[int, SignalKind]
    counters: Mapping[int, CounterRule] = field(default_factory=dict)
    meanings: Mapping[str, Meaning] = field(default_factory=dict)
    unmapped: Meaning = Meaning(LineState.STOPPED)
    stop_after_ns: int = 60_000_000_000
    offline_after_ns: int | None = None
    running_above: Decimal = _NOTHING
    fault_reason: str | None = None

    decider: SignalKind = field(init=False)
    """What the state follows from; ``TOTAL`` stands for all counters of pieces."""
    deciding: frozenset[int] = field(init=False)
    """The signals without which nobody knows the state."""

    def __post_init__(self) -> None:
        kinds = set(self.kinds.values())
        decider = next((kind for kind in (SignalKind.STATE, SignalKind.SPEED) if kind in kinds), SignalKind.TOTAL)
        wanted = PRODUCED if decider is SignalKind.TOTAL else {decider}
        object.__setattr__(self, "decider", decider)
        object.__setattr__(self, "deciding", frozenset(signal for signal, kind in self.kinds.items() if kind in wanted))


@dataclass(frozen=True, slots=True)
class Run:
    """From when to when a work order ran; what was counted in ``(begin_ns, end_ns]`` is its own."""

    begin_ns: int
    end_ns: int | None
    work_order: str
    product: str


@dataclass(frozen=True, slots=True, order=True)
class CountPlace:
    """Where counts are booked: the minutes of their begin and end, and the work order, empty for none."""

    end_minute: int
    begin_minute: int
    work_order: str
    product: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted at one place."""

    begin_ns: int
    end_ns: int
    good: Decimal = _NOTHING
    reject: Decimal = _NOTHING
    energy: Decimal = _NOTHING

    @property
    def amounts(self) -> tuple[Decimal, Decimal, Decimal]:
        """Good, reject and energy."""
        return self.good, self.reject, self.energy


@dataclass(frozen=True, slots=True)
class StateSpan:
    """A state from its begin to its end; ``end_ns`` is null of the present one."""

    begin_ns: int
    end_ns: int | None
    state: LineState
    reason: str | None


@dataclass(slots=True)
class Fold:
    """The sum of a line's samples up to ``(time_ns, signal)``; ``tallies`` has the places of its last minute."""

    time_ns: int = 0
    signal: int = -1
    counters: dict[int, CounterState] = field(default_factory=dict)
    tallies: dict[CountPlace, Tally] = field(default_factory=dict)
    owed: Decimal = _NOTHING
    """Rejects that the counter of all pieces has not shown yet."""
    meaning: Meaning | None = None
    is_fault: bool = False
    speed: Decimal | None = None
    counted_ns: int | None = None
    bad: frozenset[int] = frozenset()
    lost: frozenset[int] = frozenset()
    state: LineState = LineState.OFFLINE
    reason: str | None = None
    since_ns: int = 0
    before: StateSpan | None = None
    """The state before it: it goes on where it turns out that the one behind it lasted no time."""

    def copy(self) -> Fold:
        """One that goes on by itself."""
        return replace(self, counters=dict(self.counters), tallies=dict(self.tallies))


@dataclass(slots=True)
class Folded:
    """What folding has found: places with all that is in them, closed states, and folds to begin at again."""

    tallies: dict[CountPlace, Tally] = field(default_factory=dict)
    spans: list[StateSpan] = field(default_factory=list)
    kept: list[Fold] = field(default_factory=list)


def fold(rule: LineRule, runs: Sequence[Run], at: Fold, observations: Iterable[Observation]) -> Folded:
    """Take ``observations``, in the order of (time, signal), into ``at``, which is changed."""
    folded = Folded(tallies=dict(at.tallies))
    begins = [run.begin_ns for run in runs]
    for seen in observations:
        if seen.time_ns // MINUTE_NS != at.time_ns // MINUTE_NS:
            folded.kept.append(at.copy())
            at.tallies.clear()
        _time_outs(rule, at, seen.time_ns, folded.spans)
        _take(rule, at, seen, folded, _run_at(runs, begins, seen.time_ns))
        at.time_ns, at.signal = seen.time_ns, seen.signal
        _enter(at, _meaning(rule, at, seen.time_ns), seen.time_ns, folded.spans)
    return folded


def present(rule: LineRule, at: Fold, now_ns: int) -> tuple[list[StateSpan], int | None]:
    """The states from ``at`` to now: the last one is open. And when time alone changes them next, if ever."""
    ahead, spans = at.copy(), list[StateSpan]()
    if at.signal < 0:
        return spans, None
    if now_ns > at.time_ns:
        _time_outs(rule, ahead, now_ns, spans)
    if ahead.before is not None:
        spans.append(ahead.before)
    spans.append(StateSpan(ahead.since_ns, None, ahead.state, ahead.reason))
    times = [time for time in (_stop_ns(rule, ahead), _offline_ns(rule, ahead)) if time is not None and time > now_ns]
    return spans, min(times, default=None)


def ended(at: Fold, time_ns: int) -> Fold:
    """A fold that begins at ``time_ns``, behind ``at``, with nothing known of any signal: the line is offline."""
    tallies = dict(at.tallies) if time_ns // MINUTE_NS == at.time_ns // MINUTE_NS else {}
    told = replace(at, time_ns=time_ns, signal=0)
    _enter(told, Meaning(LineState.OFFLINE), time_ns, [])
    return Fold(
        time_ns, 0, tallies=tallies, state=told.state, reason=told.reason, since_ns=told.since_ns, before=told.before
    )


def _run_at(runs: Sequence[Run], begins: Sequence[int], time_ns: int) -> Run | None:
    place = bisect_left(begins, time_ns) - 1
    if place < 0:
        return None
    run = runs[place]
    return run if run.end_ns is None or time_ns <= run.end_ns else None


def _take(rule: LineRule, at: Fold, seen: Observation, folded: Folded, run: Run | None) -> None:
    match seen.mark:
        case Mark.LOST:
            at.lost |= {seen.signal}
            return
        case Mark.BACK:
            at.lost -= {seen.signal}
            return
        case Mark.SAMPLE:
            at.lost -= {seen.signal}
        case _:
            assert_never(seen.mark)
    if seen.is_bad:
        at.bad |= {seen.signal}
        return
    at.bad -= {seen.signal}
    kind = rule.kinds.get(seen.signal)
    if kind in COUNTERS:
        _count(rule, at, seen, folded, run)
    elif kind is SignalKind.STATE:
        at.meaning = rule.meanings.get(_spelt(seen), rule.unmapped)
    elif kind is SignalKind.FAULT:
        at.is_fault = bool(seen.number)
    elif kind is SignalKind.SPEED and (seen.number is None or abs(seen.number) < SPEED_MAX):
        at.speed = seen.number


def _spelt(seen: Observation) -> str:
    return (seen.text or "") if seen.number is None else spelt(seen.number)


def spelt(number: Decimal) -> str:
    """A number as keys of a map of states say it: ``3``, ``2.5``."""
    return f"{number.normalize():f}"


def _count(rule: LineRule, at: Fold, seen: Observation, folded: Folded, run: Run | None) -> None:
    if seen.number is None:
        return
    counter = rule.counters.get(seen.signal, CounterRule())
    at.counters[seen.signal], found = count(counter, at.counters.get(seen.signal), seen.number, seen.time_ns)
    if found is None:
        return
    kind = rule.kinds[seen.signal]
    good = reject = energy = _NOTHING
    match kind:
        case SignalKind.GOOD:
            good = found.amount
        case SignalKind.REJECT:
            reject = found.amount
            if SignalKind.TOTAL in rule.kinds.values():
                at.owed += found.amount
        case SignalKind.TOTAL:
            paid = min(at.owed, found.amount)
            at.owed -= paid
            good = found.amount - paid
        case _:
            energy = found.amount
    if kind in PRODUCED:
        at.counted_ns = seen.time_ns
    place = CountPlace(
        seen.time_ns // MINUTE_NS,
        found.begin_ns // MINUTE_NS,
        "" if run is None else run.work_order,
        "" if run is None else run.product,
    )
    old = folded.tallies.get(place) or Tally(found.begin_ns, seen.time_ns)
    new = Tally(
        min(old.begin_ns, found.begin_ns), seen.time_ns, old.good + good, old.reject + reject, old.energy + energy
    )
    at.tallies[place] = folded.tallies[place] = new


def _stop_ns(rule: LineRule, at: Fold) -> int | None:
    """When the line counts as stopped if nothing more is counted."""
    if rule.decider is not SignalKind.TOTAL or at.counted_ns is None or at.state is not LineState.RUNNING:
        return None
    return at.counted_ns + rule.stop_after_ns


def _offline_ns(rule: LineRule, at: Fold) -> int | None:
    if rule.offline_after_ns is None or at.state is LineState.OFFLINE:
        return None
    return at.time_ns + rule.offline_after_ns


def _time_outs(rule: LineRule, at: Fold, now_ns: int, spans: list[StateSpan]) -> None:
    """What the time alone has made of the state before ``now_ns``."""
    stop_ns = _stop_ns(rule, at)
    if stop_ns is not None and now_ns > stop_ns and at.counted_ns is not None:
        _enter(at, Meaning(LineState.STOPPED), at.counted_ns, spans)
    offline_ns = _offline_ns(rule, at)
    if offline_ns is not None and now_ns > offline_ns:
        _enter(at, Meaning(LineState.OFFLINE), at.time_ns, spans)


def _meaning(rule: LineRule, at: Fold, time_ns: int) -> Meaning:
    if rule.deciding and rule.deciding <= (at.bad | at.lost):
        return Meaning(LineState.OFFLINE)
    if at.is_fault:
        return Meaning(LineState.FAULTED, rule.fault_reason)
    match rule.decider:
        case SignalKind.STATE:
            return at.meaning or Meaning(LineState.OFFLINE)
        case SignalKind.SPEED:
            if at.speed is None:
                return Meaning(LineState.OFFLINE)
            return Meaning(LineState.RUNNING if at.speed > rule.running_above else LineState.STOPPED)
        case _:
            is_counting = at.counted_ns is not None and time_ns - at.counted_ns <= rule.stop_after_ns
            return Meaning(LineState.RUNNING if is_counting else LineState.STOPPED)


def _enter(at: Fold, meaning: Meaning, time_ns: int, spans: list[StateSpan]) -> None:
    if (at.state, at.reason) == (meaning.state, meaning.reason):
        if not at.since_ns:
            at.since_ns = time_ns
        return
    begin_ns, before = max(time_ns, at.since_ns), at.before
    if at.since_ns and begin_ns > at.since_ns:
        if before is not None:
            spans.append(before)
        at.before = StateSpan(at.since_ns, begin_ns, at.state, at.reason)
    elif before is not None and (before.state, before.reason) == (meaning.state, meaning.reason):
        begin_ns, at.before = before.begin_ns, None
    at.state, at.reason, at.since_ns = meaning.state, meaning.reason, begin_ns
