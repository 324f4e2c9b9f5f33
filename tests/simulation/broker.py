"""The broker and the lines to it: what MQTT promises between two programs, and every way in which it falls short.

A connection keeps the order of its messages and loses none, as TCP does, unless the weather says otherwise. Where a
line is cut, messages wait on both sides of the cut, as in the sockets; either end may give the connection up, and what
waited there is lost. A broker that is started again has forgotten everything: connections, wills, retained messages.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from connectors.model.errors import BrokerUnavailable
from connectors.ports.broker import BrokerLimits, Message
from connectors.sparkplug.birth import REBIRTH
from tests.simulation.event_loop import NOBODY
from tests.simulation.process import Process
from tests.simulation.trace import Trace

CONNECT_S_MAX: Final = 10.0
ASK_PAUSE_S: Final = 0.9
"""A second, less what may lie between the database's answer and the question."""
_REBIRTH: Final = REBIRTH.encode()
_SHARE: Final = "$share/"
NOTICED_S_MAX: Final = 40.0
"""MQTT keep-alive: one and a half times 30 seconds at most; TCP often says it sooner."""


@dataclass(slots=True)
class Weather:
    """How a line treats messages: probabilities of loss (QoS 0), of a second copy, and of being overtaken; delays."""

    loss: float = 0.0
    copies: float = 0.0
    overtaken: float = 0.0
    delay_s_max: float = 0.02


@dataclass(slots=True)
class _Connection:
    """One CONNECT. ``at_broker`` ends when the broker gives it up, ``lost`` when the client does."""

    client: str
    process: Process
    will: Message | None
    on_message: Callable[[Message], None]
    lost: asyncio.Future[None]
    at_broker: bool = True
    filters: list[str] = field(default_factory=list)
    up_free_s: float = 0.0
    down_free_s: float = 0.0
    waiting_up: list[Message] = field(default_factory=list)
    waiting_down: list[Message] = field(default_factory=list)

    @property
    def at_client(self) -> bool:
        return not self.lost.done()

    @property
    def line(self) -> str:
        """All connections of a process go over one line."""
        return self.process.name


