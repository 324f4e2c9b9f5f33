"""What people ask for is taken once, by who may, and every step of it is in the audit log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit, questions, requests
from cloud_ingest.commands.requests import Requests
from cloud_ingest.commands.rules import Cancelling
from cloud_ingest.historian.identities import Identities
from connectors.commands.states import FINAL, CommandState
from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName
from connectors.model.tags import DeviceName, MetricDefinition, TagName
from connectors.sparkplug.definition import make_definition
from tests.contract.command_steps import SETPOINT, TENANT, Office, office

TARGET = "plant/line-1"


async def refusal(asked: Any) -> tuple[Why, str]:
    with pytest.raises(RequestRefused) as caught:
        await asked
    assert len(str(caught.value)) > 10
    return caught.value.why, caught.value.code


async def test_the_same_key_gets_the_same_command_and_another_request_with_it_none(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        first = await here.ask("k")
        assert await here.ask("k") == first
        assert await refusal(here.ask("k", reason="another")) == (Why.CONFLICT, "key_used")
        assert await here.ask("k", issuer="berta") != first  # a key is its issuer's own
        assert await refusal(here.ask("")) == (Why.INVALID, "no_idempotency_key")
        assert len(await here.fetch("SELECT FROM command")) == 2


async def test_many_at_once_with_one_key_are_one_command(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        found = await asyncio.gather(*(here.ask("k") for _ in range(20)))
        assert len(set(found)) == 1
        assert await here.states(found[0]) == ["requested"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"agent": "plant/line-9"}, (Why.UNKNOWN, "unknown_agent")),
        ({"action": {**SETPOINT, "tag": "nothing"}}, (Why.UNKNOWN, "unknown_target")),
        ({"action": {**SETPOINT, "device": "oven"}}, (Why.UNKNOWN, "unknown_target")),
        ({"action": {**SETPOINT, "value": "high"}}, (Why.INVALID, "wrong_type")),
        ({"action": {**SETPOINT, "value": True}}, (Why.INVALID, "wrong_type")),
        ({"precondition": "press/state =="}, (Why.INVALID, "invalid_precondition")),
        ({"plain": True}, (Why.CONFLICT, "not_plain")),
        ({"armed": "01JDV3W3Z8Q6C0V2B7N4M5K9XR"}, (Why.CONFLICT, "not_armed")),
        ({"action": {"do": "run", "device": "pr#ss", "command": "start"}}, (Why.INVALID, "malformed")),
        (
            {"action": {"do": "run", "device": "press", "command": "start", "arguments": {"x": "y" * 41_000}}},
            (Why.INVALID, "oversized"),
        ),
    ],
)
async def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    database_dsn: str, more: dict[str, Any], expected: tuple[Why, str]
) -> None:
    async with office(database_dsn) as here:
        assert await refusal(here.ask(**more)) == expected
        assert await here.fetch("SELECT FROM command") == []


@pytest.mark.parametrize("value", [4.9, 61])
async def test_a_value_beyond_what_the_device_file_allows_is_refused_at_once(database_dsn: str, value: float) -> None:
    async with office(database_dsn) as here:
        await told_limits(here, here.agent.name)
        with pytest.raises(RequestRefused) as caught:
            await here.ask(action={**SETPOINT, "value": value})
        said = f"press/setpoint: its device file allows 5 to 60 1/min, and not {value:g}"
        assert (caught.value.why, caught.value.code, str(caught.value)) == (Why.INVALID, "out_of_limits", said)
        assert await here.fetch("SELECT FROM command") == []
        for fits in (5, 60):
            assert await here.state(await here.ask(str(fits), action={**SETPOINT, "value": fits})) == "requested"


async def told_limits(here: Office, name: AgentName) -> None:
    """Have the node tell what of its set-point is allowed."""
    identities = Identities(here.database)
    known = await identities.agent(name)
    setpoint = MetricDefinition(1, TagName("setpoint"), DataType.DOUBLE, "1/min", limits=(5.0, 60.0))
    await identities.learn_definition(known, make_definition(DeviceName("press"), [setpoint]))


async def test_without_a_key_to_sign_with_nothing_is_taken(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        await here.fetch("UPDATE signing_key SET retired = now() RETURNING 1")
        assert await refusal(here.ask()) == (Why.NOT_SET_UP, "no_signing_key")


async def test_a_node_of_another_maker_is_commanded_plainly_and_only_where_that_is_asked_for(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        await here.prepare(AgentName("plant", "other"), acknowledges=False)
        assert await refusal(here.ask(agent="plant/other")) == (Why.CONFLICT, "plain_only")
        armed = here.ask(agent="plant/other", plain=True, stage="arm")
        assert await refusal(armed) == (Why.INVALID, "malformed")
        assert await here.state(await here.ask(agent="plant/other", plain=True)) == "requested"
        await told_limits(here, AgentName("plant", "other"))
        beyond = {**SETPOINT, "value": 120.0}
        command = await here.ask("beyond", agent="plant/other", plain=True, action=beyond)
        assert await here.state(command) == "requested", "its range is that of a display"


async def test_another_person_approves_once_and_in_time(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        here.requests = Requests(here.database, here.clock, [f"{TARGET}/press/*"])  # as the configuration asks for
        command = await here.ask("one")
        assert (await questions.command(here.database, command))["approval"]
        assert await refusal(here.requests.approve(command, tenant_id=TENANT, approver="anna")) == (
            Why.FORBIDDEN,
            "own_command",
        )
        await here.requests.approve(command, tenant_id=TENANT, approver="berta", reason="seen")
        assert await refusal(here.requests.approve(command, tenant_id=TENANT, approver="carl")) == (
            Why.CONFLICT,
            "not_to_approve",
        )
        assert await here.states(command) == ["requested", "approved"]
        assert (await questions.command(here.database, command))["approvers"] == ["berta"]
        late = await here.ask("two", expires_s=10)
        here.clock.ahead_ms = 20_000
        assert await refusal(here.requests.approve(late, tenant_id=TENANT, approver="berta")) == (
            Why.CONFLICT,
            "not_to_approve",
        )
        unknown = here.requests.approve("0" * 26, tenant_id=TENANT, approver="berta")
        assert await refusal(unknown) == (Why.UNKNOWN, "unknown_command")


async def test_what_was_not_sent_is_taken_back_at_once_and_what_was_by_its_agent(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        early, late = await here.ask("one"), await here.ask("two")
        assert (
            await here.requests.cancel(early, tenant_id=TENANT, actor="berta", reason="wrong press")
            is Cancelling.AT_ONCE
        )
        assert await here.states(early) == ["requested", "cancelled"]
        for state in (CommandState.SENT, CommandState.RECEIVED):
            await here.make(late, state)
            assert await here.requests.cancel(late, tenant_id=TENANT, actor="berta") is Cancelling.BY_AGENT
            assert await here.state(late) == state
        for state in (CommandState.EXECUTING, CommandState.UNKNOWN, *sorted(FINAL)):
            await here.make(late, state)
            assert await refusal(here.requests.cancel(late, tenant_id=TENANT, actor="berta")) == (
                Why.CONFLICT,
                "too_late",
            )


async def test_only_what_was_armed_is_executed(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        armed = await here.ask("arm", stage="arm")
        assert await refusal(here.ask("early", armed=armed)) == (Why.CONFLICT, "not_armed")
        await here.make(armed, CommandState.SUCCEEDED)
        other = here.ask("other", armed=armed, action={**SETPOINT, "value": 1.0})
        assert await refusal(other) == (Why.CONFLICT, "not_armed")
        assert await here.state(await here.ask("go", armed=armed)) == "requested"


async def test_so_many_commands_of_an_agent_are_open_and_no_more(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "OPEN_MAX", 3)
    async with office(database_dsn) as here:
        first, *_ = [await here.ask(str(number)) for number in range(3)]
        assert await refusal(here.ask("more")) == (Why.TOO_MANY, "too_many")
        await here.requests.cancel(first, tenant_id=TENANT, actor="anna")
        assert await here.ask("more")


async def test_a_list_is_told_a_page_at_a_time_the_newest_first(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        asked = sorted([await here.ask(str(number)) for number in range(5)], reverse=True)
        first = await questions.commands(here.database, questions.CommandChoice(count_max=2))
        rest = await questions.commands(here.database, questions.CommandChoice(before=first[-1]["id"]))
        assert [one["id"] for one in first + rest] == asked
        await here.requests.cancel(asked[0], tenant_id=TENANT, actor="anna", reason="no")
        choice = questions.CommandChoice(agent=TARGET, state="cancelled", issuer="anna")
        (cancelled,) = await questions.commands(here.database, choice)
        assert (cancelled["id"], cancelled["detail"]) == (asked[0], "no")
        assert await questions.commands(here.database, questions.CommandChoice(agent="plant/line-9")) == []


async def test_whatever_happens_the_audit_log_has_it_and_its_chain_is_whole(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        await asyncio.gather(*(here.ask(str(number)) for number in range(20)))
        command = await here.ask("last", approval=True)
        await here.requests.approve(command, tenant_id=TENANT, approver="berta")
        assert await audit.verify(here.database) == (22, [])
        entries = [entry async for entry in audit.entries(here.database)]
        assert [(entry.actor, entry.action) for entry in entries[-2:]] == [
            ("anna", "command requested"), ("berta", "command approved"),
        ]  # fmt: skip
        assert entries[-2].details["action"] == SETPOINT


@pytest.mark.parametrize(
    ("crime", "said"),
    [
        ("UPDATE command_audit SET actor = 'carl' WHERE number = 3", "entry 3 was changed"),
        ("UPDATE command_audit SET details = 'x' WHERE number = 3", "entry 3 was changed"),
        ("DELETE FROM command_audit WHERE number = 3", "3 to 3 are missing"),
        ("DELETE FROM command_audit WHERE number > 3", "the end was cut off"),
        ("DELETE FROM command_audit WHERE number = 1", "1 to 1 are missing"),
        (
            "UPDATE command_audit SET number = CASE number WHEN 3 THEN 4 ELSE 3 END + 100 WHERE number IN (3, 4)",
            "3 to 4 are missing",
        ),
    ],
)
async def test_who_changes_removes_or_moves_an_entry_is_found_out(database_dsn: str, crime: str, said: str) -> None:
    async with office(database_dsn) as here:
        for number in range(5):
            await here.ask(str(number))
        assert (await audit.verify(here.database))[1] == []
        async with here.database.session() as session:
            assert await session.execute(crime)
        _, problems = await audit.verify(here.database)
        assert any(said in problem for problem in problems), problems


async def test_a_transaction_that_fails_leaves_no_entry_and_no_hole(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        await here.ask("one")

        async def fail() -> None:
            async with here.database.transaction() as session:
                await audit.append(session, await audit.lock_head(session), [audit.Deed(1, "anna", "nothing", "x")])
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await fail()
        await here.ask("two")
        assert await audit.verify(here.database) == (2, [])
