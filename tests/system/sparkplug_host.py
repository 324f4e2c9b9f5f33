"""A Sparkplug host on a real broker, played by a test: reads with protobuf alone, and acknowledges by hand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from connectors.sparkplug import sparkplug_b_pb2 as pb
from tests.patience import WAIT_S_MAX, pause_s


@dataclass(frozen=True, slots=True)
class Seen:
    """A Sparkplug message of an Edge Node as it arrived."""

    verb: str
    device: str
    payload: pb.Payload

    def named(self, name: str) -> Any:
        """The value of the metric ``name``; ``None`` when it is not there, or null."""
        found = next((metric for metric in self.payload.metrics if metric.name == name), None)
        field = None if found is None else found.WhichOneof("value")
        return None if found is None or field is None else getattr(found, field)

    @property
    def batch(self) -> int:
        """Its batch number; 0 in births and for nodes other than Lineside's."""
        return int(self.named("Lineside/Batch") or 0)

    @property
    def is_preview(self) -> bool:
        """Whether it is for whoever looks now: its values are transient."""
        return self.verb == "DDATA" and any(metric.is_transient for metric in self.payload.metrics)

    @property
    def epoch(self) -> str:
        """Its epoch, in 16 hexadecimal digits."""
        return f"{int(self.named('Lineside/Epoch') or 0):016x}"

    @property
    def aliases(self) -> dict[str, int]:
        """Of a birth: the alias of each tag."""
        return {metric.name: metric.alias for metric in self.payload.metrics if metric.HasField("alias")}

    def values(self, alias: int) -> list[Any]:
        """Of data: the values of one alias, in order."""
        return [
            getattr(metric, str(metric.WhichOneof("value")))
            for metric in self.payload.metrics
            if not metric.name and metric.alias == alias and metric.WhichOneof("value")
        ]


class PlayedHost:
    """Keeps every message of the node ``group/name``; acknowledges batches while ``acknowledges`` is true."""

    def __init__(self, port: int, group: str = "plant", name: str = "line", *, acknowledges: bool = True) -> None:
        self.acknowledges = acknowledges
        self.refuses_samples = ""
        """Why the next batch of samples is refused; empty: none is."""
        self.refused: dict[int, str] = {}
        self.seen: list[Seen] = []
        self._node = f"{group}/%s/{name}"
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("spBv1.0/#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._received
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(WAIT_S_MAX)

    def close(self) -> None:
        """Go without a word."""
        self._client.disconnect()
        self._client.loop_stop()
        self._client._reset_sockets()  # else a pair of its own stays open until it is collected

    def of(self, *verbs: str, device: str | None = None) -> list[Seen]:
        """The messages with these verbs, of one device or all; without previews, which are not to be stored."""
        return [
            seen
            for seen in list(self.seen)
            if seen.verb in verbs and device in (None, seen.device) and not seen.is_preview
        ]

    def previews(self) -> list[Seen]:
        """The newest values that came ahead of a backlog."""
        return [seen for seen in list(self.seen) if seen.is_preview]

    def values(self, device: str, tag: str) -> list[Any]:
        """All values of a tag in the order of their batches, each batch once; known from every birth so far."""
        aliases = {birth.aliases[tag] for birth in self.of("DBIRTH", device=device) if tag in birth.aliases}
        batches = {(seen.epoch, seen.batch): seen for seen in self.of("DDATA", device=device)}
        ordered = sorted(batches.items(), key=lambda item: item[0][1])
        return [value for _, seen in ordered for alias in sorted(aliases) for value in seen.values(alias)]

    def state(self, host: str, *, online: bool) -> None:
        """Publish the STATE of ``host``."""
        document = {"online": online, "timestamp": int(time.time() * 1000)}
        self._client.publish(f"spBv1.0/STATE/{host}", json.dumps(document), qos=1, retain=True).wait_for_publish(
            WAIT_S_MAX
        )

    def command(self, name: str, **value: Any) -> None:
        """Send an NCMD with one metric."""
        payload = pb.Payload(timestamp=int(time.time() * 1000))
        payload.metrics.add(name=name, **value)
        self._client.publish(f"spBv1.0/{self._node % 'NCMD'}", payload.SerializeToString())

    def acknowledge_all(self) -> None:
        """Acknowledge every batch that was seen so far."""
        for seen in list(self.seen):
            self._acknowledge(seen)

    def _received(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        parts = message.topic.split("/")
        if parts[1] == "STATE" or parts[2].endswith("CMD"):
            return
        device = parts[4] if len(parts) == 5 else ""
        seen = Seen(parts[2], device, pb.Payload.FromString(message.payload))
        self.seen.append(seen)
        if self.acknowledges:
            self._acknowledge(seen)

    def _acknowledge(self, seen: Seen) -> None:
        if not seen.batch:
            return
        document: dict[str, Any] = {"epoch": seen.epoch, "batches": [[seen.batch, seen.batch]]}
        if seen.verb == "DDATA" and self.refuses_samples:
            self.refused[seen.batch], self.refuses_samples = self.refuses_samples, ""
        if seen.batch in self.refused:
            document = {"epoch": seen.epoch, "batches": [], "refused": [[seen.batch, self.refused[seen.batch]]]}
        self.command("Lineside/Ack", datatype=12, string_value=json.dumps([document]))


def until(condition: Callable[[], Any], within_s: float = WAIT_S_MAX) -> Any:
    """What ``condition`` gives as soon as that is true."""
    end_s = (began_s := time.monotonic()) + within_s
    while not (found := condition()):
        now_s = time.monotonic()
        assert now_s < end_s, "it did not happen in time"
        time.sleep(pause_s(now_s - began_s, 0.02))
        began_s = time.monotonic()
    return found
