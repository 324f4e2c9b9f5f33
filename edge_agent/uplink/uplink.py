"""The uplink: one broker connection at a time, with the births and deaths of the agent and its devices.

Delivery: see ``options.Delivery``; what was not acknowledged stays on disk. Back-pressure: the window bounds what is in
flight, and the sender waits for the broker's socket, so that nothing piles up in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, assert_never

from connectors.model.back_off import BackOff
from connectors.model.errors import BrokerUnavailable, BrokerUnreachable, OutboxUnavailable
from connectors.model.tags import DeviceDefinition, DeviceName
from connectors.observability.events import emit
from connectors.ports.broker import BrokerLimits, BrokerSession, Message
from connectors.ports.clock import Clock
from connectors.sparkplug.device_command import CommandReceived, SignedReceived
from connectors.sparkplug.edge_session import (
    Acknowledged,
    BirthTooLarge,
    Born,
    Disconnect,
    EdgeSession,
    Effect,
    HostChanged,
    Phase,
    Publish,
    Refused,
    Subscribe,
)
from connectors.stopping import Tasks
from edge_agent.acquisition.collector import Collector
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.writer import OutboxWriter
from edge_agent.observability.uplink_events import (
    DeviceUnborn,
    HostStateChanged,
    MessageRefused,
    UplinkLost,
    UplinkOnline,
    UplinkWaiting,
)
from edge_agent.uplink.host_clock import HostClock
from edge_agent.uplink.options import CommandListener, UplinkOptions, UplinkState
from edge_agent.uplink.preview import Changed
from edge_agent.uplink.sender import Sender, Values

RETRY_FIRST_S: Final = 1.0
RETRY_LONGEST_S: Final = 60.0
STEADY_S: Final = 10.0
"""A connection that lasted longer was a good one: the next attempt comes soon again."""


class Uplink:
    """Delivers the outbox of one agent; implements ``DeviceListener`` for births and deaths."""

    def __init__(
        self,
        options: UplinkOptions,
        broker: BrokerSession,
        *,
        writer: OutboxWriter,
        feed: Feed,
        collector: Collector,
        values: Values,
        clock: Clock,
        changed: Changed = lambda _device: [],
        commands: CommandListener | None = None,
    ) -> None:
        self.options = options
        self.state = UplinkState()
        self.host_clock = HostClock()
        self._broker = broker
        self._writer = writer
        self._feed = feed
        self._clock = clock
        self._commands = commands
        self._session = EdgeSession(
            options.agent,
            epoch=writer.epoch,
            host=options.host,
            wait_for_host=options.wait_for_host,
            properties=options.properties,
            values=values,
        )
        self._sender = Sender(
            options,
            self.state,
            self._session,
            broker,
            writer=writer,
            feed=feed,
            collector=collector,
            values=values,
            changed=changed,
            clock=clock,
            do=self._do,
        )
        self._online: set[DeviceName] = set()
        self._leave: asyncio.Future[bool] | None = None
        self._next: tuple[str, ...] | None = None
        self._others = asyncio.Event()
        self._unused_bd_seq: int | None = None

    @property
    def in_flight(self) -> int:
        """Batches that were sent and are not acknowledged."""
        return len(self._sender.window)

    @property
    def unborn(self) -> Mapping[DeviceName, str]:
        """Devices of which nothing can be sent, because the broker cannot take their birth, and why."""
        return self._session.unborn

    @property
    def is_unanswered(self) -> bool:
        """Whether batches had to be sent again, and nothing has been acknowledged since."""
        return self._sender.window.is_silent

    def device_online(self, definition: DeviceDefinition) -> None:
        """See ``DeviceListener``."""
        self._online.add(definition.device)
        self._sender.device_online(definition)
        self._do(self._session.device_online(definition, self._now_ms()))
        self._feed.changed.set()

    def device_offline(self, device: DeviceName) -> None:
        """See ``DeviceListener``."""
        self._online.discard(device)
        self._sender.device_offline(device)
        self._do(self._session.device_offline(device, self._now_ms()))

    def rebirth(self) -> bool:
        """Publish all births again; false without a session, which begins with them."""
        effects = self._session.rebirth(self._now_ms())
        self._do(effects)
        return bool(effects)

    def use(self, brokers: tuple[str, ...]) -> None:
        """Go over to these brokers, or log in anew: the connection ends for that, with its NDEATH."""
        self._next = brokers
        self._others.set()
        if self._leave is not None and not self._leave.done():
            self._leave.set_result(False)

    async def run(self) -> None:
        """Connect and deliver until cancelled; then the NDEATH is published and the connection closed."""
        await self._sender.prepare()
        back_off = BackOff(RETRY_FIRST_S, RETRY_LONGEST_S)
        number = 0
        while True:
            if self._next is not None:
                self.options, self._next, number = replace(self.options, brokers=self._next), None, 0
                self._others.clear()
                back_off.reset()
            url = self.options.brokers[number % len(self.options.brokers)]
            begun_s = self._clock.monotonic_s()
            try:
                next_broker = await self._one_connection(url)
                reason = f"the host {self.options.host!r} is not online at {url}"
                if self._others.is_set():
                    reason = "other brokers, or another way to log in, are configured"
            except (BrokerUnavailable, OutboxUnavailable) as exc:
                next_broker, reason = True, str(exc)
            number += next_broker
            if self._clock.monotonic_s() - begun_s > STEADY_S:
                back_off.reset()
            wait_s = back_off.next_s()
            self.state.phase, self.state.reason = Phase.OFFLINE.value, reason
            emit(UplinkLost(url, reason, round(wait_s, 1)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._others.wait()

    async def _one_connection(self, url: str) -> bool:
        """Use one connection until it ends; whether to go on with the next broker.

        Raises ``BrokerUnavailable`` or ``OutboxUnavailable``.
        """
        self._leave = asyncio.get_running_loop().create_future()
        bd_seq, self._unused_bd_seq = self._unused_bd_seq, None
        if bd_seq is None:
            bd_seq = await self._writer.next_bd_seq()
        will = self._session.connecting(bd_seq, self._now_ms(), url)
        try:
            limits = await self._connect(url, Message(will.topic, will.payload, will.qos), bd_seq)
            self.state.broker = url
            self._sender.connected(limits)
            await self._begin(url)
            async with Tasks() as tasks:
                sending = tasks.create_task(self._sender.run(), name="uplink send")
                connection = tasks.create_task(self._broker.closed(), name="uplink connection")
                next_broker = await self._leave
                sending.cancel()
                connection.cancel()
        except BaseExceptionGroup as group:
            lost, other = group.split((BrokerUnavailable, OutboxUnavailable))
            if other is not None or lost is None:
                raise
            raise BrokerUnavailable(str(lost.exceptions[0])) from group
        finally:
            await self._close()
        return next_broker

    async def _connect(self, url: str, will: Message, bd_seq: int) -> BrokerLimits:
        try:
            return await self._broker.connect(url, will, self._received)
        except BrokerUnreachable:
            self._unused_bd_seq = bd_seq  # bdSeq counts CONNECT packets, and none was sent (5.4)
            raise

    async def _begin(self, url: str) -> None:
        effects = self._session.connected(self._now_ms(), self._sender.broker_bytes_max)
        for effect in effects:
            if isinstance(effect, Subscribe):
                await self._broker.subscribe(effect.filters)
        self._do([effect for effect in effects if not isinstance(effect, Subscribe)])
        self.state.phase = self._session.phase.value
        if self._session.phase is Phase.WAITING_FOR_HOST:
            emit(UplinkWaiting(url, self.options.host))

    async def _close(self) -> None:
        """Say goodbye, if there is a connection to say it on."""
        effects = self._session.closing(self._now_ms())
        with contextlib.suppress(BrokerUnavailable):
            for effect in effects:
                if isinstance(effect, Publish):
                    self._broker.publish(Message(effect.topic, effect.payload, effect.qos))
            await asyncio.shield(self._broker.disconnect())
        self._session.disconnected()

    def _received(self, message: Message) -> None:
        self._do(self._session.received(message.topic, message.payload, self._now_ms()))

    def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Publish():
                    self._publish(effect)
                case Acknowledged():
                    self._sender.acknowledged(effect.acknowledgements)
                    self.host_clock.heard(effect.host_ms, self._now_ms())
                case Born():
                    self._born()
                case HostChanged():
                    self._host_changed(online=effect.online)
                case Disconnect():
                    if self._leave is not None and not self._leave.done():
                        self._leave.set_result(effect.next_broker)
                case Refused():
                    emit(MessageRefused(effect.topic, effect.reason))
                case CommandReceived() | SignedReceived():
                    self._asked(effect)
                case BirthTooLarge():
                    emit(DeviceUnborn(effect.device, effect.reason))
                case Subscribe():
                    raise AssertionError("subscriptions are made when a connection begins")
                case _:
                    assert_never(effect)

    def _asked(self, effect: CommandReceived | SignedReceived) -> None:
        if self._commands is None:
            emit(MessageRefused(effect.topic, "this agent takes no commands"))
        elif isinstance(effect, CommandReceived):
            self._commands.received(effect)
        else:
            self._commands.signed(effect)

    def _publish(self, effect: Publish) -> None:
        with contextlib.suppress(BrokerUnavailable):  # the task on the connection notices the loss
            self._broker.publish(Message(effect.topic, effect.payload, effect.qos))

    def _born(self) -> None:
        for device in self._online:
            self._sender.note_birth(device)
        self.state.phase, self.state.reason = Phase.BORN.value, ""
        emit(UplinkOnline(self.state.broker))
        if self._commands is not None:
            self._commands.connected()
        self._feed.changed.set()

    def _host_changed(self, *, online: bool) -> None:
        self.state.host_online = online
        emit(HostStateChanged(self.options.host, online))
        if online:
            self._sender.window.host_returned()
            self._feed.changed.set()

    def _now_ms(self) -> int:
        return self._clock.now_ns() // 1_000_000
