"""What the historian remembers does not grow with the time for which it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cloud_ingest.historian import ledger_book
from cloud_ingest.historian.identities import DEFINITIONS_A_DEVICE, Identities
from cloud_ingest.historian.ledger_book import LedgerBook
from cloud_ingest.historian.work import KnownAgent, Work
from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName, Epoch
from connectors.model.tags import DeviceDefinition
from connectors.sparkplug.definition import read_definition
from tests.played_agent import PlayedAgent

AGENT = KnownAgent(1, 1, AgentName("plant", "line"))


class Tables:
    """A database that has the definitions, the tags and the ledger that it is asked for; it counts the questions."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.ledger: dict[int, str] = {}
        self.asked = 0

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Tables]:
        yield self

    transaction = session

    async def execute(self, _sql: str, *_args: Any) -> int:
        return 1

    async def fetch(self, sql: str, *args: Any) -> list[dict[str, Any]]:
        if "FROM ledger WHERE" in sql:
            self.asked += 1
            row = {
                "arrived": self.ledger.get(args[1]),
                "samples": 1,
                "duplicates": 0,
                "first_batch": 1,
                "last_batch": 1,
            }
            return [{**row, "revision": 1, "started_ms": 0, "explained": "{}"}] if args[1] in self.ledger else []
        if "SELECT body" in sql:
            self.asked += 1
            return [{"body": self.bodies[args[1]]}]
        if "entered AS" in sql:
            return [
                {"tag_id": at, "device": device, "name": name}
                for at, (device, name) in enumerate(zip(args[2], args[3], strict=True), 1)
            ]
        return []


def definitions(count: int, device: str = "press") -> list[DeviceDefinition]:
    agent, found = PlayedAgent(), []
    for number in range(count):
        agent.define(device, {f"tag {number}": DataType.DOUBLE})
        found.append(read_definition(agent.definitions[device].body))
    return found


async def test_of_each_device_the_definitions_that_are_in_use_are_remembered() -> None:
    tables = Tables()
    identities = Identities(tables)  # type: ignore[arg-type]
    other = definitions(1, "oven")[0]
    made = definitions(5 * DEFINITIONS_A_DEVICE)
    tables.bodies = {one.hash: one.body for one in (*made, other)}
    await identities.learn_definition(AGENT, other)
    for one in made:
        await identities.learn_definition(AGENT, one)
        assert (await identities.definition(AGENT, made[0].hash)) is not None, "it is in use all the time"
        assert len(identities._definitions) <= DEFINITIONS_A_DEVICE + 1
    assert tables.asked == 0, "what is in use is asked for once"
    await identities.definition(AGENT, other.hash)
    assert tables.asked == 0, "other devices cost it nothing"
    again = await identities.definition(AGENT, made[1].hash)
    assert again is not None
    assert (again.definition, tables.asked) == (made[1], 1), "what was not in use is read again"


async def test_the_epochs_of_a_year_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_book, "ENTRIES_MAX", 10)
    tables = Tables()
    book = LedgerBook(tables)  # type: ignore[arg-type]
    for number in range(100):
        work = Work(next_offset=number, last_ms=0)
        entry = await book.entry(work, AGENT, Epoch(number))
        entry.arrived.add(1)
        book.committed(work)
        tables.ledger[number] = "{[1,2)}"
        assert len(book._entries) <= 10
    before = tables.asked
    work = Work(next_offset=100, last_ms=0)
    assert 1 in (await book.entry(work, AGENT, Epoch(99))).arrived
    assert tables.asked == before
    assert 1 in (await book.entry(work, AGENT, Epoch(0))).arrived
    assert tables.asked == before + 1, "a late batch of an early epoch is looked up"
