"""An MQTT connection in the event loop: paho-mqtt does the protocol, the loop watches its socket.

No thread is left running: only the connect (name lookup, TCP, TLS handshake) happens in one. Reads are taken while the
socket has data, a bounded number at a time, so that a flood of messages never keeps the loop to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlparse

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from connectors.configuration.tls_files import TlsFileUnusable, client_context
from connectors.model.errors import BrokerUnavailable, BrokerUnreachable
from connectors.mqtt import reasons
from connectors.mqtt.sockets import send_at_once, sent_together
from connectors.ports.broker import BrokerLimits, Message
from connectors.stopping import in_free_thread

CONNECT_S_MAX: Final = 10.0
SUBSCRIBE_S_MAX: Final = 10.0
GOODBYE_S_MAX: Final = 2.0
READS_MAX: Final = 64
INFLIGHT_MAX: Final = 10
"""Messages of QoS 1 on their way at once; HiveMQ announces a Receive Maximum of 10, which paho does not look at."""

DISCONNECT_WITH_WILL: Final = ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message")
"""Reason code 0x04 (MQTT 5, 3.14.2.1)."""


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """How to connect. Without ``ca_file`` the system's authorities are trusted; files are PEM."""

    client_id: str
    user: str = ""
    password: str = ""
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keep_alive_s: float = 30.0
    version: Literal["5", "3.1.1"] = "5"
    leave_with_will: bool = False
    """Have the broker publish the will also after an orderly end, as Sparkplug 3.0 wants of an Edge Node on MQTT 5."""


class MqttSession:
    """See ``BrokerSession``."""

    def __init__(self, options: MqttOptions) -> None:
        self._options = options
        self._connection: _Connection | None = None

    def use(self, options: MqttOptions) -> None:
        """Connect by these from the next time on."""
        self._options = options

    async def connect(self, url: str, will: Message | None, on_message: Callable[[Message], None]) -> BrokerLimits:
        """See ``BrokerSession``."""
        await self.disconnect()
        connection = _Connection(url, self._options, on_message)
        limits = await connection.open(will)
        self._connection = connection
        return limits

    async def subscribe(self, filters: Sequence[tuple[str, int]]) -> None:
        """See ``BrokerSession``."""
        await self._open_connection().subscribe(filters)

    def publish(self, message: Message) -> None:
        """See ``BrokerSession``."""
        self._open_connection().publish(message)

    def together(self) -> contextlib.AbstractContextManager[None]:
        """See ``BrokerSession``."""
        return sent_together(None if self._connection is None else self._connection.socket())

    @property
    def unsent_bytes(self) -> int:
        """See ``BrokerSession``; an upper bound, which falls to 0 when everything has left."""
        return 0 if self._connection is None else self._connection.unsent_bytes

    async def drained(self, bytes_max: int) -> None:
        """See ``BrokerSession``."""
        await self._open_connection().drained(bytes_max)

    async def closed(self) -> None:
        """See ``BrokerSession``."""
        await asyncio.shield(self._open_connection().closed)

    async def disconnect(self) -> None:
        """See ``BrokerSession``."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _open_connection(self) -> _Connection:
        if self._connection is None:
            raise BrokerUnavailable("there is no connection to a broker")
        return self._connection


class _ClosedWhenRefused(ssl.SSLSocket):
    """A socket that closes when its handshake fails: paho forgets it, and it would stay open until it is collected."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


