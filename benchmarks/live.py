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
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.command_latency import Plant, quantile
from benchmarks.commanded_cloud import CommandedCloud
from benchmarks.report import Figure, report

CLIENTS: Final = 1000
TAGS_A_CLIENT: Final = 20
AGENTS: Final = 2
TAGS: Final = 1000
SAMPLES_A_MESSAGE: Final = 500
UPDATES_PER_S: Final = 2
CONNECTING_MAX: Final = 50
WARM_UP_S: Final = 15.0
MEASURED_S: Final = 30.0
SETTLED_S: Final = 8.0
ROUNDS: Final = 5
ROUND_S: Final = 10.0
GOAL_UPDATES: Final = 1.9
GOAL_P50_MS, GOAL_P99_MS = 150.0, 400.0


@dataclass
class Heard:
    """What clients got while it was counted."""

    counts: bool = False
    values: list[int] = field(default_factory=lambda: [0] * CLIENTS)
    messages: int = 0
    late_ms: list[float] = field(default_factory=list)


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


async def listen(connection: ClientConnection, number: int, heard: Heard) -> None:
    """Count what comes."""
    async for text in connection:
        if heard.counts:
            heard.messages += 1
            heard.values[number] += str(text).count('"quality"')


async def thousand(cloud: CommandedCloud) -> list[Figure]:
    """All clients, and what they got."""
    heard, places = Heard(), asyncio.Semaphore(CONNECTING_MAX)

    async def client(number: int) -> None:
        tags = [
            {"agent": f"bench/agent{random.randrange(AGENTS)}", "device": "press", "tag": f"t{tag}"}
            for tag in random.sample(range(TAGS), TAGS_A_CLIENT)
        ]
        async with places:
            connection = await subscribed(cloud, tags, 100)
        await listen(connection, number, heard)

    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    await asyncio.sleep(WARM_UP_S)
    gateway = cloud.programs["gateway"]
    cpu_s, began_s, heard.counts = gateway.cpu_s(), time.monotonic(), True
    await asyncio.sleep(MEASURED_S)
    heard.counts, passed_s = False, time.monotonic() - began_s
    cpu_s = gateway.cpu_s() - cpu_s
    failed = [task for task in clients if task.done()]
    for task in clients:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    rates = sorted(count / passed_s / TAGS_A_CLIENT for count in heard.values)
    return [
        Figure("clients connected", CLIENTS - len(failed), "clients", CLIENTS),
        Figure("values a tag and client, median", statistics.median(rates), "values/s", GOAL_UPDATES),
        Figure("values a tag and client, least of all clients", rates[0], "values/s"),
        Figure("messages of all clients", heard.messages / passed_s, "messages/s"),
        Figure("CPU time of the gateway", cpu_s / passed_s, "cores"),
        Figure("CPU time of the gateway a value", 1e6 * cpu_s / max(1, sum(heard.values)), "µs"),
    ]


def clients(cloud: CommandedCloud) -> list[Figure]:
    """Values come from agents that play; what a thousand clients get of them."""
    rate = AGENTS * TAGS * UPDATES_PER_S
    messages = int((WARM_UP_S + MEASURED_S + 60) * rate / SAMPLES_A_MESSAGE / AGENTS)
    words = [cloud.broker.url, str(AGENTS), str(messages), str(SAMPLES_A_MESSAGE), str(rate)]
    command = [sys.executable, "-m", "benchmarks.delivering_agents", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as agents:
        assert agents.stdin is not None
        assert agents.stdout is not None
        try:
            agents.stdout.readline()
            agents.stdin.write("go\n")
            agents.stdin.flush()
            cloud.wait_for_tags(AGENTS * TAGS)
            return asyncio.run(thousand(cloud))
        finally:
            agents.kill()


async def late(cloud: CommandedCloud, agent: str) -> list[list[float]]:
    """How late values came, in ms, round by round."""
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
    return rounds


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
        rounds = asyncio.run(late(cloud, "bench/live"))
    finally:
        agent.stop()
    p50, p99 = (statistics.median(quantile(one, part) for one in rounds) for part in (0.5, 0.99))
    return [
        Figure("change at the PLC to the client, p50", p50, "ms", GOAL_P50_MS, at_least=False),
        Figure("change at the PLC to the client, p99", p99, "ms", GOAL_P99_MS, at_least=False),
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
