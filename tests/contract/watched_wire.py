"""A TCP link to a device that knows the frames: it keeps what is written, and decides what becomes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

from tests.contract.relayed_wire import CHUNK_BYTES, End, RelayedWire


class AfterWrite(Enum):
    """What becomes of a connection when a write has passed; of those that come later nothing."""

    PASS = "pass"
    LOSE = "lose"
    """Nothing comes back on it any more."""
    LATE = "late"
    """What comes back waits for ``release``."""
    CUT = "cut"
    """The device gets the write, and the connection breaks before it can answer."""


class WatchedWire(RelayedWire):
    """Listens on ``port`` and passes on to ``target``: ``async with WatchedWire(…) as wire``.

    ``frame_bytes`` says how long the frame is that begins with these bytes, or 0 when there are too few to know it;
    ``is_write`` whether a whole one is a request that changes something.
    """

    def __init__(
        self, target: int, frame_bytes: Callable[[bytes], int], is_write: Callable[[bytes], bool], name: str
    ) -> None:
        super().__init__(target)
        self.name = name
        self.after_write = AfterWrite.PASS
        self.writes: list[bytes] = []
        self.frames = 0
        """Whole frames of the client, writes included."""
        self._frame_bytes = frame_bytes
        self._is_write = is_write
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let the answers go that are late."""
        self._released.set()

    def _ways(self, client: End, device: End) -> tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]:
        fate = _Fate()
        return self._requests(client.reader, device.writer, fate), self._answers(device.reader, client.writer, fate)

    def _over(self, client: End, device: End) -> None:
        device.writer.close()  # in order: what was passed on arrives
        client.writer.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fate: _Fate) -> None:
        buffer = b""
        while data := await reader.read(CHUNK_BYTES):
            buffer += data
            while (size := self._frame_bytes(buffer)) and len(buffer) >= size:
                frame, buffer = buffer[:size], buffer[size:]
                self.frames += 1
                if self._is_write(frame):
                    self.writes.append(frame)
                    fate.mode, self.after_write = self.after_write, AfterWrite.PASS
                writer.write(frame)
                await writer.drain()
                if fate.mode is AfterWrite.CUT:
                    return

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fate: _Fate) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if fate.mode is AfterWrite.LATE:
                await self._released.wait()
            if fate.mode not in (AfterWrite.LOSE, AfterWrite.CUT):
                writer.write(data)
                await writer.drain()


class _Fate:
    def __init__(self) -> None:
        self.mode = AfterWrite.PASS


def modbus_wire(target: int) -> WatchedWire:
    """A link to a Modbus/TCP unit."""

    def frame_bytes(begin: bytes) -> int:
        return 6 + int.from_bytes(begin[4:6], "big") if len(begin) >= 6 else 0

    return WatchedWire(target, frame_bytes, lambda frame: frame[7] in (5, 6, 15, 16, 22), "modbus")


WRITE_REQUEST = b"\x01\x00\xa1\x02"
CALL_REQUEST = b"\x01\x00\xc8\x02"
"""The type ids 673 and 712 as a message body begins (Part 6, 5.2.2.9), 24 bytes after the message does (6.7.2)."""


def opcua_wire(target: int) -> WatchedWire:
    """A link to an OPC UA server; calls of methods count as writes."""

    def frame_bytes(begin: bytes) -> int:
        return int.from_bytes(begin[4:8], "little") if len(begin) >= 8 else 0

    def is_write(frame: bytes) -> bool:
        return frame[:3] == b"MSG" and frame[24:28] in (WRITE_REQUEST, CALL_REQUEST)

    return WatchedWire(target, frame_bytes, is_write, "opcua")
