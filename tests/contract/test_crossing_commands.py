"""Two tenants with agents, commands, files, releases and tokens each: who names what is the other's is told of nothing.

The answers are those for what nobody has: so nobody learns what another tenant has, either.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.cli.app import app as program
from cloud_ingest.commands import agent_keys, audit, audit_heads, enrolment, files, keys, tokens
from cloud_ingest.commands.at_once import Chance
from cloud_ingest.commands.outgoing import due_commands, end_by_time, look
from cloud_ingest.gateway.app import make_app
from cloud_ingest.identity.people import By
from cloud_ingest.identity.tenants import give_group
from cloud_ingest.observability.obstacles import Obstacles
from cloud_ingest.releases import ending, packages, rollouts
from cloud_ingest.releases.rollouts import Asked, Rollouts
from connectors.commands.enrolment import sealed_request
from connectors.commands.signing import SigningKey
from connectors.commands.states import CommandState
from connectors.model.delivery import AgentName
from tests.contract.command_steps import JOURNAL, SETPOINT, TENANT, Office, Reading, office
from tests.played_agent import PlayedAgent
from tests.unit.releases import packages as made

THEIRS: Final = 2
OURS_AGENT, THEIR_AGENT = "plant/line-1", "theirs/line-1"
NOBODYS: Final = "01JDV3W3Z8Q6C0V2B7N4M5K9XS"
FILE: Final = {"do": "apply_file", "name": "devices/press.yaml", "content": "devices: []\n", "replaces": ""}
UNKNOWN_AGENT: Final = (404, "unknown_agent")
UNKNOWN_COMMAND: Final = (404, "unknown_command")


@dataclass
class Side:
    """What one tenant has, and the client of one of its people."""

    tenant_id: int
    agent: str
    client: httpx.AsyncClient
    command: str = ""

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        return await self.client.request(method, f"/api/v1{path}", **more)

    async def refusal(self, method: str, path: str, **more: Any) -> tuple[int, str]:
        answer = await self.ask(method, path, **more)
        return answer.status_code, str(answer.json().get("code"))

    async def send(self, agent: str, key: str, action: Any = SETPOINT) -> httpx.Response:
        body = {"agent": agent, "action": action, "approval": True}
        return await self.ask("POST", "/commands", json=body, headers={"Idempotency-Key": key})


@asynccontextmanager
async def two_sides(dsn: str) -> AsyncIterator[tuple[Office, Side, Side]]:
    """Two tenants; of each, an engineer with a named token has sent a command and a file, by the same keys."""
    async with office(dsn) as here:
        async with here.database.transaction() as session:
            await session.execute("INSERT INTO tenant (tenant_id, name) VALUES ($1, 'theirs')", THEIRS)
            await session.execute("INSERT INTO command_audit_head (tenant_id) VALUES ($1)", THEIRS)
            await give_group(session, By(TENANT, "root", 1), "theirs", "theirs")
        await here.prepare(AgentName(*THEIR_AGENT.split("/")))
        app = make_app(here.database, CollectorRegistry(), Obstacles(), here.requests)
        transport, sides = httpx.ASGITransport(app), []
        for tenant_id, agent in ((TENANT, OURS_AGENT), (THEIRS, THEIR_AGENT)):
            token = await tokens.create(here.database, here.clock, tenant_id, "eva", "engineer", by="root")
            headers = {"Authorization": f"Bearer {token}"}
            client = httpx.AsyncClient(transport=transport, base_url="http://cloud.example", headers=headers)
            side = Side(tenant_id, agent, client)
            side.command = (await side.send(agent, "same key")).json()["id"]
            assert (await side.send(agent, "a file", FILE)).status_code == 202
            sides.append(side)
        try:
            yield here, sides[0], sides[1]
        finally:
            for side in sides:
                await side.client.aclose()


async def refused(asked: Awaitable[Any]) -> tuple[Why, str]:
    with pytest.raises(RequestRefused) as caught:
        await asked
    return caught.value.why, caught.value.code


async def test_what_another_tenant_has_is_as_unknown_to_every_route_as_what_nobody_has(database_dsn: str) -> None:
    async with two_sides(database_dsn) as (here, ours, theirs):
        for one, other in ((ours, theirs), (theirs, ours)):
            for number, agent in enumerate((other.agent, "nobody/line-1")):
                found = [
                    await one.refusal("GET", "/device-files", params={"agent": agent}),
                    await one.refusal(
                        "GET", "/device-files/content", params={"agent": agent, "name": FILE["name"], "version": 1}
                    ),
                ]
                for action in (SETPOINT, FILE, {"do": "restart"}):
                    answer = await one.send(agent, f"{number} {action['do']}", action)
                    found.append((answer.status_code, answer.json()["code"]))
                    assert agent in answer.json()["detail"]
                assert found == [UNKNOWN_AGENT] * 5, agent
                assert (await one.ask("GET", "/commands", params={"agent": agent})).json()["commands"] == []
            for command in (other.command, NOBODYS):
                for method, deed in (("GET", ""), ("POST", "/cancel")):
                    assert await one.refusal(method, f"/commands/{command}{deed}") == UNKNOWN_COMMAND
                approving = here.requests.approve(command, tenant_id=one.tenant_id, approver="berta")
                assert await refused(approving) == (Why.UNKNOWN, "unknown_command")
            listed = (await one.ask("GET", "/commands")).json()["commands"]
            assert {command["agent"] for command in listed} == {one.agent}
            assert await here.states(other.command) == ["requested"]


async def test_each_tenant_s_own_commands_go_all_the_way_and_stand_in_its_own_audit_log(database_dsn: str) -> None:
    async with two_sides(database_dsn) as (here, ours, theirs):
        agents = {one.tenant_id: PlayedAgent("line-1", group=one.agent.split("/")[0]) for one in (ours, theirs)}
        reading = Reading(here)
        await reading.take(*(agent.hello(JOURNAL) for agent in agents.values()))
        for side in (ours, theirs):
            await here.requests.approve(side.command, tenant_id=side.tenant_id, approver="berta")
        now_ms = here.clock.now_ns() // 1_000_000
        due = await look(here.database, now_ms)
        assert due.first == sorted([ours.command, theirs.command])
        assert len((await due_commands(here.database, here.key, now_ms, due, Chance())).messages) == 2, (
            "of both at once"
        )
        for state in (CommandState.RECEIVED, CommandState.EXECUTING, CommandState.SUCCEEDED):
            await reading.take(
                *(here.report(one.command, state, agent=agents[one.tenant_id]) for one in (ours, theirs))
            )
        here.clock.ahead_ms = 600_000
        assert await end_by_time(here.database, here.clock.now_ns() // 1_000_000) == 2, "the files of both"
        for one, other in ((ours, theirs), (theirs, ours)):
            assert (await here.states(one.command))[-1] == "succeeded"
            count, problems = await audit.verify(here.database, one.tenant_id)
            assert (problems, count >= 8) == ([], True)
            subjects = {entry.subject async for entry in audit.entries(here.database, tenant_id=one.tenant_id)}
            assert one.command in subjects
            assert not subjects & {other.command, other.agent}
        rows = await here.fetch("SELECT tenant_id, count(*) AS n FROM command_state GROUP BY 1 ORDER BY 1")
        assert [(row["tenant_id"], row["n"]) for row in rows] == [(TENANT, 8), (THEIRS, 8)]


async def test_a_report_under_the_name_of_another_tenant_s_agent_changes_nothing_of_this_one(
    database_dsn: str,
) -> None:
    async with two_sides(database_dsn) as (here, ours, _):
        stranger = PlayedAgent("line-1", group="theirs")
        await Reading(here).take(here.report(ours.command, CommandState.SUCCEEDED, agent=stranger))
        assert await here.states(ours.command) == ["requested"]


async def test_files_releases_and_rollouts_are_a_tenant_s(database_dsn: str, tmp_path: Path) -> None:
    async with two_sides(database_dsn) as (here, _ours, _theirs):
        database, clock = here.database, here.clock
        asked = files.versions(database, THEIRS, OURS_AGENT), files.used_by(database, THEIRS, OURS_AGENT)
        for one in (*asked, files.content(database, THEIRS, OURS_AGENT, str(FILE["name"]), 1)):
            assert await refused(one) == (Why.UNKNOWN, "unknown_agent")
        package = await packages.add(database, clock, TENANT, made.package(tmp_path), by="anna")
        assert await packages.listed(database, THEIRS) == []
        everywhere = Asked("1.1.0", [["*"]], 0)
        assert await refused(rollouts.start(database, clock, THEIRS, everywhere, by="eva")) == (
            Why.UNKNOWN, "unknown_release",
        )  # fmt: skip
        number = await rollouts.start(database, clock, TENANT, everywhere, by="anna")
        found = await rollouts.shown(database, clock, TENANT, number)
        assert [one["agent"] for one in found["members"]] == [OURS_AGENT], "patterns name agents of the tenant alone"
        assert await rollouts.listed(database, THEIRS) == []
        assert await refused(rollouts.shown(database, clock, THEIRS, number)) == (Why.UNKNOWN, "unknown_rollout")
        stop = ending.stop(database, clock, here.requests, THEIRS, number, by="eva", reason="mine now")
        assert await refused(stop) == (Why.CONFLICT, "not_running")
        await packages.add(database, clock, THEIRS, made.package(tmp_path), by="eva")
        own = await rollouts.start(database, clock, THEIRS, everywhere, by="eva")
        assert await Rollouts(database, clock, here.requests).look()
        rows = await here.fetch(
            "SELECT tenant_id, issuer FROM command WHERE action LIKE '%install_release%' ORDER BY 1"
        )
        assert [(row["tenant_id"], row["issuer"]) for row in rows] == [(TENANT, "anna"), (THEIRS, "eva")]
        assert await ending.stop(database, clock, here.requests, THEIRS, own, by="eva", reason="enough")
        async with here.database.session() as session:
            await session.execute("DELETE FROM rollout_agent WHERE tenant_id = $1", TENANT)
            await session.execute("DELETE FROM rollout WHERE tenant_id = $1", TENANT)
            await session.execute("DELETE FROM release WHERE tenant_id = $1", TENANT)
        kept = await packages.find(database, package.sha256)
        assert kept is not None, "a box fetches the same bytes, whosever they are"
        sha256 = hashlib.sha256()
        async for piece in packages.pieces(database, kept, 0):
            sha256.update(piece)
        assert sha256.hexdigest() == package.sha256


async def test_tokens_and_the_keys_of_agents_are_a_tenant_s(database_dsn: str, tmp_path: Path) -> None:
    async with two_sides(database_dsn) as (here, ours, theirs):
        database, clock = here.database, here.clock
        await tokens.revoke(database, clock, THEIRS, "eva", by="root")
        assert (await theirs.ask("GET", "/commands")).status_code == 401
        assert (await ours.ask("GET", "/commands")).status_code == 200, "she of the other tenant is somebody else"
        assert [row["revoked"] is None for row in await tokens.listed(database, TENANT)] == [True]

        await here.fetch("DELETE FROM signing_key RETURNING 1")
        await keys.create(database, clock, tmp_path / "signing.jwk", by="root")
        for tenant_id, agent in ((TENANT, THEIR_AGENT), (THEIRS, OURS_AGENT), (THEIRS, "nobody/line-1")):
            wrong = enrolment.create_token(database, clock, tenant_id, agent, valid_s=60, by="root")
            assert await refused(wrong) == (Why.UNKNOWN, "unknown_group")
        token = await enrolment.create_token(database, clock, THEIRS, THEIR_AGENT, valid_s=60, by="root")
        key = SigningKey.generate()
        await enrolment.Enrolments(database, clock).enrol(sealed_request(key, token.token, THEIR_AGENT), "")
        assert await agent_keys.listed(database, TENANT) == []
        assert [row["key_id"] for row in await agent_keys.listed(database, THEIRS)] == [key.key_id]
        told = [entry.action async for entry in audit.entries(database, tenant_id=THEIRS)]
        assert told[-2:] == ["enrolment token created", "agent enrolled"]
        assert await refused(agent_keys.revoke(database, clock, TENANT, key.key_id, by="root")) == (
            Why.UNKNOWN, "unknown_key",
        )  # fmt: skip
        unsigned, signed = PlayedAgent("line-1", group="theirs"), PlayedAgent("line-1", group="theirs")
        signed.key = key
        reading = Reading(here)
        await reading.take(signed.hello(JOURNAL))
        await reading.take(unsigned.hello("cd" * 16))
        (journal,) = await here.fetch("SELECT journal, tenant_id FROM command_journal")
        assert (journal["journal"], journal["tenant_id"]) == (JOURNAL, THEIRS), "it is known by its own tenant's key"
        closing = audit_heads.close(database, clock, TENANT, THEIR_AGENT, reason="seen", by="anna")
        assert await refused(closing) == (Why.UNKNOWN, "no_alarm")


async def test_a_group_whose_agents_are_enrolled_does_not_change_hands(database_dsn: str, tmp_path: Path) -> None:
    async with two_sides(database_dsn) as (here, _ours, _theirs):
        database, clock = here.database, here.clock
        await here.fetch("DELETE FROM signing_key RETURNING 1")
        await keys.create(database, clock, tmp_path / "signing.jwk", by="root")
        enrolments, key = enrolment.Enrolments(database, clock), SigningKey.generate()
        held, lost = [
            await enrolment.create_token(database, clock, TENANT, agent, valid_s=60, by="root")
            for agent in ("new/line-1", "other/line-1")
        ]
        await enrolments.enrol(sealed_request(key, held.token, "new/line-1"), "")
        async with database.transaction() as session:
            assert await refused(give_group(session, By(TENANT, "root", 1), "theirs", "new")) == (
                Why.CONFLICT, "group_in_use",
            )  # fmt: skip
        async with database.transaction() as session:
            await give_group(session, By(TENANT, "root", 1), "theirs", "other")
        late = enrolments.enrol(sealed_request(SigningKey.generate(), lost.token, "other/line-1"), "")
        assert await refused(late) == (Why.FORBIDDEN, "token_replaced")


def test_the_commands_of_the_program_act_for_one_tenant(database_dsn: str, tmp_path: Path) -> None:
    commands = asyncio.run(_prepared(database_dsn))
    at, config = urlsplit(database_dsn), tmp_path / "cloud.yaml"
    (tmp_path / "password").write_text(at.password or "", encoding="utf-8")
    (tmp_path / "password").chmod(0o600)
    config.write_text(
        "ingest: {brokers: [mqtt://127.0.0.1], insecure: true}\n"
        f"database: {{host: {at.hostname}, port: {at.port}, name: {at.path[1:]}, user: {at.username}, insecure: true, "
        f"password: '${{file:{tmp_path / 'password'}}}'}}\n",
        encoding="utf-8",
    )

    def run(*words: str) -> tuple[int, str]:
        ended = CliRunner().invoke(program, [*words, "-c", str(config)])
        return ended.exit_code, ended.output

    for tenant, own, other in (("default", OURS_AGENT, THEIR_AGENT), ("theirs", THEIR_AGENT, OURS_AGENT)):
        of, theirs = ("--tenant", tenant), commands[other]
        device_file = tmp_path / "press.yaml"
        device_file.write_text("devices: []\n", encoding="utf-8")
        for words in (
            ("command", "send", other, "press", "setpoint", "1"),
            ("command", "restart", other),
            ("command", "rebirth", other),
            ("command", "log-level", other, "debug"),
            ("command", "apply-file", other, str(device_file), "devices/press.yaml"),
            ("command", "files", other),
            ("command", "files", other, "devices/press.yaml", "--version", "1"),
            ("command", "show", theirs),
            ("command", "approve", theirs),
            ("command", "cancel", theirs),
            ("enrol", other),
            ("agent-keys", "revoke", "none"),
            ("audit", "close-alarm", other, "--reason", "seen"),
            ("rollout", "show", "1"),
            ("rollout", "stop", "1", "--reason", "mine"),
            ("rollout", "start", "1.1.0", "--group", "*"),
            ("token", "revoke", f"of {other}"),
        ):
            code, said = run(*words, *of)
            is_unknown = any(one in said for one in ("there is no", "the tenant has no", "no agent has a key"))
            assert (code, is_unknown) == (1, True), (words, said)
        listed = json.loads(run("command", "list", "--json", *of)[1])
        assert {one["agent"] for one in listed} == {own}
        assert json.loads(run("command", "show", commands[own], "--json", *of)[1])["state"] == "requested"
        assert [one["name"] for one in json.loads(run("token", "list", "--json", *of)[1])] == ["eva", f"of {own}"]
        for words in (("release", "list"), ("rollout", "list"), ("agent-keys", "list"), ("command", "agents")):
            assert json.loads(run(*words, "--json", *of)[1]) == [], words
        assert run("command", "send", own, "press", "setpoint", "1", *of)[0] == 0
    code, said = run("command", "list", "--tenant", "nobody")
    assert (code, "no tenant 'nobody'" in said) == (1, True)


async def _prepared(dsn: str) -> dict[str, str]:
    async with two_sides(dsn) as (here, ours, theirs):
        for side in (ours, theirs):
            name = f"of {side.agent}"
            await tokens.create(here.database, here.clock, side.tenant_id, name, "viewer", by="root")
        return {side.agent: side.command for side in (ours, theirs)}
