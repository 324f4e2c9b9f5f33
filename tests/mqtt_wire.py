"""What a program really says to its broker: a proxy that keeps the bytes, and reads them as MQTT 3.1.1 or 5 packets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

from tests.patience import WAIT_S_MAX

CONNECT, PUBLISH, SUBSCRIBE, DISCONNECT = 1, 3, 8, 14
SESSION_EXPIRY: Final = 17
_FIXED: Final = {
    1: 1,
    23: 1,
    25: 1,
    36: 1,
    37: 1,
    40: 1,
    41: 1,
    42: 1,
    19: 2,
    33: 2,
    34: 2,
    35: 2,
    2: 4,
    17: 4,
    24: 4,
    39: 4,
}
"""Lengths of the MQTT 5 properties that have one (2.2.2.2)."""


@dataclass(frozen=True, slots=True)
class Will:
    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet from the client; ``connection`` counts from 0, ``at_ms`` is when its last byte came."""

    connection: int
    at_ms: int
    kind: int
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    level: int = 0
    """Of a CONNECT: 4 is MQTT 3.1.1, 5 is MQTT 5."""
    clean: bool = False
    will: Will | None = None
    properties: dict[int, Any] = field(default_factory=dict)
    filters: tuple[tuple[str, int], ...] = ()
    reason: int | None = None


class Recorder:
    """A proxy in front of a broker on this machine; every connection through it is recorded."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._connections: list[_Reading] = []
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def packets(self) -> list[Packet]:
        """All packets so far, connection by connection."""
        with self._lock:
            return [packet for connection in self._connections for packet in connection.packets]

    def of(self, *kinds: int) -> list[Packet]:
        return [packet for packet in self.packets if packet.kind in kinds]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(WAIT_S_MAX)  # else it may take one more connection, which nobody would close
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(WAIT_S_MAX)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._broker_port))
            except OSError:
                client.close()
                continue
            with self._lock:
                reading = _Reading(len(self._connections))
                self._connections.append(reading)
                self._sockets += [client, server]
                for arguments in ((client, server, reading), (server, client, None)):
                    self._threads.append(threading.Thread(target=self._pass_on, args=arguments, daemon=True))
                    self._threads[-1].start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, reading: _Reading | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if reading is not None:
                    with self._lock:
                        reading.feed(data)
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Reading:
    """The client's half of one connection."""

    def __init__(self, number: int) -> None:
        self._number, self._level, self._buffer = number, 4, b""
        self.packets: list[Packet] = []

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while (whole := _whole_packet(self._buffer)) is not None:
            head, body, self._buffer = self._buffer[0], *whole
            packet = self._packet(head, _Bytes(body))
            if packet is not None:
                self.packets.append(packet)

    def _packet(self, head: int, body: _Bytes) -> Packet | None:
        kind, now_ms = head >> 4, time.time_ns() // 1_000_000
        if kind == CONNECT:
            return self._connect(now_ms, body)
        if kind == PUBLISH:
            qos = head >> 1 & 3
            topic = body.text()
            if qos:
                body.number(2)
            if self._level == 5:
                body.properties()
            return Packet(self._number, now_ms, kind, topic, body.rest(), qos, bool(head & 1))
        if kind == SUBSCRIBE:
            body.number(2)
            if self._level == 5:
                body.properties()
            filters = []
            while body.left:
                filters.append((body.text(), body.number(1) & 3))
            return Packet(self._number, now_ms, kind, filters=tuple(filters))
        if kind == DISCONNECT:
            reason = body.number(1) if body.left else 0
            return Packet(self._number, now_ms, kind, reason=reason if self._level == 5 else None)
        return None

    def _connect(self, now_ms: int, body: _Bytes) -> Packet:
        assert body.text() == "MQTT"
        self._level = body.number(1)
        flags = body.number(1)
        body.number(2)
        properties = body.properties() if self._level == 5 else {}
        body.text()  # the client's id
        will = None
        if flags & 4:
            if self._level == 5:
                body.properties()
            will = Will(body.text(), body.binary(), flags >> 3 & 3, bool(flags & 32))
        clean = bool(flags & 2)
        return Packet(self._number, now_ms, CONNECT, level=self._level, clean=clean, will=will, properties=properties)


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        self._at += size
        assert self._at <= len(self._data)
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        return self.binary().decode()

    def rest(self) -> bytes:
        return self.take(self.left)

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def properties(self) -> dict[int, Any]:
        part, found = _Bytes(self.take(self.varint())), dict[int, Any]()
        while part.left:
            number = part.varint()
            if number in _FIXED:
                found[number] = part.number(_FIXED[number])
            elif number == 38:  # a user property is a pair
                found[number] = (part.text(), part.text())
            elif number == 11:
                found[number] = part.varint()
            else:
                found[number] = part.binary()
        return found


def _whole_packet(data: bytes) -> tuple[bytes, bytes] | None:
    """(body of the first packet, bytes after it); ``None`` while it is not whole."""
    size = shift = 0
    for at in range(1, min(5, len(data))):
        size |= (data[at] & 0x7F) << shift
        shift += 7
        if data[at] < 0x80:
            end = at + 1 + size
            return None if len(data) < end else (data[at + 1 : end], data[end:])
    return None
