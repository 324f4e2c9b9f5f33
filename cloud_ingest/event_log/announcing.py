"""Events that leave with the transaction that they are about: none without it, and none of one that was rolled back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from cloud_ingest.event_log.domain_events import DomainEvent, event_json
from connectors.ports.database import Database, Session

CHANNEL: Final = "lineside_events"


@dataclass(slots=True)
class UnitOfWork:
    """One transaction, and the events that it announces at its end."""

    session: Session
    events: list[DomainEvent] = field(default_factory=list)

    def announce(self, *events: DomainEvent) -> None:
        """Tell of ``events`` if the transaction commits, behind those that were announced before."""
        self.events.extend(events)


@asynccontextmanager
async def unit_of_work(database: Database, tenant_id: int | None = None) -> AsyncIterator[UnitOfWork]:
    """A transaction with its events; with ``tenant_id`` it sees that tenant alone (``access.tenancy``).

    Raises what ``Database.transaction`` does.
    """
    async with database.transaction(tenant_id) as session:
        work = UnitOfWork(session)
        yield work
        await write_events(session, work.events)


@asynccontextmanager
async def undone_alone(work: UnitOfWork) -> AsyncIterator[None]:
    """A part of a transaction: when it raises, what it has done and announced is undone, and all else holds.

    Raises what the block raises, and what ``Session.execute`` does.
    """
    told = len(work.events)
    await work.session.execute("SAVEPOINT undone_alone")
    try:
        yield
    except Exception:
        await work.session.execute("ROLLBACK TO SAVEPOINT undone_alone")
        del work.events[told:]
        raise
    await work.session.execute("RELEASE SAVEPOINT undone_alone")


async def write_events(session: Session, events: Sequence[DomainEvent]) -> None:
    """Put ``events`` into the outbox, as the last thing of a transaction.

    From here to its end no other transaction writes events of the same topics: so numbers are in the order of commits,
    and who publishes never passes one that commits later.
    """
    if not events:
        return
    await lock_topics(session, {event.topic for event in events})
    await session.execute_many(
        "INSERT INTO event_outbox (tenant_id, topic, key, event) VALUES ($1, $2, $3, $4)",
        [(event.tenant_id, event.topic, event.key, event_json(event)) for event in events],
    )
    await session.fetch("SELECT pg_notify($1, '')", CHANNEL)


async def lock_topics(session: Session, topics: Iterable[str]) -> None:
    """From here to the end of the transaction, no other one writes events of ``topics``."""
    for topic in sorted(topics):
        await session.fetch("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"lineside outbox {topic}")
