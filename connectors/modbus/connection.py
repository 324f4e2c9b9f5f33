"""One TCP connection to one Modbus unit, and its one owner: a request at a time, each answered or given up.

The next request leaves in the callback that brought the reply to the one before, so a scan of many blocks costs one
future and one switch of tasks. A request that is not answered properly closes the connection: whatever the unit still
sends for it can then never be taken for the answer to another one.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from connectors.modbus.counters import ModbusCounters
from connectors.modbus.frames import PENDING, ReadFrame, ReplyInvalid, ReplyReader
from connectors.modbus.request_queue import Priority, RequestQueue
from connectors.modbus.scan import Scan
from connectors.modbus.settings import ModbusDevice
from connectors.model.errors import DeviceUnavailable
from connectors.ports.clock import Clock

PORT_DEFAULT: Final = 502
_NOWHERE: Final = memoryview(bytearray())


class ModbusConnection:
    """The owner of the connection. All methods are called in one event loop."""

    def __init__(self, settings: ModbusDevice, clock: Clock, counters: ModbusCounters) -> None:
        host, _, port = settings.endpoint.removeprefix("tcp://").partition(":")
        self._host, self._port = host, int(port or PORT_DEFAULT)
        self._unit_id = settings.unit_id
        self._timeout_s = settings.timeout_s
        self._pause_s = settings.pause_s
        self._attempts_max = settings.retries + 1
        self._now_ns = clock.now_ns
        self._counters = counters
        self._queue: RequestQueue[Scan] = RequestQueue()
        self._current: Scan | None = None
        self._transaction = 0
        self._link: _Link | None = None
        self._link_wanted = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None

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
            self._send_next()

    async def close(self) -> None:
        """Close the connection in an orderly way and give up what is queued."""
        for timer in (self._timer, self._pause):
            if timer is not None:
                timer.cancel()
        self._queue.clear()
        self._current = None
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def run(self, scan: Scan, priority: Priority, *, attempts_max: int | None = None) -> None:
        """Read the blocks of ``scan``; returns when all are answered or one is given up (``scan.failure``).

        Every read is tried ``attempts_max`` times, by default as often as the device file says. A cancelled run
        leaves the connection usable.
        """
        scan.begin(attempts_max or self._attempts_max)
        if not scan.frames:
            return
        scan.done = self._loop.create_future()
        self._queue.add(scan, priority)
        if self._current is None:
            self._send_next()
        try:
            await scan.done
        finally:
            self._queue.remove(scan)
            if self._current is scan:
                self._forget_current()

    def answered(self, code: int) -> None:
        """The reply to the current request is there: 0, or the exception code of the unit."""
        scan = self._current
        if scan is None:
            return
        self._current = None
        at = scan.at
        scan.codes[at] = code
        scan.arrived_ns[at] = self._now_ns()
        scan.attempts_failed = 0
        scan.at = at = at + 1
        if code:
            self._counters.exception_replies += 1
        if at == len(scan.frames):
            self._finish(scan)
        if self._pause_s:
            self._pause = self._loop.call_later(self._pause_s, self._end_pause)
        else:
            self._send_next()

    def failed(self, link: _Link, reason: str) -> None:
        """``link`` cannot be used any more, and the current request, if there is one, was not answered."""
        if link is not self._link:
            return
        self._link = None
        link.abort()
        scan, self._current = self._current, None
        if scan is not None:
            scan.attempts_failed += 1
            if scan.attempts_failed >= scan.attempts_max:
                times = "" if scan.attempts_failed == 1 else f", tried {scan.attempts_failed} times"
                scan.failure = f"{self._name()}: {reason} (read of {scan.blocks[scan.at].place}{times})"
                self._finish(scan)
        self._send_next()

    def _forget_current(self) -> None:
        """Nobody waits for the reply to the current request any more; when it comes, it is a late one."""
        self._current = None
        if self._link is not None:
            self._link.forget()
        self._send_next()

    def _finish(self, scan: Scan) -> None:
        self._queue.remove(scan)
        if scan.done is not None and not scan.done.done():
            scan.done.set_result(None)

    def _end_pause(self) -> None:
        self._pause = None
        self._send_next()

    def _send_next(self) -> None:
        if self._current is not None or self._pause is not None:
            return
        scan = self._queue.next()
        if scan is None:
            return
        link = self._link
        if link is None:
            self._link_wanted.set()
            return
        self._current = scan
        self._transaction = self._transaction + 1 & 0xFFFF
        self._counters.requests += 1
        self._deadline_s = self._loop.time() + self._timeout_s
        # One timer serves many requests: it looks at the deadline of the day when it fires.
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline_s, self._look_at_the_time)
        link.send(scan.frames[scan.at], self._transaction.to_bytes(2, "big"), scan.targets[scan.at])

    def _look_at_the_time(self) -> None:
        self._timer = None
        link = self._link
        if self._current is None or link is None:
            return
        if self._loop.time() < self._deadline_s:
            self._timer = self._loop.call_at(self._deadline_s, self._look_at_the_time)
            return
        self._counters.time_outs += 1
        reason = f"no answer within {self._timeout_s:g} s; check the unit id, and that no other program keeps it busy"
        if link.late_count:
            reason = f"no answer within {self._timeout_s:g} s, but replies to requests that nobody made"
        self.failed(link, reason)

    def _name(self) -> str:
        return f"{self._host}:{self._port}, unit {self._unit_id}"

    async def _connect(self) -> _Link:
        place = f"{self._host}:{self._port}"
        try:
            async with asyncio.timeout(self._timeout_s):
                link = await self._connect_to_any()
        except TimeoutError as exc:
            raise DeviceUnavailable(
                f"{place} gives no answer within {self._timeout_s:g} s: check that the device is switched on, the "
                "network cable, the address, and that no firewall is between"
            ) from exc
        except ConnectionRefusedError as exc:
            raise DeviceUnavailable(
                f"{place} refused the connection: check the port, that Modbus TCP is enabled in the device, and that "
                "it has a connection left (some devices allow only one)"
            ) from exc
        except socket.gaierror as exc:
            raise DeviceUnavailable(
                f"the host name {self._host!r} is unknown: check its spelling and the name server, or write the IP "
                "address"
            ) from exc
        except OSError as exc:
            raise DeviceUnavailable(
                f"{place} cannot be reached ({exc.strerror or exc}): check the address, and that this network has a "
                "way to the device"
            ) from exc
        self._counters.connects += 1
        return link

    async def _connect_to_any(self) -> _Link:
        """Connect to the first address of the host that takes the connection."""
        addresses = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        failure: OSError | None = None
        for family, _type, _protocol, _name, address in addresses:
            try:
                _, link = await self._loop.create_connection(
                    lambda: _Link(self, self._counters), str(address[0]), self._port, family=family
                )
            except OSError as exc:
                failure = exc
            else:
                return link
        raise failure or OSError("the name has no address")


class _Link(asyncio.BufferedProtocol):
    """The protocol of one TCP connection: receives into one buffer, reports to the owner."""

    def __init__(self, owner: ModbusConnection, counters: ModbusCounters) -> None:
        self._owner = owner
        self._counters = counters
        self._reader = ReplyReader(counters)
        self._space = self._reader.space
        self._target = _NOWHERE
        self._transport: asyncio.Transport | None = None
        self._closed = asyncio.get_running_loop().create_future()

    @property
    def late_count(self) -> int:
        """Replies since the last request that were not for it."""
        return self._reader.late_count

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio``."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  the loop makes nothing else for TCP
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio``."""
        if not self._closed.done():
            self._closed.set_result(None)
        self._owner.failed(self, f"the connection broke ({exc})" if exc else "the unit closed the connection")

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """See ``asyncio``."""
        return self._space()

    def buffer_updated(self, nbytes: int) -> None:
        """See ``asyncio``."""
        try:
            code = self._reader.received(nbytes, self._target)
        except ReplyInvalid as exc:
            self._counters.invalid_replies += 1
            self._owner.failed(self, f"the unit {exc}")
            return
        if code != PENDING:
            self._owner.answered(code)

    def send(self, frame: ReadFrame, transaction: bytes, target: memoryview) -> None:
        """Send a request; the data of its reply go into ``target``."""
        self._target = target
        self._reader.expect(frame, transaction)
        if self._transport is not None:
            self._transport.write(transaction + frame.request_tail)

    def forget(self) -> None:
        """No reply is waited for any more."""
        self._reader.forget()

    def abort(self) -> None:
        """Close at once; what was not sent is dropped."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Close, and return when the socket is closed."""
        if self._transport is not None:
            if self._transport.get_write_buffer_size():
                self._transport.abort()
            else:
                self._transport.close()
            await self._closed