class Broker:
    """One broker, all lines to it, and what is connected."""

    def __init__(self, trace: Trace, draw: random.Random) -> None:
        self.weather = Weather()
        self.packet_bytes_max = 0
        self.is_up = True
        self.asked_too_often: list[str] = []
        """Nodes that were asked for their births twice within a second."""
        self._asked_s: dict[str, float] = {}
        self._trace = trace
        self._draw = draw
        self._cut: set[str] = set()
        self._retained: dict[str, Message] = {}
        self._connections: dict[str, _Connection] = {}

    # -- faults --------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """The broker dies, and all that it knew with it."""
        self.is_up = False
        self._retained.clear()
        for connection in list(self._connections.values()):
            connection.at_broker = False
            self._after(self._draw.uniform(0, 1), self._give_up_at_client, connection)
        self._connections.clear()

    def start(self) -> None:
        self.is_up = True

    def cut_line(self, line: str) -> None:
        """Nothing passes between a process and the broker; either end notices sooner or later, or never."""
        self._cut.add(line)
        for connection in self._on(line):
            self._after(self._draw.uniform(0, NOTICED_S_MAX), self._give_up_at_client, connection, True)
            self._after(self._draw.uniform(0, NOTICED_S_MAX), self._give_up_at_broker, connection, True)

    def heal_line(self, line: str) -> None:
        """What waited passes, in order."""
        self._cut.discard(line)
        for connection in self._on(line):
            up, connection.waiting_up = connection.waiting_up, []
            down, connection.waiting_down = connection.waiting_down, []
            for message in up:
                self.send_up(connection, message)
            for message in down:
                self._send_down(connection, message)

    def is_cut(self, line: str) -> bool:
        return line in self._cut

    def _on(self, line: str) -> list[_Connection]:
        return [connection for connection in self._connections.values() if connection.line == line]

    # -- connections ---------------------------------------------------------------------------------------------------

    def open(
        self, client: str, process: Process, will: Message | None, on_message: Callable[[Message], None]
    ) -> _Connection:
        """A CONNECT has come; an older connection of the same client ends, and its will is published."""
        before = self._connections.get(client)
        if before is not None:
            self._give_up_at_broker(before)
            self._give_up_at_client(before)
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connection = self._connections[client] = _Connection(client, process, will, on_message, lost)
        self._trace.note("connects", client, who="broker")
        return connection

    def subscribe(self, connection: _Connection, filters: Sequence[str]) -> None:
        connection.filters += filters
        for topic, message in self._retained.items():
            if any(_matches(one, topic) for one in filters):
                self._send_down(connection, message)

    def disconnected(self, connection: _Connection) -> None:
        """A DISCONNECT has come: no will."""
        connection.at_broker = False
        if self._connections.get(connection.client) is connection:
            del self._connections[connection.client]

    def _give_up_at_client(self, connection: _Connection, only_while_cut: bool = False) -> None:
        if not connection.at_client or (only_while_cut and connection.line not in self._cut):
            return
        connection.waiting_up.clear()
        connection.lost.set_exception(BrokerUnavailable("the connection was lost"))
        connection.lost.exception()
        self._after(self._draw.uniform(0, 0.5), self._broker_hears, connection)

    def _give_up_at_broker(self, connection: _Connection, only_while_cut: bool = False) -> None:
        if not connection.at_broker or (only_while_cut and connection.line not in self._cut):
            return
        connection.waiting_down.clear()
        self.disconnected(connection)
        if connection.will is not None:
            self._trace.note("will of", connection.client, who="broker")
            self._publish(connection.will)
        self._after(self._draw.uniform(0, 0.5), self._client_hears, connection)

    def process_is_gone(self, connection: _Connection) -> None:
        """The client's sockets are closed."""
        if connection.at_client:
            connection.lost.cancel()
        connection.waiting_up.clear()
        self._after(self._draw.uniform(0, 0.5), self._broker_hears, connection)

    def _broker_hears(self, connection: _Connection) -> None:
        """The broker hears that the client has closed the connection: soon, unless the line is cut."""
        if connection.line in self._cut:
            self._after(self._draw.uniform(0, NOTICED_S_MAX), self._give_up_at_broker, connection)
        else:
            self._give_up_at_broker(connection)

    def _client_hears(self, connection: _Connection) -> None:
        if connection.line in self._cut:
            self._after(self._draw.uniform(0, NOTICED_S_MAX), self._give_up_at_client, connection)
        else:
            self._give_up_at_client(connection)

    # -- messages ------------------------------------------------------------------------------------------------------

    def published(self, message: Message) -> None:
        """A client publishes ``message``."""
        if "/NCMD/" in message.topic and _REBIRTH in message.payload:
            now_s = asyncio.get_running_loop().time()
            if now_s - self._asked_s.get(message.topic, -math.inf) < ASK_PAUSE_S:
                self.asked_too_often.append(f"{message.topic}, {now_s - self._asked_s[message.topic]:.3f} s")
            self._asked_s[message.topic] = now_s

    def send_up(self, connection: _Connection, message: Message) -> None:
        """A message of a client is on its way to the broker."""
        if connection.line in self._cut:
            connection.waiting_up.append(message)
            return
        for at_s in self._ways(connection.up_free_s, message):
            connection.up_free_s = max(connection.up_free_s, at_s)
            self._at(at_s, self._arrived, connection, message)

    def _arrived(self, connection: _Connection, message: Message) -> None:
        if not connection.at_broker:
            return
        if connection.line in self._cut:
            connection.waiting_up.append(message)
            return
        self._publish(message)

    def _publish(self, message: Message) -> None:
        if message.retain:
            self._retained[message.topic] = message
        shares: dict[str, list[_Connection]] = {}
        for connection in list(self._connections.values()):
            if any(_matches(one, message.topic) for one in connection.filters):
                self._send_down(connection, message)
            for one in connection.filters:
                if one.startswith(_SHARE) and _matches(one.split("/", 2)[2], message.topic):
                    shares.setdefault(one, []).append(connection)
        for members in shares.values():
            self._send_down(self._draw.choice(members), message)

    def _send_down(self, connection: _Connection, message: Message) -> None:
        if connection.line in self._cut:
            connection.waiting_down.append(message)
            return
        for at_s in self._ways(connection.down_free_s, message):
            connection.down_free_s = max(connection.down_free_s, at_s)
            self._at(at_s, self._deliver, connection, message)

    def _deliver(self, connection: _Connection, message: Message) -> None:
        if not connection.at_broker or not connection.at_client or not connection.process.alive:
            return
        if connection.line in self._cut:
            connection.waiting_down.append(message)
            return
        if until_s := connection.process.frozen_until_s:
            self._at(until_s + 1e-6, self._deliver, connection, message)
            return
        self._trace.note("gets", message.topic, len(message.payload), who=connection.client)
        connection.process.call(connection.on_message, message)

    def _ways(self, free_s: float, message: Message) -> list[float]:
        """When the copies of a message arrive: none when it is lost."""
        weather, draw = self.weather, self._draw
        now_s = asyncio.get_running_loop().time()
        if message.qos == 0 and weather.loss and draw.random() < weather.loss:
            self._trace.note("loses", message.topic, who="broker")
            return []
        at_s = max(free_s, now_s + draw.uniform(0.001, weather.delay_s_max)) + 1e-6
        ways = [at_s]
        if weather.overtaken and draw.random() < weather.overtaken:
            ways = [now_s + draw.uniform(0.001, 3 * weather.delay_s_max)]
        if weather.copies and draw.random() < weather.copies:
            ways.append(at_s + draw.uniform(0.001, 2.0))
        return ways

    def _at(self, at_s: float, work: Callable[..., None], *args: object) -> None:
        asyncio.get_running_loop().call_at(at_s, work, *args, context=NOBODY)  # also when its sender is frozen

    def _after(self, delay_s: float, work: Callable[..., None], *args: object) -> None:
        asyncio.get_running_loop().call_later(delay_s, work, *args)


