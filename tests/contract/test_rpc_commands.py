"""Commands by gRPC: taken once, refused for the same reasons as by REST, and watched until they end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from connectors.commands.states import CommandState as State
from connectors.lineside_api.v1.commands_pb2 import (
    Action,
    ApplyDeviceFile,
    CancelCommandRequest,
    CommandState,
    GetCommandRequest,
    Rebirth,
    SendCommandRequest,
    WatchCommandRequest,
    WriteTag,
)
from connectors.lineside_api.v1.data_pb2 import Value
from tests.contract.command_steps import Office, Reading, office
from tests.contract.rpc_steps import Api, all_of, by, details, first, refusal, refused, served
from tests.contract.whole_gateway import asking

WRITE = Action(write=WriteTag(device="press", tag="setpoint", value=Value(double_value=120.5)))


@asynccontextmanager
async def api(dsn: str) -> AsyncIterator[tuple[Office, Api]]:
    async with office(dsn) as here, served(here.database, requests=here.requests) as one:
        yield here, one


def write(key: str = "k", **more: Any) -> SendCommandRequest:
    return SendCommandRequest(**{"idempotency_key": key, "agent": "plant/line-1", "action": WRITE, **more})


async def test_a_command_is_taken_once_however_and_by_which_protocol_it_is_asked_for(database_dsn: str) -> None:
    async with api(database_dsn) as (here, one), one.program() as program:
        asked = write(reason="new recipe", correlation="order 7", expires_ms=600_000)
        taken = await program.commands.SendCommand(asked, **by("operator"))
        assert (taken.state, taken.agent, taken.issuer) == (1, "plant/line-1", "user:operator")
        assert taken.action == WRITE
        assert (taken.expires_ns - taken.requested_ns) == 600 * 10**9
        assert [status.state for status in taken.states] == [CommandState.COMMAND_STATE_REQUESTED]
        again = await program.commands.SendCommand(asked, **by("operator"))
        assert again.id == taken.id
        async with asking(one.app) as client:
            body = {"agent": "plant/line-1", "reason": "new recipe", "correlation": "order 7", "expires_s": 600,
                    "action": {"do": "write", "device": "press", "tag": "setpoint", "value": 120.5}}  # fmt: skip
            headers = {"Authorization": "Bearer operator", "Idempotency-Key": "k"}
            answer = await client.post("/api/v1/commands", json=body, headers=headers)
        assert answer.json()["id"] == taken.id
        other = write(reason="another")
        assert await refused(program.commands.SendCommand(other, **by("operator"))) == (
            "FAILED_PRECONDITION",
            "key_used",
        )
        assert len(await here.fetch("SELECT FROM command")) == 1
        assert await program.commands.GetCommand(GetCommandRequest(id=taken.id), **by("viewer")) == taken


REFUSED = [
    (write(""), "operator", "INVALID_ARGUMENT", "no_idempotency_key"),
    (write(agent="plant/none"), "operator", "NOT_FOUND", "unknown_agent"),
    (write(agent="none"), "operator", "INVALID_ARGUMENT", ""),
    (write(), "elsewhere", "PERMISSION_DENIED", "not_your_role"),
    (write(), "stranger", "NOT_FOUND", "unknown_agent"),
    (write(action=Action()), "operator", "INVALID_ARGUMENT", "no_action"),
    (write(action=Action(rebirth=Rebirth())), "operator", "PERMISSION_DENIED", "not_your_role"),
    (write(action=Action(write=WriteTag(device="press", tag="x", value=Value(int_value=1)))), "operator",
     "NOT_FOUND", "unknown_target"),
    (write(action=Action(write=WriteTag(device="press", tag="setpoint", value=Value(text_value="x")))), "operator",
     "INVALID_ARGUMENT", "wrong_type"),
    (write(action=Action(write=WriteTag(device="press", tag="setpoint"))), "operator", "INVALID_ARGUMENT", ""),
    (write(action=Action(write=WriteTag(device="press", tag="setpoint", value=Value(bytes_value=b"x")))),
     "operator", "INVALID_ARGUMENT", ""),
    (write(precondition="press/setpoint >"), "operator", "INVALID_ARGUMENT", "invalid_precondition"),
    (write(expires_ms=-1), "operator", "INVALID_ARGUMENT", ""),
    (write(plain=True), "operator", "FAILED_PRECONDITION", "not_plain"),
]  # fmt: skip


async def test_what_is_refused_by_rest_is_refused_here_with_the_same_code(database_dsn: str) -> None:
    async with api(database_dsn) as (here, one), one.program() as program:
        async with here.database.session() as session:
            await session.execute("INSERT INTO tenant (name) VALUES ('other')")
        found = [await refused(program.commands.SendCommand(asked, **by(token))) for asked, token, _, _ in REFUSED]
        assert found == [(status, code) for _, _, status, code in REFUSED]
        assert await here.fetch("SELECT FROM command") == []


async def test_what_is_wrong_with_single_fields_is_named(database_dsn: str) -> None:
    async with api(database_dsn) as (_, one), one.program() as program:
        error = await refusal(program.commands.SendCommand(write(agent="none", expires_ms=1), **by()))
        violations = details(error)[1]["BadRequest"].field_violations
        assert sorted(violation.field for violation in violations) == ["agent", "expires_s"]


async def test_a_command_is_watched_from_any_cursor_on_until_it_ends(database_dsn: str) -> None:
    async with api(database_dsn) as (here, one), one.program() as program:
        command = (await program.commands.SendCommand(write(), **by())).id
        asked = WatchCommandRequest(id=command)
        whole, rest = (program.commands.WatchCommand(asked, **by("viewer")) for _ in range(2))
        begun = await first(whole)
        await first(rest)
        rest.cancel()
        assert (begun.state, begun.actor) == (CommandState.COMMAND_STATE_REQUESTED, "user:admin")
        await here.make(command, State.SENT)
        reading = Reading(here)
        await reading.take(here.report(command, State.RECEIVED))
        received = await first(whole)
        await reading.take(here.report(command, State.EXECUTING))
        await reading.take(here.report(command, State.SUCCEEDED, before=100.0, after=120.5))
        asked.after = received.cursor
        rest = program.commands.WatchCommand(asked, **by("viewer"))
        for stream, before in ((whole, [begun, received]), (rest, [])):
            seen = before + await all_of(stream)
            names = [CommandState.Name(status.state).removeprefix("COMMAND_STATE_").lower() for status in seen]
            assert names == ["requested", "received", "executing", "succeeded"][4 - len(names) :]
            assert len(names) == (4 if before else 2)
            assert (seen[-1].before.double_value, seen[-1].after.double_value) == (100.0, 120.5)
        assert await refused(program.commands.WatchCommand(asked, **by("stranger"))) == (
            "NOT_FOUND",
            "unknown_command",
        )


async def test_what_nobody_can_say_ends_the_watch_unless_it_is_waited_for(database_dsn: str) -> None:
    async with api(database_dsn) as (here, one), one.program() as program:
        command = (await program.commands.SendCommand(write(), **by())).id
        await here.make(command, State.UNKNOWN)
        asked = WatchCommandRequest(id=command)
        assert len(await all_of(program.commands.WatchCommand(asked, **by()))) == 1
        asked.until_known = True
        waiting = program.commands.WatchCommand(asked, **by())
        await first(waiting)
        await Reading(here).take(here.report(command, State.SUCCEEDED, before=1.0, after=120.5))
        assert [status.state for status in await all_of(waiting)] == [CommandState.COMMAND_STATE_SUCCEEDED]


async def test_a_command_is_taken_back_by_who_may(database_dsn: str) -> None:
    async with api(database_dsn) as (here, one), one.program() as program:
        command = (await program.commands.SendCommand(write(), **by())).id
        asked = CancelCommandRequest(id=command, reason="not that one")
        for token, refusal_ in (
            ("viewer", ("PERMISSION_DENIED", "not_your_role")),
            ("elsewhere", ("PERMISSION_DENIED", "not_your_role")),
            ("stranger", ("NOT_FOUND", "unknown_command")),
        ):
            assert await refused(program.commands.CancelCommand(asked, **by(token))) == refusal_
        taken_back = await program.commands.CancelCommand(asked, **by("operator"))
        assert taken_back.state == CommandState.COMMAND_STATE_CANCELLED
        assert (taken_back.states[-1].reason, taken_back.states[-1].actor) == ("not that one", "user:operator")
        assert await refused(program.commands.CancelCommand(asked, **by())) == ("FAILED_PRECONDITION", "too_late")
        assert await here.state(command) == "cancelled"


async def test_a_device_file_is_sent_and_told_without_its_content(database_dsn: str) -> None:
    async with api(database_dsn) as (_, one), one.program() as program:
        content = "devices: []\n"
        action = Action(apply_file=ApplyDeviceFile(name="devices/oven.yaml", content=content, replaces=""))
        sent = await program.commands.SendCommand(write(action=action), **by("engineer"))
        told = sent.action.apply_file
        assert (told.name, told.version, told.HasField("content"), told.replaces) == ("devices/oven.yaml", 1, False, "")
        assert len(told.sha256) == 64
