"""Bad commands to a real agent on a real broker: each is refused by its code and a sentence, journalled and audited;
and the PLC is as it was, which is read from the PLC.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from connectors.commands.envelope import WriteTag
from connectors.commands.refusals import MEANING, Refusal
from connectors.commands.reports import CommandReport
from connectors.commands.signing import SigningKey
from connectors.commands.states import ENDED, CommandState
from edge_agent.commands.pinned_keys import write_pinned_keys
from tests.faults.commanding_cloud import CommandingCloud
from tests.faults.test_killed_commands import WRITES
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusServer
from tests.system.edge_agent_steps import EDGE_AGENT, AgentProcess, runs
from tests.system.small_disk import SmallDisk, small_disk

HELD: Final = [180, 175]

DEVICES: Final = """
- name: oven
  driver: modbus
  endpoint: {oven}
  poll: 500ms
  plain_commands: {plain}
  tags:
  - {{name: setpoint, at: holding 1, writable: {{min: 0, max: 250}}}}
  - {{name: temperature, at: holding 2}}
"""


class Line:
    """One agent beside its oven, and the cloud that commands it."""

    def __init__(self, folder: Path, broker: MosquittoBroker, oven: ModbusServer, cloud: CommandingCloud) -> None:
        self.oven, self.cloud = oven, cloud
        self.agent = AgentProcess(folder, broker, DEVICES.format(oven=oven.endpoint, plain="allow"))
        (folder / "data").mkdir(exist_ok=True)
        write_pinned_keys(folder / "data" / "trusted-keys.json", {cloud.key.key_id: cloud.key.public_jwk()})

    def begin(self) -> None:
        """The oven holds what it held, and the agent knows the time."""
        self.agent.start()
        self.oven.set("holding", 1, HELD[0])
        end = self.cloud.end_of(self.cloud.envelope(_write(HELD[0])))
        assert end.state is CommandState.SUCCEEDED, end
        self.oven.set("holding", 1, *HELD)
        self.oven.command("reset")

    def is_untouched(self) -> bool:
        """Whether the oven holds what it held, and no write has reached it."""
        written = [function for _, function, _, _ in self.oven.requests() if function in WRITES]
        return (self.oven.get("holding", 1, 2), written) == (HELD, [])

    def audited(self) -> list[dict[str, Any]]:
        """The audit log of the agent, whose chain is whole."""
        assert self.agent.command("audit", "verify").code == 0
        return [json.loads(line) for line in self.agent.command("audit", "export").out.splitlines()]

    def not_taken(self, code: Refusal) -> dict[str, Any]:
        """The entry of something that was no command of the cloud for this agent."""
        deadline_s = time.monotonic() + WAIT_S_MAX
        while True:
            found = [one for one in self.audited() if one["action"] == "not taken" and one["details"]["code"] == code]
            if found:
                return dict(found[-1])
            assert time.monotonic() < deadline_s, self.agent.process.log_tail()
            time.sleep(0.2)


class JournalElsewhere(AgentProcess):
    """An agent whose command journal is on a small disk."""

    def __init__(self, agent: AgentProcess, disk: SmallDisk, journal: Path) -> None:
        self.config, self.folder, self.process = agent.config, agent.folder, agent.process
        self.config.write_text(self.config.read_text() + f"commands: {{journal: '{journal}'}}\n")
        self._disk = disk

    def start(self) -> None:
        """See ``AgentProcess``; it runs where the disk is."""
        place = self.folder / "data" / "agent.sock"
        command = [EDGE_AGENT, "run", "-c", str(self.config)]
        self.process.start(command, lambda: runs(place), timeout_s=WAIT_S_MAX, wrapper=self._disk.wrapper)


def _write(value: Any, tag: str = "setpoint") -> WriteTag:
    return WriteTag(device="oven", tag=tag, value=value)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("refused")
    broker = MosquittoBroker(folder / "mosquitto")
    broker.start()
    try:
        with ModbusServer() as oven, CommandingCloud(broker.url) as cloud:
            made = Line(folder / "agent", broker, oven, cloud)
            made.begin()
            yield made
            made.agent.stop()
    finally:
        broker.stop()


REPORTED: Final[list[tuple[str, dict[str, Any], CommandState, Refusal]]] = [
    ("expired", {"lasts_s": -5.0}, CommandState.EXPIRED, Refusal.EXPIRED),
    ("wrong type", {"action": _write("fast")}, CommandState.REFUSED, Refusal.WRONG_TYPE),
    ("out of limits", {"action": _write(251)}, CommandState.REFUSED, Refusal.OUT_OF_LIMITS),
    ("unknown tag", {"action": _write(1, "lid")}, CommandState.REFUSED, Refusal.UNKNOWN_TARGET),
    ("read-only tag", {"action": _write(1, "temperature")}, CommandState.REFUSED, Refusal.NOT_WRITABLE),
    ("another journal", {"journal": "ab" * 16, "number": 1}, CommandState.UNKNOWN, Refusal.JOURNAL_MISMATCH),
]
"""What is a command of the cloud, and is not done: it is journalled and reported."""


@pytest.mark.slow
@pytest.mark.parametrize(("what", "more", "state", "code"), REPORTED, ids=[each[0] for each in REPORTED])
def test_a_command_that_is_not_done_is_reported_and_the_plc_is_as_it_was(
    line: Line, what: str, more: dict[str, Any], state: CommandState, code: Refusal
) -> None:
    envelope = line.cloud.envelope(more.pop("action", None) or _write(20), **more)
    end = line.cloud.end_of(envelope, WAIT_S_MAX)
    assert (end.state, end.code) == (state, code), end
    assert len(end.detail) > 10
    shown = json.loads(line.agent.command("commands", "show", envelope.id, "--json").out)
    assert (shown["state"], shown["code"], shown["meaning"]) == (state.value, code.value, MEANING[code])
    entries = [one for one in line.audited() if one["details"].get("id") == envelope.id]
    assert (entries[-1]["action"], entries[-1]["details"]["code"]) == (state.value, code.value)
    assert (entries[0]["details"]["issuer"], entries[0]["details"]["reason"]) == ("anna", "a test")
    assert line.is_untouched()


def _changed(jws: str) -> str:
    head, body, signature = jws.split(".")
    return f"{head}.{body}.{'A' if signature[10] != 'A' else 'B'}{signature[1:]}"


def _bad(line: Line, what: str) -> str:
    """A message that is no command of the cloud for this agent."""
    key, envelope = line.cloud.key, line.cloud.envelope(_write(20))
    match what:
        case "wrong signature":
            return _changed(key.sign("lineside-command", envelope.to_json()))
        case "unknown key":
            return SigningKey.generate().sign("lineside-command", envelope.to_json())
        case "another agent":
            return key.sign("lineside-command", line.cloud.envelope(_write(20), agent="plant/other").to_json())
        case "not a number":
            return key.sign("lineside-command", envelope.to_json().replace(b'"value":20', b'"value":NaN'))
        case "oversized":
            return key.sign("lineside-command", envelope.to_json()) + "A" * 200_000
        case _:
            done = line.cloud.envelope(_write(251))  # its id is taken by something that was refused
            line.cloud.end_of(done)
            return key.sign("lineside-command", line.cloud.envelope(_write(20), id=done.id).to_json())


NOT_TAKEN: Final = {
    "wrong signature": Refusal.BAD_SIGNATURE,
    "unknown key": Refusal.UNKNOWN_KEY,
    "another agent": Refusal.WRONG_AGENT,
    "not a number": Refusal.MALFORMED,
    "oversized": Refusal.OVERSIZED,
    "replayed with another content": Refusal.REPLAYED,
}


@pytest.mark.slow
@pytest.mark.parametrize("what", NOT_TAKEN)
def test_what_is_no_command_of_the_cloud_is_audited_and_the_plc_is_as_it_was(line: Line, what: str) -> None:
    code = NOT_TAKEN[what]
    line.cloud.send_sealed(_bad(line, what), "oven")
    entry = line.not_taken(code)
    assert (entry["actor"], len(entry["details"]["detail"]) > 10) == ("unknown", True), entry
    assert line.is_untouched()


@pytest.mark.slow
def test_a_plain_command_that_is_not_a_number_is_audited_and_the_plc_is_as_it_was(line: Line) -> None:
    line.cloud.send_plain("oven", "setpoint", float("nan"))
    assert "setpoint" in line.not_taken(Refusal.WRONG_TYPE)["details"]["detail"]
    assert line.is_untouched()


@pytest.mark.slow
def test_a_command_that_comes_again_is_not_written_again(line: Line) -> None:
    envelope = line.cloud.envelope(_write(33))
    assert line.cloud.end_of(envelope).state is CommandState.SUCCEEDED
    line.oven.set("holding", 1, *HELD)
    line.oven.command("reset")
    told = len(line.cloud.reports)
    for _ in range(5):
        line.cloud.send(envelope)
    line.cloud.wait_for(lambda: len(line.cloud.reports) > told)
    assert {report.state for report in line.cloud.reports[told:]} == {CommandState.SUCCEEDED}, "its end is told again"
    assert line.is_untouched()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_of_a_thousand_at_once_a_bounded_number_is_done_and_the_rest_refused(line: Line) -> None:
    sent = {each.id: each for each in (line.cloud.envelope(_write(number % 200)) for number in range(1000))}
    for envelope in sent.values():
        line.cloud.send(envelope)

    def ends() -> dict[str, CommandReport]:
        return {each.id: each for each in line.cloud.reports if each.id in sent and each.state in ENDED}

    line.cloud.wait_for(lambda: len(ends()) == len(sent), 240.0)
    done = [each for each in ends().values() if each.state is CommandState.SUCCEEDED]
    refused = [each for each in ends().values() if each.state is CommandState.REFUSED]
    assert len(done) + len(refused) == len(sent)
    assert {each.code for each in refused} == {Refusal.TOO_MANY}
    written = [function for _, function, _, _ in line.oven.requests() if function in WRITES]
    assert len(written) == len(done), "what was refused was not written"
    line.oven.set("holding", 1, *HELD)
    line.oven.command("reset")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_restored_image_of_the_agents_disk_does_nothing_of_what_is_under_way(line: Line, tmp_path: Path) -> None:
    agent, cloud, data = line.agent, line.cloud, line.agent.folder / "data"
    assert agent.stop() == 0
    shutil.copytree(data, tmp_path / "image")
    agent.start()
    done = cloud.envelope(_write(44))
    assert cloud.end_of(done).state is CommandState.SUCCEEDED
    (journal, number), hellos = (cloud.reports[-1].journal, cloud.reports[-1].number), len(cloud.hellos)
    assert agent.stop() == 0
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "image", data)
    line.oven.set("holding", 1, *HELD)
    line.oven.command("reset")
    cloud.restored = True
    try:
        agent.start()
        cloud.wait_for(lambda: len(cloud.hellos) > hellos)
        assert (cloud.hellos[hellos].journal, cloud.hellos[hellos].number < number) == (journal, True)
        told = len(cloud.reports)
        fresh = cloud.envelope(_write(55), journal=journal, number=number)
        for envelope in (fresh, done):
            cloud.send(envelope)
        cloud.wait_for(lambda: {fresh.id, done.id} <= {each.id for each in cloud.reports[told:]})
        of_these = [each for each in cloud.reports[told:] if each.id in (fresh.id, done.id)]
        for report in of_these:  # nobody can say whether it was done before; what is older may be told once more
            assert (report.state, report.code) == (CommandState.UNKNOWN, Refusal.JOURNAL_MISMATCH), report
        assert any(entry["action"] == "new journal" for entry in line.audited())
        assert line.is_untouched()
    finally:
        cloud.restored = False


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_journal_on_a_full_disk_refuses_and_the_plc_is_as_it_was(tmp_path: Path, mosquitto: MosquittoBroker) -> None:
    room = small_disk(tmp_path / "disk", 4_000_000)
    with ModbusServer() as oven, CommandingCloud(mosquitto.url) as cloud, room as disk:
        line = Line(tmp_path / "agent", mosquitto, oven, cloud)
        line.agent = JournalElsewhere(line.agent, disk, tmp_path / "disk" / "commands.db")
        try:
            line.begin()
            disk.fill()
            envelope = cloud.envelope(_write(20))
            end = cloud.end_of(envelope, WAIT_S_MAX)
            assert (end.state, end.code) == (CommandState.REFUSED, Refusal.JOURNAL_UNAVAILABLE), end
            assert "full" in end.detail
            assert line.is_untouched()
            disk.free()
            cloud.wait_for(lambda: cloud.end_of(cloud.envelope(_write(21))).state is CommandState.SUCCEEDED)
            oven.set("holding", 1, *HELD)
            oven.command("reset")
            cloud.send(envelope)
            again = [*disk.wrapper, EDGE_AGENT, "audit", "export", "-c", str(line.agent.config)]
            deadline_s = time.monotonic() + WAIT_S_MAX
            while envelope.id not in (told := subprocess.run(again, capture_output=True, text=True, check=True).stdout):
                assert time.monotonic() < deadline_s, told
                time.sleep(0.2)
            (entry,) = [one for one in map(json.loads, told.splitlines()) if one["details"].get("id") == envelope.id]
            assert (entry["action"], entry["details"]["code"]) == ("refused", "journal_unavailable"), "it stays refused"
            assert line.is_untouched()
        finally:
            line.agent.stop()
