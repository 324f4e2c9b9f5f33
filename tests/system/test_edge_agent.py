"""A real agent between open62541 and Mosquitto: what it tells a Sparkplug host, and that nothing is lost."""

from __future__ import annotations

import itertools
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lineside.servers.mosquitto import MosquittoBroker

from edge_agent.buffer.definitions import ALIAS_FIRST
from tests.servers.opcua import OpcUaServer
from tests.system.edge_agent_steps import AgentProcess, press
from tests.system.sparkplug_host import PlayedHost, Seen, until

DATA = ("NDATA", "DDATA")
SEQUENCED = ("NBIRTH", "DBIRTH", *DATA, "DDEATH")
QUEUED_MAX = 50
"""So many values the server keeps in any case, when the agent stands still: half of what it can."""


@contextmanager
def running(agent: AgentProcess, host: PlayedHost) -> Iterator[None]:
    """The agent, born; both stopped at the end."""
    agent.start()
    try:
        until(lambda: host.of("DBIRTH"))
        yield
    finally:
        agent.stop()
        host.close()


def rows_of(agent: AgentProcess) -> list[dict[str, Any]]:
    """What waits in the outbox."""
    return list(agent.command("buffer", "list", "--json", "-n", "100000").json)


def samples_wait(agent: AgentProcess) -> list[dict[str, Any]]:
    """What waits in the outbox, when samples do; what the agent says of its commands may stand behind them."""
    rows = rows_of(agent)
    return rows if any(row["kind"] == "samples" for row in rows) else []


def count_up(server: OpcUaServer, first: int, last: int, step_s: float = 0.01) -> None:
    """Give ``force`` the values first…last, slowly enough for the server's queue."""
    for number in range(first, last + 1):
        server.write("force", "Int32", number)
        time.sleep(step_s)


def seqs(messages: list[Seen]) -> list[int]:
    return [int(seen.payload.seq) for seen in messages]


def test_births_come_first_and_data_follows_in_the_order_of_the_specification(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer
) -> None:
    opcua_server.add("force", "Double", 1.5)
    opcua_server.add("state", "String", "ready")
    host = PlayedHost(mosquitto.port)
    agent = AgentProcess(folder, mosquitto, press(opcua_server, "force", "state"), resend_after="5min")
    with running(agent, host):
        until(lambda: (host.values("press", "force"), host.values("press", "state")) == ([1.5], ["ready"]))
        for number in range(300):
            opcua_server.write("force", "Double", number + 2.5)
            time.sleep(0.01)
            if number % QUEUED_MAX == QUEUED_MAX - 1:
                until(lambda number=number: host.values("press", "force")[-1:] == [number + 2.5])  # type: ignore[misc]
        until(lambda: host.values("press", "force")[-1:] == [301.5])
        until(lambda: rows_of(agent) == [])
    life = [seen for seen in host.seen if seen.verb in SEQUENCED]
    assert [seen.verb for seen in life][:1] == ["NBIRTH"]
    assert life[0].payload.seq == 0
    assert (life[0].named("bdSeq"), life[0].named("Node Control/Rebirth")) == (0, False)
    assert seqs(life) == [number % 256 for number in range(len(life))]
    assert len([seen for seen in life if seen.verb == "NBIRTH"]) == 1
    birth_at = [seen.verb for seen in life].index("DBIRTH")
    assert all(seen.verb != "DDATA" for seen in life[:birth_at])
    birth = life[birth_at]
    by_name = {metric.name: metric for metric in birth.payload.metrics}
    assert (by_name["force"].datatype, by_name["state"].datatype) == (10, 12)
    for data in host.of("DDATA"):
        assert {metric.alias for metric in data.payload.metrics if not metric.name} <= set(birth.aliases.values())
        assert not any(metric.datatype for metric in data.payload.metrics)
    numbers = [seen.batch for seen in life if seen.batch]
    assert numbers == list(range(1, len(numbers) + 1))
    (first,) = (seen for seen in life if seen.batch == 1)
    (definition,) = (seen for seen in life if seen.verb == "NDATA" and seen.named("Lineside/Definition Body"))
    assert json.loads(first.named("Lineside/Epoch Start"))["earlier"] == []
    assert definition.named("Lineside/Definition") == birth.named("Lineside/Definition")
    assert host.values("press", "force") == [1.5, *(number + 2.5 for number in range(300))]


