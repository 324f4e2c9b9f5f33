"""When samples of one device were missing: gaps that open, close, and are declared.

A gap that has begun is on disk with the next commit and is closed in the transaction of the first samples that were
taken afterwards, so the agent may die at any time between. Where it is not known from when on samples were missing,
a gap says more than is missing, never less.

While the history of a device is read its gap stays open on disk: it goes when nothing is missing any more, and what
the history could not give is declared for its tags. Until then a start of the agent finds it, and declares all of it up
to the newest sample that was stored. Where the connection is lost meanwhile, it stays open until the next one is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from connectors.model.tags import DeviceName
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.device import Unfilled
from edge_agent.acquisition.collector import GAP_TAGS_MAX, Collector
from edge_agent.buffer.rows import Gap, GapReason, OpenGap
from edge_agent.observability.device_events import ClockSet

MARGIN_S_MIN: Final = 1.0
LAGS_PER_MARGIN: Final = 2
"""A gap begins so many of the device's longest lags before the newest sample: another tag may be as far behind."""

GAPS_APART_MAX: Final = 50
"""Records that one reading of history may leave, each with the tags and times of its own."""

CLOCK_LOOK_S: Final = 5.0
CLOCK_JUMP_S_MIN: Final = 1.0
"""A clock that is set ahead by less makes no gap: it stays within the margin of the others."""

CLOCK_TRUST_S: Final = 600.0
"""When the clock is set so soon after the gap of a start was closed, it was wrong when the gap was closed."""


@dataclass(frozen=True, slots=True)
class Outage:
    """From when on samples are missing, up to when those of any tag may be here already, and why they are missing."""

    first_ns: int
    known_ns: int
    reason: str


class _Fill:
    """One reading of history; ``back_ns`` is when the first samples of the present came."""

    def __init__(self) -> None:
        self.back = asyncio.Event()
        self.back_ns = 0


