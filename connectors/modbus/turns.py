"""Whose turn it is on a bus that several units share."""

from __future__ import annotations

from collections import deque
from typing import Generic

from connectors.modbus.request_queue import Job, RequestQueue


class Turns(Generic[Job]):
    """The queues of the units on one bus, asked in turns, request by request.

    Commands of all units go first, then one request of each unit that has any: a unit with many blocks does not hold
    up one with a few. A queue that is held is passed over, and its commands hold up nobody.
    """

    __slots__ = ("_held", "_queues", "_sole")

    def __init__(self) -> None:
        self._queues: deque[RequestQueue[Job]] = deque()
        self._held: list[RequestQueue[Job]] = []
        self._sole: RequestQueue[Job] | None = None
        """The only queue, as on most connections, while it is not held: it is asked with the least effort."""

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues)

    @property
    def queue_count(self) -> int:
        """How many queues there are."""
        return len(self._queues)

    def add(self, queue: RequestQueue[Job]) -> None:
        """Ask ``queue`` too."""
        self._queues.append(queue)
        self._settle()

    def remove(self, queue: RequestQueue[Job]) -> None:
        """Do not ask ``queue`` any more. Nothing happens when it is not there."""
        self.release(queue)
        if queue in self._queues:
            self._queues.remove(queue)
        self._settle()

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
        self._sole = self._queues[0] if len(self._queues) == 1 and not self._held else None

    def next(self, *, busy: bool) -> tuple[RequestQueue[Job], Job] | None:
        """Whose request is to be sent now, and the queue that it stays in.

        ``None`` when there is none, or when a command waits and the bus is ``busy`` with other requests.
        """
        if (sole := self._sole) is not None:
            job = sole.next(busy=busy)
            return None if job is None else (sole, job)
        asked = [queue for queue in self._queues if queue not in self._held] if self._held else self._queues
        if any(queue.commands for queue in asked):
            if busy:
                return None
            asked = [queue for queue in asked if queue.commands]
        for queue in asked:
            job = queue.next()
            if job is not None:
                if len(self._queues) > 1:  # behind the others: it has had its turn
                    self._queues.remove(queue)
                    self._queues.append(queue)
                return queue, job
        return None
