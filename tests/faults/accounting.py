"""The count at the end of a soak, as pure functions: what was made, stored, lost, and whether that was declared.

Machines number what they say. A number that is not stored has to lie in a gap that was declared for its tag; and what
is declared has to have a fault as its reason: otherwise an agent could declare everything, and lose everything.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Final

from connectors.model.late_polls import late_after_s

MARGIN_S: Final = 0.3
"""A gap names the first and the last sample that is lost, a hole the samples beside them: some periods further."""
JOINT_S: Final = 0.15
"""Gaps that are no further apart than the periods of a machine have no sample between them."""
BEFORE_S, AFTER_S = 5.0, 30.0
"""How long before a fault a gap may begin (the margin of the agent), and how long after its end it may last: until the
agent has started and connected, on a busy machine."""

UNANSWERED_MAX: Final = 2
"""So many reads in a row may lose their answers while a connection stands: the one in flight, and its repetition."""
UNANSWERED_S_MAX: Final = late_after_s(0.1) + 0.05
"""And no longer than what is not declared yet: the machine is polled ten times a second."""

NO_FAULT_S_MAX: Final = {"device_overflow": float("inf"), "polled_late": 5.0}
"""Reasons that a busy machine gives without a fault, and for how long: its queues overflow, and its polls come late."""

Tag = tuple[str, str]
"""Device and name."""
Span = tuple[float, float]
"""From and until, in seconds of Unix time."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Numbers of one tag that are not stored, between two samples that are; times in seconds of Unix time."""

    device: str
    tag: str
    numbers: range
    after_s: float
    before_s: float


@dataclass(frozen=True, slots=True)
class DeclaredGap:
    """A gap as it is stored; ``tags`` is ``None`` for all of the device."""

    device: str
    reason: str
    first_s: float
    last_s: float
    tags: frozenset[str] | None = None
    samples: int = 0


@dataclass
class Findings:
    """What a soak has shown."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    made: int = 0
    stored: int = 0
    doubled: int = 0
    given_up: Counter[str] = field(default_factory=Counter)
    gaps: Counter[str] = field(default_factory=Counter)
    in_gaps: int = 0
    unanswered: int = 0
    declared_s: dict[str, float] = field(default_factory=dict)
    duplicates_refused: int = 0
    missing_batches: int = 0
    dead_letters: int = 0
    unexplained: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every number is accounted for, once."""
        return not (self.unexplained or self.doubled or self.missing_batches or self.dead_letters)

    @property
    def exit_code(self) -> int:
        """0 when it is good, else 1."""
        return 0 if self.is_good else 1

    def lines(self) -> Iterator[str]:
        """The table."""
        yield f"seed {self.seed}"
        for name, count in sorted(self.faults.items()):
            yield f"fault: {name:<38} {count:>10,}"
        yield f"{'numbers that the machines made':<45} {self.made:>10,}"
        yield f"{'stored':<45} {self.stored:>10,}"
        yield f"{'stored twice':<45} {self.doubled:>10,}"
        yield f"{'not stored, in a declared gap':<45} {self.in_gaps:>10,}"
        yield f"{'read, and the answer lost on its way':<45} {self.unanswered:>10,}"
        for reason, count in sorted(self.gaps.items()):
            yield f"gap: {reason:<40} {count:>10,}"
        for device, seconds in sorted(self.declared_s.items()):
            yield f"seconds in gaps of all tags: {device:<16} {seconds:>10,.1f}"
        for reason, count in sorted(self.given_up.items()):
            yield f"samples given up: {reason:<27} {count:>10,}"
        yield f"{'duplicates refused (batches)':<45} {self.duplicates_refused:>10,}"
        yield f"{'dead letters':<45} {self.dead_letters:>10,}"
        yield f"{'batches missing from the ledger':<45} {self.missing_batches:>10,}"
        yield f"{'unexplained':<45} {len(self.unexplained):>10,}"
        yield from self.unexplained[:20]