def test_a_batch_stays_on_disk_and_is_sent_again_until_it_is_acknowledged(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer
) -> None:
    opcua_server.add("force", "Int32", 0)
    host = PlayedHost(mosquitto.port, acknowledges=False)
    agent = AgentProcess(folder, mosquitto, press(opcua_server, "force"))
    with running(agent, host):
        until(lambda: len([seen for seen in host.of("NDATA") if seen.batch == 1]) >= 2)
        until(lambda: samples_wait(agent))  # the first value of the press, before it counts
        count_up(opcua_server, 1, 10)
        assert host.of("DDATA") == [], "samples leave only when the cloud knows their definition"
        waiting = samples_wait(agent)
        assert [row["kind"] for row in waiting if row["kind"] != "command"][:2] == ["epoch_start", "definition"]
        newest = until(lambda: [seen for seen in host.previews() if seen.values(ALIAS_FIRST) == [10]])
        assert newest[0].batch == 0, "whoever looks at the line sees its newest value all the same"
        status = agent.command("status")
        assert (status.code, "NOTHING IS ACKNOWLEDGED" in status.out) == (1, True)
        host.acknowledges = True
        until(lambda: host.values("press", "force")[-1:] == [10])
        until(lambda: rows_of(agent) == [])
        status = agent.command("status")
        assert (status.code, "NOTHING IS ACKNOWLEDGED" in status.out) == (0, False)
    assert host.values("press", "force") == list(range(11))


def test_a_batch_that_the_host_refuses_is_declared_and_the_stream_goes_on(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer
) -> None:
    opcua_server.add("force", "Int32", 0)
    host = PlayedHost(mosquitto.port)
    host.refuses_samples = "too large"
    agent = AgentProcess(folder, mosquitto, press(opcua_server, "force"), resend_after="5min")
    with running(agent, host):
        until(lambda: host.of("DDATA"))
        count_up(opcua_server, 1, 3)
        gap = json.loads(
            until(lambda: [s.named("Lineside/Gap") for s in host.of("NDATA") if s.named("Lineside/Gap")])[0]
        )
        until(lambda: host.values("press", "force")[-1:] == [3])
        assert until(lambda: agent.command("buffer", "status", "--json").json)["refused"] == 1
    assert (gap["device"], gap["reason"]) == ("press", "refused")
    assert "too large" in gap["detail"]
    ((number, _),) = host.refused.items()
    (refused,) = (seen for seen in host.of("DDATA") if seen.batch == number)
    assert gap["count"] == refused.named("Lineside/Count")


def test_a_rebirth_is_given_when_the_host_asks(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer
) -> None:
    opcua_server.add("force", "Int32", 7)
    host = PlayedHost(mosquitto.port)
    agent = AgentProcess(folder, mosquitto, press(opcua_server, "force"))
    with running(agent, host):
        until(lambda: host.of("DDATA"))
        host.command("Node Control/Rebirth", datatype=11, boolean_value=True)
        until(lambda: len(host.of("DBIRTH")) == 2)
        host.command("Node Control/Rebirth", datatype=11, boolean_value=False)
        opcua_server.write("force", "Int32", 8)
        until(lambda: host.values("press", "force") == [7, 8])
    first, second = host.of("NBIRTH")
    assert (second.payload.seq, second.named("bdSeq")) == (0, first.named("bdSeq"))
    at = host.seen.index(second)
    assert [seen.verb for seen in host.seen[at : at + 2]] == ["NBIRTH", "DBIRTH"]
    life = [seen for seen in host.seen[at:] if seen.verb in SEQUENCED]
    assert seqs(life) == list(range(len(life)))
    values = {metric.name: metric for metric in host.of("DBIRTH")[1].payload.metrics}
    assert values["force"].int_value == 7
    assert host.of("DBIRTH")[0].aliases == host.of("DBIRTH")[1].aliases


