"""The gRPC API as it is served, on a real database, and programs that ask by the stubs that customers have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from google.rpc import error_details_pb2, status_pb2

from cloud_ingest.access.admission import entrance_of
from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands.requests import Requests
from cloud_ingest.gateway.rpc.server import RpcParts, RpcServer
from cloud_ingest.settings.grpc import GrpcSettings
from connectors.lineside_api.v1.commands_pb2_grpc import CommandServiceStub
from connectors.lineside_api.v1.data_pb2_grpc import DataServiceStub
from connectors.lineside_api.v1.lines_pb2_grpc import LineServiceStub
from connectors.ports.clock import SystemClock
from connectors.ports.database import Database
from tests.contract.whole_gateway import whole_app
from tests.patience import WAIT_S_MAX

SMALL_WINDOW: Final = (("grpc.http2.bdp_probe", 0),)
"""A client that does not read takes 64 KiB, and no more."""


def principal(role: Role, name: str, *, tenant: int = 1, site: str | None = None) -> Principal:
    customer = "acme" if role is Role.CUSTOMER else None
    return Principal(tenant, f"user:{name}", name, "user", (Grant(role, site),), customer)


class People:
    """Tokens, and whose they are: every role everywhere, one of another tenant, and one of another site."""

    def __init__(self) -> None:
        self.held = {role.value: principal(role, role.value) for role in Role}
        self.held["stranger"] = principal(Role.ADMIN, "stranger", tenant=2)
        self.held["elsewhere"] = principal(Role.ENGINEER, "elsewhere", site="another-plant")

    async def principal(self, token: str | None) -> Principal:
        if token not in self.held:
            raise RequestRefused(Why.NO_TOKEN, "unknown_token", "this token is none")
        return self.held[token]


class Program:
    """A program of somebody else, with the token of somebody."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.data = DataServiceStub(channel)  # type: ignore[no-untyped-call]
        self.lines = LineServiceStub(channel)  # type: ignore[no-untyped-call]
        self.commands = CommandServiceStub(channel)  # type: ignore[no-untyped-call]


class Api:
    """The API, on a port of this machine."""

    def __init__(self, server: RpcServer, port: int, people: People, app: Any) -> None:
        self.server, self.port, self.people, self.app = server, port, people, app

    @asynccontextmanager
    async def program(self, options: Any = ()) -> AsyncIterator[Program]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=options) as channel:
            yield Program(channel)


def by(token: str | None = "admin", **more: str) -> dict[str, Any]:
    """What a call carries whose asker has ``token``, and for how long it may last."""
    metadata = [(name.replace("_", "-"), value) for name, value in more.items()]
    if token is not None:
        metadata.append(("authorization", f"Bearer {token}"))
    return {"metadata": metadata, "timeout": WAIT_S_MAX}


@asynccontextmanager
async def served(
    database: Database, *, gateway: dict[str, Any] | None = None, requests: Requests | None = None, **settings: Any
) -> AsyncIterator[Api]:
    """The API on ``database``, with these settings; rates are limited as ``gateway`` says."""
    app = whole_app(database, **{"login": "required", **(gateway or {})})
    people = app.state.authenticator = People()
    requests = requests or Requests(database, SystemClock())
    parts = RpcParts(entrance_of(app.state), database, requests, app.state.live, ("127.0.0.1",))
    server = RpcServer(GrpcSettings.model_validate(settings), parts)
    try:
        yield Api(server, await server.start(0), people, app)
    finally:
        await server.stop()


async def refused(call: Any) -> tuple[str, str]:
    """Status and code with which ``call`` ends: one answer, or a stream of them."""
    error = await refusal(call)
    return error.code().name, details(error)[0]


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    try:
        async with asyncio.timeout(WAIT_S_MAX):
            if hasattr(call, "__aiter__"):
                await all_of(call)
            else:
                await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("it was done")


def details(error: grpc.aio.AioRpcError) -> tuple[str, dict[str, Any]]:
    """The code, and the other details by the names of their messages; the same code stands in the metadata."""
    metadata = dict(error.trailing_metadata() or ())
    if "grpc-status-details-bin" not in metadata:
        return "", {}
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    found: dict[str, Any] = {}
    for packed in status.details:
        kind = getattr(error_details_pb2, packed.type_url.rpartition(".")[2])
        found[kind.DESCRIPTOR.name] = kind.FromString(packed.value)
    info = found["ErrorInfo"]
    assert info.domain == "lineside"
    assert info.reason == metadata.get("lineside-code", "")
    assert info.metadata["request_id"] == metadata["x-request-id"]
    return str(info.reason), found


async def first(stream: Any) -> Any:
    """The next message of ``stream``."""
    async with asyncio.timeout(WAIT_S_MAX):
        message = await stream.read()
    assert message is not grpc.aio.EOF, "the stream has ended"
    return message


async def all_of(stream: Any) -> list[Any]:
    """All messages up to the end of ``stream``."""
    found = []
    async with asyncio.timeout(WAIT_S_MAX):
        while (message := await stream.read()) is not grpc.aio.EOF:
            found.append(message)
    return found