class Absences:
    """The gaps of one device; at most one of them is open.

    ``lag_s`` says by how much the newest sample of one tag can be older than that of another; it is asked when a gap
    opens, and again when it closes, as a device may say only then how slow it is.
    """

    def __init__(self, device: DeviceName, collector: Collector, clock: Clock, lag_s: Callable[[], float]) -> None:
        self.device = device
        self._collector = collector
        self._clock = clock
        self._lag_s = lag_s
        self._newest_ns: int | None = None
        self._to_close = False
        self._opened: tuple[str, int, int] | None = None
        self._fill: _Fill | None = None
        self._is_continued = False  # what comes now follows on what came before the gap that is open
        self._can_continue = False  # nothing was missing before that gap
        self._declare_until_ns: int | None = None  # up to here the open gap is declared, whatever is filled
        self._fill_from_ns: int | None = None  # where that is what comes before the outage
        self._start_closed: tuple[float, int, int] | None = None  # monotonic; the end by the clock, and as declared

    def resume(
        self, newest_ns: int | None, stored_ns: int | None, reason: str = GapReason.AGENT_NOT_RUNNING, detail: str = ""
    ) -> None:
        """A start: what came last before it, by the source's time, when that was stored, and why none came since."""
        self._to_close = True
        if newest_ns is not None and stored_ns is not None:
            self._newest_ns = min(newest_ns, stored_ns)
            self._declare_until_ns = self._fill_from_ns = newest_ns  # of which tag that was is not known
            # not by the clock of this start: on a box without a battery it may stand at 1970
            self._open(reason, detail, self._newest_ns)

    def go_on_from(self, before: Absences) -> None:
        """The device is read by another driver from now on: a gap that is open ends with the first sample here."""
        self._to_close = True
        self._newest_ns = before._newest_ns

    def reconfigured(self, online_since_ns: int | None, detail: str) -> None:
        """The device is not read any more as it was, and will be in another way; ``None``: it was not online."""
        since_ns = online_since_ns if self._newest_ns is None else self._newest_ns
        if since_ns is not None:
            self._open(GapReason.RECONFIGURED, detail, min(since_ns, self._clock.now_ns()))

    def given_up(self) -> None:
        """The device is not read any more at all: what was missing until now is declared, if a gap is open."""
        self._collector.close_gap(self.device, self._clock.now_ns())

    def device_lost(self, online_since_ns: int, detail: str) -> None:
        """The device was online and is not any more."""
        since_ns = online_since_ns if self._newest_ns is None else self._newest_ns
        since_ns = min(since_ns, self._clock.now_ns())
        if self._is_continued:  # cut off: the gap goes on as it was opened
            self._is_continued = False
            return
        self._can_continue = not self._to_close
        fill, self._fill = self._fill, None
        if fill is not None and fill.back.is_set():  # cut off: what was missing before is known to who restores it
            self._fill_from_ns = None
        self._open(GapReason.DEVICE_UNAVAILABLE, detail, since_ns)

    def samples_taken(self, newest_ns: int, behind_ns: int = 0) -> None:
        """The collector has taken samples of the device, the newest one of this source time; closes the gap.

        A clock that is ahead does not move on what is known to have come: the agent's own time is the limit. Others may
        be ``behind_ns`` further behind than their lag, as the driver had to wait.
        """
        now_ns = self._clock.now_ns()
        seen_ns = min(newest_ns, now_ns) - behind_ns
        self._newest_ns = seen_ns if self._newest_ns is None else max(self._newest_ns, seen_ns)
        if self._is_continued:
            return
        if self._fill is not None:
            self._fill.back_ns = self._fill.back_ns or max(newest_ns, now_ns)
            self._fill.back.set()
        elif self._to_close:
            self._to_close = False
            self._close(max(newest_ns, now_ns))

    def begin_continuing(self) -> None:
        """The device has kept what came since it was lost: the gap stays open until ``end_continuing``."""
        self._is_continued = self._to_close and self._can_continue and self._opened is not None

    def not_continued(self) -> None:
        """The connection was lost before the device was online with it."""
        self._is_continued = False

    @property
    def is_continued(self) -> bool:
        """Whether what comes now follows on what came before the device was lost."""
        return self._is_continued

    def end_continuing(self) -> None:
        """All of that is here: there is no gap."""
        if not self._is_continued:
            return
        self._is_continued = self._to_close = False
        self._opened = None
        self._collector.drop_gap(self.device)

    def begin_fill(self) -> Outage | None:
        """History is about to be read of the newest outage.

        ``None``: nothing is missing. Otherwise the gap stays open until ``end_fill``.
        """
        if not self._to_close or self._opened is None or self._newest_ns is None:
            return None
        reason, newest_ns, first_ns = self._opened
        self._fill = _Fill()
        if self._fill_from_ns is not None:
            return Outage(self._fill_from_ns, self._fill_from_ns, reason)
        return Outage(min(first_ns, newest_ns - self._margin_ns()), 0, reason)

    @property
    def back_ns(self) -> int:
        """When the first samples of the present came, while history is read."""
        return 0 if self._fill is None else self._fill.back_ns

    async def samples_are_there(self) -> None:
        """Wait until the device has given samples of the present since ``begin_fill``."""
        if self._fill is not None:
            await self._fill.back.wait()

    def declare(self, unfilled: Iterable[tuple[str, tuple[str, ...] | None, Unfilled]]) -> None:
        """This stays missing: each with its reason, and the names of the tags (``None``: all of them).

        Where there are very many, one record says more than is missing.
        """
        parts = list(unfilled)
        for reason, names, part in parts:
            names = names if names is None or len(names) <= GAP_TAGS_MAX else None
            gap = Gap(self.device, reason, part.first_ns, part.last_ns, tags=names, detail=part.reason)
            self._collector.declare_gap(gap, apart=len(parts) <= GAPS_APART_MAX)

    def end_fill(self, unfilled: Iterable[tuple[str, tuple[str, ...] | None, Unfilled]] | None) -> None:
        """History has been read: what is left of the gap, as ``declare`` has it.

        ``unfilled`` is ``None`` where there was no history: all of it is left.
        """
        fill, self._fill = self._fill, None
        if fill is None or self._opened is None:
            return
        if unfilled is None:
            if fill.back.is_set():
                self._to_close = False
                self._close(fill.back_ns)
            return  # else the first sample closes it, as it does where nobody asks for history
        reason, newest_ns, _first_ns = self._opened
        until_ns = self._declare_until_ns
        self._to_close = False
        self.declare(unfilled)
        if reason == GapReason.AGENT_NOT_RUNNING:
            self._start_closed = (self._clock.monotonic_s(), fill.back_ns, max(fill.back_ns, newest_ns))
        self._opened = self._declare_until_ns = self._fill_from_ns = None
        if until_ns is None:
            self._collector.drop_gap(self.device)
        else:
            self._collector.close_gap(self.device, until_ns)

    async def watch_clock(self) -> None:
        """Declare what lies between two times when the clock is set from one to the other; until cancelled.

        A box without a battery starts with a clock that stands where it stood when it lost its power: the gap of the
        start is then closed hours too early, and the rest of it shows when the clock is set. Where it is
        set back nothing is missing, but the times in between are given twice: the record says so with a count of 0.
        """
        seen_ns, seen_s = self._clock.now_ns(), self._clock.monotonic_s()
        while True:
            await asyncio.sleep(CLOCK_LOOK_S)
            now_ns, now_s = self._clock.now_ns(), self._clock.monotonic_s()
            jump_ns = now_ns - seen_ns - round((now_s - seen_s) * 1e9)
            if abs(jump_ns) > CLOCK_JUMP_S_MIN * 1e9:
                emit(ClockSet(self.device, round(jump_ns / 1e9, 1)))
                if jump_ns > 0:
                    self._clock_set_ahead(seen_ns, now_ns, jump_ns)
                else:
                    self._clock_set_back(now_ns - jump_ns, now_ns)
            seen_ns, seen_s = now_ns, now_s

    def _clock_set_ahead(self, before_ns: int, now_ns: int, jump_ns: int) -> None:
        if self._to_close or self._newest_ns is None:  # a gap that is open covers it, and without samples there is none
            return
        first_ns = before_ns
        if self._start_closed is not None:
            closed_s, closed_ns, declared_ns = self._start_closed
            if self._clock.monotonic_s() - closed_s < CLOCK_TRUST_S:
                if now_ns - closed_ns < jump_ns:  # the gap of the start was closed after the clock was set
                    return
                first_ns = declared_ns
        if first_ns >= now_ns:
            return
        detail = f"the clock of the agent was set ahead by {jump_ns / 1e9:.0f} s"
        self._collector.declare_gap(Gap(self.device, GapReason.CLOCK_SET, first_ns, now_ns, detail=detail))

    def _clock_set_back(self, before_ns: int, now_ns: int) -> None:
        if self._newest_ns is None:
            return
        self._newest_ns = min(self._newest_ns, now_ns)
        detail = f"the clock of the agent was set back by {(before_ns - now_ns) / 1e9:.0f} s"
        self._collector.declare_gap(Gap(self.device, GapReason.CLOCK_SET, now_ns, before_ns, 0, detail=detail))

    def _open(self, reason: str, detail: str, newest_ns: int) -> None:
        first_ns = newest_ns - self._margin_ns()
        ended_ns = self._collector.open_gap(OpenGap(self.device, reason, first_ns, detail))
        if ended_ns is not None:
            self._declare_until_ns = self._fill_from_ns = max(ended_ns, self._declare_until_ns or ended_ns)
        self._opened = (reason, newest_ns, first_ns)
        self._to_close = True

    def _close(self, last_ns: int) -> None:
        if self._opened is not None:
            reason, newest_ns, first_ns = self._opened
            wider_ns = newest_ns - self._margin_ns()
            if wider_ns < first_ns:  # the device is slower than it was thought to be when the gap was opened
                self._collector.declare_gap(Gap(self.device, reason, wider_ns, first_ns))
            if reason == GapReason.AGENT_NOT_RUNNING:
                self._start_closed = (self._clock.monotonic_s(), last_ns, max(last_ns, newest_ns))
            self._opened = None
        self._declare_until_ns = self._fill_from_ns = None
        self._collector.close_gap(self.device, last_ns)

    def _margin_ns(self) -> int:
        return round(max(MARGIN_S_MIN, LAGS_PER_MARGIN * self._lag_s()) * 1e9)
