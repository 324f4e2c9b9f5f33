"""The naive path, for comparison: asyncua's handler, one object a sample, one row a sample, one metric object a sample.

``python -m benchmarks.naive_opcua ENDPOINT MQTT_URL FOLDER NODES``: subscribes as asyncua's own examples do, commits
rows to SQLite (full durability) every 100 ms, and publishes them as Sparkplug metrics.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua import Client
from paho.mqtt.client import Client as MqttClient
from paho.mqtt.enums import CallbackAPIVersion

from connectors.sparkplug import sparkplug_b_pb2 as pb


@dataclass
class Sample:
    """One sample."""

    alias: int
    time_ms: int
    value: Any
    status: int


class Handler:
    """Takes one call a sample."""

    def __init__(self) -> None:
        self.aliases: dict[str, int] = {}
        self.samples: list[Sample] = []

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        found = data.monitored_item.Value
        when = found.SourceTimestamp
        alias = self.aliases[node.nodeid.Identifier]
        self.samples.append(Sample(alias, int(when.timestamp() * 1000), value, found.StatusCode.value))


async def run(endpoint: str, url: str, folder: Path, nodes: int) -> None:
    """Run until ended; counts on standard output."""
    host, port = url.removeprefix("mqtt://").split(":")
    mqtt = MqttClient(CallbackAPIVersion.VERSION2, client_id="naive")
    mqtt.connect(host, int(port))
    mqtt.loop_start()
    connection = sqlite3.connect(folder / "naive.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE sample (id INTEGER PRIMARY KEY, alias INTEGER, time_ms INTEGER, value, status INTEGER)"
    )
    handler = Handler()
    handler.aliases = {f"T{node}": node for node in range(nodes)}
    count = 0
    async with Client(endpoint) as client:
        subscription = await client.create_subscription(100, handler)
        await subscription.subscribe_data_change([client.get_node(f"ns=1;s=T{node}") for node in range(nodes)],
                                                 queuesize=10, sampling_interval=100)  # fmt: skip
        print("ready", flush=True)
        while True:
            await asyncio.sleep(0.1)
            samples, handler.samples = handler.samples, []
            if not samples:
                continue
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO sample (alias, time_ms, value, status) VALUES (?,?,?,?)",
                [(s.alias, s.time_ms, s.value, s.status) for s in samples],
            )
            connection.execute("COMMIT")
            payload = pb.Payload(timestamp=int(time.time() * 1000), seq=0)
            for sample in samples:
                _set(payload.metrics.add(alias=sample.alias, timestamp=sample.time_ms), sample.value)
            mqtt.publish("spBv1.0/bench/DDATA/naive/press", payload.SerializeToString())
            connection.execute("DELETE FROM sample")
            count += len(samples)
            (folder / "naive.count").write_text(str(count))


def _set(metric: pb.Metric, value: Any) -> None:
    if isinstance(value, bool):
        metric.boolean_value = value
    elif isinstance(value, int):
        metric.int_value = value & 0xFFFFFFFF
    elif isinstance(value, float):
        metric.double_value = value
    else:
        metric.string_value = str(value)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
