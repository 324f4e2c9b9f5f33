"""The store of documents that the configuration names, and the log lines that every process keeps in it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.catalog.collections import log_collection
from cloud_ingest.catalog.log_keeper import LogKeeper
from cloud_ingest.config import CloudConfig
from cloud_ingest.store.processes import Facts
from connectors.ports.clock import SystemClock
from connectors.ports.database import Database
from connectors.ports.documents import DocumentStore


def documents_of(config: CloudConfig, database: Database) -> DocumentStore:
    """The store of documents that ``config`` names."""
    if config.documents.mongodb is None:
        from connectors.documents.postgres import PostgresDocuments

        return PostgresDocuments(database, functools.partial(tenant_transaction, database))
    from connectors.documents.mongo import MongoDocuments

    mongodb = config.documents.mongodb
    return MongoDocuments(mongodb.url.get_secret_value(), mongodb.database)


def kept_logs(config: CloudConfig, database: Database) -> tuple[str, Callable[[], Coroutine[Any, Any, None]], Facts]:
    """What has the log lines of this process, whatever its roles, be searched."""
    documents, collection = documents_of(config, database), log_collection(config.logs)
    keeper = LogKeeper(documents, database, collection, SystemClock(), config.logs.level)
    return ("logs", keeper.run, keeper.facts)
