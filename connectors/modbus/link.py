"""One connection to Modbus units: what asyncio calls, and how the connection comes about."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol, TypeAlias

from connectors.configuration.tls_files import TlsFileUnusable, client_context
from connectors.modbus.command import CommandRequest
from connectors.modbus.counters import ModbusCounters
from connectors.modbus.endpoint import Route
from connectors.modbus.frames import Framing, ReplyInvalid
from connectors.modbus.mbap import MbapReader
from connectors.modbus.rtu import RtuReader
from connectors.modbus.scan import BlockRead
from connectors.model.errors import DeviceUnavailable

Request: TypeAlias = BlockRead | CommandRequest
"""What a connection carries: a read of a scan, or a request of a command."""
_CERTIFICATE: Final = "the certificate in cert_file"
_TLS_SHUTDOWN_S: Final = 2.0
"""A unit that does not answer the end of a TLS connection holds up nobody for longer."""
_REFUSED_ADVICE: Final = {
    "tcp": "check the port, that Modbus TCP is enabled in the device, and that it has a connection left (some devices "
    "allow only one)",
    "tls": "check the port, that Modbus/TCP Security is enabled in the device, and that it has a connection left",
    "rtu+tcp": "check the port, that the converter passes raw bytes on (a TCP server, in its own words), and that it "
    "has a connection left (most allow only one)",
}


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
    """The protocol of one connection: receives into one buffer, reports to the owner.

    Requests and replies are framed as Modbus/TCP where no other ``framing`` is given.
    """

    def __init__(self, owner: LinkOwner, counters: ModbusCounters, framing: Framing[Request] | None = None) -> None:
        self._owner = owner
        self._counters = counters
        self._reader: Framing[Request] = framing or MbapReader(counters)
        self._space = self._reader.space
        self.in_flight: Mapping[int, Request] = self._reader.in_flight
        """The requests that wait for their replies, by transaction, the oldest first."""
        self._transport: asyncio.Transport | None = None
        self._is_tls = self.has_received = False
        self._closed = asyncio.get_running_loop().create_future()

    @property
    def late_count(self) -> int:
        """Replies on this connection that were for no request in flight."""
        return self._reader.late_count

    def strange_bytes(self) -> str:
        """See ``Framing``."""
        return self._reader.strange_bytes()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio``."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  nothing else is made for a stream of bytes
        self._transport = transport
        self._is_tls = transport.get_extra_info("sslcontext") is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio``."""
        if not self._closed.done():
            self._closed.set_result(None)
        reason = "the unit closed the connection"
        if exc is not None:
            said = getattr(exc, "reason" if isinstance(exc, ssl.SSLError) else "strerror", None)
            reason = f"the connection broke ({said or exc})"
        if self._is_tls and not self.has_received:  # a client is refused only after it has begun (RFC 8446, 4.4)
            reason += f"; check that it trusts {_CERTIFICATE}"
        self._owner.failed(self, reason)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """See ``asyncio``."""
        return self._space()

    def buffer_updated(self, nbytes: int) -> None:
        """See ``asyncio``."""
        self.has_received = True
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


async def connect(route: Route, timeout_s: float, owner: LinkOwner, counters: ModbusCounters) -> ModbusLink:
    """A connection for ``owner``. Raises ``DeviceUnavailable`` with a sentence that says what to check."""

    def make_link() -> ModbusLink:
        framing = RtuReader[Request](counters, has_echo=route.has_echo) if route.endpoint.is_rtu else None
        return ModbusLink(owner, counters, framing)

    if route.endpoint.kind == "serial":
        from connectors.modbus.serial_port import open_port

        link = make_link()
        open_port(route, link)
    else:
        link = await _connect_in_time(route, timeout_s, make_link)
    counters.connects += 1
    return link


async def _connect_in_time(route: Route, timeout_s: float, make_link: Callable[[], ModbusLink]) -> ModbusLink:
    endpoint = route.endpoint
    place = endpoint.place
    try:
        async with asyncio.timeout(timeout_s):
            return await _connect_to_any(route, make_link)
    except TlsFileUnusable as exc:
        raise DeviceUnavailable(f"tls of {place}: {exc}") from exc
    except ssl.SSLCertVerificationError as exc:
        raise DeviceUnavailable(
            f"the certificate of {place} is not trusted ({exc.verify_message}): check ca_file, and that the "
            "certificate names the host or the address of 'endpoint'"
        ) from exc
    except ssl.SSLError as exc:
        raise DeviceUnavailable(
            f"{place} does not begin a TLS connection ({exc.reason or exc}): check that the port is that of Modbus/TCP "
            f"Security (802 as a rule), and that the device trusts {_CERTIFICATE}"
        ) from exc
    except TimeoutError as exc:
        raise DeviceUnavailable(
            f"{place} gives no answer within {timeout_s:g} s: check that the device is switched on, the network "
            "cable, the address, and that no firewall is between"
        ) from exc
    except ConnectionRefusedError as exc:
        raise DeviceUnavailable(f"{place} refused the connection: {_REFUSED_ADVICE[endpoint.kind]}") from exc
    except socket.gaierror as exc:
        raise DeviceUnavailable(
            f"the host name {endpoint.host!r} is unknown: check its spelling and the name server, or write the IP "
            "address"
        ) from exc
    except OSError as exc:
        if endpoint.kind == "tls" and isinstance(exc, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
            raise DeviceUnavailable(
                f"{place} ended the connection while TLS began: check that the port is that of Modbus/TCP Security, "
                f"and that the device trusts {_CERTIFICATE}"
            ) from exc
        raise DeviceUnavailable(
            f"{place} cannot be reached ({exc.strerror or exc}): check the address, and that this network has a way "
            "to the device"
        ) from exc


async def _connect_to_any(route: Route, make_link: Callable[[], ModbusLink]) -> ModbusLink:
    """Connect to the first address of the host that takes the connection."""
    loop = asyncio.get_running_loop()
    host, port = route.endpoint.host, route.endpoint.port
    context = client_context(*route.tls) if route.endpoint.kind == "tls" else None
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for family, _type, _protocol, _name, address in addresses:
        try:
            _, link = await loop.create_connection(
                make_link,
                str(address[0]),
                port,
                family=family,
                ssl=context,
                server_hostname=host if context else None,
                ssl_shutdown_timeout=_TLS_SHUTDOWN_S if context else None,
            )
        except OSError as exc:
            failure = exc
        else:
            return link
    raise failure or OSError("the name has no address")
