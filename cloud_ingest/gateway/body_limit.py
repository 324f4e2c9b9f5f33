"""No request is larger than the largest that is of any use."""

from __future__ import annotations

import contextlib
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_ingest.gateway.problems import problem

TOO_LARGE: Final = 413


class _TooLarge(Exception):
    """More has come than may. No part of an answer was sent: nothing answers before it has the whole body."""


class BodyLimit:
    """Refuses a body of more than ``bytes_max``, by what it says of itself or as soon as so much has come."""

    def __init__(self, app: ASGIApp, bytes_max: int) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ``ASGIApp``."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not said.isdigit() or int(said[:20]) > self._bytes_max:
            await self._refuse(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._bytes_max:
                raise _TooLarge
            return message

        async def unless_too_large(message: Message) -> None:
            if came <= self._bytes_max:
                await send(message)

        with contextlib.suppress(_TooLarge):  # unless the app has made an answer of its own of it
            await self._app(scope, counted, unless_too_large)
        if came > self._bytes_max:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"a request has at most {self._bytes_max} bytes"
        answer = problem(scope, TOO_LARGE, detail, "oversized", title="Content too large")
        await answer(scope, receive, send)
