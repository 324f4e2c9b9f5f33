"""Where every request comes in: its id, its line in the access log, its limits, and what every answer says.

A defect behind it is answered as a problem with the id of the request, and stands in the log with its traceback.
"""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_ingest.access.admission import RateNote, address_of
from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.gateway.problems import PROBLEM_TYPE, problem, refused
from cloud_ingest.gateway.rate_limits import RateLimiter
from cloud_ingest.observability.gateway_events import RequestFailed, RequestServed
from connectors.commands.ulid import new_ulid
from connectors.observability.events import emit
from connectors.observability.logs import log_lines_with

HEADER: Final = "x-request-id"
_HEADER: Final = HEADER.encode()
_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_OPERATIONS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked by machines, every few seconds: counted, and neither logged nor limited."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NOWHERE: Final = "(none)"
_TRY_LATER: Final = 1013
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Unless a route says otherwise, as the page of the documentation does for its own."""
_STRICT_TRANSPORT: Final = (b"strict-transport-security", b"max-age=31536000")
_JSON: Final = (b"application/json", PROBLEM_TYPE.encode())


class Entry:
    """See the module."""

    def __init__(self, app: ASGIApp, rates: RateLimiter | None = None) -> None:
        self._app = app
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ``ASGIApp``."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = _request_id(scope)
        state["rate_notes"] = []
        answer = _Answer(scope, send)
        began_s = time.perf_counter()
        with log_lines_with(request_id=request_id):
            try:
                await self._serve(scope, receive, answer)
            finally:
                _tell(scope, answer, 1000 * (time.perf_counter() - began_s))

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        if self._rates is not None and scope["path"] not in _OPERATIONS:
            try:
                self._rates.take_address(address_of(scope), scope["state"]["rate_notes"])
            except RequestRefused as exc:
                if scope["type"] == "websocket":
                    await answer.send({"type": "websocket.close", "code": _TRY_LATER, "reason": str(exc)[:120]})
                else:
                    await refused(scope, exc)(scope, receive, answer.send)
                return
        try:
            await self._app(scope, receive, answer.send)
        except Exception as exc:  # one request's defect is not its neighbours'
            why = f"{type(exc).__name__}: {exc}"
            emit(RequestFailed(scope["state"]["request_id"], _route(scope), why, traceback.format_exc()))
            if scope["type"] == "websocket" or answer.status:
                raise
            detail = "a defect of this program: please report it, with what the gateway's log says of this request_id"
            await problem(scope, 500, detail, "defect")(scope, receive, answer.send)


class _Answer:
    """What goes out: header fields are added to its beginning, its bytes are counted."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self.status = 0
        self.size_bytes = 0

    async def send(self, message: Message) -> None:
        """See ``Send``."""
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            _complete(message, self._scope)
        elif kind == "http.response.body":
            self.size_bytes += len(message.get("body", b""))
        elif kind == "websocket.accept":
            self.status = 101
            MutableHeaders(scope=message).append(HEADER, self._scope["state"]["request_id"])
        elif kind == "websocket.close":
            self.status = self.status or 403
        await self._send(message)


def _complete(message: MutableMapping[str, Any], scope: Scope) -> None:
    """Names of header fields are in lower case here (ASGI, HTTP Connection Scope)."""
    given = dict(message["headers"])
    fields = [(_HEADER, scope["state"]["request_id"].encode())]
    fields += [field for field in _ALWAYS if field[0] not in given]
    if scope["scheme"] == "https" and _STRICT_TRANSPORT[0] not in given:
        fields.append(_STRICT_TRANSPORT)
    if given.get(b"content-type", b"").startswith(_JSON) and b"cache-control" not in given:
        kept = scope["method"] == "GET" and message["status"] < 400
        fields.append((b"cache-control", b"private, no-cache" if kept else b"no-store"))
    fields += [(name.encode(), value.encode()) for name, value in rate_fields(scope["state"]["rate_notes"])]
    message["headers"] = [*message["headers"], *fields]


def rate_fields(notes: Sequence[RateNote]) -> Iterator[tuple[str, str]]:
    """How limits stand, as header fields: draft-ietf-httpapi-ratelimit-headers."""
    if notes:
        yield "ratelimit-policy", ", ".join(f'"{note.policy}";q={note.limit};w={note.window_s}' for note in notes)
        yield "ratelimit", ", ".join(f'"{note.policy}";r={note.remaining};t={note.reset_s}' for note in notes)


def _request_id(scope: Scope) -> str:
    return request_id_of(next((value for name, value in scope["headers"] if name == _HEADER), b""))


def request_id_of(given: bytes) -> str:
    """The one that the asker has given, if it may stand in a log; else a new one."""
    return given.decode() if _ID.fullmatch(given) else new_ulid(time.time_ns() // 1_000_000)


def _route(scope: Scope) -> str:
    """The template of the route: what was asked for in particular is neither logged nor counted."""
    return str(getattr(scope.get("route"), "path", _NOWHERE))


def _tell(scope: Scope, answer: _Answer, duration_ms: float) -> None:
    principal = scope["state"].get("principal")
    method = "WEBSOCKET" if scope["type"] == "websocket" else scope["method"]
    served = RequestServed(
        scope["state"]["request_id"],
        "" if principal is None else principal.name,
        None if principal is None else principal.tenant_id,
        method if method in _METHODS or method == "WEBSOCKET" else "other",
        _route(scope),
        answer.status,
        round(duration_ms, 2),
        answer.size_bytes,
        address_of(scope),
    )
    if scope["path"] in _OPERATIONS:
        served.measure()
    else:
        emit(served)
