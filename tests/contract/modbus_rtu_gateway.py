"""A serial line of many units behind a converter, played by a Modbus/TCP server: RTU frames on the outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from lineside.servers.child_process import free_port
from pymodbus.framer import FramerRTU

from tests.servers.modbus import ModbusServer

CHECKSUM_BYTES = 2
PREFIX_BYTES = 6


@asynccontextmanager
async def rtu_gateway(server: ModbusServer) -> AsyncIterator[str]:
    """Pass RTU frames on to ``server``, and its replies back; the endpoint. Units that are lost there are silent."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asking = await asyncio.open_connection("127.0.0.1", server.port)
        back = asyncio.create_task(_pass_back(answers, writer))
        tasks.add(back)
        with suppress(ConnectionError):
            while frame := await reader.read(256):  # one request in one piece: the next one leaves after its answer
                body = frame[:-CHECKSUM_BYTES]
                asking.write(bytes(4) + len(body).to_bytes(2, "big") + body)
        back.cancel()
        asking.close()
        writer.close()

    port = free_port()
    listener = await asyncio.start_server(serve, "127.0.0.1", port)
    async with listener:
        yield f"rtu+tcp://127.0.0.1:{port}"
        listener.close()
        for task in tasks:
            task.cancel()


async def _pass_back(answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await answers.readexactly(PREFIX_BYTES)
            body = await answers.readexactly(int.from_bytes(head[4:], "big"))
            writer.write(body + FramerRTU.compute_CRC(body).to_bytes(CHECKSUM_BYTES, "big"))
