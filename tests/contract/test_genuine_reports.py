"""Of an enrolled agent only what it has signed is believed; all else is set aside, and changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.commands import audit, audit_heads, genuine, questions, reports
from cloud_ingest.gateway import queries
from cloud_ingest.historian.dead_letters import letters
from cloud_ingest.observability.command_events import AuditAlarm, CommandNotAskedFor, ReportForged
from connectors.commands.reports import CommandReport
from connectors.commands.sealed import seal
from connectors.commands.signing import SigningKey
from connectors.commands.states import CommandState
from connectors.sparkplug.delivery import COMMAND_REPORT, format_epoch
from tests.contract.command_steps import JOURNAL, SETPOINT, TENANT, Office, Reading, office

RECEIVED = CommandState.RECEIVED
OTHER_JOURNAL = "cd" * 16


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    monkeypatch.setattr(reports, "emit", found.append)
    return found


async def enrol(here: Office, key: SigningKey, *, signs: bool = True) -> None:
    """The agent has this key, and no other one any more."""
    await here.fetch("UPDATE agent_key SET retired_ms = 1 WHERE retired_ms IS NULL RETURNING 1")
    await here.fetch(
        "WITH token AS (INSERT INTO enrolment_token (tenant_id, agent, sha256, created_ms, created_by, expires_ms) "
        "VALUES (1, $1, $2, 0, 'test', 0) RETURNING token_id) "
        "INSERT INTO agent_key (tenant_id, key_id, agent, public_key, enrolled_ms, token_id, signs) "
        "SELECT 1, $3, $1, $4, 1, token_id, $5 FROM token RETURNING 1",
        str(here.agent.name),
        key.key_id.encode(),
        key.key_id,
        json.dumps(key.public_jwk()),
        signs,
    )


async def sent(here: Office, key: str = "k") -> str:
    command = await here.ask(key)
    await here.make(command, CommandState.SENT)
    return command


async def test_what_an_enrolled_agent_has_signed_counts_and_nothing_else_does(
    database_dsn: str, emitted: list[Any]
) -> None:
    own, thief = SigningKey.generate(), SigningKey.generate()
    async with office(database_dsn) as here:
        await enrol(here, own)
        command = await sent(here)
        reading = Reading(here)
        await reading.take(here.report(command, RECEIVED), here.agent.hello(OTHER_JOURNAL, count=1))
        here.agent.key = thief
        await reading.take(here.report(command, CommandState.SUCCEEDED), here.agent.hello(OTHER_JOURNAL, count=1))
        assert await here.states(command) == ["requested"], "nothing has changed"
        assert await here.fetch("SELECT FROM command_journal") == await here.fetch("SELECT FROM time_request") == []
        forged = [event for event in emitted if isinstance(event, ReportForged)]
        assert len(forged) == 4
        assert all(event.kept for event in forged)
        found = await letters(here.database, agent=str(here.agent.name))
        assert len(found) == 4
        assert f"not signed, and the agent signs with the key {own.key_id}" in found[0].reason
        assert thief.key_id in found[2].reason
        here.agent.key = own
        await reading.take(here.report(command, RECEIVED), here.agent.hello(JOURNAL, count=1))
        assert await here.states(command) == ["requested", "received"]
        (row,) = await questions.agents(here.database)
        assert (row["journal"], row["key"], row["signs"], row["forged"]) == (JOURNAL, own.key_id, True, 4)
        (row,) = [one for one in await queries.agents(here.database) if one["forged"]]
        assert thief.key_id in row["forged_reason"]


async def test_who_forges_a_lot_does_not_fill_the_dead_letters(
    database_dsn: str, emitted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(genuine, "LETTERS_MAX", 3)
    async with office(database_dsn) as here:
        await enrol(here, SigningKey.generate())
        commands = [await sent(here, str(at)) for at in range(5)]
        await Reading(here).take(*(here.report(command, RECEIVED) for command in commands))
        assert len(await letters(here.database)) == 3
        assert [event.kept for event in emitted if isinstance(event, ReportForged)] == [True] * 3 + [False] * 2


async def test_a_changed_report_and_one_of_another_agent_do_not_count(database_dsn: str) -> None:
    own = SigningKey.generate()
    async with office(database_dsn) as here:
        await enrol(here, own)
        command = await sent(here)
        given = {"id": command, "journal": JOURNAL, "number": 1, "step": 1, "state": RECEIVED, "actor": "agent",
                 "time_ms": 1}  # fmt: skip
        signed = json.loads(seal(CommandReport.model_validate(given), own))
        head, _, signature = signed["signed"].split(".")
        other = json.loads(seal(CommandReport.model_validate({**given, "state": "succeeded"}), own))
        mixed = {**signed, "signed": ".".join((head, other["signed"].split(".")[1], signature))}
        wrong_kind = {
            "kind": "hello",
            "signed": own.sign("lineside-hello", CommandReport.model_validate(given).to_json()),
        }
        await Reading(here).take(
            here.agent.record({COMMAND_REPORT: json.dumps(mixed)}),
            here.agent.record({COMMAND_REPORT: json.dumps(wrong_kind)}),
        )
        assert await here.states(command) == ["requested"]


async def test_an_older_agent_is_believed_until_the_first_signature_with_its_key(database_dsn: str) -> None:
    own = SigningKey.generate()
    async with office(database_dsn) as here:
        await enrol(here, own, signs=False)
        first, second = await sent(here, "one"), await sent(here, "two")
        reading = Reading(here)
        await reading.take(here.report(first, RECEIVED))
        here.agent.key = own
        await reading.take(here.report(first, CommandState.EXECUTING))
        here.agent.key = None
        await reading.take(here.report(second, RECEIVED))
        assert await here.states(first) == ["requested", "received", "executing"]
        assert await here.states(second) == ["requested"]
        deeds = [entry.action async for entry in audit.entries(here.database)]
        assert deeds.count("agent signs from now on") == 1


async def test_after_its_key_was_revoked_nothing_is_believed_until_it_is_enrolled_anew(database_dsn: str) -> None:
    own, later = SigningKey.generate(), SigningKey.generate()
    async with office(database_dsn) as here:
        await enrol(here, own)
        command = await sent(here)
        await here.fetch("UPDATE agent_key SET retired_ms = 2, retired_by = 'anna' RETURNING 1")
        reading = Reading(here)
        for key in (None, own):
            here.agent.key = key
            await reading.take(here.report(command, RECEIVED))
        assert await here.states(command) == ["requested"]
        with pytest.raises(RequestRefused) as refused:
            await here.ask("another")
        assert refused.value.code == "agent_revoked"
        await enrol(here, later)
        await here.ask("another")
        await reading.take(here.report(command, RECEIVED))
        assert await here.states(command) == ["requested"], "the old key is none any more"
        here.agent.key = later
        await reading.take(here.report(command, RECEIVED))
        assert await here.states(command) == ["requested", "received"]


async def test_an_agent_whose_key_was_revoked_before_its_first_signature_is_not_believed_unsigned(
    database_dsn: str,
) -> None:
    own = SigningKey.generate()
    async with office(database_dsn) as here:
        await enrol(here, own, signs=False)
        command = await sent(here)
        await here.fetch("UPDATE agent_key SET retired_ms = 2, retired_by = 'anna' RETURNING 1")
        await Reading(here).take(here.report(command, RECEIVED))
        assert await here.states(command) == ["requested"]
        (letter,) = await letters(here.database, agent=str(here.agent.name))
        assert f"the key {own.key_id} of the agent was revoked" in letter.reason
        with pytest.raises(RequestRefused) as refused:
            await here.ask("another")
        assert refused.value.code == "agent_revoked"


async def test_an_old_signed_hello_in_a_newer_batch_says_nothing(database_dsn: str) -> None:
    own = SigningKey.generate()
    async with office(database_dsn) as here:
        await enrol(here, own)
        reading = Reading(here)
        await reading.take(here.agent.hello(JOURNAL, count=1))  # before it was enrolled: set aside
        here.agent.key = own
        old = here.agent.hello(JOURNAL, number=1, count=1, nonce="1" * 32)
        newer = here.agent.hello(JOURNAL, number=2, count=2, nonce="2" * 32)
        await reading.take(old, newer)
        here.agent.next += 1000
        await reading.take(here.agent.hello(JOURNAL, number=1, count=1, nonce="1" * 32))
        (row,) = await here.fetch("SELECT nonce FROM time_request")
        assert row["nonce"] == "2" * 32
        await reading.take(here.agent.hello(JOURNAL, number=2, count=3, nonce="3" * 32))
        (row,) = await here.fetch("SELECT nonce, restored FROM time_request")
        assert (row["nonce"], row["restored"]) == ("3" * 32, False)


async def test_a_command_that_was_not_asked_for_here_says_what_it_does_and_how_it_came(
    database_dsn: str, emitted: list[Any]
) -> None:
    async with office(database_dsn) as here:
        reading = Reading(here)
        local, stolen = "01ARZ3NDEKTSV4RRFFQ69G5FA0", "01ARZ3NDEKTSV4RRFFQ69G5FA1"
        told = {"action": SETPOINT, "issuer": "carla", "reason": "too slow"}
        await reading.take(
            here.report(local, RECEIVED, source="local", actor="carla", **told),
            here.report(local, CommandState.SUCCEEDED, source="local", actor="agent", **told),
            here.report(stolen, CommandState.EXECUTING, source="cloud", actor="agent"),
            here.report(stolen, RECEIVED, source="cloud", actor="mallory", **{**told, "issuer": "mallory"}),
        )
        found = await questions.command(here.database, local)
        assert (found["origin"], found["source"], found["action"]) == ("agent", "local", SETPOINT)
        assert (found["issuer"], found["reason"]) == ("carla", "too slow")
        assert [state["actor"] for state in found["states"]] == ["carla", str(here.agent.name)]
        found = await questions.command(here.database, stolen)
        assert (found["source"], found["issuer"], found["action"]) == ("cloud", "mallory", SETPOINT)
        assert [event.command for event in emitted if isinstance(event, CommandNotAskedFor)] == [stolen]
        entries = [entry async for entry in audit.entries(here.database)]
        (entry,) = [one for one in entries if one.subject == local and one.action == "command received"]
        assert (entry.details["source"], entry.details["action"]) == ("local", SETPOINT)


@pytest.mark.parametrize("state", ["requested", "approved", "sent"])
async def test_an_agent_cannot_ask_the_cloud_for_a_command_by_reporting_one(database_dsn: str, state: str) -> None:
    async with office(database_dsn) as here:
        id_ = "01ARZ3NDEKTSV4RRFFQ69G5FA0"
        await Reading(here).take(here.report(id_, CommandState(state), source="local", action=SETPOINT))
        assert await here.fetch("SELECT FROM command") == []


async def test_an_audit_log_that_does_not_go_on_is_an_alarm_until_somebody_has_looked(
    database_dsn: str, emitted: list[Any]
) -> None:
    async with office(database_dsn) as here:
        reading = Reading(here)
        one, two, three = ("a" * 64, "b" * 64, "c" * 64)
        await reading.take(here.agent.hello(JOURNAL, audit_number=5, audit_hash=one))
        await reading.take(here.agent.hello(JOURNAL, audit_number=9, audit_hash=two, audit_base=5, audit_base_hash=one))
        assert await audit_heads.alarms(here.database) == []
        for told in (
            {"audit_number": 9, "audit_hash": three},  # the same place, another entry
            {"audit_number": 8, "audit_hash": one},  # shorter
            {"audit_number": 12, "audit_hash": two, "audit_base": 8, "audit_base_hash": two},  # changed below
            {"audit_number": 12, "audit_hash": two, "audit_base": 12, "audit_base_hash": ""},  # gone
        ):
            await reading.take(here.agent.hello(JOURNAL, **told))
        await reading.take(here.agent.hello(JOURNAL, audit_number=12, audit_hash=two))  # told once
        assert len([event for event in emitted if isinstance(event, AuditAlarm)]) == 4
        alarms = await audit_heads.alarms(here.database)
        assert len(alarms) == 4
        assert "entry 9 has the hash" in alarms[0]["reason"]
        assert "ends with entry 8, and had 9" in alarms[1]["reason"]
        (row,) = await questions.agents(here.database)
        assert len(row["audit_alarms"]) == 4
        (row,) = await here.fetch("SELECT audit_number FROM time_request")
        assert row["audit_number"] == 12
        await audit_heads.close(here.database, here.clock, TENANT, str(here.agent.name), reason="a new disk", by="anna")
        assert await audit_heads.alarms(here.database) == []
        assert (await audit.verify(here.database))[1] == []


async def test_locks_come_with_reason_actor_and_time(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        held = [{"line": "press", "reason": "cleaning", "actor": "carla", "since_ms": 1_700_000_000_000}]
        await Reading(here).take(here.agent.hello(JOURNAL, locks=("agent", "press"), held=held))
        (row,) = await questions.agents(here.database)
        assert row["locked"][0] == {"line": "agent", "reason": "", "actor": "", "since": None}
        assert (row["locked"][1]["reason"], row["locked"][1]["actor"]) == ("cleaning", "carla")
        assert row["locked"][1]["since"].year == 2023
        assert row["start"] == format_epoch(here.agent.epoch)
