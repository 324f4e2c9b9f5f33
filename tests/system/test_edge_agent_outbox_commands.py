"""The outbox of a real agent, encrypted: looked into while it runs, its key changed, exported, compacted."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from lineside.servers.mosquitto import MosquittoBroker

from edge_agent.buffer.sealing import key_id_of
from tests.servers.opcua import OpcUaServer
from tests.system.edge_agent_steps import AgentProcess, press
from tests.system.sparkplug_host import PlayedHost, until

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
TAG, SECRET = "force_at_the_bottom_of_the_ram", "somebody opened the guard of press four"


@contextmanager
def running(agent: AgentProcess, host: PlayedHost) -> Iterator[None]:
    agent.start()
    try:
        yield
    finally:
        agent.stop()
        host.close()


def encrypt(agent: AgentProcess, encryption: str) -> None:
    """Write the agent's file anew, with these keys."""
    for name, key in (("key", KEY), ("other", OTHER)):
        (agent.folder / name).write_text(b64encode(key).decode() + "\n")
    text = agent.config.read_text()
    begin, end = text.index("outbox:"), text.index("devices:")
    agent.config.write_text(f"{text[:begin]}outbox: {{commit_interval: 50ms{encryption}}}\n{text[end:]}")


def values(agent: AgentProcess, *words: str) -> list[object]:
    """The values that an export has of the press, in their order."""
    said = agent.command("buffer", "export", "--device", "press", *words)
    assert (said.code, said.err) == (0, "")
    records = [json.loads(line) for line in said.out.splitlines()]
    assert (records[0]["agent"], records[-1]["record"]) == ("plant/line", "end")
    return [record["value"] for record in records if record["record"] == "sample"]


def is_readable(folder: Path, text: str) -> bool:
    """Whether the disk shows ``text``."""
    return any(text.encode() in path.read_bytes() for path in (folder / "data").iterdir() if path.is_file())


@pytest.mark.slow
def test_what_waits_is_sealed_on_the_disk_exported_while_the_agent_runs_and_delivered_under_the_next_key(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer
) -> None:
    opcua_server.add(TAG, "Double", 0.5)
    opcua_server.add("state", "String", SECRET)
    host = PlayedHost(mosquitto.port, acknowledges=False)
    agent = AgentProcess(folder, mosquitto, press(opcua_server, TAG, "state"))
    encrypt(agent, ", encryption: {key: '${file:key}'}")
    with running(agent, host):
        for number in range(1, 20):
            opcua_server.write(TAG, "Double", number + 0.5)
        until(lambda: {19.5, SECRET} <= set(values(agent)))
        assert not is_readable(folder, SECRET)
        assert not is_readable(folder, TAG)

        checked = agent.command("buffer", "verify", "--json")
        assert (checked.code, checked.json["problems"]) == (0, [])
        assert list(checked.json["keys"]) == [key_id_of(KEY)]
        assert checked.json["file_checked"] is False, "the agent runs"
        assert f"sealed with the key {key_id_of(KEY)}" in agent.command("buffer", "status").out
        rows = agent.command("buffer", "list", "--json").json
        shown = agent.command("buffer", "show", str(next(row["batch"] for row in rows if row["kind"] == "definition")))
        assert (shown.code, TAG in shown.out) == (0, True)
        for command in ("compact", "reseal"):
            refused = agent.command("buffer", command)
            assert (refused.code, refused.out) == (1, "")
            assert "systemctl stop edge-agent" in refused.err

        target = folder / "found.parquet"
        assert agent.command("buffer", "export", "-o", str(target), "--tag", TAG).code == 0
        assert pq.read_table(target)["value_double"].to_pylist()[-1] == 19.5

        waiting = values(agent)
        assert agent.stop() == 0
        encrypt(agent, ", encryption: {key: '${file:other}', previous_keys: ['${file:key}']}")
        host.acknowledges = True
        agent.start()
        until(lambda: agent.command("buffer", "list", "--json").json == [])
        received = host.values("press", TAG) + host.values("press", "state")
        assert set(waiting) <= set(received)
        assert agent.events("outbox_key_missing") == agent.events("batch_refused") == []

        host.acknowledges = False
        opcua_server.write(TAG, "Double", 77.5)
        until(lambda: 77.5 in values(agent))
        assert agent.stop() == 0
        assert agent.command("buffer", "compact").code == 0
        encrypt(agent, ", encryption: {key: '${file:other}'}")
        assert values(agent)[-1] == 77.5, "the previous key is not needed any more"
        checked = agent.command("buffer", "verify", "--json")
        assert (checked.code, checked.json["problems"], checked.json["file_checked"]) == (0, [], True)
        host.acknowledges = True
        agent.start()
        until(lambda: host.values("press", TAG)[-1:] == [77.5])


@pytest.mark.slow
def test_an_agent_whose_key_is_gone_says_which_and_goes_on(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer
) -> None:
    opcua_server.add(TAG, "Double", 0.5)
    host = PlayedHost(mosquitto.port, acknowledges=False)
    agent = AgentProcess(folder, mosquitto, press(opcua_server, TAG))
    encrypt(agent, ", encryption: {key: '${file:key}'}")
    with running(agent, host):
        until(lambda: values(agent) == [0.5])
        assert agent.stop() == 0
        (folder / "key").unlink()
        assert agent.command("check").code == 1
        encrypt(agent, ", encryption: {key: '${file:other}'}")
        host.acknowledges = True
        agent.start()
        opcua_server.write(TAG, "Double", 1.5)
        until(lambda: host.values("press", TAG)[-1:] == [1.5])
        until(lambda: agent.command("buffer", "list", "--json").json == [])
        assert [event["key_id"] for event in agent.events("outbox_key_missing")] == [key_id_of(KEY)]
    gaps = [json.loads(seen.named("Lineside/Gap")) for seen in host.seen if seen.named("Lineside/Gap")]
    lost = {gap["detail"].split(":")[0]: gap for gap in gaps if gap["reason"] == "key_lost"}
    assert sum(gap["count"] for gap in lost.values()) >= 1
    assert host.values("press", TAG)[-1] == 1.5
