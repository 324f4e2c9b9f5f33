"""One connection and the units behind it: every request is answered or given up, and the bus has one owner.

Up to ``in_flight`` requests are on the wire at once. The next ones leave in the callback that brought replies, in one
write, so a scan of many blocks costs one future and one switch of tasks. A request that is not answered properly
closes the connection: whatever the unit still sends for it can then never be taken for the answer to another one. Of
several in flight only the one at fault counts as failed (the oldest one, where no reply says which); the others are
asked again. A command is alone on the wire, and a request of it is never sent twice.

Units that share the bus take turns. There a read that gets no answer closes the connection only when nobody has
answered since the last such one: its reply is known by its transaction, and the other units do not wait for a new
connection. That a unit is silent which has never been asked before, or was silent while others answer, says nothing of
the connection. Such units are asked when no other is due, one at a time, and after each request that got no answer all
silent ones wait for so long that the others hardly notice.

Replies in RTU frames have no transaction. There a unit that did not answer in time is asked nothing for as long again,
one that is new is waited for shortly and asked again after the other new ones, and a read that nobody waits for any
more keeps the line until its reply has come or its time is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from connectors.modbus.breaker import Standing
from connectors.modbus.bus_unit import BusUnit, Job
from connectors.modbus.command import Command, CommandRequest
from connectors.modbus.doubt import Doubt, intervals_s
from connectors.modbus.endpoint import Route
from connectors.modbus.link import ModbusLink, Request, connect
from connectors.modbus.request_queue import Priority
from connectors.modbus.scan import BlockRead
from connectors.modbus.silence_words import silence
from connectors.modbus.turns import Turns
from connectors.model.errors import DeviceUnavailable
from connectors.ports.clock import Clock

CONNECT_S_MIN: Final = 2.0
"""A connect may always take this long: a short ``timeout`` is meant for replies of the unit, not for the network."""
UNANSWERED_IN_A_ROW_MAX: Final = 1
"""So many reads of a shared bus may get no answer, without one to another read between, before it is opened anew."""
STRANGER_ADVICE: Final = (
    "check that the port is that of a Modbus/TCP server, unit_id, and that the device has a connection left (some "
    "allow only one)"
)
"""About something that takes the connection and has never answered a read."""
LINE_ADVICE: Final = "check unit_id, the speed and the parity of the line, and that no other master is on it"
"""The same of a serial line."""


class ModbusBus:
    """The owner of one connection, for the units that have joined it. All methods are called in one event loop."""

    def __init__(self, route: Route, clock: Clock) -> None:
        self._route = route
        self._is_rtu = route.endpoint.is_rtu
        self.place = route.endpoint.place
        self._now_ns = clock.now_ns
        self._now_s = clock.monotonic_s
        self._units: list[BusUnit] = []
        self._turns: Turns[Job] = Turns()
        self._unit_of: dict[Job, BusUnit] = {}
        """Whose job it is, for those that are queued or on the wire."""
        self._in_flight_max = 1
        self._pause_s = 0.0
        self._transaction = 1
        self._link: ModbusLink | None = None
        self._connecting = asyncio.Lock()
        self._failed_connects = 0
        self._connect_failure = ""
        self._loop = asyncio.get_running_loop()
        self._oldest: int | None = None
        self._deadline_s = 0.0
        self._is_greeting = False
        """Whether the oldest request has only so long as a new unit has at first."""
        self._late_before = 0
        self._unanswered_in_a_row = 0
        self._doubt: Doubt[Request] = Doubt()
        self._timer: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None

    @property
    def is_shared(self) -> bool:
        """Whether more than one unit is on the bus now."""
        return len(self._units) > 1

    def join(self, unit: BusUnit) -> None:
        """Ask ``unit`` too, until it leaves."""
        self._units.append(unit)
        self._turns.add(unit.queue, unit.standing)
        self._settle()

    async def leave(self, unit: BusUnit, reason: str) -> None:
        """Give up what is under way or queued for ``unit``; the last one closes the connection in an orderly way."""
        if unit not in self._units:
            return
        self._units.remove(unit)
        link = self._link
        if self._units:
            self._settle()
            self.give_up(unit, reason)
            self._turns.remove(unit.queue)
            self.send_waiting()
            return
        for timer in (self._timer, self._pause):
            if timer is not None:
                timer.cancel()
        self._link = self._timer = self._pause = self._oldest = None
        self._give_up_jobs(unit, [] if link is None else list(link.in_flight.values()), reason)
        self._turns.remove(unit.queue)
        if link is not None:
            async with self._connecting:  # a unit that joins meanwhile connects afterwards: some devices take only one
                await link.close()

    async def ensure_connection(self, unit: BusUnit) -> None:
        """Connect for ``unit``, where there is no connection.

        Raises ``DeviceUnavailable`` with a sentence that says what to check; so it does for those that have waited for
        the attempt of another unit.
        """
        failed_before = self._failed_connects
        async with self._connecting:
            if self._link is not None:
                return
            if self._failed_connects != failed_before:
                raise DeviceUnavailable(self._connect_failure)
            timeout_s = max(unit.timeout_s, CONNECT_S_MIN)
            try:
                self._link = await connect(self._route, timeout_s, self, unit.counters)
            except DeviceUnavailable as exc:
                self._failed_connects += 1
                self._connect_failure = exc.reason
                raise
            self._unanswered_in_a_row = 0
            self._doubt.forget()

    def submit(self, unit: BusUnit, job: Job) -> None:
        """Queue ``job`` of ``unit``; its ``done`` is set when it has ended."""
        job.done = self._loop.create_future()
        self._unit_of[job] = unit
        unit.queue.add(job, job.priority)
        self.send_waiting()

    def forget(self, job: Job) -> None:
        """Nobody waits for the replies to this job any more; when they come, they are late ones."""
        unit = self._unit_of.pop(job, None)
        if unit is None:
            return
        unit.queue.remove(job)
        if (link := self._link) is not None:
            under_way = self._forget_requests(link, job)
            if under_way and isinstance(job, Command):
                self._drop(link)
        self.send_waiting()

    def give_up(self, unit: BusUnit, reason: str) -> None:
        """End all jobs of ``unit``; the caller goes on with those of the others."""
        link = self._link
        under_way: list[Request] = []
        if link is not None:
            under_way = [request for request in link.in_flight.values() if self._unit_of[request.job] is unit]
            for request in under_way:
                self._forget_requests(link, request.job)
        self._give_up_jobs(unit, under_way, reason)
        if link is not None and any(isinstance(request, CommandRequest) for request in under_way):
            self._drop(link)

    def _give_up_jobs(self, unit: BusUnit, under_way: list[Request], reason: str) -> None:
        for request in under_way:
            request.failed(reason)
        for job in [*(request.job for request in under_way), *unit.queue.clear()]:
            job.abandon(reason)
            self._finish(job)

    def answered(self, request: Request, code: int) -> None:
        """See ``LinkOwner``."""
        goes_on = request.answered(code, self._now_ns(), self._now_s())
        job = request.job
        unit = self._unit_of[job]
        self._unanswered_in_a_row = 0
        if code:
            unit.counters.exception_replies += 1
        if job.has_ended:
            self._finish(job)
        elif goes_on:
            unit.queue.add_first(job, job.priority)
        if code or unit.is_in_doubt:
            if reason := unit.answer_came(code):
                self.give_up(unit, reason)
            self._stands(unit, request)
        if self._pause_s and self._pause is None:
            self._pause = self._loop.call_later(self._pause_s, self._end_pause)

    def failed(self, link: ModbusLink, reason: str, blamed: Request | None = None) -> None:
        """See ``LinkOwner``."""
        if link is not self._link:
            return
        blamed = blamed or next(iter(link.in_flight.values()), None)
        if blamed is not None and not self._has_answered(self._unit_of[blamed.job], link):
            reason = f"{reason}; {LINE_ADVICE if self._is_rtu else STRANGER_ADVICE}"
        self._fail(link, reason, blamed, is_of_unit=link.has_received)

    def _fail(self, link: ModbusLink, reason: str, blamed: Request | None, *, is_of_unit: bool = True) -> None:
        """Close the connection, and ask all but the one to blame again.

        A connection that ends before anything came is no silence of the unit: who answers for it has none left for us.
        """
        unit = None if blamed is None else self._unit_of[blamed.job]
        if blamed is not None:
            self._blame(blamed, reason)
        self._drop(link)
        if unit is not None and blamed is not None:
            self._judge(unit, blamed, reason if is_of_unit else "")
        self.send_waiting()

    def _drop(self, link: ModbusLink) -> None:
        self._link = self._oldest = None
        link.abort()
        for request in reversed(list(link.in_flight.values())):
            self._ask_again(request)

    def _judge(self, unit: BusUnit, request: Request, why: str) -> None:
        """``request`` got no answer; with a reason ``why`` where that is the unit's."""
        if why and (reason := unit.no_answer_came(why)):
            self.give_up(unit, reason)
        self._stands(unit, request)

    def _stands(self, unit: BusUnit, request: Request) -> None:
        """``request`` has shown how ``unit`` stands: one that is silent leaves the others their time."""
        self._turns.judge(unit.queue, standing := unit.standing)
        now_s = self._now_s()
        for again_s in self._doubt.shown(request, standing, intervals_s(self._units), now_s):
            self._loop.call_later(again_s - now_s, self.send_waiting)

    def send_waiting(self) -> None:
        """Send as many requests as may be on the wire, in one write."""
        link = self._link
        if self._pause is not None:
            return
        if link is None:
            for unit in self._units:
                if len(unit.queue):
                    unit.link_wanted.set()
            return
        room = self._in_flight_max - len(link.in_flight)
        if room > 0 and (requests := self._next_requests(link.in_flight, room)):
            link.send(requests, self._transaction)
            self._transaction += len(requests)
        self._watch_oldest(link)

    def _next_requests(self, in_flight: Mapping[int, Request], room: int) -> list[Request]:
        """The next requests, at most ``room``; a command is alone on the wire."""
        requests: list[Request] = []
        if in_flight and next(iter(in_flight.values())).job.priority is Priority.COMMAND:
            return requests
        busy = bool(in_flight)
        up_to = Standing.ANSWERS
        if self._turns.are_any_in_doubt:
            up_to = self._doubt.may_ask(in_flight.values(), self._now_s(), self._units)
        while len(requests) < room and (turn := self._turns.next(busy=busy, up_to=up_to)) is not None:
            queue, job = turn
            requests.append(job.unasked.popleft())
            if up_to and self._turns.standing_of(queue):
                self._doubt.sent(requests[-1], self._now_s())
                up_to = Standing.ANSWERS
            self._unit_of[job].counters.requests += 1
            if not job.unasked:
                queue.remove(job)
            if job.priority is Priority.COMMAND:
                break
            busy = True
        return requests

    def _blame(self, request: Request, reason: str) -> None:
        unit = self._unit_of[request.job]
        if request.failed(f"{unit.name}: {reason}"):
            unit.queue.remove(request.job)
            self._finish(request.job)

    def _ask_again(self, request: Request) -> None:
        """Put a read back where it was, unless its scan has ended; a request of a command is never sent twice."""
        if not isinstance(request, BlockRead) or request.job.has_ended:
            return
        scan = request.job
        if not scan.unasked:
            self._unit_of[scan].queue.add(scan, scan.priority)
        scan.unasked.appendleft(request)

    def _forget_requests(self, link: ModbusLink, job: Job) -> bool:
        """Leave the replies to ``job`` that are under way to nobody; false when there are none."""
        transactions = [transaction for transaction, request in link.in_flight.items() if request.job is job]
        for transaction in transactions:
            link.forget(transaction)
        if transactions and self._is_rtu and self._pause is None:
            self._pause = self._loop.call_at(self._deadline_s, self._end_pause)
        return bool(transactions)

    def _finish(self, job: Job) -> None:
        self._unit_of.pop(job, None)
        if job.done is not None and not job.done.done():
            job.done.set_result(None)

    def _settle(self) -> None:
        """The most careful of the units decides for the bus."""
        self._in_flight_max = min(unit.in_flight_max for unit in self._units)
        self._pause_s = max(unit.pause_s for unit in self._units)

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
        request = link.in_flight[oldest]
        unit = self._unit_of[request.job]
        is_line = self._is_rtu and self.is_shared and isinstance(request, BlockRead)
        greeting_s = self._doubt.greeting_s(request, unit) if is_line else None
        self._is_greeting = greeting_s is not None
        self._deadline_s = self._loop.time() + (greeting_s or unit.timeout_s)
        # One timer serves many requests: it looks at the deadline of the day when it fires.
        if self._timer is not None and self._timer.when() > self._deadline_s:
            self._timer.cancel()
            self._timer = None
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
        request = link.in_flight.get(self._oldest)
        if request is None:  # answered or given up, and nothing was sent since
            self._watch_oldest(link)
            return
        self._time_out(link, self._oldest, request)

    def _time_out(self, link: ModbusLink, transaction: int, request: Request) -> None:
        unit = self._unit_of[request.job]
        if self._is_rtu:
            self._turns.hold(unit.queue)
            self._loop.call_later(unit.timeout_s, self._release, unit)
        if self._is_greeting:
            unit.is_passed_over = True
            link.forget(transaction)
            self._ask_again(request)
            self.send_waiting()
            return
        unit.counters.time_outs += 1
        reason = self._silence(unit, link)
        if not self._may_stay(unit) or not isinstance(request, BlockRead):
            self._fail(link, reason, request)
            return
        self._blame(request, reason)
        link.forget(transaction)
        if request.job.has_ended:
            self._forget_requests(link, request.job)
        else:
            self._ask_again(request)
        self._judge(unit, request, reason)
        self.send_waiting()

    def _may_stay(self, unit: BusUnit) -> bool:
        """Whether the connection may be kept, although ``unit`` has not answered in time."""
        if self.is_shared and unit.standing is Standing.NEW:
            return True
        if unit.standing is Standing.SILENT and any(it.standing is Standing.ANSWERS for it in self._units):
            return True
        self._unanswered_in_a_row += 1
        return self._unanswered_in_a_row <= max(unit.unanswered_max, UNANSWERED_IN_A_ROW_MAX if self.is_shared else 0)

    def _release(self, unit: BusUnit) -> None:
        self._turns.release(unit.queue)
        self.send_waiting()

    def _silence(self, unit: BusUnit, link: ModbusLink) -> str:
        return silence(
            unit,
            came_late=link.late_count > self._late_before,
            strange=link.strange_bytes(),
            has_answered=self._has_answered(unit, link),
            in_flight_max=self._in_flight_max,
        )

    def _has_answered(self, unit: BusUnit, link: ModbusLink) -> bool:
        """Whether anything was read of the unit, so that address, port and unit id are right."""
        jobs = {request.job for request in link.in_flight.values() if self._unit_of[request.job] is unit}
        return unit.has_answered or any(job.has_answers for job in jobs)
