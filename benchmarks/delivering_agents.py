"""Agents that deliver prepared batches as fast as they are acknowledged.

``python -m benchmarks.delivering_agents URL AGENTS MESSAGES SAMPLES [RATE]``: each agent sends its epoch start, its
definition and then MESSAGES batches of SAMPLES doubles, with a bounded window in flight; all are encoded before the
first is sent. With a RATE, all agents together send so many samples a second, if they are acknowledged so fast, and
source times go with the clock; else they end now.
Prints "prepared", waits for a line on standard input, delivers, prints "delivered".
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import numpy as np

from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName, new_epoch
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceName, MetricDefinition, TagName
from connectors.mqtt.session import MqttOptions, MqttSession
from connectors.ports.broker import Message
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.bulk_encode import encode_metrics, sub_millisecond_ticks
from connectors.sparkplug.definition import make_definition
from connectors.sparkplug.delivery import (
    DEFINITION_BODY,
    EPOCH_START,
    Delivery,
    data_message,
    decode_acknowledgements,
    format_epoch,
)
from connectors.sparkplug.topics import Topic, Verb

TAGS = 1000
WINDOW = 128
PACE_S = 0.02
ENDING_NOW_NS = 100_000_000
FIRST_ALIAS = 1 << 14
DEVICE = DeviceName("press")


class DeliveringAgent:
    """The messages of one agent, and which of them are on their way."""

    def __init__(self, number: int, messages: int, samples: int, every_ns: int = 0) -> None:
        """``every_ns``: between two samples of a tag, the first of them now; 0: as often as they end now."""
        self.name = AgentName("bench", f"agent{number}")
        self.epoch = new_epoch()
        self.messages = self._encode(messages, samples, every_ns)
        self.next = 0
        self.in_flight: set[int] = set()

    def _encode(self, messages: int, samples: int, every_ns: int) -> list[Message]:
        metrics = [MetricDefinition(FIRST_ALIAS + k, TagName(f"t{k}"), DataType.DOUBLE) for k in range(TAGS)]
        definition = make_definition(DEVICE, metrics)
        now_ms = int(time.time() * 1000)
        start = json.dumps({"epoch": format_epoch(self.epoch), "first": 1, "started_ms": now_ms, "earlier": []})
        node, device = str(Topic(self.name, Verb.NDATA)), str(Topic(self.name, Verb.DDATA, DEVICE))
        first = Delivery(self.epoch, 1, "", 0, records={EPOCH_START: start})
        second = Delivery(self.epoch, 2, definition.hash, 0, records={DEFINITION_BODY: definition.body})
        found = [
            Message(node, data_message(publish_ms=now_ms, seq=0, delivery=d, metrics=b"")) for d in (first, second)
        ]
        source = np.random.default_rng(7)
        step_ns = every_ns or ENDING_NOW_NS
        begin_ns = now_ms * 1_000_000 - (0 if every_ns else messages * samples * step_ns // TAGS)
        for number in range(messages):
            at = np.arange(number * samples, (number + 1) * samples)
            batch = SampleBatch(
                DataType.DOUBLE,
                (at % TAGS + FIRST_ALIAS).astype(np.int32),
                begin_ns + (at // TAGS) * step_ns + source.integers(0, 900_000, samples) // 100 * 100,
                source.normal(50.0, 5.0, samples),
            )
            delivery = Delivery(self.epoch, number + 3, definition.hash, samples)
            payload = data_message(
                publish_ms=now_ms,
                seq=number % 256,
                delivery=delivery,
                metrics=encode_metrics(batch),
                ticks=sub_millisecond_ticks(batch),
            )
            found.append(Message(device, payload))
        return found

    @property
    def is_done(self) -> bool:
        return self.next == len(self.messages) and not self.in_flight

    def acknowledged(self, text: str) -> None:
        for ack in decode_acknowledgements(text):
            if ack.epoch == self.epoch:
                self.in_flight = {batch for batch in self.in_flight if batch not in ack.batches}

    def due(self, until: int) -> list[Message]:
        """What may be sent now, no more than ``until`` batches in all; samples wait for the definition."""
        last = 2 if 2 in self.in_flight or self.next < 2 else min(len(self.messages), until + 2)
        count = min(WINDOW - len(self.in_flight), last - self.next)
        chosen = self.messages[self.next : self.next + max(0, count)]
        self.in_flight |= {self.next + k + 1 for k in range(len(chosen))}
        self.next += len(chosen)
        return chosen


async def run(url: str, agents: int, messages: int, samples: int, rate: int = 0) -> None:
    """Deliver everything."""
    every_ns = 1_000_000_000 * agents * TAGS // rate if rate else 0
    fleet = {agent.name: agent for agent in (DeliveringAgent(k, messages, samples, every_ns) for k in range(agents))}
    session = MqttSession(MqttOptions("bench-agents"))
    changed = asyncio.Event()

    def received(message: Message) -> None:
        _, group, _, name = message.topic.split("/")
        for metric in pb.Payload.FromString(message.payload).metrics:
            if metric.name == "Lineside/Ack":
                fleet[AgentName(group, name)].acknowledged(metric.string_value)
        changed.set()

    await session.connect(url, None, received)
    await session.subscribe([("spBv1.0/bench/NCMD/+", 1)])
    print("prepared", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began_s = time.monotonic()
    while not all(agent.is_done for agent in fleet.values()):
        changed.clear()
        until = int((time.monotonic() - began_s) * rate / samples / agents) if rate else messages
        for agent in fleet.values():
            for message in agent.due(until):
                session.publish(message)
            await session.drained(1 << 20)
        if rate:
            await asyncio.sleep(PACE_S)
        else:
            await changed.wait()
    print("delivered", flush=True)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], *(int(word) for word in sys.argv[2:6])))
