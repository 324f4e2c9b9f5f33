"""The database and the event log as the configuration names them: opened for a process, or for one command.

A command that asks the database one question loads nothing else of the programs: it answers at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from cloud_ingest.config import CloudConfig
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog

if TYPE_CHECKING:
    from cloud_ingest.historian.replaying import Replaying

DAY_S: Final = 86_400
_LOG_SHARE: Final = 3


def pools(config: CloudConfig) -> tuple[int, int]:
    """How many connections the pool of the database may have, and that of an event log on PostgreSQL.

    Beside each pool there is one connection for locks, memberships and notifications: all together are
    ``connections_max``. What the log does is short, and the database's sessions wait for each other's rows.
    """
    in_all = config.database.connections_max
    if config.event_log.kafka is not None:
        return in_all - 1, 0
    of_log = in_all // _LOG_SHARE
    return in_all - of_log - 2, of_log


async def unconnected_database(config: CloudConfig, *, serves: bool = False) -> Database:
    """The database, which need not be there yet. Who ``serves`` has half of the connections to read samples."""
    from connectors.postgres import database

    connections_max, _ = pools(config)
    return await database.unconnected_database(
        config.database.dsn,
        connections_max=connections_max,
        application_name="lineside cloud-ingest",
        plan_once_max=connections_max // 2 if serves else 0,
    )


@contextlib.asynccontextmanager
async def opened_database(config: CloudConfig) -> AsyncIterator[Database]:
    """The database for the length of a command, whose first question finds out whether it is there."""
    database = await unconnected_database(config)
    try:
        yield database
    finally:
        await database.close()


async def connect_event_log(config: CloudConfig, database: Database) -> EventLog:
    """The event log: Kafka if it is configured, else PostgreSQL. Raises ``EventLogUnavailable``.

    ``database`` is asked what of it is stored, where the log can wait for that before it deletes.
    """
    if config.event_log.kafka is not None:
        from connectors.kafka.event_log import open_event_log as open_kafka

        return await open_kafka(config.event_log.kafka, name="lineside cloud-ingest")
    from cloud_ingest.historian.raw_readers import RawReaders
    from connectors.postgres.event_log import open_event_log as open_postgres

    return await open_postgres(
        config.database.dsn,
        connections_max=pools(config)[1],
        application_name="lineside event log",
        readers=RawReaders(database),
    )


@contextlib.asynccontextmanager
async def replayer(config: CloudConfig, database: Database) -> AsyncIterator[Replaying]:
    """What stores dead letters after all, and publishes their samples where the historian does."""
    from cloud_ingest.event_log.topics import SAMPLES, topic_specs
    from cloud_ingest.historian.partitions import Partitions
    from cloud_ingest.historian.replaying import Replaying
    from cloud_ingest.historian.samples_topic import SamplesTopic
    from cloud_ingest.lines.signal_samples import has_signals
    from connectors.ports.clock import SystemClock

    partitions = Partitions(database, SystemClock(), int(config.historian.retention_s // DAY_S))
    await partitions.prepare()
    publishes = config.historian.publish_samples
    if not (await has_signals(database) if publishes is None else publishes):
        yield Replaying(database, partitions, None)
        return
    log = await connect_event_log(config, database)
    try:
        await log.ensure(topic_specs(config.event_log.partitions, config.event_log.retention_s)[SAMPLES])
        yield Replaying(database, partitions, SamplesTopic(log))
    finally:
        await log.close()