class _Connection:
    """One connection, from CONNECT to its end."""

    def __init__(self, url: str, options: MqttOptions, on_message: Callable[[Message], None]) -> None:
        self._url = url
        self._options = options
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.closed.add_done_callback(_retrieve)
        self._connected: asyncio.Future[BrokerLimits] = self._loop.create_future()
        self._subscribed: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self._drained = asyncio.Event()
        self._drained.set()
        self.unsent_bytes = 0
        self._received = 0
        self._reading = False
        self._reading_on: asyncio.Handle | None = None
        self._writing = False
        self._descriptor = -1
        self._broker_said = ""
        self._timer: asyncio.TimerHandle | None = None
        self._client = self._make_client()

    def socket(self) -> Any:
        """What it sends through; ``None`` when it is closed."""
        return self._client.socket()

    async def open(self, will: Message | None) -> BrokerLimits:
        place = urlparse(self._url)
        port = place.port or (8883 if place.scheme == "mqtts" else 1883)
        client = self._client
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        try:
            if place.scheme == "mqtts":
                client.tls_set_context(await asyncio.to_thread(self._tls_context))
            # The name lookup and the TLS handshake of paho block: a thread waits for them.
            dial = in_free_thread(lambda: self._dial(place.hostname or "", port), "mqtt connect")
            dial.add_done_callback(_retrieve)
            await asyncio.shield(dial)
            self._watch()
            async with asyncio.timeout(CONNECT_S_MAX):
                return await self._connected
        except TimeoutError as exc:
            await self.close()
            raise BrokerUnavailable(reasons.silent(self._url, CONNECT_S_MAX)) from exc
        except (OSError, ValueError, TlsFileUnusable) as exc:
            await self.close()
            raise BrokerUnreachable(reasons.unreachable(self._url, exc)) from exc
        except BrokerUnavailable:
            await self.close()
            raise
        except asyncio.CancelledError:
            self._end("the connect was given up")
            raise

    def _dial(self, host: str, port: int) -> None:
        """In a thread, which may outlive the event loop; a connect given up leaves no connection with our client id."""
        try:
            self._client.connect(host, port, keepalive=max(1, round(self._options.keep_alive_s)))
        finally:
            if self.closed.done():
                self._close_socket()

    def _make_client(self) -> Client:
        is_5 = self._options.version == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._options.client_id,
            clean_session=None if is_5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if is_5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_S_MAX
        client.max_inflight_messages_set(INFLIGHT_MAX)
        if self._options.user:
            client.username_pw_set(self._options.user, self._options.password or None)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_paho_message
        client.on_socket_close = self._on_socket_close
        return client

    def _tls_context(self) -> ssl.SSLContext:
        options = self._options
        context = client_context(options.ca_file, options.cert_file, options.key_file)
        context.sslsocket_class = _ClosedWhenRefused
        return context

    # -- the loop watches the socket -----------------------------------------------------------------------------------

    def _watch(self) -> None:
        connection = self._client.socket()
        if connection is None:
            raise BrokerUnavailable(self._loss())
        self._descriptor = connection.fileno()
        send_at_once(connection)
        self._loop.add_reader(self._descriptor, self._read)
        self._reading = True
        self._read_decrypted()
        self._timer = self._loop.call_later(self._options.keep_alive_s / 4, self._tend)
        self._after_write()

    def _read_decrypted(self) -> None:
        """Read on soon when TLS has decrypted more than was taken: the socket itself is not readable for that."""
        if self._reading_on is not None:
            self._reading_on.cancel()  # it is this turn, or the socket has become readable before it
        socket = self._client.socket()
        if self._reading and isinstance(socket, ssl.SSLSocket) and socket.pending():
            self._reading_on = self._loop.call_soon(self._read)

    def _read(self) -> None:
        try:
            for _ in range(READS_MAX):
                before = self._received
                code = self._client.loop_read()
                if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    self._end(self._loss())
                    return
                if self._received == before or not self._reading:
                    break
        except Exception as exc:  # a defect of a message handler: whoever waits for the end of the connection gets it
            self._end_with(exc)
            return
        self._read_decrypted()
        self._after_write()

    def _write(self) -> None:
        code = self._client.loop_write()
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._end(self._loss())
            return
        self._after_write()

    def _after_write(self) -> None:
        if self._client.want_write():
            if not self._writing and self._descriptor >= 0:
                self._loop.add_writer(self._descriptor, self._write)
                self._writing = True
            return
        if self._writing:
            self._loop.remove_writer(self._descriptor)
            self._writing = False
        self.unsent_bytes = 0
        self._drained.set()

    def _tend(self) -> None:
        """Keep-alive: paho sends a ping, or finds that the last one was not answered."""
        if self._client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._end(f"the broker {self._url} has not answered for {self._options.keep_alive_s:g} s")
            return
        self._after_write()
        self._timer = self._loop.call_later(self._options.keep_alive_s / 4, self._tend)

    def _unwatch(self) -> None:
        """Before the socket is closed: its number may be given to another one at once."""
        if self._reading:
            self._loop.remove_reader(self._descriptor)
            self._reading = False
        if self._reading_on is not None:
            self._reading_on.cancel()
        if self._writing:
            self._loop.remove_writer(self._descriptor)
            self._writing = False
        self._descriptor = -1

    def _loss(self) -> str:
        if self._connected.done() and self._connected.exception() is None:
            return reasons.lost(self._url, self._broker_said)
        return reasons.unanswered(self._url, has_certificate=self._options.cert_file is not None)

    def _end(self, reason: str) -> None:
        self._end_with(BrokerUnavailable(reason))

    def _end_with(self, error: Exception) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._unwatch()
        everyone: list[asyncio.Future[Any]] = [self._connected, self.closed, *self._subscribed.values()]
        for waiting in everyone:
            if not waiting.done():
                waiting.set_exception(error)
        _retrieve(self._connected)
        self._drained.set()
        self._close_socket()

    def _close_socket(self) -> None:
        socket = self._client.socket()
        if socket is not None:
            with contextlib.suppress(OSError):
                socket.close()

    # -- what callers ask for ------------------------------------------------------------------------------------------

    async def subscribe(self, filters: Sequence[tuple[str, int]]) -> None:
        code, number = self._client.subscribe(list(filters))
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or number is None:
            raise BrokerUnavailable(reasons.lost(self._url))
        answer: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self._subscribed[number] = answer
        self._after_write()
        try:
            async with asyncio.timeout(SUBSCRIBE_S_MAX):
                codes = await answer
        except TimeoutError as exc:
            raise BrokerUnavailable(f"the broker {self._url} does not answer a subscription") from exc
        finally:
            self._subscribed.pop(number, None)
        refused = [topic for (topic, _), code in zip(filters, codes, strict=False) if code.is_failure]
        if refused:
            raise BrokerUnavailable(reasons.subscription_refused(self._url, refused))

    def publish(self, message: Message) -> None:
        if self.closed.done():
            raise BrokerUnavailable(reasons.lost(self._url))
        info = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        if info.rc in (MQTTErrorCode.MQTT_ERR_NO_CONN, MQTTErrorCode.MQTT_ERR_CONN_LOST):
            self._end(reasons.lost(self._url))
            raise BrokerUnavailable(reasons.lost(self._url))
        self.unsent_bytes += len(message.payload)
        if self._client.want_write():
            self._drained.clear()
        self._after_write()

    async def drained(self, bytes_max: int) -> None:
        while self.unsent_bytes > bytes_max:
            await self._drained.wait()
            if self.closed.done():
                raise BrokerUnavailable(reasons.lost(self._url))

    async def close(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(TimeoutError, BrokerUnavailable):
                async with asyncio.timeout(GOODBYE_S_MAX):
                    await self.drained(0)
            if self._descriptor >= 0:
                with_will = self._options.leave_with_will and self._options.version == "5"
                self._client.disconnect(DISCONNECT_WITH_WILL if with_will else None)
        self._end(f"the connection to {self._url} was closed")

    # -- callbacks of paho ---------------------------------------------------------------------------------------------

    def _on_socket_close(self, _c: Client, _u: Any, _socket: Any) -> None:
        self._unwatch()

    def _on_connect(self, _c: Client, _u: Any, _f: Any, reason: ReasonCode, properties: Properties | None) -> None:
        if self._connected.done():
            return
        if reason.is_failure:
            self._connected.set_exception(BrokerUnavailable(reasons.refused(self._url, str(reason))))
            return
        packet_bytes_max = getattr(properties, "MaximumPacketSize", 0) if properties is not None else 0
        self._connected.set_result(BrokerLimits(packet_bytes_max))

    def _on_disconnect(self, _c: Client, _u: Any, _f: Any, reason: ReasonCode, _p: Properties | None) -> None:
        self._broker_said = self._broker_said or str(reason)
        self._loop.call_soon_threadsafe(lambda: self._end(self._loss()))

    def _on_subscribe(self, _c: Client, _u: Any, number: int, codes: list[ReasonCode], _p: Properties | None) -> None:
        answer = self._subscribed.get(number)
        if answer is not None and not answer.done():
            answer.set_result(codes)

    def _on_paho_message(self, _c: Client, _u: Any, message: MQTTMessage) -> None:
        self._received += 1
        self._on_message(Message(message.topic, bytes(message.payload), message.qos, message.retain))


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Look at the exception of a future that nobody may be waiting for, so that it is not reported as forgotten."""
    if future.done() and not future.cancelled():
        future.exception()
