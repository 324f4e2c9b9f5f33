"""A host that acknowledges and does nothing else: ``python -m benchmarks.acknowledging_host URL``.

It stands in for the cloud where only the edge is measured; acknowledgements are gathered as the bridge gathers them.
"""

from __future__ import annotations

import asyncio
import sys
import time

from connectors.model.delivery import BatchRanges, Epoch
from connectors.mqtt.session import MqttOptions, MqttSession
from connectors.ports.broker import Message
from connectors.sparkplug.delivery import Acknowledgement, encode_acknowledgement, read_delivery
from connectors.sparkplug.topics import Topic, Verb, parse_topic

INTERVAL_S = 0.25


async def run(url: str) -> None:
    """Acknowledge until ended."""
    session = MqttSession(MqttOptions("benchmark-host"))
    due: dict[str, dict[Epoch, BatchRanges]] = {}

    def received(message: Message) -> None:
        if "/NCMD/" in message.topic or "/STATE/" in message.topic:
            return
        delivery = read_delivery(message.payload)
        if delivery is not None and delivery.batch:
            topic = str(Topic(parse_topic(message.topic).agent, Verb.NCMD))
            due.setdefault(topic, {}).setdefault(delivery.epoch, BatchRanges()).add(delivery.batch)

    await session.connect(url, None, received)
    await session.subscribe([("spBv1.0/#", 0)])
    print("ready", flush=True)
    while True:
        await asyncio.sleep(INTERVAL_S)
        for topic in list(due):
            acks = [Acknowledgement(epoch, ranges) for epoch, ranges in due.pop(topic).items()]
            session.publish(Message(topic, encode_acknowledgement(acks, int(time.time() * 1000))))


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
