"""Log lines that are searched: of this program by a bounded queue, of agents by whoever forwards them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.catalog import log_keeper
from cloud_ingest.catalog.collections import DOCUMENTS, log_collection
from cloud_ingest.catalog.log_keeper import LogKeeper
from cloud_ingest.catalog.role import CatalogRole
from cloud_ingest.observability.catalog_events import LogLinesDropped, LogLinesKept
from cloud_ingest.observability.platform_events import EventNotPublished
from cloud_ingest.settings.catalog import KeptLogsSettings
from connectors.documents.postgres import PostgresDocuments
from connectors.model.errors import DatabaseUnavailable
from connectors.observability.events import emit
from connectors.ports.clock import SystemClock
from connectors.ports.documents import FindEntries
from tests.contract.catalog_steps import Shop, shop
from tests.contract.historian_steps import eventually

LOGS = log_collection(KeptLogsSettings())
AGENT = "plant/line-1"


def keeper_of(here: Shop) -> LogKeeper:
    documents = PostgresDocuments(here.database, partial(tenant_transaction, here.database))
    return LogKeeper(documents, here.database, LOGS, SystemClock(), "info")


@asynccontextmanager
async def running(keeper: LogKeeper) -> AsyncIterator[None]:
    task = asyncio.create_task(keeper.run())
    try:
        await asyncio.sleep(0)
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def events(here: Shop, query: str = "") -> list[str]:
    return [line["event"] for line in (await here.get(f"/logs{query}", by=Role.OPERATOR))["lines"]]


async def test_what_the_program_says_is_found_by_word_level_and_time(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        async with running(keeper_of(here)):
            emit(EventNotPublished("lineside.orders", "O-1", "the record is too large"))
            emit(LogLinesDropped(3))
            emit(LogLinesKept(1))
            logging.getLogger("somelibrary").warning("certificate of %s expires", "press")

            async def are_there() -> bool:
                return len(await events(here)) == 3

            await eventually(are_there)
        emit(LogLinesDropped(4))
        (line,) = (await here.get("/logs?level=error", by=Role.OPERATOR))["lines"]
        assert (line["event"], line["text"], line["source"]) == (
            "event_not_published", "the record is too large", "application",
        )  # fmt: skip
        assert line["fields"] == {"topic": "lineside.orders", "key": "O-1"}
        assert await events(here, "?search=too lar") == ["event_not_published"]
        assert await events(here, "?search=certificate press") == ["library"]
        assert await events(here, "?level=warning&limit=10") == ["library", "log_lines_dropped", "event_not_published"]
        assert await events(here, "?to=2020-01-01T00:00:00Z") == []
        first = await here.get("/logs?limit=2", by=Role.OPERATOR)
        assert await events(here, f"?before={first['next']}") == ["event_not_published"]


async def test_lines_that_come_faster_than_they_are_kept_are_dropped_oldest_first_and_counted(
    database_dsn: str,
) -> None:
    async with shop(database_dsn) as here:
        keeper = keeper_of(here)
        for number in range(log_keeper.QUEUE_MAX + 2):
            keeper.hear(EventNotPublished("t", str(number), ""))
        assert await keeper.keep() == log_keeper.AT_ONCE_MAX
        documents = keeper._documents
        (oldest,) = (await documents.entries(1, LOGS, FindEntries(limit=log_keeper.AT_ONCE_MAX)))[-1:]
        assert ["key", "2"] in oldest.body["fields"]
        assert keeper._dropped == 0, "they were counted"


async def test_lines_wait_while_the_store_is_away_and_none_is_kept_twice(database_dsn: str) -> None:
    class Away(PostgresDocuments):
        async def append(self, tenant_id, collection, entries):  # type: ignore[no-untyped-def]
            await super().append(tenant_id, collection, entries)
            raise DatabaseUnavailable("gone just then")

    async with shop(database_dsn) as here:
        keeper = keeper_of(here)
        keeper.hear(EventNotPublished("t", "k", ""))
        there, keeper._documents = keeper._documents, Away(here.database, partial(tenant_transaction, here.database))
        for _ in range(2):
            try:
                await keeper.keep()
            except DatabaseUnavailable:
                continue
            raise AssertionError
        keeper._documents = there
        assert await keeper.keep() == 1
        assert await events(here) == ["event_not_published"]


async def test_lines_of_agents_are_brought_once_and_are_their_tenant_s(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        given = [
            {"timestamp": "2026-11-22T08:00:00Z", "level": "warn", "event": "device_lost", "device": "press",
             "reason": "connection reset", "retry.s": 5},
            {"timestamp": "2026-11-22T08:00:01+00:00", "event": "agent_started", "level": "info", "version": "1.2"},
            {"timestamp": "2200-01-01T00:00:00Z", "event": "clock_wrong"},
        ]  # fmt: skip
        body = "\n".join(json.dumps(line) for line in given)
        for _ in range(2):
            answer = await here.ask("POST", f"/logs?agent={AGENT}", by=Role.ENGINEER, content=body)
            assert (answer.status_code, answer.json()) == (202, {"lines": 3})
        lines = (await here.get(f"/logs?agent={AGENT}&source=device", by=Role.OPERATOR))["lines"]
        assert [(line["level"], line["text"], line["device"], line["fields"]) for line in lines] == [
            ("warning", "connection reset", "press", {"retry.s": "5"})
        ]
        assert await events(here, "?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z") == [
            "agent_started",
            "device_lost",
        ]
        (ahead,) = (await here.get("/logs?search=clock", by=Role.OPERATOR))["lines"]
        assert ahead["time"] < "2200", "a clock that is ahead does not make a line the newest for ever"
        for wrong in ('{"event": "x"}', "no json", '{"timestamp": "2026-01-01T00:00:00"}'):
            refused = await here.ask("POST", f"/logs?agent={AGENT}", by=Role.ENGINEER, content=wrong)
            assert (refused.status_code, refused.json()["code"]) == (400, "lines_invalid")
        assert (await here.ask("POST", f"/logs?agent={AGENT}", by=Role.OPERATOR, content=body)).status_code == 403


async def test_the_role_trims_lines_that_are_too_old(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        old = '{"timestamp": "2020-01-01T00:00:00Z", "event": "old"}'
        await here.ask("POST", f"/logs?agent={AGENT}", by=Role.ENGINEER, content=old)
        assert await events(here) == ["old"]
        documents = keeper_of(here)._documents
        role = asyncio.create_task(CatalogRole(documents, DOCUMENTS, LOGS, SystemClock()).run())

        async def is_gone() -> bool:
            return await events(here) == []

        await eventually(is_gone)
        role.cancel()
        await asyncio.wait([role])
