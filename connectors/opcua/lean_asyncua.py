"""asyncua without its server: 2 MB of memory and 50 ms of each start, for a client.

``import asyncua`` imports its server, too; who plays a device (``simulated_server``) has it loaded all the same.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Final

_SERVER: Final = "asyncua.server"


class _Server:
    """Stands for ``asyncua.Server`` until somebody makes one."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        load_server()
        from asyncua.server.server import Server

        return Server(*args, **kwargs)


def leave_server_out() -> None:
    """From here on asyncua is imported without its server, unless it was imported already."""
    if "asyncua" not in sys.modules:
        stand_in = ModuleType(_SERVER, "The server of asyncua, which was left out.")
        stand_in.Server = _Server  # type: ignore[attr-defined]
        sys.modules[_SERVER] = stand_in


def load_server() -> None:
    """The modules of the server can be imported from here on."""
    if not hasattr(sys.modules.get(_SERVER), "__path__"):
        sys.modules.pop(_SERVER, None)
