"""OEE and its parts, from the times and counts of a line. Pure: no I/O, no clock.

ISO 22400-2:2014, tables of the key performance indicators: Availability = APT / PBT, Effectiveness = PRI * PQ / APT,
Quality ratio = GQ / PQ, OEE index = Availability * Effectiveness * Quality ratio. What each of them is here, and why,
is in docs/reference/oee.md; the worked example there is a test.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, Generic, NamedTuple, TypeVar

from cloud_ingest.lines.events import LineState, StopKind

T = TypeVar("T", bound=tuple[Any, ...])
HOUR_NS: Final = 3_600_000_000_000
ZERO: Final = Decimal(0)
FEW_PIECES: Final = 20
FEW_MS: Final = 600_000
"""With less, a performance above 1 says nothing: a piece that was begun before is counted whole."""
CLASS_WIDTH: Final = 1.05
CLASS_MIN: Final = -142
"""About a millisecond."""


class Span(NamedTuple):
    """A time and what was so in it: ``begin_ns`` belongs to it, ``end_ns`` does not."""

    begin_ns: int
    end_ns: int
    what: str


class Shift(NamedTuple):
    """A shift and its planned breaks; ``day`` is the local day on which it begins, in ISO 8601."""

    begin_ns: int
    end_ns: int
    name: str
    day: str
    breaks: tuple[tuple[int, int], ...] = ()


class Stop(NamedTuple):
    """A stop of a line; an open one ends with the hour that is looked at."""

    begin_ns: int
    end_ns: int
    reason: str
    kind: StopKind


class Count(NamedTuple):
    """What was counted in ``(begin_ns, end_ns]``; it belongs to the hour in which it ends."""

    begin_ns: int
    end_ns: int
    good: Decimal
    reject: Decimal
    energy_kwh: Decimal
    product: str


class Share(NamedTuple):
    """What the figures of one hour are told apart by. Empty texts: outside of every shift; no product was known."""

    shift: str
    day: str
    product: str


@dataclass(slots=True)
class Figures:
    """Times in milliseconds and counts, which add up over hours, lines and products.

    ``planned_ms`` (ISO 22400 PBT) holds ``running_ms`` (APT) and the times of the losses of availability. What is not
    known (``unknown_ms``: the line was offline) is in none of them. ``ideal_ms`` is PRI * PQ; ``without_ideal`` counts
    pieces of products whose cycle time nobody has said: where there are any, the performance is not known.
    """

    planned_ms: int = 0
    running_ms: int = 0
    stopped_ms: int = 0
    changeover_ms: int = 0
    idle_ms: int = 0
    unknown_ms: int = 0
    unplanned_run_ms: int = 0
    """Of ``running_ms``, what was outside of shifts, in breaks, or planned as a stop: it counts as planned, too."""
    micro_ms: int = 0
    micro_stops: int = 0
    stops: int = 0
    good: Decimal = ZERO
    reject: Decimal = ZERO
    ideal_ms: Decimal = ZERO
    without_ideal: Decimal = ZERO
    energy_kwh: Decimal = ZERO

    def add(self, other: Figures) -> None:
        """Add ``other``."""
        for name in NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))


NAMES: Final = tuple(one.name for one in fields(Figures))


@dataclass(slots=True)
class Loss:
    """Time that stops with one reason have taken of the planned time, and how many of them began."""

    ms: int = 0
    stops: int = 0


@dataclass(slots=True)
class Hour:
    """One hour of a line, apart by shift and product; losses by reason and kind, too."""

    figures: dict[Share, Figures] = field(default_factory=dict)
    losses: dict[tuple[Share, str, StopKind], Loss] = field(default_factory=dict)
    cycles: dict[tuple[Share, int], Decimal] = field(default_factory=dict)
    """Pieces by the class of their cycle time (``cycle_class``), of times in which the line ran without a break."""


@dataclass(frozen=True, slots=True)
class Ratios:
    """Fractions from 0 on; ``None`` where there is nothing to divide by, or a part of it is not known.

    ``performance`` above 1 says that the ideal cycle time is too long, and is told as it is (see ``notice``).
    """

    availability: float | None
    performance: float | None
    quality: float | None
    oee: float | None


@dataclass(frozen=True, slots=True)
class Told:
    """All that lines tell of the time that is looked at. ``products`` says which product was being made when."""

    states: Sequence[Span]
    stops: Sequence[Stop]
    counts: Sequence[Count]
    products: Sequence[Span]
    shifts: Sequence[Shift]
    """Empty: the line has no calendar, and all time is planned."""
    has_calendar: bool


def ratios(figures: Figures) -> Ratios:
    """Availability, performance, quality and OEE of ``figures``."""
    made = figures.good + figures.reject
    availability = figures.running_ms / figures.planned_ms if figures.planned_ms else None
    is_known = figures.running_ms and not figures.without_ideal
    performance = float(figures.ideal_ms / figures.running_ms) if is_known else None
    quality = float(figures.good / made) if made > 0 else None
    if availability is None or (availability > 0 and performance is None):
        return Ratios(availability, performance, quality, None)
    if availability == 0 or not made:
        return Ratios(availability, performance, quality, 0.0)
    if performance is None or quality is None:
        return Ratios(availability, performance, quality, None)
    return Ratios(availability, performance, quality, availability * performance * quality)


def notice(figures: Figures) -> str:
    """What an engineer has to know to read the performance, and what to do; empty where it can be read as it is."""
    if figures.without_ideal > 0:
        pieces = format(figures.without_ideal.normalize(), "f")
        return (
            f"the ideal cycle time of {pieces} pieces is not known, so performance and OEE are not: "
            "they were made without a work order, or the routing of their product does not name this line"
        )
    performance = ratios(figures).performance
    if performance is None or performance <= 1:
        return ""
    made = figures.good + figures.reject
    if made < FEW_PIECES or figures.running_ms < FEW_MS:
        return (
            f"performance is {performance:.1%}, but of few pieces, and one that was begun before is counted whole: "
            "look at a longer time"
        )
    return (
        f"performance is {performance:.1%}: the ideal cycle time, {figures.ideal_ms / made / 1000:.3g} s a piece, is "
        f"longer than the {figures.running_ms / made / 1000:.3g} s that a piece has taken; "
        "say in the routing (ideal_cycle_s) what the line can do at its best"
    )


def hour_of(begin_ns: int, end_ns: int, told: Told, cycles_s: Mapping[str, Decimal]) -> Hour:
    """The figures of ``[begin_ns, end_ns)``; ``cycles_s`` has the ideal cycle time by product, of those that have one.

    Each moment is counted once: the sum of planned, unknown and unplanned time is the hour.
    """
    hour = Hour()
    cuts = _cuts(begin_ns, end_ns, told)
    shifts, states, products = _Finder(told.shifts), _Finder(told.states), _Finder(told.products)
    stops = _Finder([stop for stop in told.stops if stop.kind is not StopKind.MICRO])
    micro = _Finder([stop for stop in told.stops if stop.kind is StopKind.MICRO])
    for piece_begin, piece_end in pairwise(cuts):
        shift, state, product = shifts.at(piece_begin), states.at(piece_begin), products.at(piece_begin)
        share = _share(shift, product.what if product is not None else "")
        planned = _is_planned(piece_begin, shift, told.has_calendar)
        kind = LineState.OFFLINE if state is None else LineState(state.what)
        stop = stops.at(piece_begin)
        if kind is not LineState.OFFLINE and micro.at(piece_begin) is not None:
            kind = LineState.RUNNING
        elif kind is not LineState.RUNNING and stop is not None:
            kind = _STATE_OF[stop.kind]
        took_ms = (piece_end - begin_ns) // 1_000_000 - (piece_begin - begin_ns) // 1_000_000
        figures = hour.figures.setdefault(share, Figures())
        if _add_time(figures, kind, took_ms, planned=planned):
            reason, stop_kind = ("", _KIND_OF[kind]) if stop is None else (stop.reason, stop.kind)
            hour.losses.setdefault((share, reason, stop_kind), Loss()).ms += took_ms
    _add_stops(hour, begin_ns, end_ns, told)
    _add_counts(hour, begin_ns, end_ns, told, cycles_s)
    hour.figures = {share: figures for share, figures in hour.figures.items() if figures != Figures()}
    return hour


_STATE_OF: Final[Mapping[StopKind, LineState]] = {
    StopKind.UNPLANNED: LineState.STOPPED,
    StopKind.IDLE: LineState.IDLE,
    StopKind.CHANGEOVER: LineState.CHANGEOVER,
    StopKind.PLANNED: LineState.PLANNED_STOP,
    StopKind.OFFLINE: LineState.OFFLINE,
}
"""How the time of a stop counts: as people have said that it does, else as its state (``lines.stop_rules.KINDS``)."""
_KIND_OF: Final[Mapping[LineState, StopKind]] = {
    LineState.STOPPED: StopKind.UNPLANNED,
    LineState.FAULTED: StopKind.UNPLANNED,
    LineState.IDLE: StopKind.IDLE,
    LineState.CHANGEOVER: StopKind.CHANGEOVER,
}
"""How the time of a state counts that no stop covers: one that is not over its threshold yet."""


def _add_time(figures: Figures, state: LineState, took_ms: int, *, planned: bool) -> bool:
    """Add a piece of time; whether it is a loss of availability."""
    if state is LineState.RUNNING:
        figures.running_ms += took_ms
        figures.planned_ms += took_ms
        figures.unplanned_run_ms += 0 if planned else took_ms
        return False
    if not planned or state is LineState.PLANNED_STOP:
        return False
    if state is LineState.OFFLINE:
        figures.unknown_ms += took_ms
        return False
    figures.planned_ms += took_ms
    if state is LineState.CHANGEOVER:
        figures.changeover_ms += took_ms
    elif state is LineState.IDLE:
        figures.idle_ms += took_ms
    else:
        figures.stopped_ms += took_ms
    return True


def _is_planned(time_ns: int, shift: Shift | None, has_calendar: bool) -> bool:
    if shift is None:
        return not has_calendar
    return not any(begin <= time_ns < end for begin, end in shift.breaks)


def _share(shift: Shift | None, product: str) -> Share:
    return Share("", "", product) if shift is None else Share(shift.name, shift.day, product)


def _cuts(begin_ns: int, end_ns: int, told: Told) -> list[int]:
    """Where something changes, the ends of the time included, in order."""
    cuts = {begin_ns, end_ns}
    for spans in (told.states, told.stops, told.products, told.shifts):
        for span in spans:
            cuts.update(span[:2])
    for shift in told.shifts:
        for pause in shift.breaks:
            cuts.update(pause)
    return sorted(cut for cut in cuts if begin_ns <= cut <= end_ns)


class _Finder(Generic[T]):
    """Spans that do not overlap, of which one is looked for by a moment in it."""

    def __init__(self, spans: Sequence[T]) -> None:
        self._spans = sorted(spans, key=lambda span: span[0])
        self._begins = [span[0] for span in self._spans]

    def at(self, time_ns: int) -> T | None:
        """The span that holds ``time_ns``."""
        place = bisect_right(self._begins, time_ns) - 1
        return self._spans[place] if place >= 0 and time_ns < self._spans[place][1] else None


def _add_stops(hour: Hour, begin_ns: int, end_ns: int, told: Told) -> None:
    """Count the stops that begin in the hour, and the time of the short ones, which passed as running."""
    shifts, products = _Finder(told.shifts), _Finder(told.products)
    for stop in told.stops:
        if stop.end_ns <= begin_ns or stop.begin_ns >= end_ns:
            continue
        product = products.at(max(stop.begin_ns, begin_ns))
        share = _share(shifts.at(max(stop.begin_ns, begin_ns)), product.what if product is not None else "")
        figures = hour.figures.setdefault(share, Figures())
        begins_here = stop.begin_ns >= begin_ns
        if stop.kind is StopKind.MICRO:
            micro_ms = (min(stop.end_ns, end_ns) - max(stop.begin_ns, begin_ns)) // 1_000_000
            figures.micro_ms += micro_ms
            figures.micro_stops += begins_here
            loss = hour.losses.setdefault((share, stop.reason, stop.kind), Loss())
            loss.ms, loss.stops = loss.ms + micro_ms, loss.stops + begins_here
        elif begins_here and stop.kind not in (StopKind.PLANNED, StopKind.OFFLINE):
            figures.stops += 1
            hour.losses.setdefault((share, stop.reason, stop.kind), Loss()).stops += 1


def _add_counts(hour: Hour, begin_ns: int, end_ns: int, told: Told, cycles_s: Mapping[str, Decimal]) -> None:
    shifts, states = _Finder(told.shifts), _Finder(told.states)
    for count in told.counts:
        if not begin_ns < count.end_ns <= end_ns:
            continue
        share = _share(shifts.at(count.end_ns - 1), count.product)
        figures = hour.figures.setdefault(share, Figures())
        made = count.good + count.reject
        figures.good += count.good
        figures.reject += count.reject
        figures.energy_kwh += count.energy_kwh
        cycle_s = cycles_s.get(count.product)
        if cycle_s is None:
            figures.without_ideal += made
        else:
            figures.ideal_ms += made * cycle_s * 1000
        state = states.at(count.begin_ns)
        if made > 0 and state is not None and state.what == LineState.RUNNING and count.end_ns <= state.end_ns:
            number = cycle_class(Decimal(count.end_ns - count.begin_ns) / 1_000_000_000 / made)
            hour.cycles[share, number] = hour.cycles.get((share, number), ZERO) + made


def cycle_class(cycle_s: Decimal) -> int:
    """The class of a cycle time: each is 5 % longer than the one before, class 0 begins at one second."""
    return max(CLASS_MIN, math.floor(math.log(cycle_s) / math.log(CLASS_WIDTH))) if cycle_s > 0 else CLASS_MIN


def class_begin_s(number: int) -> float:
    """Where the class ``number`` begins, in seconds."""
    return CLASS_WIDTH**number


class Pareto(NamedTuple):
    """A reason's part of all losses, and that of it and the larger ones together; shares are fractions of the time."""

    reason: str
    kind: StopKind
    ms: int
    stops: int
    share: float
    cumulative: float


def pareto(losses: Iterable[tuple[str, StopKind, int, int]]) -> list[Pareto]:
    """``losses`` (reason, kind, milliseconds, stops), the largest first."""
    ordered = sorted(losses, key=lambda loss: (-loss[2], -loss[3], loss[0], loss[1]))
    whole = sum(loss[2] for loss in ordered)
    found: list[Pareto] = []
    until_here = 0
    for reason, kind, ms, stops in ordered:
        until_here += ms
        shares = (ms / whole, until_here / whole) if whole else (0.0, 0.0)
        found.append(Pareto(reason, kind, ms, stops, *shares))
    return found
