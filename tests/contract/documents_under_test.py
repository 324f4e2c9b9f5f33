"""The stores of documents behind one face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import count
from typing import Final

import pytest

from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.store.migrate import migrate
from connectors.documents.mongo import MongoDocuments
from connectors.documents.postgres import PostgresDocuments
from connectors.ports.documents import CappedCollection, Collection, DocumentStore
from connectors.postgres.database import open_database
from tests.patience import WAIT_S_MAX

THINGS: Final = Collection("things", ("kind", "made.by"))
NOTES: Final = CappedCollection("notes", bytes_max=2000, age_s_max=3600.0, fields=("level",))
OpenDocuments = Callable[[], AbstractAsyncContextManager[DocumentStore]]
LEAVES_SOCKETS: Final = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
"""Of tests with pymongo: a client that is closed while it connects leaves that socket to the garbage collector."""
_names = count(1)


def documents_in_postgres(dsn: str) -> OpenDocuments:
    """On a fresh database, which gets a second tenant."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[DocumentStore]:
        database = await open_database(dsn, connections_max=4, application_name="tests")
        try:
            await migrate(database)
            async with database.session() as session:
                await session.execute("INSERT INTO tenant (name) VALUES ('other')")
            store = PostgresDocuments(database, partial(tenant_transaction, database))
            await store.prepare([THINGS, NOTES])
            yield store
        finally:
            await database.close()

    return opened


def documents_in_mongo(url: str) -> OpenDocuments:
    """On a database of the stand-in that nobody else has."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[DocumentStore]:
        store = MongoDocuments(url, f"test_{next(_names)}")
        try:
            await store.prepare([THINGS, NOTES])
            await store.prepare([THINGS, NOTES])
            yield store
        finally:
            await closed(store)

    return opened


async def closed(store: MongoDocuments) -> None:
    """Close it, and see its client's own tasks end: one that connects just then would leave a socket open."""
    await store.close()
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others, timeout=WAIT_S_MAX)
