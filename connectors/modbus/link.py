"""One TCP connection to a Modbus unit: what asyncio calls, and how the connection comes about."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

from connectors.modbus.command import CommandRequest
from connectors.modbus.counters import ModbusCounters
from connectors.modbus.frames import Framing, ReplyInvalid
from connectors.modbus.mbap import MbapReader
from connectors.modbus.scan import BlockRead
from connectors.model.errors import DeviceUnavailable

Request: TypeAlias = BlockRead | CommandRequest
"""What a connection carries: a read of a scan, or a request of a command."""


class LinkOwner(Protocol):
    """Who owns the connection, and is told what comes over it; called in the event loop."""

    def answered(self, request: Request, code: int) -> None:
        """The reply to ``request`` is there: 0, its data are where they belong; else the exception code of the unit."""
        ...

    def send_waiting(self) -> None:
        """All replies that have come are handed over: there may be room for further requests."""
        ...

    def failed(self, link: ModbusLink, reason: str, blamed: Request | None = None) -> None:
        """``link`` cannot be used any more, because of the reply to ``blamed`` where one is named."""
        ...


class ModbusLink(asyncio.BufferedProtocol):
    """The protocol of one TCP connection: receives into one buffer, reports to the owner."""

    def __init__(self, owner: LinkOwner, counters: ModbusCounters) -> None:
        self._owner = owner
        self._counters = counters
        self._reader: Framing[Request] = MbapReader(counters)
        self._space = self._reader.space
        self.in_flight: Mapping[int, Request] = self._reader.in_flight
        """The requests that wait for their replies, by transaction, the oldest first."""
        self._transport: asyncio.Transport | None = None
        self._closed = asyncio.get_running_loop().create_future()

    @property
    def late_count(self) -> int:
        """Replies on this connection that were for no request in flight."""
        return self._reader.late_count

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio``."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  the loop makes nothing else for TCP
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio``."""
        if not self._closed.done():
            self._closed.set_result(None)
        broke = f"the connection broke ({getattr(exc, 'strerror', None) or exc})"
        self._owner.failed(self, broke if exc else "the unit closed the connection")

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """See ``asyncio``."""
        return self._space()

    def buffer_updated(self, nbytes: int) -> None:
        """See ``asyncio``."""
        try:
            for request, code in self._reader.received(nbytes):
                self._owner.answered(request, code)
        except ReplyInvalid as exc:
            self._counters.invalid_replies += 1
            blamed = None if exc.transaction is None else self.in_flight.get(exc.transaction)
            self._owner.failed(self, f"the unit {exc}", blamed)
        else:
            self._owner.send_waiting()

    def send(self, requests: Iterable[Request], first_transaction: int) -> None:
        """Send requests in one write, with transactions that count up from ``first_transaction`` modulo 65536."""
        data = self._reader.encode(requests, first_transaction)
        if self._transport is not None:
            self._transport.write(data)

    def forget(self, transaction: int) -> None:
        """The reply to this request is not waited for any more."""
        self._reader.forget(transaction)

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


async def connect(host: str, port: int, timeout_s: float, owner: LinkOwner, counters: ModbusCounters) -> ModbusLink:
    """A connection for ``owner``. Raises ``DeviceUnavailable`` with a sentence that says what to check."""
    place = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout_s):
            link = await _connect_to_any(host, port, owner, counters)
    except TimeoutError as exc:
        raise DeviceUnavailable(
            f"{place} gives no answer within {timeout_s:g} s: check that the device is switched on, the network "
            "cable, the address, and that no firewall is between"
        ) from exc
    except ConnectionRefusedError as exc:
        raise DeviceUnavailable(
            f"{place} refused the connection: check the port, that Modbus TCP is enabled in the device, and that it "
            "has a connection left (some devices allow only one)"
        ) from exc
    except socket.gaierror as exc:
        raise DeviceUnavailable(
            f"the host name {host!r} is unknown: check its spelling and the name server, or write the IP address"
        ) from exc
    except OSError as exc:
        raise DeviceUnavailable(
            f"{place} cannot be reached ({exc.strerror or exc}): check the address, and that this network has a way "
            "to the device"
        ) from exc
    counters.connects += 1
    return link


async def _connect_to_any(host: str, port: int, owner: LinkOwner, counters: ModbusCounters) -> ModbusLink:
    """Connect to the first address of the host that takes the connection."""
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for family, _type, _protocol, _name, address in addresses:
        try:
            _, link = await loop.create_connection(
                lambda: ModbusLink(owner, counters), str(address[0]), port, family=family
            )
        except OSError as exc:
            failure = exc
        else:
            return link
    raise failure or OSError("the name has no address")
