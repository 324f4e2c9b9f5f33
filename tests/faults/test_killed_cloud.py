"""The cloud is killed (kill -9) at each of its steps of a command, between a real broker, PostgreSQL and a real device.

Whatever the moment: the device was written at most once, the command has the end that the device shows, or ``unknown``,
and each of its states is published, none before an earlier one.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from lineside.servers.child_process import ChildProcess
from lineside.servers.mosquitto import MosquittoBroker

from cloud_ingest.event_log.topics import COMMANDS
from connectors.commands.states import CommandState, may_follow
from connectors.postgres.event_log import open_event_log
from edge_agent.commands.pinned_keys import write_pinned_keys
from tests import plain_http
from tests.faults.test_killed_commands import WRITES
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer
from tests.system.cloud_process import Cloud
from tests.system.edge_agent_steps import AgentProcess

ROLES: Final = ("ingest", "commands", "gateway")
ENDS: Final = ("succeeded", "failed", "refused", "expired", "cancelled", "unknown")
DEVICES: Final = """
- name: oven
  driver: modbus
  endpoint: {oven}
  poll: 200ms
  tags: [{{name: setpoint, at: holding 1, writable: {{min: 0, max: 250}}}}]
"""
MOMENTS: Final = {
    "gateway": [
        "state:requested:before", "state:requested:after", "state:approved:before", "state:approved:after",
        "locked:requested:before",
    ],
    "commands": [
        "state:sent:before", "state:sent:after", "sent", "state:received:before", "state:received:after",
        "state:succeeded:before", "state:succeeded:after", "locked:sent:before", "locked:received:before",
        "locked:succeeded:before", f"append:{COMMANDS}:before", f"append:{COMMANDS}:after",
        "relayed:before", "relayed:after",
    ],
    "ingest": [
        "append:lineside.reports.v1:before", "append:lineside.reports.v1:after", "append:lineside.raw.v1:before",
        "append:lineside.raw.v1:after",
    ],
}  # fmt: skip
"""By the role that is killed. Every one runs in a process of its own."""


class Factory:
    """Cloud, broker, agent and oven; and people with tokens who ask again until they have an answer."""

    def __init__(self, cloud: Cloud, agent: AgentProcess, oven: ModbusServer, tokens: dict[str, str]) -> None:
        self.cloud, self.agent, self.oven = cloud, agent, oven
        self._tokens = tokens
        self.running: dict[str, ChildProcess] = {}
        self._value = 0

    def start(self, role: str, where: str = "") -> None:
        process = self.running[role] = ChildProcess(role, self.cloud.folder / f"{role}.log")
        program = [sys.executable, "-m", "tests.faults.killed_cloud", where] if where else [
            str(Path(sys.executable).with_name("cloud-ingest"))
        ]  # fmt: skip
        roles = "ingest,historian" if role == "ingest" else role
        process.launch([*program, "run", "--roles", roles, "--config", str(self.cloud.config)])

    def stop(self) -> None:
        for process in self.running.values():
            process.kill()

    def revive(self, role: str) -> None:
        """Start again what has killed itself."""
        if not self.running[role].running:
            self.start(role)

    def ask(self, role: str, method: str, path: str, by: str, body: Any = None, key: str = "") -> httpx.Response:
        """Ask until there is an answer, whatever becomes of the ``role`` that is to die."""
        headers = {"Authorization": f"Bearer {self._tokens[by]}"} | ({"Idempotency-Key": key} if key else {})
        url = f"http://127.0.0.1:{self.cloud.port}/api/v1/commands{path}"
        deadline_s = time.monotonic() + WAIT_S_MAX
        while True:
            assert time.monotonic() < deadline_s, f"no answer to {method} {path}\n{self.running['gateway'].log_tail()}"
            try:
                answer = plain_http.ask(method, url, headers=headers, json=body, timeout_s=10.0)
            except httpx.TransportError:
                self.revive(role)
                time.sleep(0.2)
                continue
            if answer.status_code < 500 and answer.json().get("code") not in ("unknown_agent", "unknown_target"):
                return answer
            time.sleep(0.2)

    def command(self, role: str, where: str) -> None:
        """One command, in the course of which ``role`` is killed at ``where``."""
        self._value += 1
        self.running[role].kill()
        self.start(role, where)
        dying = self.running[role]
        self.oven.command("reset")
        before = self.oven.get("holding", 1)
        action = {"do": "write", "device": "oven", "tag": "setpoint", "value": self._value}
        body = {"agent": "plant/line", "action": action, "reason": where, "approval": "approved" in where}
        command = self.ask(role, "POST", "", "anna", body, key=where).json()["id"]
        if "approved" in where:
            answer = self.ask(role, "POST", f"/{command}/approve", "berta", {})
            assert answer.status_code in (httpx.codes.OK, httpx.codes.CONFLICT), answer.text
        assert dying._process is not None
        assert dying._process.wait(WAIT_S_MAX) == -9, f"{where}: it was killed by itself"
        self.revive(role)
        assert self.ask(role, "POST", "", "anna", body, key=where).json()["id"] == command, "it is the same command"
        found = self.end_of(role, command)
        held = self.oven.get("holding", 1)
        assert self.writes() <= 1, f"{where}: {self.writes()} writes"
        if found["state"] == "succeeded":
            assert (self.writes(), held, found["after"]) == (1, [self._value], self._value), where
        else:
            assert found["state"] == "unknown", f"{where}: {found}"
            assert held in (before, [self._value])
        self._check_states(command, found, where)

    def writes(self) -> int:
        return sum(function in WRITES for _, function, _, _ in self.oven.requests())

    def end_of(self, role: str, command: str) -> dict[str, Any]:
        deadline_s = time.monotonic() + WAIT_S_MAX
        while True:
            found = dict(self.ask(role, "GET", f"/{command}", "anna").json())
            if found["state"] in ENDS:
                return found
            assert time.monotonic() < deadline_s, f"{found}\n{self.running[role].log_tail()}"
            time.sleep(0.1)

    def wait_until_all_has_arrived(self) -> None:
        """What was lost with the ingest is sent again a moment later than what came after it."""
        deadline_s = time.monotonic() + WAIT_S_MAX
        while any(agent["missing"] for agent in self.cloud.get("/api/v1/ledger").json()):
            assert time.monotonic() < deadline_s, "not every report has arrived"
            time.sleep(0.2)

    def _check_states(self, command: str, found: dict[str, Any], where: str) -> None:
        states = [CommandState(each["state"]) for each in found["states"] if not each.get("late")]
        for earlier, later in pairwise(states):
            assert may_follow(later, earlier), f"{where}: {states}"
        deadline_s = time.monotonic() + WAIT_S_MAX
        while True:
            told = [each["state"] for each in asyncio.run(published(self.cloud.dsn)) if each["id"] == command]
            if list(dict.fromkeys(told)) == [
                state.value for state in states
            ]:  # each at least once, first ones in order
                return
            assert time.monotonic() < deadline_s, f"{where}: published are {told}, and not {states}"
            time.sleep(0.2)


async def published(dsn: str) -> list[dict[str, Any]]:
    """Every state in the topic; one agent has one partition."""
    log = await open_event_log(dsn, connections_max=1, application_name="lineside-tests")
    try:
        ends = await log.end_offsets(COMMANDS)
        number, found = log.partition_of(COMMANDS, b"plant/line"), []
        end = ends.get(number, 0)
        async with log.reader(COMMANDS, number, 0) as reader, asyncio.timeout(WAIT_S_MAX):
            while len(found) < end:
                found += [json.loads(record.value) for record in await reader.read(1.0, 1_000_000)]
        return found
    finally:
        await log.close()


@pytest.fixture
def factory(tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str) -> Iterator[Factory]:
    cloud = Cloud(tmp_path / "cloud", mosquitto.url, database_dsn)
    cloud.add("commands", {"signing_key": str(tmp_path / "signing.jwk")})
    assert cloud.command("keys", "create").returncode == 0
    made = (("anna", "operator"), ("berta", "approver"))
    tokens = {name: cloud.command("token", "create", name, "--role", role).stdout.strip() for name, role in made}
    with ModbusServer() as oven:
        agent = AgentProcess(tmp_path / "agent", mosquitto, DEVICES.format(oven=oven.endpoint))
        (agent.folder / "data").mkdir()
        keys = json.loads(cloud.command("keys", "export").stdout)["keys"]
        write_pinned_keys(agent.folder / "data" / "trusted-keys.json", keys)
        here = Factory(cloud, agent, oven, tokens)
        try:
            for role in ROLES:
                here.start(role)
            agent.start()
            yield here
        finally:
            agent.stop()
            here.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute on a quiet machine
@pytest.mark.parametrize("role", MOMENTS)
def test_kill_9_of_the_cloud_at_a_step_of_a_command(factory: Factory, role: str) -> None:
    for where in MOMENTS[role]:
        factory.command(role, where)
    assert factory.cloud.command("audit", "verify").returncode == 0
    assert factory.agent.command("audit", "verify").code == 0
    factory.wait_until_all_has_arrived()
