"""The Sparkplug session of an Edge Node, without I/O: births, deaths, seq, bdSeq, rebirth, and the primary host.

Time and messages go in, effects come out; the caller publishes, subscribes and disconnects as they say, in their order.
What it holds (section numbers of the Sparkplug 3.0.0 specification):

* the will is an NDEATH with the bdSeq that the NBIRTH of the same session repeats (5.4, 6.4.26);
* NCMD, DCMD and STATE are subscribed before the NBIRTH (5.4);
* seq is 0 in every NBIRTH and counts 0 to 255 over node and devices (6.4.4);
* all DBIRTHs follow the NBIRTH directly, then data; the same at a rebirth, with the same bdSeq (5.5, 6.4.21);
* with a primary host, nothing is born before its STATE says online, by a timestamp no older than the last one seen on
  this server, also across reconnects; when it goes offline: NDEATH, disconnect, next broker (5.7, 5.8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from google.protobuf.message import DecodeError

from connectors.model.delivery import AgentName, Epoch
from connectors.model.errors import PayloadInvalid
from connectors.model.tags import DeviceDefinition, DeviceName
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.birth import (
    REBIRTH,
    CurrentValue,
    NodeProperty,
    device_birth,
    device_death,
    node_birth,
    node_death,
)
from connectors.sparkplug.delivery import ACK, Acknowledgement, Delivery, data_message, decode_acknowledgements
from connectors.sparkplug.device_command import (
    SIGNED,
    CommandReceived,
    SignedReceived,
    read_device_command,
    read_signed,
)
from connectors.sparkplug.state import decode_state
from connectors.sparkplug.topics import Topic, Verb, parse_topic, state_topic

BD_SEQ_COUNT: Final = 256
NCMD_BYTES_MAX: Final = 1024 * 1024
"""An acknowledgement of as many ranges as one may name is half of that."""
PACKET_HEAD_BYTES_MAX: Final = 8
"""What a PUBLISH of QoS 0 has beside topic and payload: type, length of the rest, of the topic, of no properties."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish ``payload``; births, data and device deaths with QoS 0, NDEATH with QoS 1, none retained."""

    topic: str
    payload: bytes
    qos: int = 0


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to (filter, QoS) pairs, before anything that follows is published."""

    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection; ``next_broker`` says to go on with the next one in the list."""

    next_broker: bool


@dataclass(frozen=True, slots=True)
class Born:
    """All births of the session are out: data may follow."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The host has acknowledged batches; ``host_ms`` is what its clock said then, 0 when it did not say."""

    acknowledgements: tuple[Acknowledgement, ...]
    host_ms: int = 0


