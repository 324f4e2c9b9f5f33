"""What holds for every call: who may, ids, limits, deadlines, the access log, health, and how streams end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cloud_ingest.access.permissions import PERMISSIONS, Role
from cloud_ingest.gateway.rpc import calls
from cloud_ingest.gateway.rpc.method_table import METHODS, RpcMethod
from cloud_ingest.observability.gateway_events import CallServed
from connectors.lineside_api.v1 import commands_pb2, data_pb2, lines_pb2
from connectors.lineside_api.v1.data_pb2 import ListTagsRequest, StreamSamplesRequest, TagRef
from connectors.observability.events import Event, listen, listen_no_more
from tests.contract.command_steps import Office, office
from tests.contract.rpc_steps import SMALL_WINDOW, Api, Program, by, details, first, principal, refusal, refused, served
from tests.patience import WAIT_S_MAX

STREAM = StreamSamplesRequest(tags=[TagRef(id=1)])
MODULES = {"DataService": data_pb2, "LineService": lines_pb2, "CommandService": commands_pb2}


@asynccontextmanager
async def api(dsn: str, **settings: Any) -> AsyncIterator[tuple[Office, Api]]:
    async with office(dsn) as here, served(here.database, **settings) as one:
        yield here, one


def ask(program: Program, method: RpcMethod, token: str | None) -> Any:
    """A call of any method, with an empty request."""
    stub = {"DataService": program.data, "LineService": program.lines, "CommandService": program.commands}
    described = MODULES[method.service].DESCRIPTOR.services_by_name[method.service].methods_by_name[method.name]
    request = getattr(MODULES[method.service], described.input_type.name)()
    return getattr(stub[method.service], method.name)(request, **by(token))


async def ending(call: Any) -> tuple[str, str]:
    """How a call ends, or that it is answered."""
    try:
        if hasattr(call, "__aiter__"):
            await call.read()
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, details(error)[0]
    return "OK", ""


@contextmanager
def heard(count: int) -> Iterator[tuple[list[CallServed], asyncio.Event]]:
    """The lines of the access log, and whether so many are there."""
    told: list[CallServed] = []
    are_told = asyncio.Event()

    def hear(event: Event) -> None:
        if isinstance(event, CallServed):
            told.append(event)
            if len(told) == count:
                are_told.set()

    listen(hear)
    try:
        yield told, are_told
    finally:
        listen_no_more(hear)


async def test_every_method_is_open_to_the_roles_that_the_table_names_and_to_nobody_else(database_dsn: str) -> None:
    async with api(database_dsn) as (_, one), one.program() as program:
        wrong = []
        for method in METHODS:
            for role in (None, *Role):
                expected = role is not None and method.permission in PERMISSIONS[role]
                status, code = await ending(ask(program, method, None if role is None else role.value))
                is_refused = (status, code) in (("UNAUTHENTICATED", "no_token"), ("PERMISSION_DENIED", "not_your_role"))
                if is_refused is expected or status in ("INTERNAL", "UNKNOWN", "UNIMPLEMENTED"):
                    wrong.append(f"{method.path} by {role}: {status} {code}")
        assert wrong == []
        assert await ending(ask(program, METHODS[0], "forged")) == ("UNAUTHENTICATED", "unknown_token")


async def test_who_shows_no_token_reads_where_the_gateway_is_open_and_nowhere_else(database_dsn: str) -> None:
    async with office(database_dsn) as here, served(here.database, gateway={"login": None}) as one:
        one.people.held[None] = principal(Role.VIEWER, "nobody")  # type: ignore[index]
        async with one.program() as program:
            assert (await program.data.ListTags(ListTagsRequest(), **by(None))).tags
            far = by(None, x_forwarded_for="10.1.2.3, 127.0.0.1")
            assert await refused(program.data.ListTags(ListTagsRequest(), **far)) == ("UNAUTHENTICATED", "no_token")


async def test_a_call_has_an_id_and_a_line_in_the_log(database_dsn: str) -> None:
    async with api(database_dsn) as (_, one), one.program() as program:
        with heard(3) as (told, all_told):
            call = program.data.ListTags(ListTagsRequest(), **by("viewer", x_request_id="mine-7"))
            await call
            assert dict(await call.initial_metadata())["x-request-id"] == "mine-7"
            stream = program.data.StreamSamples(STREAM, **by())
            await first(stream)
            stream.cancel()
            await refused(program.data.ListTags(ListTagsRequest(), **by("customer", x_request_id="no good")))
            async with asyncio.timeout(WAIT_S_MAX):
                await all_told.wait()
    lines = {(one.principal, one.status): one for one in told}
    served_ = lines["viewer", "OK"]
    assert (served_.request_id, served_.method) == ("mine-7", "/lineside.v1.DataService/ListTags")
    assert (served_.tenant, served_.messages, served_.address) == (1, 1, "127.0.0.1")
    assert served_.bytes > 0
    assert lines["admin", "CANCELLED"].messages == 1
    assert lines["customer", "PERMISSION_DENIED"].request_id != "mine-7"


async def test_who_asks_too_much_is_told_when_to_ask_again(database_dsn: str) -> None:
    limits = {"rate_limits": {"per_principal": 2, "per_address": None}}
    async with api(database_dsn, gateway=limits) as (_, one), one.program() as program:
        for left in (1, 0):
            call = program.data.ListTags(ListTagsRequest(), **by())
            await call
            assert f'"principal";r={left};' in dict(await call.trailing_metadata())["ratelimit"]
        error = await refusal(program.data.ListTags(ListTagsRequest(), **by()))
        code, found = details(error)
        assert (error.code().name, code) == ("RESOURCE_EXHAUSTED", "rate_limited")
        assert 1 <= found["RetryInfo"].retry_delay.seconds <= 120
    limits = {"rate_limits": {"per_principal": None, "per_address": 1}}
    async with office(database_dsn) as here, served(here.database, gateway=limits) as one, one.program() as program:
        assert await ending(program.data.ListTags(ListTagsRequest(), **by("forged"))) == (
            "UNAUTHENTICATED",
            "unknown_token",
        )
        assert await refused(program.data.ListTags(ListTagsRequest(), **by())) == ("RESOURCE_EXHAUSTED", "rate_limited")


async def test_one_asker_takes_so_many_streams_and_no_more(database_dsn: str) -> None:
    async with api(database_dsn, streams_per_principal=2) as (_, one), one.program() as program:
        streams = [program.data.StreamSamples(STREAM, **by()) for _ in range(2)]
        for stream in streams:
            await first(stream)
        many = program.data.StreamSamples(STREAM, **by())
        assert await refused(many) == ("RESOURCE_EXHAUSTED", "too_many_streams")
        await first(program.data.StreamSamples(STREAM, **by("viewer")))
        with heard(1) as (_told, ended):
            streams[0].cancel()
            async with asyncio.timeout(WAIT_S_MAX):
                await ended.wait()
        await first(program.data.StreamSamples(STREAM, **by()))


async def test_who_may_see_it_no_more_is_sent_away(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "TOKEN_S", 0.02)
    async with api(database_dsn) as (_, one), one.program() as program:
        streams = {token: program.data.StreamSamples(STREAM, **by(token)) for token in ("viewer", "operator")}
        for stream in streams.values():
            await first(stream)
        one.people.held["viewer"] = principal(Role.VIEWER, "viewer", site="another-plant")
        assert await refused(streams["viewer"]) == ("PERMISSION_DENIED", "other_roles")
        del one.people.held["operator"]
        assert await refused(streams["operator"]) == ("UNAUTHENTICATED", "unknown_token")


async def test_a_client_that_reads_nothing_for_long_loses_its_place(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SLOW_S", 0.2)
    async with (
        api(database_dsn, streams_per_principal=1) as (here, one),
        one.program(SMALL_WINDOW) as program,
        one.program((("grpc.use_local_subchannel_pool", 1),)) as other,
    ):
        unread = program.data.StreamSamples(STREAM, **by())
        await first(unread)
        read = other.data.StreamSamples(STREAM, **by("viewer"))
        await first(read)
        with heard(1) as (told, ended):
            for number in range(8):
                async with here.database.session() as session:
                    await session.execute(
                        "INSERT INTO sample (time, value_text, tag_id, tenant_id, quality) "
                        "VALUES (now() + make_interval(secs => $1), repeat('x', 200000), 1, 1, 0)",
                        number,
                    )
                await first(read)
            async with asyncio.timeout(WAIT_S_MAX):
                await ended.wait()
        assert told[0].status == "ABORTED"
        await first(program.data.StreamSamples(STREAM, **by()))
        assert await refused(unread) == ("ABORTED", "takes_nothing")


async def test_a_deadline_is_kept_and_leaves_nothing_behind(database_dsn: str) -> None:
    async with api(database_dsn) as (here, one), one.program() as program:
        async with here.database.transaction() as session:
            await session.execute("LOCK TABLE tag IN ACCESS EXCLUSIVE MODE")
            soon = {**by(), "timeout": 0.3}
            assert (await refused(program.data.ListTags(ListTagsRequest(), **soon)))[0] == "DEADLINE_EXCEEDED"
        assert (await program.data.ListTags(ListTagsRequest(), **by())).tags


async def test_a_call_that_takes_too_long_without_a_deadline_ends_all_the_same(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "CALL_S_MAX", 0.2)
    async with api(database_dsn) as (here, one), one.program() as program, here.database.transaction() as session:
        await session.execute("LOCK TABLE tag IN ACCESS EXCLUSIVE MODE")
        assert await refused(program.data.ListTags(ListTagsRequest(), **by())) == ("DEADLINE_EXCEEDED", "too_slow")


async def test_what_is_too_large_or_no_message_is_refused_and_the_next_call_is_answered(database_dsn: str) -> None:
    async with api(database_dsn) as (_, one), one.program() as program:
        large = ListTagsRequest(search="x" * 300_000)
        assert (await refused(program.data.ListTags(large, **by())))[0] == "RESOURCE_EXHAUSTED"
        raw = program.channel.unary_unary("/lineside.v1.DataService/ListTags")
        assert await refused(raw(b"\xff\xff\xff", **by())) == ("INVALID_ARGUMENT", "message_invalid")
        none = program.channel.unary_unary("/lineside.v1.DataService/Nothing")
        assert (await refused(none(b"", **by())))[0] == "UNIMPLEMENTED"
        assert (await program.data.ListTags(ListTagsRequest(), **by())).tags


async def test_a_defect_ends_one_call_and_is_told_by_its_id_alone(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cloud_ingest.gateway import queries

    async def broken(*_: Any) -> Any:
        raise KeyError("secret")

    async with api(database_dsn) as (_, one), one.program() as program:
        with monkeypatch.context() as patched:
            patched.setattr(queries, "tags", broken)
            error = await refusal(program.data.ListTags(ListTagsRequest(), **by(x_request_id="id-9")))
        assert (error.code().name, details(error)[0]) == ("INTERNAL", "defect")
        assert "secret" not in (error.details() or "")
        assert (await program.data.ListTags(ListTagsRequest(), **by())).tags


async def test_load_balancers_hear_whether_it_serves(database_dsn: str) -> None:
    async with api(database_dsn) as (_, one), one.program() as program:
        health = health_pb2_grpc.HealthStub(program.channel)
        for service in ("", "lineside.v1.DataService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert (await refused(health.Check(health_pb2.HealthCheckRequest(service="none"))))[0] == "NOT_FOUND"
        watching = health.Watch(health_pb2.HealthCheckRequest())
        assert (await first(watching)).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(one.server.stop())
        assert (await first(watching)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await stopping


@pytest.mark.parametrize("is_on", [True, False])
async def test_clients_can_ask_what_methods_there_are_unless_that_is_off(database_dsn: str, is_on: bool) -> None:
    async with api(database_dsn, reflection=is_on) as (_, one), one.program() as program:
        stub = reflection_pb2_grpc.ServerReflectionStub(program.channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        call = stub.ServerReflectionInfo(iter([asked]))
        if not is_on:
            assert (await refused(call))[0] == "UNIMPLEMENTED"
            return
        found = {service.name for service in (await first(call)).list_services_response.service}
        assert {f"lineside.v1.{name}" for name in MODULES} <= found
