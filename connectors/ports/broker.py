"""The port to an MQTT broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """An MQTT application message."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """What the broker said at the CONNECT: the largest packet it takes (bytes; 0: it named no limit)."""

    packet_bytes_max: int = 0


class BrokerSession(Protocol):
    """One MQTT connection at a time.

    Delivery: MQTT's own, and no more. QoS 0 may be lost without a word, and a PUBACK is the broker's promise, not
    durability; whoever needs more waits for an acknowledgement of the receiver.
    """

    async def connect(self, url: str, will: Message | None, on_message: Callable[[Message], None]) -> BrokerLimits:
        """Open a clean session with ``will``. ``on_message`` is then called in the event loop for each message.

        Raises ``BrokerUnavailable`` with a sentence that names the broker and the reason; ``BrokerUnreachable`` when
        no CONNECT was sent.
        """
        ...

    async def subscribe(self, filters: Sequence[tuple[str, int]]) -> None:
        """Subscribe to (filter, QoS) pairs; returns when the broker has granted them.

        Raises ``BrokerUnavailable`` when it refuses one, or the connection is lost.
        """
        ...

    def publish(self, message: Message) -> None:
        """Queue ``message`` for sending. Raises ``BrokerUnavailable`` when there is no connection."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """What is published within leaves at its end, in as few packets as may be: then it also arrives together."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were published but have not left this process yet."""
        ...

    async def drained(self, bytes_max: int) -> None:
        """Wait until ``unsent_bytes`` is at most ``bytes_max``; ``BrokerUnavailable`` when the connection is lost."""
        ...

    async def closed(self) -> None:
        """Wait until the connection is lost or closed; then raise ``BrokerUnavailable`` with the reason."""
        ...

    async def disconnect(self) -> None:
        """Close in an orderly way: no will is sent, unless the session was made so. A closed one stays closed."""
        ...
