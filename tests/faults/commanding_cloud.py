"""The part of the cloud that commands, on a real broker: it tells its time, sends until an end is told, and hears."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from socket import IPPROTO_TCP, TCP_NODELAY
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlparse

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from connectors.commands.envelope import Action, Envelope
from connectors.commands.reports import CommandReport, Hello, TimeAnswer, read_record
from connectors.commands.signing import SigningKey
from connectors.commands.states import ENDED
from connectors.commands.ulid import new_ulid
from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.delivery import (
    COMMAND,
    COMMAND_REPORT,
    HELLO,
    TIME,
    Acknowledgement,
    encode_acknowledgement,
    read_delivery,
)
from tests.patience import WAIT_S_MAX

GROUP, AGENT = "plant", "line"
NCMD: Final = f"spBv1.0/{GROUP}/NCMD/{AGENT}"
RESEND_S: Final = 0.5


class CommandingCloud:
    """``with CommandingCloud(url) as cloud``: one agent's cloud."""

    def __init__(self, url: str) -> None:
        self.key = SigningKey.generate()
        self.hellos: list[Hello] = []
        self.reports: list[CommandReport] = []
        self.acknowledges = True
        self.restored = False
        """Whether it says that the first journal it has heard of is behind what it knows of it."""
        self._heard = threading.Condition()
        self._broker = urlparse(url)
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="commanding-cloud")
        self._client.on_message = self._came
        self._client.on_socket_open = lambda _c, _u, socket: socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)

    def __enter__(self) -> CommandingCloud:
        self._client.connect(str(self._broker.hostname), self._broker.port or 1883)
        self._client.subscribe(f"spBv1.0/{GROUP}/NDATA/{AGENT}")
        self._client.loop_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def envelope(self, action: Action, lasts_s: float = 600.0, **more: Any) -> Envelope:
        """A command that expires after so long; ``more`` is what its document has besides, or instead."""
        now_ms = time.time_ns() // 1_000_000
        known: dict[str, Any] = {
            "id": new_ulid(now_ms), "agent": f"{GROUP}/{AGENT}", "action": action, "issuer": "anna", "reason": "a test",
            "issued_ms": now_ms, "expires_ms": now_ms + round(lasts_s * 1000), **more,
        }  # fmt: skip
        return Envelope(**known)

    def send(self, envelope: Envelope) -> None:
        """Send it once."""
        self.send_sealed(self.key.sign("lineside-command", envelope.to_json()), envelope.action.device)

    def send_sealed(self, jws: str, device: str) -> None:
        """Send what is said to be a command, as it is."""
        self._publish(f"spBv1.0/{GROUP}/DCMD/{AGENT}/{device}", COMMAND, jws)

    def send_plain(self, device: str, tag: str, value: float) -> None:
        """Send a Sparkplug command without an envelope, as any host may."""
        payload = pb.Payload(timestamp=time.time_ns() // 1_000_000)
        payload.metrics.add(name=tag, datatype=DataType.DOUBLE, double_value=value)
        self._client.publish(f"spBv1.0/{GROUP}/DCMD/{AGENT}/{device}", payload.SerializeToString())

    def end_of(self, envelope: Envelope, longest_s: float = WAIT_S_MAX) -> CommandReport:
        """Send it again and again until its end is told; that end."""
        until_s = time.monotonic() + longest_s
        while time.monotonic() < until_s:
            self.send(envelope)
            with self._heard:
                if self._heard.wait_for(lambda: self._ends(envelope.id), RESEND_S):
                    return self._ends(envelope.id)[-1]
        raise AssertionError(f"no end of {envelope.id}: {self.reports}")

    def wait_for(self, condition: Callable[[], object], longest_s: float = WAIT_S_MAX) -> None:
        """Wait until something holds of what was heard."""
        with self._heard:
            assert self._heard.wait_for(condition, longest_s), f"it was not heard: {self.reports[-5:]}"

    def _ends(self, id_: str) -> list[CommandReport]:
        return [report for report in self.reports if report.id == id_ and report.state in ENDED]

    def _came(self, _client: Client, _user: Any, message: MQTTMessage) -> None:
        delivery = read_delivery(message.payload)
        if delivery is None or not delivery.batch:
            return
        ack = Acknowledgement(delivery.epoch, BatchRanges([(delivery.batch, delivery.batch)]))
        self._client.publish(NCMD, encode_acknowledgement([ack], time.time_ns() // 1_000_000))
        with self._heard:
            if HELLO in delivery.records:
                self._answer(read_record(Hello, delivery.records[HELLO].encode()))
            elif COMMAND_REPORT in delivery.records:
                self.reports.append(read_record(CommandReport, delivery.records[COMMAND_REPORT].encode()))
            self._heard.notify_all()

    def _answer(self, hello: Hello) -> None:
        self.hellos.append(hello)
        answer = TimeAnswer(
            agent=f"{GROUP}/{AGENT}", nonce=hello.nonce, time_ms=time.time_ns() // 1_000_000, journal=hello.journal,
            number=hello.number, restored=self.restored and hello.journal == self.hellos[0].journal,
        )  # fmt: skip
        self._publish(NCMD, TIME, self.key.sign("lineside-time", answer.to_json()))

    def _publish(self, topic: str, name: str, text: str) -> None:
        payload = pb.Payload(timestamp=time.time_ns() // 1_000_000)
        payload.metrics.add(name=name, datatype=DataType.STRING, string_value=text)
        self._client.publish(topic, payload.SerializeToString())
