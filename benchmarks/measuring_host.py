"""A host that acknowledges and measures: ``python -m benchmarks.measuring_host URL``; prints JSON when it is ended.

Delivered samples second by second, and of every preview how old its newest value was when it came.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import Counter

from benchmarks.acknowledging_host import INTERVAL_S
from connectors.model.delivery import BatchRanges, Epoch
from connectors.mqtt.session import MqttOptions, MqttSession
from connectors.ports.broker import Message
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.delivery import Acknowledgement, encode_acknowledgement, read_delivery
from connectors.sparkplug.topics import Topic, Verb, parse_topic


class Measuring:
    """What came."""

    def __init__(self) -> None:
        self.due: dict[str, dict[Epoch, BatchRanges]] = {}
        self.samples: Counter[int] = Counter()
        self.preview_age_s: list[float] = []
        self.began_s = time.time()

    def received(self, message: Message) -> None:
        """A message from the broker."""
        if "/NCMD/" in message.topic or "/STATE/" in message.topic:
            return
        delivery = read_delivery(message.payload)
        if delivery is None:
            return
        topic = parse_topic(message.topic)
        if delivery.batch:
            self.samples[int(time.time() - self.began_s)] += delivery.count
            ncmd = str(Topic(topic.agent, Verb.NCMD))
            self.due.setdefault(ncmd, {}).setdefault(delivery.epoch, BatchRanges()).add(delivery.batch)
        elif topic.verb is Verb.DDATA:
            times_ms = [
                metric.timestamp for metric in pb.Payload.FromString(message.payload).metrics if not metric.name
            ]
            self.preview_age_s.append(time.time() - max(times_ms) / 1000)


async def run(url: str) -> None:
    """Acknowledge until ended."""
    session, measuring, stop = MqttSession(MqttOptions("benchmark-host")), Measuring(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await session.connect(url, None, measuring.received)
    await session.subscribe([("spBv1.0/#", 0)])
    print("ready", flush=True)
    while not stop.is_set():
        await asyncio.sleep(INTERVAL_S)
        for topic in list(measuring.due):
            acks = [Acknowledgement(epoch, ranges) for epoch, ranges in measuring.due.pop(topic).items()]
            session.publish(Message(topic, encode_acknowledgement(acks, int(time.time() * 1000))))
    found = {"samples": sorted(measuring.samples.items()), "preview_age_s": measuring.preview_age_s}
    print("measured " + json.dumps(found), flush=True)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
