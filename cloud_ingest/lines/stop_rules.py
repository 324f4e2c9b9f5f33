"""Stops of a line, from its states and from what operators have divided and joined. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from cloud_ingest.lines.events import LineState, StopKind
from cloud_ingest.lines.fold_rules import StateSpan

KINDS: Final[Mapping[LineState, StopKind]] = {
    LineState.STOPPED: StopKind.UNPLANNED,
    LineState.FAULTED: StopKind.UNPLANNED,
    LineState.IDLE: StopKind.IDLE,
    LineState.PLANNED_STOP: StopKind.PLANNED,
    LineState.CHANGEOVER: StopKind.CHANGEOVER,
    LineState.OFFLINE: StopKind.OFFLINE,
}
_CAN_BE_MICRO: Final = frozenset({StopKind.UNPLANNED, StopKind.IDLE})
_BECOMES_PLANNED: Final = frozenset({LineState.STOPPED, LineState.IDLE, LineState.OFFLINE})


@dataclass(frozen=True, slots=True)
class StopPiece:
    """A stop as the states have it."""

    begin_ns: int
    end_ns: int | None
    state: LineState
    reason: str | None
    kind: StopKind


@dataclass(frozen=True, slots=True)
class Edits:
    """Times at which operators have divided a stop, and those at which they have joined two."""

    cuts: frozenset[int] = frozenset()
    joins: frozenset[int] = frozenset()


def planned(spans: Iterable[StateSpan], unplanned: Sequence[tuple[int, int]], now_ns: int) -> list[StateSpan]:
    """``spans``, with a planned stop where a line stands still while nobody planned that it should run.

    ``unplanned`` are the times at which nothing was planned, in order, apart from each other. A state that is open
    is divided up to ``now_ns``, and its last part is open.
    """
    found: list[StateSpan] = []
    for span in spans:
        parts = _parts(span, unplanned, now_ns) if span.state in _BECOMES_PLANNED else [span]
        for part in parts:
            last = found[-1] if found else None
            if last is not None and (last.state, last.reason, last.end_ns) == (part.state, part.reason, part.begin_ns):
                found[-1] = replace(last, end_ns=part.end_ns)
            else:
                found.append(part)
    return found


def _parts(span: StateSpan, unplanned: Sequence[tuple[int, int]], now_ns: int) -> Iterator[StateSpan]:
    end_ns = max(now_ns, span.begin_ns) if span.end_ns is None else span.end_ns
    edges = {span.begin_ns, end_ns}
    edges.update(edge for period in unplanned for edge in period if span.begin_ns < edge < end_ns)
    times = sorted(edges)
    if len(times) == 1:
        times.append(times[0])
    for begin_ns, stop_ns in pairwise(times):
        is_planned = any(begin <= begin_ns < end for begin, end in unplanned)
        is_last = stop_ns == end_ns
        state, reason = (LineState.PLANNED_STOP, None) if is_planned else (span.state, span.reason)
        yield StateSpan(begin_ns, span.end_ns if is_last else stop_ns, state, reason)


def stops_of(spans: Sequence[StateSpan], edits: Edits, micro_ns: int, now_ns: int) -> list[StopPiece]:
    """The stops in ``spans``, which follow each other; of the last one, if it is open, what is known now.

    A stop that has ended, or is, shorter than ``micro_ns`` is a micro-stop. States that follow each other without
    production between them are several stops, but as short together as one.
    """
    pieces: list[StopPiece] = []
    for cluster in _clusters(spans):
        end_ns = cluster[-1].end_ns
        is_short = (now_ns if end_ns is None else end_ns) - cluster[0].begin_ns < micro_ns
        for span in cluster:
            kind = KINDS[span.state]
            if is_short and kind in _CAN_BE_MICRO:
                kind = StopKind.MICRO
            pieces += _cut(StopPiece(span.begin_ns, span.end_ns, span.state, span.reason, kind), edits.cuts)
    return _joined(pieces, edits.joins)


def _clusters(spans: Sequence[StateSpan]) -> Iterator[list[StateSpan]]:
    cluster: list[StateSpan] = []
    for span in spans:
        if span.state is not LineState.RUNNING:
            cluster.append(span)
        elif cluster:
            yield cluster
            cluster = []
    if cluster:
        yield cluster


def _cut(piece: StopPiece, cuts: Collection[int]) -> Iterator[StopPiece]:
    within = [cut for cut in sorted(cuts) if piece.begin_ns < cut and (piece.end_ns is None or cut < piece.end_ns)]
    begin_ns = piece.begin_ns
    for cut in within:
        yield replace(piece, begin_ns=begin_ns, end_ns=cut)
        begin_ns = cut
    yield replace(piece, begin_ns=begin_ns)


def _joined(pieces: Sequence[StopPiece], joins: Collection[int]) -> list[StopPiece]:
    joined: list[StopPiece] = []
    for piece in pieces:
        if joined and joined[-1].end_ns == piece.begin_ns and piece.begin_ns in joins:
            joined[-1] = replace(joined[-1], end_ns=piece.end_ns)
        else:
            joined.append(piece)
    return joined


@dataclass(frozen=True, slots=True)
class KnownStop:
    """A stop as it is stored."""

    stop: str
    begin_ns: int
    end_ns: int | None


def matched(pieces: Sequence[StopPiece], known: Sequence[KnownStop]) -> tuple[list[str | None], list[str]]:
    """Which known stop each of ``pieces`` is, ``None`` for a new one; and the known ones that are none any more.

    A stop is the known one that begins when it does; else the one with which it has most time in common, so that what
    an operator has said of it stays with it when data that comes late shows that it began earlier or later.
    """
    by_begin = {stop.begin_ns: stop.stop for stop in known}
    found: list[str | None] = [by_begin.get(piece.begin_ns) for piece in pieces]
    free = [stop for stop in known if stop.stop not in found]
    for at, piece in enumerate(pieces):
        if found[at] is None and free:
            best = max(free, key=lambda stop: _common_ns(piece, stop))
            if _common_ns(piece, best) > 0:
                found[at] = best.stop
                free.remove(best)
    return found, [stop.stop for stop in free]


def _common_ns(piece: StopPiece, stop: KnownStop) -> int:
    ends = [end for end in (piece.end_ns, stop.end_ns) if end is not None]
    begin_ns = max(piece.begin_ns, stop.begin_ns)
    return (min(ends) if ends else begin_ns + 1) - begin_ns