@dataclass(frozen=True, slots=True)
class HostChanged:
    """The host announced by STATE that it is online, or that it is not."""

    online: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that this session cannot follow, with the reason."""

    topic: str
    reason: str


@dataclass(frozen=True, slots=True)
class BirthTooLarge:
    """The broker takes no packet that could hold the DBIRTH of a device; nothing of the device may be published."""

    device: DeviceName
    reason: str


Effect = (
    Publish | Subscribe | Disconnect | Born | Acknowledged | HostChanged | Refused | BirthTooLarge | CommandReceived
    | SignedReceived
)  # fmt: skip
Values = Callable[[DeviceName], dict[int, CurrentValue]]


class Phase(Enum):
    """Where the session stands."""

    OFFLINE = "offline"
    WAITING_FOR_HOST = "waiting for host"
    BORN = "born"


class EdgeSession:
    """One Edge Node's session with one broker at a time; lives as long as the agent, across reconnects.

    ``epoch`` is the identity of this start of the agent; ``host`` the host whose STATE is followed (empty: none);
    ``wait_for_host`` makes it the Primary Host; ``values`` gives the newest value of each alias of a device.
    """

    def __init__(
        self,
        agent: AgentName,
        *,
        epoch: Epoch,
        host: str,
        wait_for_host: bool,
        properties: Iterable[NodeProperty],
        values: Values,
    ) -> None:
        self.agent = agent
        self.phase = Phase.OFFLINE
        self.host_online: bool | None = None
        self._epoch = epoch
        self._host = host
        self._wait_for_host = wait_for_host and bool(host)
        self._properties = tuple(properties)
        self._values = values
        self._bd_seq = 0
        self._seq = 0
        self._server = ""
        self._host_timestamps_ms: dict[str, int] = {}  # a host counts for each server by itself (5.6)
        self._devices: dict[DeviceName, DeviceDefinition] = {}
        self._packet_bytes_max = 0
        self.unborn: dict[DeviceName, str] = {}
        """Devices that are there and cannot be born on this broker, and why, in a sentence."""

    def connecting(self, bd_seq: int, now_ms: int, server: str = "") -> Publish:
        """The will for the CONNECT to ``server`` that follows. ``bd_seq`` is one more than at the last, modulo 256."""
        self._server = server
        self._bd_seq = bd_seq % BD_SEQ_COUNT
        self.phase = Phase.OFFLINE
        self.host_online = None
        return Publish(self._topic(Verb.NDEATH), node_death(self._bd_seq, now_ms), qos=1)

    def connected(self, now_ms: int, packet_bytes_max: int = 0) -> list[Effect]:
        """The broker accepted the connection, and takes packets of at most so many bytes (0: it named no limit)."""
        self._packet_bytes_max = packet_bytes_max
        filters = [(self._topic(Verb.NCMD), 1), (f"{self._topic(Verb.DCMD)}/#", 1)]
        if self._host:
            filters.append((state_topic(self._host), 1))
        self.phase = Phase.WAITING_FOR_HOST
        effects: list[Effect] = [Subscribe(tuple(filters))]
        return effects if self._wait_for_host else effects + self._births(now_ms)

    def disconnected(self) -> None:
        """The connection is gone; nothing can be published until the next one."""
        self.phase = Phase.OFFLINE

    def closing(self, now_ms: int) -> list[Effect]:
        """An intended end: NDEATH, then disconnect (5.6 intentional disconnect)."""
        if self.phase is not Phase.BORN:
            return [Disconnect(next_broker=False)]
        self.phase = Phase.OFFLINE
        return [self._death(now_ms), Disconnect(next_broker=False)]

    def device_online(self, definition: DeviceDefinition, now_ms: int) -> list[Effect]:
        """A device is there, with this definition; a new definition replaces the old one by a new DBIRTH."""
        self._devices[definition.device] = definition
        return [self._device_birth(definition, now_ms)] if self.phase is Phase.BORN else []

    def device_offline(self, device: DeviceName, now_ms: int) -> list[Effect]:
        """A device is lost: DDEATH, when it was born."""
        known, unborn = self._devices.pop(device, None), self.unborn.pop(device, None)
        if known is None or unborn is not None or self.phase is not Phase.BORN:
            return []
        topic = self._topic(Verb.DDEATH, device)
        return [Publish(topic, device_death(self._next_seq(), now_ms))]

    def rebirth(self, now_ms: int) -> list[Effect]:
        """All births again; without a session there is nothing to be born in, and the next one begins with them."""
        return self._births(now_ms) if self.phase is Phase.BORN else []

    def is_born(self, device: DeviceName) -> bool:
        """Whether DDATA of ``device`` may be sent now."""
        return self.phase is Phase.BORN and device in self._devices and device not in self.unborn

    def why_unborn(self, definition: DeviceDefinition) -> str | None:
        """Why this broker cannot have a birth with ``definition``, when that has been tried for the device last."""
        tried = self._devices.get(definition.device)
        return self.unborn.get(definition.device) if tried is not None and tried.hash == definition.hash else None

    def device_data(self, device: DeviceName, delivery: Delivery, metrics: bytes, now_ms: int) -> Publish:
        """A DDATA of a born device; ``delivery.ticks`` goes along."""
        payload = data_message(
            publish_ms=now_ms, seq=self._next_seq(), delivery=delivery, metrics=metrics, ticks=delivery.ticks
        )
        return Publish(self._topic(Verb.DDATA, device), payload)

    def node_data(self, delivery: Delivery, now_ms: int) -> Publish:
        """An NDATA with the records of ``delivery``."""
        payload = data_message(publish_ms=now_ms, seq=self._next_seq(), delivery=delivery, metrics=b"")
        return Publish(self._topic(Verb.NDATA), payload)

    def received(self, topic: str, payload: bytes, now_ms: int) -> list[Effect]:
        """A message from the broker."""
        try:
            if self._host and topic == state_topic(self._host):
                return self._state(payload, now_ms)
            parsed = parse_topic(topic)
            if parsed.verb is Verb.NCMD and parsed.agent == self.agent:
                return self._command(topic, payload, now_ms)
            if parsed.verb is Verb.DCMD and parsed.agent == self.agent:
                device = DeviceName(parsed.device)
                return [read_device_command(topic, device, payload, self._devices.get(device))]
        except PayloadInvalid as exc:
            return [Refused(topic, str(exc))]
        return [Refused(topic, "this agent does not listen to that")]

    def _state(self, payload: bytes, now_ms: int) -> list[Effect]:
        state = decode_state(payload)
        if state.timestamp_ms < self._host_timestamps_ms.get(self._server, -1):
            return []
        self._host_timestamps_ms[self._server] = state.timestamp_ms
        changed = state.online is not self.host_online
        self.host_online = state.online
        effects: list[Effect] = [HostChanged(state.online)] if changed else []
        if not self._wait_for_host:
            return effects
        if state.online and self.phase is Phase.WAITING_FOR_HOST:
            return effects + self._births(now_ms)
        if not state.online and self.phase is not Phase.OFFLINE:
            if self.phase is Phase.BORN:
                effects.append(self._death(now_ms))
            self.phase = Phase.OFFLINE
            effects.append(Disconnect(next_broker=True))
        return effects

    def _command(self, topic: str, payload: bytes, now_ms: int) -> list[Effect]:
        if len(payload) > NCMD_BYTES_MAX:
            raise PayloadInvalid(f"the command has {len(payload):,} bytes; {NCMD_BYTES_MAX:,} is the limit")
        try:
            command = pb.Payload.FromString(payload)
        except DecodeError as exc:
            raise PayloadInvalid("the command is not a Sparkplug payload") from exc
        effects: list[Effect] = []
        for metric in command.metrics:
            if metric.name == ACK:
                acks = tuple(decode_acknowledgements(metric.string_value))
                effects.append(Acknowledged(acks, command.timestamp))
            elif metric.name == REBIRTH:
                if metric.boolean_value:
                    effects += self.rebirth(now_ms)
            elif metric.name in SIGNED:
                effects.append(read_signed(topic, metric))
            else:
                name = metric.name or f"alias {metric.alias}"
                effects.append(Refused(topic, f"this agent takes no command named {name[:80]!r}"))
        return effects

    def _births(self, now_ms: int) -> list[Effect]:
        self.phase = Phase.BORN
        self._seq = 0
        payload = node_birth(epoch=self._epoch, bd_seq=self._bd_seq, time_ms=now_ms, properties=self._properties)
        effects: list[Effect] = [Publish(self._topic(Verb.NBIRTH), payload)]
        effects += [self._device_birth(definition, now_ms) for definition in self._devices.values()]
        return [*effects, Born()]

    def _device_birth(self, definition: DeviceDefinition, now_ms: int) -> Publish | BirthTooLarge:
        device, topic = definition.device, self._topic(Verb.DBIRTH, definition.device)
        head = len(topic.encode()) + PACKET_HEAD_BYTES_MAX
        payload = device_birth(
            epoch=self._epoch,
            seq=(self._seq + 1) % 256,
            time_ms=now_ms,
            definition=definition,
            values=self._values(device),
            bytes_max=max(1, self._packet_bytes_max - head) if self._packet_bytes_max else 0,
        )
        if self._packet_bytes_max and head + len(payload) > self._packet_bytes_max:
            self.unborn[device] = (
                f"its birth takes {head + len(payload):,} bytes without any value, and the broker takes packets of at "
                f"most {self._packet_bytes_max:,}; let it take larger ones, or divide the tags among several devices"
            )
            return BirthTooLarge(device, self.unborn[device])
        self.unborn.pop(device, None)
        self._next_seq()
        return Publish(topic, payload)

    def _death(self, now_ms: int) -> Publish:
        return Publish(self._topic(Verb.NDEATH), node_death(self._bd_seq, now_ms), qos=1)

    def _next_seq(self) -> int:
        self._seq = (self._seq + 1) % 256
        return self._seq

    def _topic(self, verb: Verb, device: str = "") -> str:
        return str(Topic(self.agent, verb, device))
