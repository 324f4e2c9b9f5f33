"""Where every call comes in: its id, who asks, its limits, its line in the access log, and how it ends.

What ``gateway.entry`` is to HTTP. A defect behind it ends one call, and stands in the log with its traceback.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from cloud_ingest.access.admission import Entrance, RateNote
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.gateway.entry import HEADER, rate_fields, request_id_of
from cloud_ingest.gateway.rpc.method_table import RpcMethod
from cloud_ingest.gateway.rpc.peers import address_of_call
from cloud_ingest.gateway.rpc.refusals import Refusal, Stopping, TakesNothing, refusal_of
from cloud_ingest.gateway.rpc.streams import StreamPlaces
from cloud_ingest.observability.gateway_events import CallServed, RequestFailed
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.observability.events import emit
from connectors.observability.logs import log_lines_with
from connectors.stopping import Tasks

CALL_S_MAX: Final = 30.0
"""For a call with one answer; what takes longer is to be asked in parts. A client may set a nearer deadline."""
TOKEN_S: Final = 3.0
"""How often it is looked whether the token of a stream still holds."""
SLOW_S: Final = 30.0
NOT_UNDERSTOOD: Final = "the request is no message of this method: make the stubs anew from the .proto files"
R = TypeVar("R", bound=Message)


@dataclass(slots=True)
class Call:
    """A call, as its method sees it."""

    request_id: str
    address: str
    token: str | None
    principal: Principal
    notes: list[RateNote]


@dataclass(frozen=True, slots=True)
class Served:
    """A method, what it takes, and what it does: with one answer, or with a stream of them."""

    method: RpcMethod
    request: type[Any]
    answer: Callable[[Call, Any], Awaitable[Message]] | None = None
    answers: Callable[[Call, Any], AsyncGenerator[Message, None]] | None = None


@dataclass(slots=True)
class _Progress:
    """What the access log tells of a call."""

    began_s: float = field(default_factory=time.perf_counter)
    principal: Principal | None = None
    status: str = "OK"
    messages: int = 0
    size_bytes: int = 0

    def known(self, principal: Principal) -> None:
        """Who calls, whether or not they may."""
        self.principal = principal


class Calls:
    """See the module. ``stopping`` is set when this process stops: streams end then."""

    def __init__(
        self, entrance: Entrance, places: StreamPlaces, stopping: asyncio.Event, proxies: Collection[str] = ()
    ) -> None:
        self._entrance = entrance
        self._places = places
        self._stopping = stopping
        self._proxies = frozenset(proxies)

    def handler(self, served: Served) -> grpc.RpcMethodHandler:
        """What the server calls: bytes come and go, so that what cannot be read is refused like anything else."""
        if served.method.is_stream:
            return grpc.unary_stream_rpc_method_handler(partial(self._stream, served))
        return grpc.unary_unary_rpc_method_handler(partial(self._unary, served))

    async def _unary(self, served: Served, data: bytes, context: Any) -> bytes:
        async with self._entered(served.method, context) as (progress, call):
            request = _read(served.request, data)
            assert served.answer is not None  # noqa: S101  a method is no stream, or has ``answers``
            async with asyncio.timeout(CALL_S_MAX):
                answer = (await served.answer(call, request)).SerializeToString()
            context.set_trailing_metadata(((HEADER, call.request_id), *rate_fields(call.notes)))
            progress.messages, progress.size_bytes = 1, len(answer)
        return bytes(answer)

    async def _stream(self, served: Served, data: bytes, context: Any) -> None:
        async with self._entered(served.method, context) as (progress, call):
            request = _read(served.request, data)
            asker = f"{call.principal.tenant_id}:{call.principal.subject}"
            with self._places.taken_by(asker if call.principal.kind != "nobody" else call.address):
                async with Tasks() as tasks:
                    watching = tasks.create_task(self._watch(served.method, call), name="rpc stream token")
                    await self._write_all(served, request, call, context, progress)
                    watching.cancel()

    async def _write_all(self, served: Served, request: Any, call: Call, context: Any, progress: _Progress) -> None:
        assert served.answers is not None  # noqa: S101  see above
        async with aclosing(served.answers(call, request)) as answers:
            async for message in answers:
                answer = message.SerializeToString()
                try:
                    async with asyncio.timeout(SLOW_S):
                        await context.write(answer)
                except TimeoutError as exc:
                    raise TakesNothing from exc
                progress.messages += 1
                progress.size_bytes += len(answer)

    async def _watch(self, method: RpcMethod, call: Call) -> None:
        """Until the token holds no more or may something else, or this process stops: all of that is raised."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TOKEN_S):
                    await self._stopping.wait()
            if self._stopping.is_set():
                raise Stopping
            with suppress(DatabaseUnavailable, StatementRefused):
                principal = await self._entrance.let_in(call.token, method.permission, call.address, None)
                if principal != call.principal:
                    raise RequestRefused(Why.FORBIDDEN, "other_roles", "what you may see has changed: connect again")

    @asynccontextmanager
    async def _entered(self, method: RpcMethod, context: Any) -> AsyncIterator[tuple[_Progress, Call]]:
        metadata = {str(key): value for key, value in context.invocation_metadata()}
        request_id = request_id_of(_bytes(metadata.get(HEADER, b"")))
        address = address_of_call(context.peer(), str(metadata.get("x-forwarded-for", "")), self._proxies)
        progress, notes = _Progress(), list[RateNote]()
        refusal: Refusal | None = None
        with log_lines_with(request_id=request_id):
            try:
                await context.send_initial_metadata(((HEADER, request_id),))
                if self._entrance.admission.rates is not None:
                    self._entrance.admission.rates.take_address(address, notes)
                token = _bearer(str(metadata.get("authorization", "")))
                principal = await self._entrance.let_in(token, method.permission, address, notes, progress.known)
                yield progress, Call(request_id, address, token, principal, notes)
            except asyncio.CancelledError:
                left_s = context.time_remaining()
                progress.status = "DEADLINE_EXCEEDED" if left_s is not None and left_s <= 0 else "CANCELLED"
                raise
            except Exception as exc:  # one call's defect is not its neighbours'
                refusal = self._refused(method, request_id, exc)
                progress.status = refusal.status.name
            finally:
                _tell(method, request_id, address, progress)
            if refusal is not None:  # last: it waits for a client that does not read what came before
                told = (*refusal.metadata(request_id), *rate_fields(notes))
                await context.abort(refusal.status, refusal.sentence, told)

    @staticmethod
    def _refused(method: RpcMethod, request_id: str, exc: Exception) -> Refusal:
        refusal = refusal_of(exc)
        if refusal.is_defect:
            why = f"{type(exc).__name__}: {exc}"
            emit(RequestFailed(request_id, method.path, why, traceback.format_exc()))
        return refusal


def _read(kind: type[R], data: bytes) -> R:
    try:
        return kind.FromString(data)
    except DecodeError as exc:
        raise RequestRefused(Why.INVALID, "message_invalid", NOT_UNDERSTOOD) from exc


def _tell(method: RpcMethod, request_id: str, address: str, progress: _Progress) -> None:
    principal = progress.principal
    emit(
        CallServed(
            request_id,
            "" if principal is None else principal.name,
            None if principal is None else principal.tenant_id,
            method.path,
            progress.status,
            round(1000 * (time.perf_counter() - progress.began_s), 2),
            progress.messages,
            progress.size_bytes,
            address,
            method.is_stream,
        )
    )


def _bearer(authorization: str) -> str | None:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("ascii", "replace")
