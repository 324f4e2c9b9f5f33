"""Text messages that are written to WebSockets at once, for many clients and often: no task, lock or event of each.

The server offers it as an extension of ASGI (``extensions`` of the scope). What it writes is what uvicorn would.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

EXTENSION: Final = "lineside.text"
SEND_BYTES: Final = 128 * 1024
"""What the operating system may hold of a client: what has been handed to it cannot be replaced by what is newer."""
CLOSE_S: Final = 3.0
"""So long a client may take to answer that the connection is closed."""
_TEXT: Final = 0x81
"""FIN, and the opcode of text (RFC 6455, 5.2)."""
_SHORT_MAX: Final = 125
_MEDIUM_MAX: Final = (1 << 16) - 1


class TextOutlet(Protocol):
    """Where messages of one client are written to."""

    def limit(self) -> None:
        """Have the operating system hold little of what is written."""
        ...

    def is_ready(self) -> bool:
        """Whether all that was written before is on its way; false, too, when the connection is closed or closing."""
        ...

    def write(self, text: bytes) -> None:
        """Write a message of UTF-8. The outlet ``is_ready``."""
        ...

    def abort(self) -> None:
        """Cut the connection; what was not sent is lost."""
        ...


class WritableWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket of uvicorn that is a ``TextOutlet``, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.close_timeout = CLOSE_S

    def handle_connect(self, event: Request) -> None:
        """See ``WebSocketsSansIOProtocol``: it makes the scope, and a task that sees it later."""
        super().handle_connect(event)
        scope = getattr(self, "scope", None)
        if scope is not None:
            cast("dict[str, Any]", scope["extensions"])[EXTENSION] = self

    def keepalive_timeout(self) -> None:
        """See ``WebSocketsSansIOProtocol``. One that takes nothing would keep its connection, closing, for ever."""
        super().keepalive_timeout()
        self.loop.call_later(CLOSE_S, self.transport.abort)

    def limit(self) -> None:
        """See ``TextOutlet``."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)

    def is_ready(self) -> bool:
        """See ``TextOutlet``."""
        transport = self.transport
        is_open = self.conn.state is State.OPEN and not (self.close_sent or transport.is_closing())
        return is_open and transport.get_write_buffer_size() == 0

    def write(self, text: bytes) -> None:
        """See ``TextOutlet``."""
        self.transport.write(text_head(len(text)) + text)

    def abort(self) -> None:
        """See ``TextOutlet``."""
        self.transport.abort()


def outlet_of(scope: Mapping[str, Any]) -> TextOutlet:
    """The outlet of the connection whose scope it is. Raises ``LookupError``: another server serves it."""
    return cast("TextOutlet", scope["extensions"][EXTENSION])


def text_head(size_bytes: int) -> bytes:
    """What stands before a text of so many bytes, as a server sends it: whole, and not masked (RFC 6455, 5.2)."""
    if size_bytes <= _SHORT_MAX:
        return bytes((_TEXT, size_bytes))
    if size_bytes <= _MEDIUM_MAX:
        return struct.pack(">BBH", _TEXT, 126, size_bytes)
    return struct.pack(">BBQ", _TEXT, 127, size_bytes)
