"""The requests of one Modbus unit, on a bus that it may share with other units; every one is answered or given up."""

from __future__ import annotations

import asyncio
from typing import Final

from connectors.modbus.breaker import Standing, UnitBreaker
from connectors.modbus.bus import ModbusBus
from connectors.modbus.bus_unit import Job
from connectors.modbus.command import Command
from connectors.modbus.counters import ModbusCounters
from connectors.modbus.decode import NOT_READ
from connectors.modbus.exception_codes import UNIT_ABSENT, absence_sentence
from connectors.modbus.request_queue import Priority, RequestQueue
from connectors.modbus.scan import Scan
from connectors.modbus.settings import ModbusDevice
from connectors.model.errors import DeviceUnavailable
from connectors.ports.clock import Clock

COMMANDS_WAITING_MAX: Final = 64


class ModbusConnection:
    """One unit on its bus, from the start of a session to its end. All methods are called in one event loop.

    Without ``bus`` it has one of its own. ``breaker`` outlives the session: while other units share the bus, a unit
    that does not answer is left alone for a while, and its session ends with the time after which to try again.
    """

    def __init__(
        self,
        settings: ModbusDevice,
        clock: Clock,
        counters: ModbusCounters,
        bus: ModbusBus | None = None,
        breaker: UnitBreaker | None = None,
    ) -> None:
        self.bus = bus or ModbusBus(settings.route, clock)
        self.counters = counters
        self.queue: RequestQueue[Job] = RequestQueue()
        self.link_wanted = asyncio.Event()
        self.timeout_s = settings.timeout_s
        self.pause_s = max(settings.pause_s, settings.route.gap_s)
        self.in_flight_max = settings.in_flight_max
        self.unanswered_max = 0
        self.due_s: dict[float, float] = {}
        self.is_passed_over = False
        self.is_in_doubt = True
        self.name = f"{self.bus.place}, unit {settings.unit_id}"
        self._unit_id = settings.unit_id
        self._attempts_max = settings.retries + 1
        self._breaker = breaker or UnitBreaker(settings.retries, clock.monotonic_s)
        self._unit_answered = False
        self._is_closed = False
        self.bus.join(self)

    @property
    def has_answered(self) -> bool:
        """See ``BusUnit``."""
        return self._unit_answered

    @property
    def standing(self) -> Standing:
        """See ``BusUnit``."""
        return self._breaker.standing

    @property
    def is_shared(self) -> bool:
        """Whether other units are on the bus now."""
        return self.bus.is_shared

    async def open(self) -> None:
        """Connect, where no other unit of the bus has. Raises ``DeviceUnavailable``, which says what to check."""
        self._refuse_while_open()
        await self.bus.ensure_connection(self)

    async def keep_open(self) -> None:
        """Connect anew whenever a request waits and the connection is gone; runs until cancelled.

        Raises ``DeviceUnavailable`` when that fails.
        """
        while True:
            await self.link_wanted.wait()
            self.link_wanted.clear()
            await self.bus.ensure_connection(self)
            self.bus.send_waiting()

    async def close(self) -> None:
        """Give up what is under way or queued, and leave the bus; the last unit closes the connection."""
        self._is_closed = True
        await self.bus.leave(self, f"{self.name}: the connection was closed")

    async def run(self, scan: Scan, priority: Priority, *, attempts_max: int | None = None) -> None:
        """Read the blocks of ``scan``; returns when all are answered or one is given up (``scan.failure``).

        Every read is tried ``attempts_max`` times, by default as often as the device file says. The reads of a command
        are alone on the wire. A cancelled run leaves the connection usable. Raises ``DeviceUnavailable`` when the unit
        has never answered itself, because a gateway says that it cannot be reached; and when the unit is left alone
        for a while, because it holds up the others.
        """
        scan.begin(priority, attempts_max or self._attempts_max)
        if not scan.blocks:
            return
        self._refuse_while_open()
        await self._done(scan)
        if not self._unit_answered:
            self._look_who_answered(scan)
        if not scan.unanswered:
            return
        self._refuse_while_open()

    async def execute(self, command: Command) -> None:
        """Carry out ``command``, each request of it once.

        Raises how it ended, as ``DeviceDriver.write`` says. When it is cancelled while a request of it is under way,
        the connection is made anew.
        """
        self._refuse_while_open()
        await self._done(command)
        if command.failure is not None:
            raise command.failure

    def answer_came(self, code: int) -> str:
        """See ``BusUnit``; what a gateway says in the place of the unit is no answer of the unit."""
        if code in UNIT_ABSENT:
            return self.no_answer_came(absence_sentence(self.bus.place, self._unit_id, code))
        self._breaker.answered()
        self.is_in_doubt = False
        return ""

    def no_answer_came(self, why: str) -> str:
        """See ``BusUnit``; a unit that is alone on its bus holds up nobody."""
        self.is_in_doubt = True
        if not self.is_shared or not self._breaker.unanswered(why):
            return ""
        return self._left_alone()

    async def _done(self, job: Job) -> None:
        if self._is_closed or (job.priority is Priority.COMMAND and self.queue.commands >= COMMANDS_WAITING_MAX):
            job.abandon(f"{self.name}: {'the connection was closed' if self._is_closed else 'too many commands wait'}")
            return
        self.bus.submit(self, job)
        assert job.done is not None  # noqa: S101  the bus has just made it
        try:
            await job.done
        except asyncio.CancelledError:
            self.bus.forget(job)
            raise

    def _refuse_while_open(self) -> None:
        if self.is_shared and (wait_s := self._breaker.wait_s) > 0:
            raise DeviceUnavailable(self._left_alone(), wait_s)

    def _left_alone(self) -> str:
        return (
            f"{self.name}: it does not answer, and other units share its bus: it is asked again in "
            f"{self._breaker.wait_s:.0f} s at the earliest; check unit_id, and the power and the bus cable of the unit "
            f"(the last time: {self._breaker.reason})"
        )

    def _look_who_answered(self, scan: Scan) -> None:
        codes = [code for code in scan.codes if code != NOT_READ]
        self._unit_answered = any(code not in UNIT_ABSENT for code in codes)
        if codes and not self._unit_answered:
            wait_s = self._breaker.wait_s if self.is_shared else 0.0
            raise DeviceUnavailable(absence_sentence(self.bus.place, self._unit_id, codes[0]), wait_s or None)
