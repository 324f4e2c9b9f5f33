"""Versions of device files in the cloud: numbered, kept, signed as commands, and compared with what agents say."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cloud_ingest.access.refused import Why
from cloud_ingest.commands import files, questions
from cloud_ingest.commands.at_once import Chance
from cloud_ingest.commands.messages import action_of
from cloud_ingest.commands.outgoing import Due, due_commands
from cloud_ingest.gateway import queries
from connectors.commands.envelope import ApplyDeviceFile
from connectors.commands.reports import FileFact
from connectors.commands.states import CommandState
from connectors.sparkplug.topics import Verb, parse_topic
from tests.contract.command_steps import JOURNAL, TENANT, Office, Reading, office
from tests.contract.test_command_api import desk, problem
from tests.contract.test_command_requests import refusal
from tests.played_agent import commanded

AGENT = "plant/line-1"
NAME = "devices/press.yaml"


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def action(content: str, **more: Any) -> dict[str, Any]:
    return {"do": "apply_file", "name": NAME, "content": content, **more}


async def file_of(here: Office) -> dict[str, Any]:
    """What the API says of the agent's file."""
    (agent,) = await queries.agents(here.database, AGENT)
    (file,) = agent["files"]
    return dict(file)


async def test_versions_are_numbered_and_the_same_key_makes_no_second_one(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        first = await here.ask("k1", action=action("one"))
        assert await here.ask("k1", action=action("one")) == first
        await here.ask("k2", action=action("two"))
        await here.ask("k3", action=action("ten", version=10))
        await here.ask("k4", action=action("other") | {"name": "devices/oven.yaml"})
        assert await refusal(here.ask("k5", action=action("x", version=10))) == (Why.CONFLICT, "version_used")
        assert await refusal(here.ask("k6", action=action("x", sha256=sha("y")))) == (Why.INVALID, "malformed")
        assert await refusal(here.ask("k7", action=action("x"), stage="arm")) == (Why.INVALID, "malformed")
        assert await refusal(here.ask("k8", action=action("ü" * 25_000))) == (Why.INVALID, "oversized")
        found = await files.versions(here.database, TENANT, AGENT, NAME)
        assert [(one["version"], one["sha256"], one["state"]) for one in found] == [
            (10, sha("ten"), "desired"), (2, sha("two"), "desired"), (1, sha("one"), "desired")
        ]  # fmt: skip
        assert await files.content(here.database, TENANT, AGENT, NAME, 2) == "two"
        assert await refusal(files.content(here.database, TENANT, AGENT, NAME, 3)) == (Why.UNKNOWN, "unknown_version")
        assert await refusal(files.versions(here.database, TENANT, "plant/none")) == (Why.UNKNOWN, "unknown_agent")


async def test_the_content_is_signed_and_stands_in_no_list_and_no_audit_log(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        content = "devices: [] # hush\n"
        command = await here.ask("k", action=action(content))
        (message,) = (
            await due_commands(
                here.database,
                here.key,
                here.clock.now_ms(),
                Due(False, False, False, [command], [], frozenset({TENANT})),
                Chance(),
            )
        ).messages
        topic = parse_topic(message.topic)
        assert (topic.verb, topic.device) == (Verb.NCMD, "")
        envelope = commanded(message.payload, here.keys).command
        assert envelope is not None
        assert envelope.action == ApplyDeviceFile(name=NAME, version=1, content=content, sha256=sha(content))
        assert len(message.payload) < 64 * 1024
        shown = json.dumps(await questions.command(here.database, command), default=str)
        logged = json.dumps([dict(row) for row in await here.fetch("SELECT * FROM command_audit")], default=str)
        assert "hush" not in shown + logged
        assert sha(content) in shown
        assert sha(content) in logged
        stored = await here.fetch("SELECT action FROM command")
        assert action_of(stored[0]["action"]) == envelope.action


async def test_a_large_file_still_fits_into_an_envelope(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        command = await here.ask("k", action=action("- {name: x}\n" * 2500), reason="r" * 1000)
        (message,) = (
            await due_commands(
                here.database,
                here.key,
                here.clock.now_ms(),
                Due(False, False, False, [command], [], frozenset({TENANT})),
                Chance(),
            )
        ).messages
        assert 30_000 < len(message.payload) < 64 * 1024
        assert commanded(message.payload, here.keys).command is not None


async def test_what_the_agent_says_is_compared_with_what_was_asked_for(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        reading, at_box = Reading(here), "made at the box"

        def hello(sha256: str, version: int, state: str, **more: Any) -> Any:
            fact = FileFact(name=NAME, sha256=sha256, version=version, state=state, **more)
            return here.agent.hello(JOURNAL, files=(fact,))

        await reading.take(hello(sha(at_box), 0, "local"))
        assert (await file_of(here))["sync"] == "local"
        command = await here.ask("k", action=action("one", replaces=sha(at_box)))
        assert ((await file_of(here))["sync"], (await file_of(here))["newest"]) == ("out_of_sync", 1)
        await here.make(command, CommandState.SENT)
        await reading.take(here.report(command, CommandState.RECEIVED), hello(sha("one"), 1, "trial"))
        assert (await file_of(here))["sync"] == "out_of_sync"
        await reading.take(here.report(command, CommandState.SUCCEEDED), hello(sha("one"), 1, "in_use"))
        assert (await file_of(here))["sync"] == "in_sync"
        await reading.take(hello(sha("by hand"), 0, "changed"))
        found = await file_of(here)
        assert (found["sync"], found["sha256"], found["version"]) == ("out_of_sync", sha("by hand"), 0)
        second = await here.ask("k2", action=action("two"))
        await here.make(second, CommandState.SENT)
        await reading.take(
            here.report(second, CommandState.FAILED, detail="rolled back: press"), hello(sha("one"), 1, "failed")
        )
        found = await file_of(here)
        assert (found["sync"], found["message"]) == ("failed", "rolled back: press")
        states = [
            (one["version"], one["state"], one["message"]) for one in await files.versions(here.database, TENANT, AGENT)
        ]
        assert states == [(2, "rolled_back", "rolled back: press"), (1, "applied", "")]
        await reading.take(here.agent.hello(JOURNAL, files=()))
        (agent,) = await queries.agents(here.database, AGENT)
        assert agent["files"] == []


async def test_an_agent_that_knows_nothing_of_files_leaves_what_is_known(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        reading = Reading(here)
        fact = FileFact(name=NAME, sha256=sha("x"), state="local")
        await reading.take(here.agent.hello(JOURNAL, files=(fact,)), here.agent.hello(JOURNAL))
        assert (await file_of(here))["sha256"] == sha("x")


async def test_who_may_configure_and_who_may_look(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        body = {"agent": AGENT, "action": action("one")}
        for by in ("anna", "berta", "carl"):
            assert problem(await here.ask("POST", by=by, json=body, key="k")) == (403, "not_your_role")
        for by in ("anna", "berta"):
            restart = {"agent": AGENT, "action": {"do": "restart"}}
            assert problem(await here.ask("POST", by=by, json=restart, key="k")) == (403, "not_your_role")
        assert (await here.ask("POST", by="eva", json=body, key="k")).status_code == 202
        params = {"agent": AGENT, "name": NAME}
        (one,) = (await here.ask("GET", "/api/v1/device-files", "carl", params=params)).json()
        assert (one["version"], one["state"], one["issuer"]) == (1, "desired", "eva")
        content = await here.ask("GET", "/api/v1/device-files/content", "carl", params={**params, "version": 1})
        assert content.text == "one"
        assert problem(await here.ask("GET", "/api/v1/device-files", None, params=params)) == (401, "no_token")
