"""A rebirth is asked for at most once a second a node by all processes of the ingest together.

Counted on the wire, where each has to be one that the database has allowed; how far they are apart the database says: a
process may stand still between that and the command, and two commands are nearer to each other then.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from itertools import count, pairwise
from pathlib import Path

import pytest
from lineside.servers.child_process import ChildProcess
from lineside.servers.mosquitto import MosquittoBroker

from connectors.model.delivery import AgentName
from connectors.ports.database import Row
from connectors.postgres.database import open_database
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.topics import Topic, Verb
from tests.mqtt_wire import PUBLISH, Recorder
from tests.played_agent import Wire
from tests.system.cloud_process import Cloud, eventually, line

STRANGER = AgentName("plant", "stranger")
NCMD = str(Topic(STRANGER, Verb.NCMD))
ASKED_MIN = 4
MILLISECOND_S = 0.001
"""What a command says of its time is cut off there."""
KEPT = """
CREATE TABLE allowed (at timestamptz);
CREATE FUNCTION keep_allowed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
$$ BEGIN INSERT INTO allowed VALUES (new.rebirth_asked); RETURN NULL; END $$;
CREATE TRIGGER keep_allowed AFTER UPDATE OF rebirth_asked ON agent FOR EACH ROW EXECUTE FUNCTION keep_allowed();
"""
"""Keeps when it was allowed to ask, by the clock of the database."""


@pytest.fixture
def recorder(mosquitto: MosquittoBroker) -> Iterator[Recorder]:
    made = Recorder(mosquitto.port)
    yield made
    made.close()


def garbage(number: int) -> Wire:
    """Data with an alias that no birth has named, and a sequence number that never fits."""
    payload = pb.Payload(timestamp=time.time_ns() // 1_000_000, seq=number * 7 % 256)
    payload.metrics.add(alias=1_000_000 + number, datatype=10, double_value=1.0)
    return Wire(str(Topic(STRANGER, Verb.NDATA)), payload.SerializeToString())


def asked(recorder: Recorder) -> list[tuple[float, int]]:
    """When the node was asked for its births, and on which connection, in the order of time.

    By the timestamps in the commands: the threads of this process may read them late.
    """
    packets = [packet for packet in recorder.of(PUBLISH) if packet.topic == NCMD]
    assert all(b"Node Control/Rebirth" in packet.payload for packet in packets)
    return sorted((pb.Payload.FromString(packet.payload).timestamp / 1000, packet.connection) for packet in packets)


@pytest.mark.parametrize("share", [False, True], ids=["one-takes-all", "shared"])
async def test_a_node_that_answers_no_rebirth_is_asked_once_a_second_also_when_another_process_becomes_the_host(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str, recorder: Recorder, share: bool
) -> None:
    await say(database_dsn, KEPT)
    cloud = Cloud(tmp_path / "cloud", recorder.url, database_dsn, share=share)
    with ExitStack() as stack:
        processes = [cloud.replica(f"ingest-{number}", "ingest") for number in range(2)]
        for process in (*processes, cloud.replica("historian", "historian")):
            stack.callback(process.kill)
        await eventually(lambda: hosts_of(processes))
        async with garbage_on(mosquitto.url):
            await eventually(lambda: len(asked(recorder)) >= ASKED_MIN)
            before = len(asked(recorder))
            hosts_of(processes)[0].kill()
            await eventually(lambda: len(asked(recorder)) >= before + ASKED_MIN)
    await assert_once_a_second(recorder, database_dsn)


async def test_a_node_that_answers_no_rebirth_is_asked_once_a_second_by_two_hosts_together(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str, recorder: Recorder
) -> None:
    """Both ask all the time: only the node's row keeps them apart."""
    await say(database_dsn, KEPT)
    cloud = Cloud(tmp_path / "cloud", recorder.url, database_dsn)
    document = json.loads(cloud.config.read_text())
    with ExitStack() as stack:
        processes = []
        for host in ("lineside", "standby"):
            document["ingest"]["host"] = host
            cloud.configure(document)
            processes.append(cloud.replica(f"ingest-{host}", "ingest"))
            stack.callback(processes[-1].kill)
        stack.callback(cloud.replica("historian", "historian").kill)
        await eventually(lambda: len(hosts_of(processes)) == 2)
        async with garbage_on(mosquitto.url):
            await eventually(lambda: len(asked(recorder)) >= 3 * ASKED_MIN)
    await assert_once_a_second(recorder, database_dsn, connections_min=1)


async def assert_once_a_second(recorder: Recorder, dsn: str, connections_min: int = 2) -> None:
    found = asked(recorder)
    assert len({connection for _, connection in found}) >= connections_min, "the other process has never asked"
    allowed_s = [float(row["at_s"]) for row in await say(dsn, "SELECT extract(epoch FROM at) AS at_s FROM allowed")]
    allowed_s.sort()
    assert min(later - earlier for earlier, later in pairwise(allowed_s)) >= 1.0, allowed_s
    assert len(found) <= len(allowed_s)
    for (at_s, _), since_s in zip(found, allowed_s, strict=False):
        assert at_s >= since_s - MILLISECOND_S, "it was asked before that was allowed"


async def say(dsn: str, statement: str) -> Sequence[Row]:
    database = await open_database(dsn, connections_max=1, application_name="tests")
    try:
        async with database.session() as session:
            if statement.startswith("SELECT"):
                return await session.fetch(statement)
            await session.execute(statement)
            return []
    finally:
        await database.close()


def hosts_of(processes: list[ChildProcess]) -> list[ChildProcess]:
    """Those that are a host."""
    return [process for process in processes if process.running and "host_online" in process.log()]


@asynccontextmanager
async def garbage_on(broker: str) -> AsyncIterator[None]:
    """Fifty messages of no use a second."""

    async def send_for_ever() -> None:
        for number in count():
            connection.send(garbage(number))
            await asyncio.sleep(0.02)

    async with line(broker) as connection, asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(send_for_ever())
        yield
        sending.cancel()
