"""A command's whole way: API, signature, a real broker, an agent that is played, its reports, and the API again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from lineside.servers.child_process import ChildProcess
from lineside.servers.mosquitto import MosquittoBroker

from connectors.commands.reports import CommandReport
from connectors.commands.signing import TrustedKeys
from connectors.commands.states import CommandState
from connectors.model.datatypes import DataType
from tests import plain_http
from tests.played_agent import Commanded, PlayedAgent, commanded
from tests.system.cloud_process import Cloud, Line, eventually, line

ROLES = "ingest,historian,commands,gateway"
JOURNAL = "ab" * 16
SETPOINT = {"do": "write", "device": "press", "tag": "setpoint", "value": 120}


class Plant:
    """A cloud with the role ``commands``, an agent that is born, and people with tokens."""

    def __init__(
        self, cloud: Cloud, connection: Line, keys: TrustedKeys, tokens: dict[str, str], process: ChildProcess
    ) -> None:
        self.cloud, self.line, self.keys, self.tokens, self.process = cloud, connection, keys, tokens, process
        self.agent = PlayedAgent()
        self._steps: dict[str, int] = {}

    def is_ready(self) -> bool:
        try:
            return self.cloud.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def ask(self, method: str, path: str, by: str = "anna", *, key: str = "", **body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[by]}"} | ({"Idempotency-Key": key} if key else {})
        url = f"http://127.0.0.1:{self.cloud.port}/api/v1/commands{path}"
        return plain_http.ask(method, url, headers=headers, json=body or None)

    def post(self, key: str, by: str = "anna", **more: Any) -> dict[str, Any]:
        body = {"agent": str(self.agent.name), "action": SETPOINT, "reason": "new recipe", **more}
        answer = self.ask("POST", "", by, key=key, **body)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return dict(answer.json())

    def states(self, command: str) -> list[str]:
        return [state["state"] for state in self.ask("GET", f"/{command}").json()["states"]]

    def ledger(self) -> list[dict[str, Any]]:
        return list(self.cloud.get("/api/v1/ledger").json())

    def heard(self) -> list[Commanded]:
        """What was commanded, acknowledgements and rebirths left out; every signature is verified.

        What is sent again, as nobody has reported on it yet, is there once if it is the same.
        """
        found: list[Commanded] = []
        for message in self.line.commands:
            one = commanded(message.payload, self.keys)
            if (one.command or one.time or one.cancel or "setpoint" in one.plain) and one not in found:
                found.append(one)
        return found

    async def report(self, command: str, state: CommandState, **more: Any) -> None:
        step = self._steps[command] = self._steps.get(command, 0) + 1
        now_ms = time.time_ns() // 1_000_000
        report = CommandReport(
            id=command, journal=JOURNAL, number=1, step=step, state=state, time_ms=now_ms, actor="line-1", **more
        )
        wire = self.agent.report(report)
        await self.line.deliver(self.agent, wire, first=self.agent.last)


@asynccontextmanager
async def plant(folder: Path, broker: MosquittoBroker, dsn: str) -> AsyncIterator[Plant]:
    cloud = Cloud(folder / "cloud", broker.url, dsn)
    cloud.add("commands", {"signing_key": str(folder / "signing.jwk")})
    assert cloud.command("keys", "create").returncode == 0
    public = json.loads(cloud.command("keys", "export").stdout)["keys"]
    roles = {"anna": "operator", "berta": "approver", "carl": "viewer"}
    tokens = {
        name: cloud.command("token", "create", name, "--role", role).stdout.strip() for name, role in roles.items()
    }
    process = cloud.process(ROLES)
    try:
        cloud.wait_ready(process)
        async with line(broker.url) as connection:
            made = Plant(cloud, connection, TrustedKeys(public), tokens, process)
            agent = made.agent
            connection.send(agent.born(1))
            definition = agent.define("press", {"setpoint": DataType.DOUBLE})
            await connection.deliver(agent, definition, first=agent.last)
            connection.send(agent.device_born("press"))
            await connection.deliver(agent, agent.hello(JOURNAL, nonce="cd" * 16), first=agent.last)
            await eventually(lambda: any(one.time for one in made.heard()))
            await eventually(lambda: cloud.get("/api/v1/tags").json()["tags"])
            yield made
            process = made.process
    finally:
        process.kill()


@pytest.mark.slow
async def test_a_command_goes_from_the_api_to_the_agent_and_its_result_comes_back(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str
) -> None:
    async with plant(tmp_path, mosquitto, database_dsn) as here:
        (answer,) = [one.time for one in here.heard() if one.time]
        assert (answer.nonce, answer.restored, answer.agent) == ("cd" * 16, False, "plant/line-1")
        assert abs(answer.time_ms - time.time_ns() // 1_000_000) < 60_000
        taken = here.post("first")
        assert taken["state"] in ("requested", "sent", "received", "executing", "succeeded"), "it leaves at once"
        assert (taken["issuer"], taken["action"]) == ("anna", {**SETPOINT, "value": 120.0})
        await eventually(lambda: any(one.command for one in here.heard()))
        (message,) = [one for one in here.heard() if one.command]
        assert message.plain == {"setpoint": 120.0}
        envelope = message.command
        assert envelope is not None
        assert (envelope.id, envelope.journal, envelope.issuer, envelope.reason) == (
            taken["id"], JOURNAL, "anna", "new recipe",
        )  # fmt: skip
        await here.report(taken["id"], CommandState.RECEIVED)
        await here.report(taken["id"], CommandState.EXECUTING)
        await here.report(taken["id"], CommandState.SUCCEEDED, before=100.0, after=120.0)
        await eventually(lambda: here.states(taken["id"])[-1] == "succeeded")
        found = here.ask("GET", f"/{taken['id']}").json()
        assert [state["state"] for state in found["states"]] == [
            "requested", "sent", "received", "executing", "succeeded",
        ]  # fmt: skip
        assert (found["before"], found["after"], found["states"][-1]["actor"]) == (100.0, 120.0, "line-1")
        assert here.post("first")["id"] == taken["id"]  # with the same key it is the same command
        # What is said of commands is read apart from the samples.
        await eventually(lambda: [one["arrived"] for one in here.ledger()] == [here.agent.last])
        (ledger,) = here.ledger()
        assert (ledger["missing"], ledger["parked"], ledger["dead_letters"]) == (0, 0, 0)
        assert here.cloud.command("audit", "verify").returncode == 0


@pytest.mark.slow
async def test_a_second_person_a_role_and_a_cancellation_that_the_agent_confirms(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str
) -> None:
    async with plant(tmp_path, mosquitto, database_dsn) as here:
        assert here.ask("POST", "", "carl", key="x", agent="plant/line-1", action=SETPOINT).status_code == 403
        waiting = here.post("second", approval=True)["id"]
        own = here.post("own", "berta", approval=True)["id"]
        assert here.ask("POST", f"/{waiting}/approve", "anna").status_code == 403  # an operator may not
        refused = here.ask("POST", f"/{own}/approve", "berta")
        assert (refused.status_code, refused.json()["code"]) == (403, "own_command")
        assert here.ask("POST", f"/{own}/cancel", "berta", reason="not now").json()["state"] == "cancelled"
        assert not [one for one in here.heard() if one.command]
        assert here.ask("POST", f"/{waiting}/approve", "berta").json()["state"] in ("approved", "sent")
        await eventually(lambda: any(one.command for one in here.heard()))
        (envelope,) = [one.command for one in here.heard() if one.command]
        assert (envelope.id, envelope.approvers) == (waiting, ("berta",))
        asked = here.ask("POST", f"/{waiting}/cancel", "anna", reason="changed my mind").json()
        assert (asked["state"], asked["cancellation_asked"]) == ("sent", True)
        await eventually(lambda: any(one.cancel for one in here.heard()))
        cancel = next(one.cancel for one in here.heard() if one.cancel)
        assert (cancel["id"], cancel["issuer"], cancel["reason"]) == (waiting, "anna", "changed my mind")
        await here.report(waiting, CommandState.RECEIVED)
        await here.report(waiting, CommandState.CANCELLED)
        await eventually(lambda: here.states(waiting)[-1] == "cancelled")
        assert here.ask("POST", f"/{waiting}/cancel").status_code == 409


@pytest.mark.slow
async def test_the_command_line_does_what_the_api_does(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str
) -> None:
    async with plant(tmp_path, mosquitto, database_dsn) as here:
        run = here.cloud.command
        target = ("plant/line-1", "press", "setpoint")
        sent = run("command", "send", *target, "120.5", "--reason", "by hand", "--key", "k", "--json")
        assert sent.returncode == 0, sent.stderr
        command = json.loads(sent.stdout)
        assert (command["reason"], command["action"]["value"]) == ("by hand", 120.5)
        again = run("command", "send", *target, "120.5", "--reason", "by hand", "--key", "k", "--json")
        assert json.loads(again.stdout)["id"] == command["id"]
        await eventually(lambda: any(one.command for one in here.heard()))
        waiting = asyncio.create_task(
            asyncio.to_thread(run, "command", "send", *target, "7", "--wait", "90s", "--precondition", "press/a == 1")
        )
        await eventually(lambda: len({one.command.id for one in here.heard() if one.command}) == 2)
        second = next(one.command for one in here.heard() if one.command and one.command.id != command["id"])
        assert second.precondition == "press/a == 1"
        await here.report(second.id, CommandState.REFUSED, code="precondition", detail="press/a is 2")
        ended = await waiting
        assert ended.returncode == 1
        assert "press/a is 2" in ended.stdout
        named = run(
            "command", "send", "plant/line-1", "press", "start", "--run", "-A", "recipe=3", "-A", "name=x", "--json"
        )
        assert json.loads(named.stdout)["action"]["arguments"] == {"recipe": 3, "name": "x"}
        listed = run("command", "list")
        assert ("press: start(recipe=3, name=x)" in listed.stdout, "precondition" in listed.stdout) == (True, True)
        shown = run("command", "show", command["id"])
        assert ("press/setpoint = 120.5" in shown.stdout, "requested" in shown.stdout) == (True, True)
        held = json.loads(run("command", "send", *target, "5", "--approval", "--json").stdout)["id"]
        own = run("command", "approve", held)
        assert (own.returncode, "another person" in own.stderr) == (1, True)
        cancelled = run("command", "cancel", held, "--reason", "no", "--json")
        assert json.loads(cancelled.stdout)["state"] == "cancelled"
        assert JOURNAL[:8] in run("command", "agents").stdout
        wrong = run("command", "send", *target, "high", "--json")
        assert (wrong.returncode, "is no Double" in wrong.stderr) == (1, True)
        assert run("command", "send", *target).returncode == 2
        assert run("command", "show", "nothing").returncode == 1
        exported = run("audit", "export")
        entries = [json.loads(text) for text in exported.stdout.splitlines()]
        assert [entry["number"] for entry in entries] == list(range(1, len(entries) + 1))
        assert "by hand" in exported.stdout
        verified = run("audit", "verify")
        assert (verified.returncode, "the chain is whole" in verified.stdout) == (0, True)
        assert "lineside_" not in run("token", "list").stdout
        assert run("token", "revoke", "anna").returncode == 0
        assert here.ask("GET", "", "anna").status_code == 401
        assert run("keys", "create").returncode == 1  # the file is there, and is not overwritten


@pytest.mark.slow
async def test_no_command_is_lost_or_changed_when_the_cloud_is_killed_again_and_again(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str
) -> None:
    """Whatever was signed first is what every later message says; and every command ends."""
    async with plant(tmp_path, mosquitto, database_dsn) as here:
        commands = [here.post(f"before {number}")["id"] for number in range(10)]
        for round_ in range(4):
            here.process.kill()
            here.process = here.cloud.process(ROLES)
            await eventually(here.is_ready)
            commands += [here.post(f"{round_} {number}")["id"] for number in range(5)]
            for command in commands[round_ * 5 : round_ * 5 + 5]:
                await here.report(command, CommandState.RECEIVED)
        await eventually(lambda: set(commands) <= {one.command.id for one in here.heard() if one.command})
        signed: dict[str, set[str]] = {}
        for one in here.heard():
            if one.command:
                signed.setdefault(one.command.id, set()).add(one.command.to_json().decode())
        assert {len(envelopes) for envelopes in signed.values()} == {1}
        for command in commands:
            await here.report(command, CommandState.SUCCEEDED)
        await eventually(lambda: all(here.states(command)[-1] == "succeeded" for command in commands))
        for command in commands:
            assert len(set(here.states(command))) == len(here.states(command))
        assert here.cloud.command("audit", "verify").returncode == 0
