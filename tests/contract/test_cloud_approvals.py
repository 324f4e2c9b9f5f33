"""A command that waits at its agent for a second person is approved in the cloud, and the agent hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import dispatcher, questions
from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from tests.contract.command_steps import TENANT, Office, Reading, office
from tests.contract.historian_steps import RawLog, eventually
from tests.contract.test_command_dispatcher import plant

SENT, RECEIVED = CommandState.SENT, CommandState.RECEIVED


async def waiting(here: Office, reading: Reading, key: str = "k") -> str:
    command = await here.ask(key)
    await here.make(command, SENT)
    await reading.take(
        here.report(command, RECEIVED),
        here.report(command, RECEIVED, code=Refusal.NOT_APPROVED, detail="nobody else has agreed", actor="agent"),
    )
    return command


async def refusal(here: Office, command: str, approver: str) -> tuple[Why, str]:
    with pytest.raises(RequestRefused) as refused:
        await here.requests.approve(command, tenant_id=TENANT, approver=approver)
    return refused.value.why, refused.value.code


async def test_it_shows_that_it_waits_and_another_person_agrees_once_and_in_time(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        reading = Reading(here)
        command = await waiting(here, reading)
        found = await questions.command(here.database, command)
        assert (found["state"], found["code"], found["waits_for_approval"]) == ("received", "not_approved", True)
        assert [state["late"] for state in found["states"]] == [False] * 3
        assert await refusal(here, command, "anna") == (Why.FORBIDDEN, "own_command")
        await here.requests.approve(command, tenant_id=TENANT, approver="berta", reason="seen")
        found = await questions.command(here.database, command)
        assert (found["approvers"], found["waits_for_approval"]) == (["berta"], False)
        assert await refusal(here, command, "carl") == (Why.CONFLICT, "not_to_approve")
        late = await waiting(here, reading, "late")
        here.clock.ahead_ms = 120_000
        assert await refusal(here, late, "berta") == (Why.CONFLICT, "not_to_approve")


async def test_what_an_agent_has_and_does_not_wait_for_cannot_be_approved(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        reading = Reading(here)
        command = await here.ask()
        await here.make(command, SENT)
        await reading.take(here.report(command, RECEIVED))
        assert await refusal(here, command, "berta") == (Why.CONFLICT, "not_to_approve")
        local = "01ARZ3NDEKTSV4RRFFQ69G5FA0"
        await reading.take(
            here.report(local, RECEIVED, source="local"),
            here.report(local, RECEIVED, source="local", code=Refusal.NOT_APPROVED),
        )
        assert await refusal(here, local, "berta") == (Why.CONFLICT, "not_to_approve")


async def test_the_agent_hears_the_approval_again_until_it_says_what_became_of_the_command(
    tmp_path: Path,
    mosquitto: MosquittoBroker,
    raw_log: RawLog,
    database_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "LOOK_S", 0.1)
    async with plant(tmp_path, mosquitto, raw_log, database_dsn) as (sender, heard):
        here = sender.here

        def approvals() -> list[str]:
            return [one.approval.approver for _, one in heard.heard() if one.approval]

        async with sender.running():
            command = await here.ask()
            await heard.hear(heard.ids)
            await sender.say(here.report(command, RECEIVED), here.report(command, RECEIVED, code=Refusal.NOT_APPROVED))

            async def waits() -> object:
                return (await questions.command(here.database, command))["waits_for_approval"]

            await eventually(waits)
            await here.requests.approve(command, tenant_id=TENANT, approver="berta")
            await heard.hear(approvals)
        async with sender.running("two"):  # whichever process sends
            await heard.hear(lambda: len(approvals()) > 1)
            await sender.say(here.report(command, CommandState.EXECUTING))

            async def goes_on() -> object:
                return await here.state(command) == "executing"

            await eventually(goes_on)
        assert set(approvals()) == {"berta"}
        assert await here.states(command) == ["requested", "sent", "received", "received", "executing"]
