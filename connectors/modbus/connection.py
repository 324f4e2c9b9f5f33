"""The connection to one Modbus unit, and its one owner: every request is answered or given up.

Up to ``in_flight`` requests are on the wire at once. The next ones leave in the callback that brought replies, in one
write, so a scan of many blocks costs one future and one switch of tasks. A request that is not answered properly
closes the connection: whatever the unit still sends for it can then never be taken for the answer to another one. Of
several in flight only the one at fault counts as failed (the oldest one, where no reply says which); the others are
asked again. A command is alone on the wire, and a request of it is never sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from connectors.configuration.setting_names import listed
from connectors.modbus.command import Command
from connectors.modbus.counters import ModbusCounters
from connectors.modbus.decode import NOT_READ
from connectors.modbus.exception_codes import UNIT_ABSENT, absence_sentence
from connectors.modbus.link import ModbusLink, Request, connect
from connectors.modbus.request_queue import Priority, RequestQueue
from connectors.modbus.scan import BlockRead, Scan
from connectors.modbus.settings import ModbusDevice
from connectors.model.errors import DeviceUnavailable
from connectors.ports.clock import Clock

PORT_DEFAULT: Final = 502
CONNECT_S_MIN: Final = 2.0
"""A connect may always take this long: a short ``timeout`` is meant for replies of the unit, not for the network."""
COMMANDS_WAITING_MAX: Final = 64
STRANGER_ADVICE: Final = (
    "check that the port is that of a Modbus/TCP server, unit_id, and that the device has a connection left (some "
    "allow only one)"
)
"""About something that takes the connection and has never answered a read."""


class ModbusConnection:
    """The owner of the connection. All methods are called in one event loop."""

    def __init__(self, settings: ModbusDevice, clock: Clock, counters: ModbusCounters) -> None:
        host, _, port = settings.endpoint.removeprefix("tcp://").partition(":")
        self._host, self._port = host, int(port or PORT_DEFAULT)
        self._unit_id = settings.unit_id
        self._timeout_s = settings.timeout_s
        self._pause_s = settings.pause_s
        self._attempts_max = settings.retries + 1
        self._in_flight_max = settings.in_flight_max
        self._now_ns = clock.now_ns
        self._now_s = clock.monotonic_s
        self._counters = counters
        self._queue: RequestQueue[Scan | Command] = RequestQueue()
        self._transaction = 1
        self._link: ModbusLink | None = None
        self._link_wanted = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._oldest: int | None = None
        self._deadline_s = 0.0
        self._late_before = 0
        self._timer: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._unit_answered = False
        self._is_closed = False

    async def open(self) -> None:
        """Connect. Raises ``DeviceUnavailable`` with a sentence that says what to check."""
        self._link = await self._connect()

    async def keep_open(self) -> None:
        """Connect anew whenever a request waits and the connection is gone; runs until cancelled.

        Raises ``DeviceUnavailable`` when that fails.
        """
        while True:
            await self._link_wanted.wait()
            self._link_wanted.clear()
            if self._link is None:
                self._link = await self._connect()
            self.send_waiting()

    async def close(self) -> None:
        """Close the connection in an orderly way and give up what is under way or queued."""
        self._is_closed = True
        for timer in (self._timer, self._pause):
            if timer is not None:
                timer.cancel()
        link, self._link = self._link, None
        reason = f"{self._name()}: the connection was closed"
        under_way = [] if link is None else list(link.in_flight.values())
        for request in under_way:
            request.failed(reason)
        for job in [*(request.job for request in under_way), *self._queue.clear()]:
            job.abandon(reason)
            _finish(job)
        if link is not None:
            await link.close()

    async def run(self, scan: Scan, priority: Priority, *, attempts_max: int | None = None) -> None:
        """Read the blocks of ``scan``; returns when all are answered or one is given up (``scan.failure``).

        Every read is tried ``attempts_max`` times, by default as often as the device file says. The reads of a command
        are alone on the wire. A cancelled run leaves the connection usable. Raises ``DeviceUnavailable`` when the unit
        has never answered itself, because a gateway says that it cannot be reached.
        """
        scan.begin(priority, attempts_max or self._attempts_max)
        if scan.blocks:
            await self._done(scan)
        if scan.blocks and not self._unit_answered:
            self._look_who_answered(scan)

    async def execute(self, command: Command) -> None:
        """Carry out ``command``, each request of it once.

        Raises how it ended, as ``DeviceDriver.write`` says. When it is cancelled while a request of it is under way,
        the connection is made anew.
        """
        await self._done(command)
        if command.failure is not None:
            raise command.failure

    async def _done(self, job: Scan | Command) -> None:
        if self._is_closed or (job.priority is Priority.COMMAND and self._queue.commands >= COMMANDS_WAITING_MAX):
            job.abandon(
                f"{self._name()}: {'the connection was closed' if self._is_closed else 'too many commands wait'}"
            )
            return
        job.done = self._loop.create_future()
        self._queue.add(job, job.priority)
        self.send_waiting()
        try:
            await job.done
        except asyncio.CancelledError:
            self._forget(job)
            raise

    def answered(self, request: Request, code: int) -> None:
        """See ``LinkOwner``."""
        goes_on = request.answered(code, self._now_ns(), self._now_s())
        if code:
            self._counters.exception_replies += 1
        job = request.job
        if job.has_ended:
            _finish(job)
        elif goes_on:
            self._queue.add_first(job, job.priority)
        if self._pause_s:
            self._pause = self._loop.call_later(self._pause_s, self._end_pause)

    def failed(self, link: ModbusLink, reason: str, blamed: Request | None = None) -> None:
        """See ``LinkOwner``."""
        self._fail(link, reason if self._has_answered(link) else f"{reason}; {STRANGER_ADVICE}", blamed)

    def _fail(self, link: ModbusLink, reason: str, blamed: Request | None = None) -> None:
        if link is not self._link:
            return
        self._link = self._oldest = None
        link.abort()
        requests = list(link.in_flight.values())
        if requests:
            self._blame(blamed or requests[0], reason)
        for request in reversed(requests):
            self._ask_again(request)
        self.send_waiting()

    def send_waiting(self) -> None:
        """Send as many requests as may be on the wire, in one write."""
        link = self._link
        if self._pause is not None:
            return
        if link is None:
            if len(self._queue):
                self._link_wanted.set()
            return
        room = self._in_flight_max - len(link.in_flight)
        if room > 0 and (requests := self._next_requests(link.in_flight, room)):
            link.send(requests, self._transaction)
            self._transaction += len(requests)
            self._counters.requests += len(requests)
        self._watch_oldest(link)

    def _next_requests(self, in_flight: Mapping[int, Request], room: int) -> list[Request]:
        """The next requests, at most ``room``; a command is alone on the wire."""
        requests: list[Request] = []
        if in_flight and next(iter(in_flight.values())).job.priority is Priority.COMMAND:
            return requests
        busy = bool(in_flight)
        while len(requests) < room and (job := self._queue.next(busy=busy)) is not None:
            requests.append(job.unasked.popleft())
            if not job.unasked:
                self._queue.remove(job)
            if job.priority is Priority.COMMAND:
                break
            busy = True
        return requests

    def _blame(self, request: Request, reason: str) -> None:
        if request.failed(f"{self._name()}: {reason}"):
            self._queue.remove(request.job)
            _finish(request.job)

    def _ask_again(self, request: Request) -> None:
        """Put a read back where it was, unless its scan has ended; a request of a command is never sent twice."""
        if not isinstance(request, BlockRead) or request.job.has_ended:
            return
        scan = request.job
        if not scan.unasked:
            self._queue.add(scan, scan.priority)
        scan.unasked.appendleft(request)

    def _forget(self, job: Scan | Command) -> None:
        """Nobody waits for the replies to this job any more; when they come, they are late ones."""
        self._queue.remove(job)
        if (link := self._link) is not None:
            transactions = [transaction for transaction, request in link.in_flight.items() if request.job is job]
            if transactions and isinstance(job, Command):
                self._fail(link, "the command was given up")
            else:
                for transaction in transactions:
                    link.forget(transaction)
        self.send_waiting()

    def _end_pause(self) -> None:
        self._pause = None
        self.send_waiting()

    def _watch_oldest(self, link: ModbusLink) -> None:
        """The time of a request runs while it is the oldest one: a unit may answer one after the other."""
        oldest = next(iter(link.in_flight), None)
        if oldest == self._oldest:
            return
        self._oldest = oldest
        if oldest is None:
            return
        self._late_before = link.late_count
        self._deadline_s = self._loop.time() + self._timeout_s
        # One timer serves many requests: it looks at the deadline of the day when it fires.
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline_s, self._look_at_the_time)

    def _look_at_the_time(self) -> None:
        self._timer = None
        link = self._link
        if self._oldest is None or link is None:
            return
        if self._loop.time() < self._deadline_s:
            self._timer = self._loop.call_at(self._deadline_s, self._look_at_the_time)
            return
        self._counters.time_outs += 1
        reason = f"no answer within {self._timeout_s:g} s"
        if link.late_count > self._late_before:
            reason += ", but replies to requests that nobody made"
        else:
            checks = [] if self._has_answered(link) else ["unit_id", "that the unit is switched on"]
            checks.append("that no other program keeps it busy")
            if self._in_flight_max > 1:
                checks.append(f"that it takes {self._in_flight_max} requests at once")
            reason += f"; check {listed(checks, 'and')}"
        self._fail(link, reason)

    def _has_answered(self, link: ModbusLink) -> bool:
        """Whether anything was read of the unit, so that address, port and unit id are right."""
        jobs = {id(request.job): request.job for request in link.in_flight.values()}
        return self._unit_answered or any(job.has_answers for job in jobs.values())

    def _look_who_answered(self, scan: Scan) -> None:
        codes = [code for code in scan.codes if code != NOT_READ]
        self._unit_answered = any(code not in UNIT_ABSENT for code in codes)
        if codes and not self._unit_answered:
            raise DeviceUnavailable(absence_sentence(f"{self._host}:{self._port}", self._unit_id, codes[0]))

    def _name(self) -> str:
        return f"{self._host}:{self._port}, unit {self._unit_id}"

    async def _connect(self) -> ModbusLink:
        return await connect(self._host, self._port, max(self._timeout_s, CONNECT_S_MIN), self, self._counters)


def _finish(job: Scan | Command) -> None:
    if job.done is not None and not job.done.done():
        job.done.set_result(None)