def count(
    found: Findings,
    numbers: Mapping[Tag, Sequence[tuple[int, float]]],
    made: Mapping[str, Sequence[range]],
    gaps: Sequence[DeclaredGap],
    faults: Sequence[Span],
    unanswered: Mapping[str, Sequence[Span]] | None = None,
) -> None:
    """Put what became of the numbers into ``found``.

    ``numbers``: of each tag what is stored, in order, each number with its source time. ``made``: of each device the
    numbers that its machine has given each of its tags; those before the first that is stored were made before anybody
    listened. ``faults``: from when until when something was done that may cost samples. ``unanswered``: of a device
    whose machine counts the reads, when answers may have been lost: a read without an answer is no sample yet. Where
    the next answer came late, that has to be declared all the same.
    """
    found.gaps.update(gap.reason for gap in gaps)
    for gap in gaps:
        if gap.samples:
            found.given_up[gap.reason] += gap.samples
    for (device, tag), rows in numbers.items():
        found.stored += len(rows)
        found.doubled += sum(len(list(same)) - 1 for _, same in groupby(number for number, _ in rows))
        listened = range(rows[0][0], 1 << 62)
        found.made += sum(len(_common(listened, numbers_of_run)) for numbers_of_run in made[device])
        if (last := made[device][-1].stop - 1) != rows[-1][0]:
            found.unexplained.append(f"{device}/{tag} ends with {rows[-1][0]}, its last number was {last}")
        if unknown := [number for number, _ in rows if not any(number in run for run in made[device])]:
            found.unexplained.append(f"{device}/{tag} has {len(unknown)} numbers that were never made: {unknown[:3]}")
    for hole in holes(numbers):
        lost = sum(len(_common(hole.numbers, run)) for run in made[hole.device])
        if not lost:
            continue
        if explains(gaps, hole):
            found.in_gaps += lost
        elif _is_unanswered(hole, lost, (unanswered or {}).get(hole.device, ())):
            found.unanswered += lost
        else:
            first, end = hole.numbers.start, hole.numbers.stop - 1
            where = f"{hole.device}/{hole.tag} {first}-{end}"
            found.unexplained.append(f"{where} between {hole.after_s:.2f} and {hole.before_s:.2f} is in no gap")
    _check_declared(found, gaps, faults)


def holes(numbers: Mapping[Tag, Sequence[tuple[int, float]]]) -> list[Hole]:
    """Where numbers are missing between two that are stored."""
    found = []
    for (device, tag), rows in numbers.items():
        for (number, after_s), (following, before_s) in pairwise(rows):
            if following > number + 1:
                found.append(Hole(device, tag, range(number + 1, following), after_s, before_s))
    return found


def explains(gaps: Iterable[DeclaredGap], hole: Hole, margin_s: float = MARGIN_S) -> bool:
    """Whether the gaps of the hole's own tag cover it, up to ``margin_s`` at either end, and without a break."""
    own = [gap for gap in gaps if gap.device == hole.device and (gap.tags is None or hole.tag in gap.tags)]
    spans = joined((gap.first_s, gap.last_s) for gap in own)
    at = bisect_right(spans, (hole.after_s + margin_s, float("inf"))) - 1
    return at >= 0 and hole.before_s - margin_s <= spans[at][1]


def joined(spans: Iterable[Span], joint_s: float = JOINT_S) -> list[Span]:
    """The spans in order, those that overlap or have no sample between them made one."""
    found: list[Span] = []
    for first_s, last_s in sorted(spans):
        if found and first_s <= found[-1][1] + joint_s:
            found[-1] = (found[-1][0], max(found[-1][1], last_s))
        else:
            found.append((first_s, last_s))
    return found


def _is_unanswered(hole: Hole, lost: int, spans: Iterable[Span]) -> bool:
    """Whether answers may have been lost there, while the next one came in time."""
    touches = any(first_s <= hole.before_s and hole.after_s <= last_s for first_s, last_s in spans)
    return touches and lost <= UNANSWERED_MAX and hole.before_s - hole.after_s <= UNANSWERED_S_MAX


def _check_declared(found: Findings, gaps: Sequence[DeclaredGap], faults: Sequence[Span]) -> None:
    """Whatever is declared has to lie around a fault, unless a busy machine is reason enough."""
    around = joined((first_s - BEFORE_S, last_s + AFTER_S) for first_s, last_s in faults)
    for device in sorted({gap.device for gap in gaps}):
        whole = [(gap.first_s, gap.last_s) for gap in gaps if gap.device == device and gap.tags is None]
        found.declared_s[device] = sum(last_s - first_s for first_s, last_s in joined(whole, 0.0))
    for gap in gaps:
        at = bisect_right(around, (gap.first_s, float("inf"))) - 1
        needs_none = gap.last_s - gap.first_s <= NO_FAULT_S_MAX.get(gap.reason, -1.0)
        if not needs_none and not (at >= 0 and gap.last_s <= around[at][1]):
            found.unexplained.append(
                f"{gap.device}: {gap.reason} from {gap.first_s:.2f} to {gap.last_s:.2f} has no fault"
            )


def _common(one: range, other: range) -> range:
    return range(max(one.start, other.start), min(one.stop, other.stop))
