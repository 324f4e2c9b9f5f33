"""Events that leave with the transaction that they are about: none without it, and none of one that was rolled back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from cloud_ingest.event_log.domain_events import DomainEvent, event_json
from connectors.ports.database import Database, Session

CHANNEL: Final = "lineside_events"
_NOTIFY: Final = "SELECT pg_notify(channel, '') FROM unnest($1::text[]) AS channel"
_WRITE: Final = (
    "WITH written AS (INSERT INTO event_outbox (tenant_id, topic, key, event) SELECT tenant_id, topic, key, event "  # noqa: S608  of our own
    "FROM unnest($2::integer[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY "
    f"AS given (tenant_id, topic, key, event, n) ORDER BY n) {_NOTIFY}"
)
_LOCK: Final = (
    "SELECT pg_advisory_xact_lock(hashtextextended(name, 0)) "
    "FROM unnest($1::text[]) WITH ORDINALITY AS given (name, n) ORDER BY n"
)


@dataclass(slots=True)
class UnitOfWork:
    """One transaction, and the events that it announces at its end."""

    session: Session
    events: list[DomainEvent] = field(default_factory=list)
    channels: set[str] = field(default_factory=set)

    def announce(self, *events: DomainEvent) -> None:
        """Tell of ``events`` if the transaction commits, behind those that were announced before."""
        self.events.extend(events)

    def notify(self, channel: str) -> None:
        """Wake who listens on ``channel`` if the transaction commits: once, however often it is said."""
        self.channels.add(channel)


@asynccontextmanager
async def unit_of_work(database: Database, tenant_id: int | None = None) -> AsyncIterator[UnitOfWork]:
    """A transaction with its events; with ``tenant_id`` it sees that tenant alone (``access.tenancy``).

    Raises what ``Database.transaction`` does.
    """
    async with database.transaction(tenant_id) as session:
        work = UnitOfWork(session)
        yield work
        await _tell(work)


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


async def _tell(work: UnitOfWork) -> None:
    """Put the events into the outbox and wake who waits, as the last thing of a transaction.

    From here to its end no other transaction writes events of the same topics: so numbers are in the order of commits,
    and who publishes never passes one that commits later. They are given by a statement behind the one that locks.
    """
    events, channels = work.events, sorted({*work.channels, *((CHANNEL,) if work.events else ())})
    if not events:
        if channels:
            await work.session.fetch(_NOTIFY, channels)
        return
    await lock_topics(work.session, {event.topic for event in events})
    await work.session.fetch(
        _WRITE,
        channels,
        [event.tenant_id for event in events],
        [event.topic for event in events],
        [event.key for event in events],
        [event_json(event) for event in events],
    )


async def lock_topics(session: Session, topics: Iterable[str]) -> None:
    """From here to the end of the transaction, no other one writes events of ``topics``: locked in their order."""
    await session.fetch(_LOCK, [f"lineside outbox {topic}" for topic in sorted(topics)])
