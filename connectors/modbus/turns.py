"""Whose turn it is on a bus that several units share."""

from __future__ import annotations

from collections import deque
from typing import Final, Generic

from connectors.modbus.breaker import Standing
from connectors.modbus.request_queue import Job, RequestQueue

ROUNDS_PASSED_OVER_MAX: Final = 2
"""So many requests for each unit of the bus may go before one to a unit that has not answered yet."""


class Turns(Generic[Job]):
    """The queues of the units on one bus, asked in turns, request by request.

    Commands of all units go first, then one request of each unit that has any: a unit with many blocks does not hold
    up one with a few. Units that are new or silent come after those that answer, as each of their requests may hold the
    bus for the whole time-out; but they have their turn on a bus that is never idle, too. A queue that is held is
    passed over, and its commands hold up nobody.
    """

    __slots__ = ("_held", "_passed_over", "_queues", "_sole", "_standing", "are_any_in_doubt")

    def __init__(self) -> None:
        self._queues: tuple[deque[RequestQueue[Job]], ...] = tuple(deque() for _ in Standing)
        self._standing: dict[RequestQueue[Job], Standing] = {}
        self._held: list[RequestQueue[Job]] = []
        self._passed_over = 0
        self._sole: RequestQueue[Job] | None = None
        """The only queue, as on most connections, while it is not held: it is asked with the least effort."""
        self.are_any_in_doubt = False
        """Whether any unit is new or silent, while others are on the bus."""

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._standing)

    @property
    def queue_count(self) -> int:
        """How many queues there are."""
        return len(self._standing)

    def add(self, queue: RequestQueue[Job], standing: Standing = Standing.ANSWERS) -> None:
        """Ask ``queue`` too."""
        self._queues[standing].append(queue)
        self._standing[queue] = standing
        self._settle()

    def remove(self, queue: RequestQueue[Job]) -> None:
        """Do not ask ``queue`` any more. Nothing happens when it is not there."""
        if (standing := self._standing.pop(queue, None)) is not None:
            self._queues[standing].remove(queue)
        self.release(queue)

    def judge(self, queue: RequestQueue[Job], standing: Standing) -> None:
        """The unit of ``queue`` stands like this from now on. Nothing happens when the queue is not there."""
        before = self._standing.get(queue)
        if before is None or before is standing:
            return
        self._queues[before].remove(queue)
        self._queues[standing].append(queue)
        self._standing[queue] = standing
        self._settle()

    def standing_of(self, queue: RequestQueue[Job]) -> Standing:
        """How the unit of ``queue`` stands."""
        return self._standing[queue]

    def hold(self, queue: RequestQueue[Job]) -> None:
        """Pass ``queue`` over until it is released."""
        if queue not in self._held:
            self._held.append(queue)
        self._settle()

    def release(self, queue: RequestQueue[Job]) -> None:
        """Ask ``queue`` again. Nothing happens when it is not held."""
        if queue in self._held:
            self._held.remove(queue)
        self._settle()

    def _settle(self) -> None:
        self._sole = next(iter(self._standing)) if len(self._standing) == 1 and not self._held else None
        self.are_any_in_doubt = len(self._standing) > max(1, len(self._queues[Standing.ANSWERS]))

    def next(self, *, busy: bool, up_to: Standing = Standing.SILENT) -> tuple[RequestQueue[Job], Job] | None:
        """Whose request is to be sent now, and the queue that it stays in; of units that stand ``up_to`` this.

        ``None`` when there is none, or when a command waits and the bus is ``busy`` with other requests.
        """
        if (sole := self._sole) is not None:
            job = sole.next(busy=busy)
            return None if job is None else (sole, job)
        answering, *doubted = self._queues
        if any(queue.commands for queue in answering if queue not in self._held):
            return None if busy else self._turn(answering, only_commands=True)
        waiting = [queues for queues in doubted[:up_to] if self._has_any(queues)]
        if waiting and self._passed_over >= ROUNDS_PASSED_OVER_MAX * len(self._standing):
            waiting.append(answering)
        else:
            waiting.insert(0, answering)
        for queues in waiting:
            if (turn := self._turn(queues)) is not None:
                self._passed_over = self._passed_over + 1 if queues is answering and len(waiting) > 1 else 0
                return turn
        return None

    def _has_any(self, queues: deque[RequestQueue[Job]]) -> bool:
        return any(len(queue) and queue not in self._held for queue in queues)

    def _turn(
        self, queues: deque[RequestQueue[Job]], *, only_commands: bool = False
    ) -> tuple[RequestQueue[Job], Job] | None:
        for queue in queues:
            if queue in self._held or (only_commands and not queue.commands):
                continue
            job = queue.next()
            if job is not None:
                if len(queues) > 1:  # behind the others: it has had its turn
                    queues.remove(queue)
                    queues.append(queue)
                return queue, job
        return None
