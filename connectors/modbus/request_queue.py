"""Whose request is next on a connection that carries a few requests at a time."""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Final, Generic, TypeVar

Job = TypeVar("Job")
PROBE_WAIT_REQUESTS_MAX: Final = 16


class Priority(IntEnum):
    """What a job is for; the smaller number goes first."""

    COMMAND = 0
    """Writes, and the reads that verify them."""
    POLL = 1
    """Scans."""
    PROBE = 2
    """Looking for the tags that a unit refuses."""


class RequestQueue(Generic[Job]):
    """Jobs, each of one or more requests, taken in turns request by request.

    The next request is one of the most urgent jobs, so a command does not wait for the rest of a scan. Jobs of one
    priority take turns, so a long scan does not hold up a short one. A probe goes before polls after these have passed
    it over ``PROBE_WAIT_REQUESTS_MAX`` times, so that it ends even on a line that scans keep busy all the time. Bounded
    by its users: each task of the driver has one job in it at most, and commands are counted.
    """

    __slots__ = ("_lanes", "_passed_over")

    def __init__(self) -> None:
        self._lanes: tuple[deque[Job], ...] = tuple(deque() for _ in Priority)
        self._passed_over = 0

    def __len__(self) -> int:
        commands, polls, probes = self._lanes
        return len(commands) + len(polls) + len(probes)

    @property
    def commands(self) -> int:
        """How many commands wait."""
        return len(self._lanes[Priority.COMMAND])

    def add(self, job: Job, priority: Priority) -> None:
        """Queue ``job`` behind those of its priority."""
        self._lanes[priority].append(job)

    def add_first(self, job: Job, priority: Priority) -> None:
        """Queue ``job`` before those of its priority: a command that goes on."""
        self._lanes[priority].appendleft(job)

    def next(self, *, busy: bool = False) -> Job | None:
        """The job whose request is to be sent now; it stays in the queue, behind its equals.

        ``None`` when there is none, or when a command waits and the connection is ``busy`` with other requests.
        """
        commands, polls, probes = self._lanes
        if busy and commands:
            return None
        lane = commands or polls or probes
        if probes and not commands:
            self._passed_over = 0 if lane is probes else self._passed_over + 1
            if self._passed_over > PROBE_WAIT_REQUESTS_MAX:
                lane, self._passed_over = probes, 0
        if not lane:
            return None
        lane.rotate(-1)
        return lane[-1]

    def remove(self, job: Job) -> None:
        """Take ``job`` out: it is done or given up. Nothing happens when it is not there."""
        for lane in self._lanes:
            if job in lane:
                lane.remove(job)
                return

    def clear(self) -> list[Job]:
        """Take all jobs out; which they were."""
        jobs = [job for lane in self._lanes for job in lane]
        for lane in self._lanes:
            lane.clear()
        return jobs
