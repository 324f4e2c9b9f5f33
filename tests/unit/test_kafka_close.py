"""A connection to a broker that stands still: closing it keeps nobody waiting, and leaves nothing open."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import RequestTimedOutError

from connectors.kafka import connection as kafka
from connectors.kafka.connection import CLOSE_S_MAX, LEAVE_S_MAX, KafkaConnection
from connectors.kafka.settings import KafkaLog
from connectors.model.errors import EventLogUnavailable
from tests.virtual_time import virtual_time


class Writer:
    def __init__(self) -> None:
        self.transport = self
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


class Frozen:
    """aiokafka's client at a broker that takes no more bytes: what is to be sent first, never is."""

    def __init__(self) -> None:
        self._writer = Writer()
        self._conns = {1: self}
        self.writer = self._writer
        self.cluster = self

    def brokers(self) -> list[Any]:
        return []

    async def bootstrap(self) -> None:
        pass

    async def force_metadata_update(self) -> bool:
        return True

    async def close(self) -> None:
        self._writer = None  # type: ignore[assignment]  # as aiokafka's connections do
        await asyncio.Event().wait()


@virtual_time
async def test_a_broker_that_takes_no_bytes_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Frozen] = []

    def new(**_options: Any) -> Frozen:
        made.append(Frozen())
        return made[-1]

    monkeypatch.setattr(kafka, "_new_client", new)
    settings = KafkaLog.model_validate({"brokers": ["127.0.0.1:1"], "insecure": True, "timeout": "5s"})
    connection = KafkaConnection(settings, "tests")

    async def attempt() -> None:
        await connection._open()
        raise RequestTimedOutError

    loop = asyncio.get_running_loop()
    async with asyncio.timeout(60.0):
        with pytest.raises(EventLogUnavailable, match="within 5 s"):
            await connection.until_served("append", attempt)
    assert loop.time() <= settings.timeout_s + CLOSE_S_MAX + LEAVE_S_MAX + 0.1
    assert [one.writer.is_aborted for one in made] == [True]
