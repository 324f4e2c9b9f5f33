"""What the agents of a plant hear on a real broker, every signature verified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from lineside.servers.mosquitto import MosquittoBroker

from connectors.commands.signing import TrustedKeys
from connectors.mqtt.session import MqttOptions, MqttSession
from connectors.ports.broker import Message
from tests.contract.historian_steps import eventually
from tests.patience import WAIT_S_MAX
from tests.played_agent import Commanded, commanded


class Ears:
    """What the agents of the plant hear."""

    def __init__(self, trusted: TrustedKeys) -> None:
        self.trusted = trusted
        self.messages: list[Message] = []

    def heard(self) -> list[tuple[str, Commanded]]:
        """By topic; every signature is verified."""
        return [(message.topic, commanded(message.payload, self.trusted)) for message in self.messages]

    def ids(self) -> list[str]:
        return [one.command.id for _, one in self.heard() if one.command]

    async def hear(self, condition: Callable[[], object], within_s: float = WAIT_S_MAX) -> None:
        async def holds() -> object:
            return condition()

        await eventually(holds, within_s)

    async def falls_silent(self) -> None:
        """Wait until nothing has come for half a second: what was on its way has come."""
        async with asyncio.timeout(WAIT_S_MAX):
            count = -1
            while count != len(self.messages):
                count = len(self.messages)
                await asyncio.sleep(0.5)


@asynccontextmanager
async def ears(broker: MosquittoBroker, trusted: TrustedKeys) -> AsyncIterator[Ears]:
    session = MqttSession(MqttOptions("ears"))
    made = Ears(trusted)
    await session.connect(broker.url, None, made.messages.append)
    await session.subscribe([("spBv1.0/+/NCMD/+", 0), ("spBv1.0/+/DCMD/+/+", 0)])
    try:
        yield made
    finally:
        await session.disconnect()