def test_an_agent_that_is_killed_dies_by_its_will_and_delivers_what_it_had_when_it_is_back(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer
) -> None:
    opcua_server.add("force", "Int32", 0)
    host = PlayedHost(mosquitto.port)
    agent = AgentProcess(folder, mosquitto, press(opcua_server, "force"))
    with running(agent, host):
        until(lambda: host.values("press", "force") == [0])
        host.acknowledges = False
        count_up(opcua_server, 1, 20)
        until(lambda: 20 in samples_on_disk(folder / "data" / "outbox.db"))
        agent.kill()
        death = until(lambda: host.of("NDEATH"))[0]
        assert death.named("bdSeq") == host.of("NBIRTH")[0].named("bdSeq") == 0
        assert not death.payload.HasField("seq")
        before = len(host.seen)
        opcua_server.write("force", "Int32", 21)
        host.acknowledges = True
        host.acknowledge_all()  # of an epoch that is over: the rows are still known by it
        agent.start()
        until(lambda: host.values("press", "force")[-1:] == [21])
        until(lambda: rows_of(agent) == [])
    again = host.seen[before:]
    births = [seen for seen in again if seen.verb == "NBIRTH"]
    assert births[0].named("bdSeq") == 1
    assert births[0].epoch != host.of("NBIRTH")[0].epoch
    start = next(json.loads(seen.named("Lineside/Epoch Start")) for seen in again if seen.named("Lineside/Epoch Start"))
    old_numbers = {seen.batch for seen in host.seen if seen.epoch == host.of("NBIRTH")[0].epoch and seen.batch}
    assert start["earlier"] == [{"epoch": host.of("NBIRTH")[0].epoch, "first": 1, "last": max(old_numbers)}]
    assert old_numbers == set(range(1, max(old_numbers) + 1))
    assert host.values("press", "force") == list(range(22))
    gaps = {seen.batch: json.loads(seen.named("Lineside/Gap")) for seen in again if seen.named("Lineside/Gap")}
    assert [(gap["device"], gap["reason"]) for gap in gaps.values()] == [("press", "agent_not_running")]


def test_an_agent_that_is_asked_to_stop_says_goodbye_and_has_everything_on_disk_or_acknowledged(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer
) -> None:
    opcua_server.add("force", "Int32", 0)
    host = PlayedHost(mosquitto.port)
    agent = AgentProcess(folder, mosquitto, press(opcua_server, "force"))
    with running(agent, host):
        until(lambda: host.values("press", "force") == [0])
        count_up(opcua_server, 1, 30)
        until(lambda: len(host.values("press", "force")) > 10)
        host.acknowledges = False
        count_up(opcua_server, 31, 60)
        until(lambda: max(host.values("press", "force")) >= 31)
        assert agent.stop() == 0
        until(lambda: host.of("NDEATH"))
        assert agent.events("agent_stopped")[0]["samples_lost"] == 0
        received, kept = host.values("press", "force"), samples_on_disk(folder / "data" / "outbox.db")
        taken = max([*received, *kept])
        assert taken >= 31
        assert set(received) | set(kept) == set(range(taken + 1)), "a hole between what was acknowledged and the disk"
        host.acknowledges = True
        opcua_server.write("force", "Int32", 61)
        agent.start()
        until(lambda: host.values("press", "force")[-1:] == [61])
        until(lambda: rows_of(agent) == [])
        agent.stop()
        until(lambda: {seen.named("bdSeq") for seen in host.of("NDEATH")} == {0, 1})
    assert list(dict.fromkeys(seen.named("bdSeq") for seen in host.of("NDEATH"))) == [0, 1]
    assert host.values("press", "force") == [*range(taken + 1), 61]


def samples_on_disk(path: Path) -> list[int]:
    """The values of the samples that wait in an outbox."""
    from edge_agent.buffer.columns import unpack_columns

    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as outbox:
        rows = outbox.execute("SELECT payload FROM outbox WHERE kind=3 ORDER BY batch").fetchall()
    return list(itertools.chain.from_iterable(part.value.tolist() for (row,) in rows for part in unpack_columns(row)))


