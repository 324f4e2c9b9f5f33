"""``live``: a thousand clients of ``/api/v1/live``, and how soon a change at the PLC is seen by one.

Everything is real: Mosquitto, PostgreSQL, ingest and historian in one process, the gateway in another.

Clients: 1,000 of them, each with 20 tags of 2,000 that have two new values a second each; how many values a second each
tag of each client got, and what the gateway's CPU time was. One process has all the clients, and they take their share
of the same cores.

Change: an agent reads an OPC UA server (open62541) and Modbus units that change every 100 ms, 5,000 values a second in
all; one client has 20 tags of the OPC UA server. From the source time that the server gave a change to its arrival at
the client, by one clock; sampling is in it.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.cloud_ingest import Ledger
from benchmarks.command_latency import Plant, quantile
from benchmarks.commanded_cloud import CommandedCloud
from benchmarks.delivering_fleet import TAGS, delivering
from benchmarks.live_clients import connected
from benchmarks.report import Figure, report
from connectors.mqtt.session import MqttOptions, MqttSession
from connectors.ports.broker import Message
from connectors.sparkplug import sparkplug_b_pb2 as pb

CLIENTS: Final = 1000
TAGS_A_CLIENT: Final = 20
AGENTS: Final = 2
SAMPLES_A_MESSAGE: Final = 500
UPDATES_PER_S: Final = 2
WARM_UP_S: Final = 15.0
MEASURED_S: Final = 30.0
SETTLED_S: Final = 8.0
ROUNDS: Final = 5
ROUND_S: Final = 10.0
GOAL_UPDATES: Final = 1.9
GOAL_P50_MS, GOAL_P99_MS = 150.0, 400.0


async def subscribed(cloud: CommandedCloud, tags: list[dict[str, Any]], interval_ms: int) -> ClientConnection:
    """A client that has subscribed."""
    url = cloud.url.replace("http", "ws") + "/api/v1/live"
    headers = {"Authorization": f"Bearer {cloud.token}"}
    connection = await connect(url, additional_headers=headers, proxy=None, compression=None)
    await connection.send(json.dumps({"subscribe": {"tags": tags, "interval_ms": interval_ms}}))
    answer = json.loads(await connection.recv())
    if answer["subscribed"]["unknown_tags"]:
        raise SystemExit(f"tags are missing: {answer}")
    return connection


async def thousand(cloud: CommandedCloud, ledger: Ledger) -> list[Figure]:
    """All clients, and what they got."""
    tags = [
        {"agent": f"bench/agent{agent}", "device": "press", "tag": f"t{tag}"}
        for agent in range(AGENTS)
        for tag in range(TAGS)
    ]
    url = cloud.url.replace("http", "ws") + "/api/v1/live"
    wanted = [{"tags": random.sample(tags, TAGS_A_CLIENT), "interval_ms": 100} for _ in range(CLIENTS)]
    clients = await connected(url, cloud.token, wanted)
    await asyncio.sleep(WARM_UP_S)
    gateway = cloud.programs["gateway"]
    stored = await asyncio.to_thread(ledger.samples)
    cpu_s, own_s, began_s = gateway.cpu_s(), time.process_time(), time.monotonic()
    for client in clients:
        client.counts = True
    await asyncio.sleep(MEASURED_S)
    for client in clients:
        client.counts = False
    passed_s = time.monotonic() - began_s
    stored = await asyncio.to_thread(ledger.samples) - stored
    cpu_s, own_s = gateway.cpu_s() - cpu_s, time.process_time() - own_s
    lost = sum(client.is_lost for client in clients)
    for client in clients:
        client.close()
    rates = sorted(client.values / passed_s / TAGS_A_CLIENT for client in clients)
    values = sum(client.values for client in clients)
    return [
        Figure("clients connected", CLIENTS - lost, "clients", CLIENTS),
        Figure("values a tag and client, median", statistics.median(rates), "values/s", GOAL_UPDATES),
        Figure("values a tag and client, least of all clients", rates[0], "values/s"),
        Figure("values a tag that were stored", stored / passed_s / AGENTS / TAGS, "values/s"),
        Figure("values of all clients", values / passed_s, "values/s"),
        Figure("messages of all clients", sum(client.messages for client in clients) / passed_s, "messages/s"),
        Figure("CPU time of the gateway", cpu_s / passed_s, "cores"),
        Figure("CPU time of the gateway a value", 1e6 * cpu_s / max(1, values), "µs"),
        Figure("CPU time of the clients", own_s / passed_s, "cores"),
    ]


def clients(cloud: CommandedCloud) -> list[Figure]:
    """Values come from agents that play; what a thousand clients get of them."""
    playing = delivering(
        cloud,
        agents=AGENTS,
        samples_a_message=SAMPLES_A_MESSAGE,
        samples_per_s=AGENTS * TAGS * UPDATES_PER_S,
        seconds=WARM_UP_S + MEASURED_S + 60,
    )
    with playing, Ledger(cloud.dsn) as ledger:
        return asyncio.run(thousand(cloud, ledger))


class Broker:
    """How late values are when the broker has them: what is left of the way to the client is the cloud's."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self._session = MqttSession(MqttOptions("bench-looking"))

    async def look(self, url: str, topic: str) -> None:
        await self._session.connect(url, None, self._heard)
        await self._session.subscribe([(topic, 0)])

    async def close(self) -> None:
        await self._session.disconnect()

    def _heard(self, message: Message) -> None:
        now_ms = 1000 * time.time()
        metrics = pb.Payload.FromString(message.payload).metrics
        self.late_ms += [now_ms - metric.timestamp for metric in metrics if metric.HasField("alias")][:TAGS_A_CLIENT]


