"""Messages over TLS are taken when they arrive, however the broker packs them into TLS records.

A record that was decrypted is in memory, and the socket is not readable for it. The broker is played: it writes whole
packets in one record.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lineside.servers.throwaway_authority import ThrowawayAuthority

from connectors.mqtt.session import READS_MAX, MqttOptions, MqttSession
from tests.patience import WAIT_S_MAX

CONNACK = bytes([0x20, 2, 0, 0])
"""Far less than the keep-alive, with which the next packet would come."""


def suback(subscribe: bytes) -> bytes:
    return bytes([0x90, 3]) + subscribe[2:4] + bytes([1])


def publish(number: int) -> bytes:
    body = b"\x00\x01a" + b"%d" % number
    return bytes([0x30, len(body)]) + body


@asynccontextmanager
async def subscribed(folder: Path, after_suback: bytes) -> AsyncIterator[tuple[MqttSession, list[bytes]]]:
    """A session with one subscription; ``after_suback`` comes in the same TLS record as the answer to it."""
    authority = ThrowawayAuthority(folder)
    server = authority.issue("broker", hosts=("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(CONNACK)
        writer.write(suback(await reader.read(1000)) + after_suback)
        await done.wait()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    received: list[bytes] = []
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listener:
        url = f"mqtts://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        session = MqttSession(MqttOptions("x", ca_file=authority.certificate, version="3.1.1", keep_alive_s=60.0))
        await session.connect(url, None, lambda message: received.append(message.payload))
        await session.subscribe([("#", 1)])
        try:
            yield session, received
        finally:
            await session.disconnect()
            done.set()


async def until_there(received: list[bytes], count: int) -> None:
    end_s = time.monotonic() + WAIT_S_MAX
    while len(received) < count:
        assert time.monotonic() < end_s, f"{len(received)} of {count} messages"
        await asyncio.sleep(0.01)


async def test_a_message_in_the_same_tls_record_as_the_answer_before_it_is_not_left_lying(tmp_path: Path) -> None:
    async with subscribed(tmp_path, publish(1)) as (_, received):
        await until_there(received, 1)
        assert received == [b"1"]


async def test_more_messages_in_one_tls_record_than_are_taken_at_once_all_arrive(tmp_path: Path) -> None:
    count = 3 * READS_MAX + 1
    async with subscribed(tmp_path, b"".join(publish(number) for number in range(count))) as (_, received):
        await until_there(received, count)
        assert received == [b"%d" % number for number in range(count)]
