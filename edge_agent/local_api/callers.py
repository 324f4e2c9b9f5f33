"""Who is at the other end of a Unix socket, as the kernel says it: nobody can claim to be somebody else."""

from __future__ import annotations

import pwd
import socket as sockets
import struct
from contextvars import ContextVar
from typing import Final

_CREDENTIALS: Final = struct.Struct("3i")
"""unix(7): struct ucred, process, user and group."""

CALLER: Final[ContextVar[str]] = ContextVar("caller", default="unknown")
"""The Unix user whose call is being answered."""


def user_of(socket: sockets.socket) -> str:
    """The name of the Unix user who has connected to ``socket``; ``uid 1234`` where the system has no name for him."""
    credentials = socket.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(credentials)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
