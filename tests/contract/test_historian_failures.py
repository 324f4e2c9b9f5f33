"""Why storing fails decides what becomes of a message: it is set aside when it is its own fault, else it waits."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from cloud_ingest.gateway.ledger import ledger as ledger_of
from cloud_ingest.historian import incoming, interpreter, projector
from cloud_ingest.historian.partitions import Partitions
from cloud_ingest.historian.projector import Projector, Stores
from connectors.model.back_off import BackOff
from connectors.model.datatypes import DataType
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.ports.database import Database
from connectors.sparkplug.delivery import Delivery, read_delivery
from tests.contract.historian_steps import RETENTION_DAYS, Plant, RawLogOnPostgres, expected_rows, in_order, plant
from tests.played_agent import PlayedAgent, Sample, Wire

NOW_NS = time.time_ns()
IN_THE_MESSAGE = ["22003", "22021", "22008", "22P03", "23502", "23505", "23514", "54000"]
OUTSIDE = ["42501", "42P01", "42703", "28000", "3D000", "0A000", "25006", "55000", "XX001", "XX002"]
UNCLEAR = ["P0001", "XX000", "23503"]


class RefusingSession:
    """A session whose COPY of certain samples is refused."""

    def __init__(self, real: Any, database: RefusingDatabase) -> None:
        self._real, self._database = real, database

    async def copy(self, table: str, columns: Any, data: bytes) -> Any:
        if self._database.poison in data:
            self._database.refusals += 1
            if self._database.refusals <= self._database.refusals_max:
                raise self._database.error
        return await self._real.copy(table, columns, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class RefusingDatabase:
    """A database that refuses every transaction with a sample of one value, so many times."""

    def __init__(self, real: Database, poison: bytes, error: Exception, refusals_max: int = 1_000_000) -> None:
        self._real, self.poison, self.error, self.refusals_max = real, poison, error, refusals_max
        self.refusals = 0

    def session(self, tenant_id: int | None = None) -> Any:
        return self._real.session(tenant_id)

    @asynccontextmanager
    async def transaction(self, tenant_id: int | None = None) -> AsyncIterator[Any]:
        async with self._real.transaction(tenant_id) as session:
            yield RefusingSession(session, self)


POISON = 1.5e300


def value(number: float) -> bytes:
    return struct.pack(">d", number)


def batches(agent: PlayedAgent, values: list[float]) -> list[Wire]:
    return [agent.samples("press", [Sample("force", NOW_NS + (agent.next + 1) * 1000, one)]) for one in values]


@asynccontextmanager
async def projecting(made: Plant, database: Any) -> AsyncIterator[None]:
    partitions = Partitions(made.database, made.clock, RETENTION_DAYS)
    await partitions.prepare()
    stores = Stores(database, made.log, partitions, None, made.clock)
    projectors = [Projector(stores, made.identity, number) for number in range(2)]
    running = [asyncio.create_task(one.run(BackOff(0.01, 0.05))) for one in projectors]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        for task in running:
            assert task.cancelled(), task.exception()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "RETRY_S", 0.01)


async def test_a_message_whose_reading_is_a_defect_of_ours_is_set_aside_as_it_came(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = PlayedAgent()
    wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE}), *batches(agent, [1.0, 2.0, 3.0])]

    def defective(payload: bytes) -> Delivery | None:
        if payload == wires[3].payload:
            raise IndexError("a defect of the reader")
        return read_delivery(payload)

    monkeypatch.setattr(incoming, "read_delivery", defective)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.append(*wires)
        async with projecting(made, made.database):
            await made.caught_up()
        assert [row.value for row in in_order(await made.rows(agent))] == ["1.0", "3.0"]
        (letter,) = await made.fetch("SELECT topic, payload, agent_id, epoch, batch, reason FROM dead_letter")
        assert (letter["topic"], bytes(letter["payload"])) == wires[3]
        assert (letter["agent_id"], letter["epoch"], letter["batch"]) == (None, None, None)
        assert "IndexError: a defect of the reader" in letter["reason"]
        assert (await made.epoch(agent))["missing"] == [(4, 4)]


async def test_a_message_for_which_there_is_no_memory_is_set_aside_and_others_go_on(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = PlayedAgent()
    wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE}), *batches(agent, [1.0, 2.0, 3.0])]
    decode = interpreter.decode_batches

    def too_much(messages: Any, tags: Any) -> Any:
        if any(message.message.payload == wires[3].payload for message in messages):
            raise MemoryError
        return decode(messages, tags)

    monkeypatch.setattr(interpreter, "decode_batches", too_much)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.append(*wires)
        async with projecting(made, made.database):
            await made.caught_up()
        assert [row.value for row in in_order(await made.rows(agent))] == ["1.0", "3.0"]
        assert await made.reasons() == ["there was not enough memory to store it: MemoryError"]
        assert (await made.epoch(agent))["missing"] == [(4, 4)]


@pytest.mark.parametrize("sqlstate", IN_THE_MESSAGE + UNCLEAR)
async def test_a_message_that_the_database_refuses_is_set_aside_alone(database_dsn: str, sqlstate: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE})]
        wires += batches(agent, [1.0, 2.0, POISON, 4.0, 5.0, 6.0])
        await made.append(*wires)
        refused = StatementRefused("no", sqlstate=sqlstate)
        async with projecting(made, RefusingDatabase(made.database, value(POISON), refused)):
            await made.caught_up()
        rows = await made.rows(agent)
        assert [row.value for row in in_order(rows)] == ["1.0", "2.0", "4.0", "5.0", "6.0"]
        assert await made.reasons() == ["no"]
        epoch = await made.epoch(agent)
    assert epoch["missing"] == [(5, 5)]


@pytest.mark.parametrize(
    "error",
    [DatabaseUnavailable("away"), *(StatementRefused("no", sqlstate=sqlstate) for sqlstate in OUTSIDE)],
    ids=["away", *OUTSIDE],
)
async def test_a_reason_that_is_in_no_message_is_waited_for(database_dsn: str, error: Exception) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE})]
        await made.append(*wires, *batches(agent, [1.0, POISON, 3.0]))
        with capture_logs() as logs:
            async with projecting(made, RefusingDatabase(made.database, value(POISON), error, refusals_max=8)):
                await made.caught_up()
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        assert await made.reasons() == []
        (entry,) = await ledger_of(made.database)
        assert (entry["missing"], entry["duplicates"]) == (0, 0)
    assert {log["event"] for log in logs if log["log_level"] == "warning"} == {"store_waiting"}


async def test_a_table_that_is_gone_for_a_while_sets_nothing_aside(database_dsn: str) -> None:
    """The real thing: somebody works on the tables by hand."""
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.append(agent.start(), agent.define("press", {"force": DataType.DOUBLE}))
        async with made.projecting(own_connections=True):
            await made.caught_up()
            await made.fetch("ALTER TABLE gap RENAME TO gap_gone")
            await made.append(agent.gap("press", "device_unavailable", 0, 1), *batches(agent, [1.0]))
            await asyncio.sleep(0.5)
            assert await made.rows(agent) == []
            await made.fetch("ALTER TABLE gap_gone RENAME TO gap")
            await made.caught_up()
        assert in_order(await made.rows(agent)) == in_order(expected_rows([agent]))
        assert await made.reasons() == []


async def test_a_rule_of_somebody_else_for_a_table_sets_aside_only_what_breaks_it(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(agent.start(), agent.define("press", {"force": DataType.DOUBLE}))
        await made.fetch("ALTER TABLE sample ADD CONSTRAINT sensible CHECK (value_double < 100)")
        await made.project(*batches(agent, [1.0, 200.0, 3.0]))
        assert sorted(row.value for row in await made.rows(agent)) == [1.0, 3.0]
        (reason,) = await made.reasons()
        assert "sensible" in reason


async def test_a_message_that_brings_out_a_defect_stops_nothing(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = PlayedAgent()
    real = interpreter.decode_batches

    def defective(incoming: Any, tags: Any) -> Any:
        for message in incoming:
            if value(POISON)[::-1] in message.message.payload:
                raise KeyError("the defect")
        return real(incoming, tags)

    monkeypatch.setattr(interpreter, "decode_batches", defective)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.append(agent.start(), agent.define("press", {"force": DataType.DOUBLE}))
        await made.append(*batches(agent, [1.0, 2.0, POISON, 4.0]))
        with capture_logs() as logs:
            async with projecting(made, made.database):
                await made.caught_up()
        assert sorted(row.value for row in await made.rows(agent)) == [1.0, 2.0, 4.0]
        assert await made.reasons() == ["a defect of Lineside, which this message brings out: KeyError: 'the defect'"]
        assert (await made.epoch(agent))["missing"] == [(5, 5)]
    tries = [log for log in logs if log["event"] == "storing_failed"]
    assert len(tries) == projector.TRIES_MAX - 1
    assert "defective" in tries[0]["traceback"]


async def test_a_broken_batch_that_is_the_first_of_its_epoch_is_missing(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.append(agent.define("press", {"force": DataType.DOUBLE}))
        other = PlayedAgent()
        other.definitions = agent.definitions
        await made.append(*batches(other, [POISON]))
        refused = StatementRefused("no", sqlstate="22003")
        async with projecting(made, RefusingDatabase(made.database, value(POISON), refused)):
            await made.caught_up()
        assert (await made.epoch(other))["missing"] == [(1, 1)]
