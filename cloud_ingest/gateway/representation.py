"""What a reader has already is not sent again (RFC 9110, section 13.1.2), and what is long is sent packed.

Only for answers that are whole in one piece: what is streamed goes through as it is.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_ingest.access.etags import DIGEST_BYTES, etag_of_answer, matches

PACKED_BYTES_MIN: Final = 2048
"""Below it, a packed answer is no fewer packets on the network."""
ASIDE_BYTES_MIN: Final = 64 * 1024
"""From it on, packing would hold up the other requests: it is done by a thread."""
LEVEL: Final = 3
"""Half the time of level 6, for a tenth more bytes of JSON."""
_TYPES: Final = ("application/json", "text/plain", "text/html", "text/csv")
_KEPT_WITH_304: Final = frozenset({"etag", "cache-control", "vary", "content-location", "expires", "date"})


class Representation:
    """Tags answers to GET, leaves out what the reader has, and packs what is long."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ``ASGIApp``."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Reply(Headers(scope=scope), send).send)


class _Reply:
    """An answer whose beginning waits for its body."""

    def __init__(self, asked: Headers, send: Send) -> None:
        self._asked = asked
        self._send = send
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """See ``Send``."""
        if message["type"] == "http.response.start" and _is_ours(message):
            self._start = message
            return
        start, self._start = self._start, None
        if start is None:
            await self._send(message)
        elif message["type"] != "http.response.body" or message.get("more_body", False):
            await self._send(start)
            await self._send(message)
        else:
            await self._whole(start, message)

    async def _whole(self, start: Message, message: Message) -> None:
        headers = MutableHeaders(scope=start)
        body = bytes(message.get("body", b""))
        is_of_route = "etag" in headers
        digest = hashlib.blake2b(body, digest_size=DIGEST_BYTES).hexdigest()
        headers["etag"] = etag_of_answer(headers["etag"], digest) if is_of_route else f'W/"{digest}"'
        if matches(self._asked.get("if-none-match", ""), headers["etag"]):
            start["status"] = 304
            kept = [(name, value) for name, value in start["headers"] if name.decode() in _KEPT_WITH_304]
            start["headers"] = kept
            body = b""
        elif len(body) >= PACKED_BYTES_MIN and not is_of_route:  # a strong tag is of these bytes, and no others
            headers.add_vary_header("Accept-Encoding")
            if _takes_gzip(self._asked.get("accept-encoding", "")):
                body = await _packed(body)
                headers["content-encoding"] = "gzip"
                headers["content-length"] = str(len(body))
        await self._send(start)
        await self._send({**message, "body": body})


def _is_ours(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    kind = headers.get("content-type", "")
    return bool(start["status"] == 200 and kind.startswith(_TYPES) and "content-encoding" not in headers)


def _takes_gzip(accepted: str) -> bool:
    for one in accepted.lower().split(","):
        name, _, weight = one.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


async def _packed(body: bytes) -> bytes:
    if len(body) < ASIDE_BYTES_MIN:
        return gzip.compress(body, LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)