async def late(cloud: CommandedCloud, agent: str) -> tuple[list[list[float]], list[float]]:
    """How late values came, in ms, round by round; and how late they were at the broker."""
    broker = Broker()
    await broker.look(cloud.broker.url, f"spBv1.0/{agent.replace('/', '/DDATA/')}/press")
    tags = [{"agent": agent, "device": "press", "tag": tag} for tag in await names(cloud, agent)]
    connection = await subscribed(cloud, tags, 50)
    rounds: list[list[float]] = []
    try:
        for _ in range(ROUNDS):
            found: list[float] = []
            end_s = time.monotonic() + ROUND_S
            while time.monotonic() < end_s:
                message = json.loads(await connection.recv())
                now_s = time.time()
                found += [1000 * (now_s - datetime.fromisoformat(tag["time"]).timestamp()) for tag in message["tags"]]
            rounds.append(found)
    finally:
        await connection.close()
        await broker.close()
    return rounds, broker.late_ms


async def names(cloud: CommandedCloud, agent: str) -> list[str]:
    """Tags of the OPC UA server that change by themselves."""
    import httpx

    headers = {"Authorization": f"Bearer {cloud.token}"}
    async with httpx.AsyncClient(base_url=cloud.url, headers=headers, trust_env=False) as client:
        answer = await client.get("/api/v1/tags", params={"agent": agent, "device": "press", "limit": 200})
    found = [tag["tag"] for tag in answer.json()["tags"] if tag["tag"] != "speed"]
    return found[:TAGS_A_CLIENT]


def change(cloud: CommandedCloud, folder: Path, stack: ExitStack) -> list[Figure]:
    """From the PLC to the client."""
    agent, _socket = Plant(folder, cloud, stack).agent("live", 0.1)
    try:
        time.sleep(SETTLED_S)
        rounds, at_broker = asyncio.run(late(cloud, "bench/live"))
    finally:
        agent.stop()
    p50, p99 = (statistics.median(quantile(one, part) for one in rounds) for part in (0.5, 0.99))
    return [
        Figure("change at the PLC to the client, p50", p50, "ms", GOAL_P50_MS, at_least=False),
        Figure("change at the PLC to the client, p99", p99, "ms", GOAL_P99_MS, at_least=False),
        Figure("change at the PLC to the broker, p50", quantile(at_broker, 0.5), "ms"),
        Figure("change at the PLC to the broker, p99", quantile(at_broker, 0.99), "ms"),
        Figure("values of a round", statistics.median(len(one) for one in rounds), "values"),
    ]


def main() -> None:
    """Measure both."""
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name, ExitStack() as stack:
        cloud = CommandedCloud(Path(name), ("ingest,historian", "commands", "gateway"))
        stack.callback(cloud.stop)
        cloud.start()
        figures = clients(cloud)
        figures += change(cloud, Path(name), stack)
    report("live", figures)


if __name__ == "__main__":
    main()