def test_by_the_rules_of_sparkplug_data_waits_for_the_primary_host(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer
) -> None:
    opcua_server.add("force", "Int32", 0)
    host = PlayedHost(mosquitto.port, acknowledges=False)
    host.state("scada", online=False)
    uplink = ", delivery: sparkplug, host: scada"
    agent = AgentProcess(folder, mosquitto, press(opcua_server, "force"), uplink=uplink)
    agent.start()
    try:
        until(lambda: samples_wait(agent))
        count_up(opcua_server, 1, 10)
        until(lambda: sum(row["sample_count"] for row in rows_of(agent)) >= 11)
        assert host.of("NBIRTH", "DBIRTH", *DATA) == [], "what leaves is a will, of sessions that were never born"
        assert agent.command("status", "--json").json["uplink"]["host_online"] is not True
        host.state("scada", online=True)
        until(lambda: host.values("press", "force") == list(range(11)))
        until(lambda: rows_of(agent) == [])
        host.state("scada", online=False)
        born = host.of("NBIRTH")[0].named("bdSeq")
        until(lambda: born in [death.named("bdSeq") for death in host.of("NDEATH")])
        quiet = len(host.of("NBIRTH", "DBIRTH", *DATA))
        count_up(opcua_server, 11, 20)
        until(lambda: sum(row["sample_count"] for row in rows_of(agent)) >= 10)
        assert len(host.of("NBIRTH", "DBIRTH", *DATA)) == quiet
        host.state("scada", online=True)
        until(lambda: host.values("press", "force") == list(range(21)))
        late = [metric for seen in host.of("DDATA")[-3:] for metric in seen.payload.metrics if not metric.name]
        assert any(metric.is_historical for metric in late)
    finally:
        agent.stop()
        host.close()


def test_a_machine_that_comes_and_goes_is_born_and_dies_alone(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer
) -> None:
    opcua_server.add("force", "Int32", 1)
    host = PlayedHost(mosquitto.port)
    agent = AgentProcess(folder, mosquitto, press(opcua_server, "force"))
    with running(agent, host):
        until(lambda: host.values("press", "force") == [1])
        opcua_server.kill()
        until(lambda: host.of("DDEATH"))
        status = agent.command("status", "--json")
        assert status.code == 1
        until(lambda: "nothing listens" in agent.command("status", "--json").json["devices"][0]["reason"])
        agent.process.pause()  # so that it finds the server with its node
        opcua_server.start()
        opcua_server.add("force", "Int32", 2)
        agent.process.resume()
        until(lambda: host.values("press", "force") == [1, 2])
        gap = json.loads(
            until(lambda: [s.named("Lineside/Gap") for s in host.of("NDATA") if s.named("Lineside/Gap")])[0]
        )
        agent.stop()
        until(lambda: host.of("NDEATH"))
    assert (gap["device"], gap["reason"]) == ("press", "device_unavailable")
    turns = [seen.verb for seen in host.seen if "BIRTH" in seen.verb or "DEATH" in seen.verb]
    assert turns[:5] == ["NBIRTH", "DBIRTH", "DDEATH", "DBIRTH", "NDEATH"]
    assert turns[5:] in ([], ["NDEATH"]), "by MQTT 5, the will follows the goodbye"


def test_a_broker_that_dies_is_waited_for_and_gets_everything_afterwards(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer
) -> None:
    opcua_server.add("force", "Int32", 0)
    host = PlayedHost(mosquitto.port)
    agent = AgentProcess(folder, mosquitto, press(opcua_server, "force"))
    with running(agent, host):
        until(lambda: host.values("press", "force") == [0])
        mosquitto.kill()
        count_up(opcua_server, 1, 30)
        host.close()
        agent.process.pause()  # its births come when the host listens
        mosquitto.start()
        later = PlayedHost(mosquitto.port)
        agent.process.resume()
        until(lambda: later.of("DDATA") and 30 in later.values("press", "force"))
        until(lambda: rows_of(agent) == [])
        known = set(host.values("press", "force")) | set(later.values("press", "force"))
        assert known == set(range(31))
        assert later.of("NBIRTH")[0].named("bdSeq") > host.of("NBIRTH")[0].named("bdSeq")
        later.close()


def test_a_second_agent_on_the_same_folder_is_turned_away(
    folder: Path, mosquitto: MosquittoBroker, opcua_server: OpcUaServer
) -> None:
    opcua_server.add("force", "Int32", 0)
    host = PlayedHost(mosquitto.port)
    agent = AgentProcess(folder, mosquitto, press(opcua_server, "force"))
    with running(agent, host):
        second = agent.command("run")
        assert second.code == 4
        assert f"another agent uses the data folder {folder / 'data'}: stop it, or give" in second.err
        assert agent.command("status").code == 0
