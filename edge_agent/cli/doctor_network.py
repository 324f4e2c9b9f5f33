"""What ``edge-agent doctor`` looks at on the network: whether each broker and each device can be reached from here.

A device that the agent is connected with is not tried: some take one connection only.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edge_agent.cli.doctor_certificates import validity
from edge_agent.cli.findings import Finding

CONNECT_S_MAX: Final = 3.0
AT_ONCE_MAX: Final = 20
_OTHER_NAME: Final = (62, 64)
"""What OpenSSL's x509_vfy.h calls X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""
PORTS: Final = {"opc.tcp": 4840, "tcp": 502, "rtu+tcp": 502, "tls": 802, "mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class Target:
    """A device or broker: its name, and where it is. ``tls``: with which certificates it is spoken to."""

    name: str
    endpoint: str
    is_connected: bool = False
    tls: ssl.SSLContext | None = None


async def network(targets: Sequence[Target], now_s: float) -> list[Finding]:
    """All of them at once, in their order."""
    turns = asyncio.Semaphore(AT_ONCE_MAX)

    async def one(target: Target) -> list[Finding]:
        async with turns:
            return await _reach(target, now_s)

    found = await asyncio.gather(*(one(target) for target in targets))
    return [finding for findings in found for finding in findings]


async def _reach(target: Target, now_s: float) -> list[Finding]:
    if target.is_connected:
        return [Finding("network", "ok", f"{target.name} is connected: {target.endpoint}")]
    parts = urlsplit(target.endpoint)
    if parts.scheme == "serial":
        return list(_port(target.name, Path(parts.path)))
    host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
    if not host or not port:
        return []
    try:
        async with asyncio.timeout(CONNECT_S_MAX):
            name = None if target.tls is None else host
            _, writer = await asyncio.open_connection(host, port, ssl=target.tls, server_hostname=name)
    except (OSError, TimeoutError) as exc:
        said, todo = _why(exc, host, port, is_tls=target.tls is not None)
        return [Finding("network", "wrong", f"{target.name}: {said}", todo)]
    certificate = writer.get_extra_info("peercert") or {}
    writer.close()
    found = [Finding("network", "ok", f"{target.name} can be reached: {host}:{port}")]
    if "notAfter" in certificate:
        begin_s, end_s = (ssl.cert_time_to_seconds(str(certificate[name])) for name in ("notBefore", "notAfter"))
        found.append(validity(f"of {target.name}", begin_s, end_s, now_s, "have it renewed there"))
    return found


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