class SimulatedSession:
    """See ``BrokerSession``: the session of one life of a process."""

    def __init__(self, broker: Broker, process: Process, trace: Trace, draw: random.Random, client: str = "") -> None:
        self._broker = broker
        self._process = process
        self._client = client or process.name
        self._trace = trace
        self._draw = draw
        self._connection: _Connection | None = None
        self.published: Callable[[Message], None] = lambda message: None
        process.when_cut(self._cut)

    async def connect(self, url: str, will: Message | None, on_message: Callable[[Message], None]) -> BrokerLimits:
        """See ``BrokerSession``."""
        await self.disconnect()
        begun_s = asyncio.get_running_loop().time()
        await asyncio.sleep(self._draw.uniform(0.001, 0.1))
        if self._broker.is_cut(self._process.name):
            await asyncio.sleep(self._draw.uniform(0.1, CONNECT_S_MAX) - (asyncio.get_running_loop().time() - begun_s))
            raise BrokerUnavailable(f"the broker {url} does not answer")
        if not self._broker.is_up or not self._process.alive:
            raise BrokerUnavailable(f"the broker {url} cannot be reached")
        self._connection = self._broker.open(self._client, self._process, will, on_message)
        return BrokerLimits(self._broker.packet_bytes_max)

    async def subscribe(self, filters: Sequence[tuple[str, int]]) -> None:
        """See ``BrokerSession``."""
        connection = self._open_connection()
        await asyncio.sleep(self._draw.uniform(0.001, 0.05))
        if not connection.at_client or not connection.at_broker or self._broker.is_cut(connection.line):
            raise BrokerUnavailable("the broker does not answer a subscription")
        self._broker.subscribe(connection, [topic for topic, _ in filters])

    def publish(self, message: Message) -> None:
        """See ``BrokerSession``."""
        connection = self._open_connection()
        if not connection.at_client:
            raise BrokerUnavailable("the connection was lost")
        if not self._process.touch("wire"):
            return
        self._trace.note("publishes", message.topic, len(message.payload))
        self.published(message)
        self._broker.published(message)
        self._broker.send_up(connection, message)

    @property
    def unsent_bytes(self) -> int:
        """See ``BrokerSession``."""
        return 0 if self._connection is None else sum(len(each.payload) for each in self._connection.waiting_up)

    def together(self) -> AbstractContextManager[None]:
        """See ``BrokerSession``."""
        return nullcontext()

    async def drained(self, bytes_max: int) -> None:
        """See ``BrokerSession``."""
        connection = self._open_connection()
        while connection.at_client and self.unsent_bytes > bytes_max:  # noqa: ASYNC110  it is simulated time
            await asyncio.sleep(0.05)
        if not connection.at_client:
            raise BrokerUnavailable("the connection was lost")

    async def closed(self) -> None:
        """See ``BrokerSession``."""
        await asyncio.shield(self._open_connection().lost)

    async def disconnect(self) -> None:
        """See ``BrokerSession``."""
        connection, self._connection = self._connection, None
        if connection is None or not connection.at_client:
            return
        await asyncio.sleep(self._draw.uniform(0, 0.02))  # what was published leaves first
        if connection.at_client:
            connection.lost.set_exception(BrokerUnavailable("the connection was closed"))
            connection.lost.exception()
        if self._process.alive and not self._broker.is_cut(connection.line):
            asyncio.get_running_loop().call_at(connection.up_free_s + 1e-6, self._broker.disconnected, connection)
        else:
            self._broker.process_is_gone(connection)

    def _cut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._broker.process_is_gone(connection)

    def _open_connection(self) -> _Connection:
        if self._connection is None:
            raise BrokerUnavailable("there is no connection to a broker")
        return self._connection


@lru_cache(maxsize=4096)
def _matches(topic_filter: str, topic: str) -> bool:
    """MQTT 5, 4.7; a shared subscription matches nothing as it stands."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(a in ("+", b) for a, b in zip(wanted, levels, strict=True))
