"""How the kernel sends what an MQTT connection gives it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any, Final

NOT_SENT_BYTES_MAX: Final = 64 * 1024
_CORK: Final[int | None] = getattr(socket, "TCP_CORK", None)


def send_at_once(connection: Any) -> None:
    """Let the kernel take little more than it can send: what waits there nobody can overtake, or count.

    And let it send a small message, such as the report of a command, without waiting for the answer to the one
    before (RFC 896), which takes a delayed acknowledgement of 40 ms.
    """
    _set(connection, socket.TCP_NODELAY, 1)
    _set(connection, socket.TCP_NOTSENT_LOWAT, NOT_SENT_BYTES_MAX)


@contextlib.contextmanager
def sent_together(connection: Any) -> Iterator[None]:
    """Have the kernel hold back what is written within, for 200 ms at most (tcp(7)); without effect where it cannot."""
    if connection is None or _CORK is None:
        yield
        return
    _set(connection, _CORK, 1)
    try:
        yield
    finally:
        _set(connection, _CORK, 0)


def _set(connection: Any, option: int, value: int) -> None:
    with contextlib.suppress(OSError):  # it is lost, which somebody else notices
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
