"""One unit of a bus, as the bus sees it."""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeAlias

from connectors.modbus.breaker import Standing
from connectors.modbus.command import Command
from connectors.modbus.counters import ModbusCounters
from connectors.modbus.request_queue import RequestQueue
from connectors.modbus.scan import Scan

Job: TypeAlias = Scan | Command


class BusUnit(Protocol):
    """What a bus asks of each of its units, and tells it."""

    name: str
    """The place and the unit, for messages."""
    queue: RequestQueue[Job]
    counters: ModbusCounters
    link_wanted: asyncio.Event
    """Set when a request of the unit waits and there is no connection."""
    timeout_s: float
    pause_s: float
    in_flight_max: int
    unanswered_max: int
    """So many of its reads may get no answer, one after the other, before the connection is opened anew."""
    due_s: dict[float, float]
    """When it is polled next, in seconds of the monotonic clock, by its poll intervals."""
    is_passed_over: bool
    """Whether it has not answered soon, before anything was known of it: others were asked first, and it is again."""
    is_in_doubt: bool
    """Whether an answer is news: the unit has left a request unanswered, or has not been asked yet."""

    @property
    def has_answered(self) -> bool:
        """Whether anything was read of the unit, so that address, port and unit id are right."""
        ...

    @property
    def standing(self) -> Standing:
        """Whether it answers."""
        ...

    def answer_came(self, code: int) -> str:
        """A request was answered: told of exceptions, and of any answer while ``is_in_doubt``.

        A sentence when the unit is to be left alone for a while, else empty.
        """
        ...

    def no_answer_came(self, why: str) -> str:
        """A request was not answered, for this reason.

        A sentence when the unit is to be left alone for a while, else empty.
        """
        ...
