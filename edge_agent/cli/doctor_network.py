"""What ``edge-agent doctor`` looks at on the network: whether each broker and each device can be reached from here.

Where the agent is connected with a device, nothing is tried: some take one connection only.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from connectors.configuration.setting_names import counted, listed
from edge_agent.cli.doctor_certificates import validity
from edge_agent.cli.findings import Finding

CONNECT_S_MAX: Final = 3.0
AT_ONCE_MAX: Final = 20
NAMES_SHOWN_MAX: Final = 3
_OTHER_NAME: Final = (62, 64)
"""What OpenSSL's x509_vfy.h calls X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""
PORTS: Final = {"opc.tcp": 4840, "tcp": 502, "rtu+tcp": 502, "tls": 802, "mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class Target:
    """A broker, or all devices at one place: their names, and where that is.

    ``connected``: those with which the agent is connected. ``tls``: with which certificates it is spoken to.
    """

    names: tuple[str, ...]
    endpoint: str
    connected: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None


async def network(targets: Sequence[Target], now_s: float) -> list[list[Finding]]:
    """What was found of each, in their order; all are looked at at once."""
    turns = asyncio.Semaphore(AT_ONCE_MAX)

    async def one(target: Target) -> list[Finding]:
        async with turns:
            return await _reach(target, now_s)

    return await asyncio.gather(*(one(target) for target in targets))


def unreachable(targets: Sequence[Target], found: Sequence[Sequence[Finding]]) -> set[str]:
    """The devices that can be reached at none of their places, by what was ``found`` of ``targets``."""
    away, there = set[str](), set[str]()
    for target, findings in zip(targets, found, strict=True):
        is_away = any(finding.state == "wrong" for finding in findings)
        (away if is_away else there).update(target.names)
    return away - there


async def one_place(devices: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Where devices that should share a connection do not, as their place is written in two ways.

    ``devices`` by ``host:port`` or the path of a serial port, as they are written. A name is looked up here and now,
    which is why nothing is shared because of it: tomorrow it may be that of another machine.
    """
    written: dict[str, list[str]] = {}
    known = await asyncio.gather(*(_known_as(place) for place in devices)) if len(devices) > 1 else []
    for place, real in zip(devices, known, strict=False):
        for one in real:
            written.setdefault(one, []).append(place)
    found: dict[tuple[str, ...], Finding] = {}
    for one, places in written.items():
        if len(places) > 1 and tuple(places) not in found:
            names = [name for place in places for name in devices[place]]
            said = f"{listed(places, 'and')} are one place ({one}), to which {_who(names)} "
            said += f"have {len(places)} connections"
            todo = "write the same 'endpoint' at all of them: then they share one connection, and take turns"
            found[tuple(places)] = Finding("network", "look", said, todo)
    return list(found.values())


async def _known_as(place: str) -> set[str]:
    """What else ``place`` is called: addresses with the port, or the device file of a serial port."""
    if place.startswith("/"):
        return {_device_file(place)}
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal():
        return set()
    try:
        async with asyncio.timeout(CONNECT_S_MAX):
            found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return set()  # that nobody knows the name has been said
    return {f"{address[4][0]!s}:{port}" for address in found}


def _device_file(path: str) -> str:
    """Names in ``/dev/serial/by-id`` lead to it."""
    return str(Path(path).resolve())


async def _reach(target: Target, now_s: float) -> list[Finding]:
    if connected := target.connected:
        verb = "is" if len(connected) == 1 else "are"
        return [Finding("network", "ok", f"{_who(connected)} {verb} connected: {target.endpoint}")]
    who = _who(target.names)
    parts = urlsplit(target.endpoint)
    if parts.scheme == "serial":
        return list(_port(who, Path(parts.path)))
    host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
    if not host or not port:
        return []
    try:
        async with asyncio.timeout(CONNECT_S_MAX):
            name = None if target.tls is None else host
            _, writer = await asyncio.open_connection(host, port, ssl=target.tls, server_hostname=name)
    except (OSError, TimeoutError) as exc:
        said, todo = _why(exc, host, port, is_tls=target.tls is not None)
        return [Finding("network", "wrong", f"{who}: {said}", todo)]
    certificate = writer.get_extra_info("peercert") or {}
    writer.close()
    found = [Finding("network", "ok", f"{who} can be reached: {host}:{port}")]
    if "notAfter" in certificate:
        begin_s, end_s = (ssl.cert_time_to_seconds(str(certificate[name])) for name in ("notBefore", "notAfter"))
        found.append(validity(f"of {who}", begin_s, end_s, now_s, "have it renewed there"))
    return found


def _who(names: Collection[str]) -> str:
    """``press``, ``press and oven``; of many the first ones, and how many others."""
    shown = list(names)
    if len(shown) > NAMES_SHOWN_MAX:
        more = counted(len(shown) - NAMES_SHOWN_MAX + 1, "other device")
        shown = [*shown[: NAMES_SHOWN_MAX - 1], more]
    return listed(shown, "and")


def _why(error: Exception, host: str, port: int, *, is_tls: bool) -> tuple[str, str]:
    """What went wrong on the way, and what to look at."""
    place = f"{host}:{port}"
    match error:
        case ssl.SSLCertVerificationError():
            said = f"{place} shows a certificate that does not count: {error.verify_message.removesuffix('.')}"
            if error.verify_code in _OTHER_NAME:
                return said, "write the name that stands in it into uplink.brokers, or have one issued for this name"
            return said, "look at uplink.ca_file"
        case ssl.SSLError():
            todo = "is it the port for TLS, and does it want a certificate of ours (cert_file)?"
            return f"{place} speaks no TLS with us: {error.reason or error}", todo
        case TimeoutError():
            todo = "is it switched on, is the address right, does a firewall drop it?"
            return f"{place} has not answered within {CONNECT_S_MAX:g} s", todo
        case ConnectionRefusedError():
            return f"{place} refuses the connection", "is its server running, and is the port right?"
        case ConnectionResetError() if is_tls:
            todo = "is it the port for TLS? One without is written mqtt://"
            return f"{place} closes the connection instead of speaking TLS", todo
        case socket.gaierror():
            return f"nobody knows the name {host!r}", "check its spelling, and the name server of this box"
        case _:
            text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            return f"{place}: {text}", "check cable, address and gateway of this box (ip address, ip route)"


def _port(name: str, path: Path) -> Iterator[Finding]:
    if not path.exists():
        todo = "is the adapter plugged in? /dev/serial/by-id has names that stay"
        yield Finding("network", "wrong", f"{name}: there is no {path}", todo)
    elif not os.access(path, os.R_OK | os.W_OK):
        todo = f"usually: sudo usermod -a -G {path.group()} lineside, and begin the agent anew"
        yield Finding("network", "wrong", f"{name}: {path} may not be used", todo)
    else:
        yield Finding("network", "ok", f"{name}: {path} can be opened")
