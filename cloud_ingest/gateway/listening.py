"""The port that the gateway, or the metrics, are asked at: taken at the start, or the start fails with a sentence."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from typing import Final

from cloud_ingest.observability.events import PortWaiting
from connectors.model.errors import LinesideError
from connectors.observability.events import emit

TAKEN_S_MAX: Final = 12.0
"""A process that was told to stop may have its port for so long: it finishes what it does first."""
RETRY_S: Final = 0.25


class PortUnavailable(LinesideError):
    """This process cannot listen where the configuration says: the caller says so and stops."""


async def listen(section: str, host: str, port: int) -> socket.socket:
    """A socket that listens at ``host`` and ``port``; the setting is named by its ``section`` of the configuration.

    A port that is taken is waited for as long as ``TAKEN_S_MAX``. Raises ``PortUnavailable``.
    """
    deadline_s = time.monotonic() + TAKEN_S_MAX
    is_told = False
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        try:
            return _without_delay(socket.create_server((host, port), family=family))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or time.monotonic() > deadline_s:
                raise PortUnavailable(_sentence(section, host, port, exc)) from exc
        if not is_told:
            emit(PortWaiting(_place(host, port), TAKEN_S_MAX))
        is_told = True
        await asyncio.sleep(RETRY_S)


def _without_delay(listening: socket.socket) -> socket.socket:
    """Have answers go out at once: the second part of one would wait 40 ms for the acknowledgement of the first.

    Connections inherit it. asyncio does it for sockets that it has made itself alone.
    """
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _sentence(section: str, host: str, port: int, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        reason = (
            f"another program has the port (ss -ltnp 'sport = :{port}' shows which). Stop that program, or write "
            f"another 'port' under '{section}'."
        )
    elif exc.errno in (errno.EACCES, errno.EPERM):
        reason = f"only an administrator may use a port below 1024. Write another 'port' under '{section}'."
    elif exc.errno == errno.EADDRNOTAVAIL or (exc.errno or 0) < 0:  # below 0: no such name
        reason = (
            f"that is no address of this machine. Write 127.0.0.1, or one that it has, as 'host' under '{section}'."
        )
    else:
        reason = exc.strerror or str(exc)
    return f"'{section}' cannot listen at {_place(host, port)}: {reason}"


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
