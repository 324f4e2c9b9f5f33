"""A dead letter is stored after all: after a fix, through the same interpreter, in one transaction, exactly once.

The transaction closes the letter and writes the ledger, whose revisions keep this process and the historian of the
agent's partition apart: whichever comes second finds that it has read an older ledger, and begins again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from cloud_ingest.event_log.failures import Cause, cause_of, outside, sentence_of
from cloud_ingest.event_log.topics import MQTT_TOPIC
from cloud_ingest.historian.dead_letters import Letter, letter
from cloud_ingest.historian.identities import Identities
from cloud_ingest.historian.incoming import Incoming, read_incoming
from cloud_ingest.historian.interpreter import Interpreter
from cloud_ingest.historian.ledger_book import LedgerBook
from cloud_ingest.historian.nodes import Nodes
from cloud_ingest.historian.partitions import Partitions
from cloud_ingest.historian.presence import Presence
from cloud_ingest.historian.samples_topic import SamplesTopic
from cloud_ingest.historian.storing import REASON_CHARS_MAX, copies_of, write
from cloud_ingest.historian.unparking import Unparking
from cloud_ingest.historian.work import DeadLetter, KnownAgent, Work
from connectors.model.errors import LinesideError, OffsetMoved, StatementRefused
from connectors.ports.clock import SystemClock
from connectors.ports.database import Database
from connectors.ports.event_log import LogRecord

TRIES_MAX: Final = 10
ONLY_BATCHES: Final = (
    "it has no batch number, so that nobody can say whether it is stored already: only numbered batches of agents are "
    "replayed. Close it with a reason"
)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a letter: ``stored`` now, ``arrived`` or ``closed`` before, or ``failed`` for a ``reason``."""

    number: int
    outcome: Literal["stored", "arrived", "closed", "failed"]
    samples: int = 0
    reason: str = ""


class _Failed(LinesideError):
    """The message cannot be stored now either."""


class Replaying:
    """Stores dead letters. ``samples``: where decoded samples are published, if they are."""

    def __init__(self, database: Database, partitions: Partitions, samples: SamplesTopic | None) -> None:
        self._database = database
        self._partitions = partitions
        self._samples = samples

    async def replay(self, number: int, by: str) -> Replayed:
        """Store dead letter ``number``; ``by`` asks for it.

        Raises ``LetterUnknown``, ``DatabaseUnavailable`` and ``EventLogUnavailable``. Doing it again does no harm.
        """
        found = await letter(self._database, number)
        if found.closed is not None:
            return Replayed(number, "closed", reason=f"by {found.closed_by or '?'}: {found.closed_reason}")
        record = LogRecord(
            0, b"", found.payload, int(found.received.timestamp() * 1000), ((MQTT_TOPIC, found.topic.encode()),)
        )
        try:
            incoming = _numbered(record)
            for _ in range(TRIES_MAX):
                try:
                    return await self._store(found, record, incoming, by)
                except OffsetMoved:  # the historian has written the ledger of this epoch in the meantime
                    continue
            raise _Failed("the historian writes the ledger of this epoch all the time; try again")
        except Exception as exc:  # what is in the message is said of the letter, and the other letters go on
            if cause_of(exc) is Cause.OUTSIDE:
                raise outside(exc) if isinstance(exc, StatementRefused) else exc from exc
            reason = str(exc) if isinstance(exc, LinesideError) else sentence_of(exc)
        await self._note_failure(number, reason)
        return Replayed(number, "failed", reason=reason)

    async def _store(self, found: Letter, record: LogRecord, incoming: Incoming, by: str) -> Replayed:
        work = await self._interpreted(record)
        if work.duplicates:
            await self._commit(found, incoming, Work(0), by, "it had arrived")
            return Replayed(found.number, "arrived")
        work.agents.clear()  # what is known of the agent now is newer
        await self._partitions.ensure(work.rows)
        if self._samples is not None and work.rows:
            await self._samples.publish(work)
        if not await self._commit(found, incoming, work, by, "replayed"):
            return Replayed(found.number, "closed", reason="a moment ago")
        return Replayed(found.number, "stored", work.samples)

    async def _interpreted(self, record: LogRecord) -> Work:
        """What the message means now. Raises ``_Failed`` when it is still not readable."""
        interpreter, book = self._interpreter()
        work = await interpreter.interpret([record])
        _refuse_unreadable(work)
        if work.defined:
            for agent, _ in work.defined:
                await self._fence(agent)
            interpreter, book = self._interpreter()
            unparking = Unparking(
                self._database, self._partitions, self._samples, interpreter, book, lambda *_: None, SystemClock()
            )
            await unparking.unpark(work.defined)
            interpreter, _ = self._interpreter()
            work = await interpreter.interpret([record])
            _refuse_unreadable(work)
        return work

    def _interpreter(self) -> tuple[Interpreter, LedgerBook]:
        identities, keep = Identities(self._database), self._samples is not None
        nodes = Nodes(self._database, identities, keep_decoded=keep)
        book = LedgerBook(self._database)
        return Interpreter(identities, book, nodes, Presence(self._database), keep_decoded=keep), book

    async def _fence(self, agent: KnownAgent) -> None:
        """Whoever has not seen the definition that is known now, and is about to park a batch, does that again."""
        async with self._database.session() as session:
            await session.execute("UPDATE ledger SET revision = revision + 1 WHERE agent_id = $1", agent.agent_id)

    async def _commit(self, found: Letter, incoming: Incoming, work: Work, by: str, reason: str) -> bool:
        """Close the letter, with others of the same batch, and store; false when somebody else was faster."""
        delivery = incoming.delivery
        assert delivery is not None  # noqa: S101  only numbered messages come here
        copies = copies_of(work, self._partitions)
        async with self._database.transaction() as session:
            closed = await session.execute(
                "UPDATE dead_letter SET closed = now(), closed_by = $2, closed_reason = $3 "
                "WHERE dead_letter_id = $1 AND closed IS NULL",
                found.number,
                by,
                reason,
            )
            if not closed:
                return False
            await session.execute(
                "UPDATE dead_letter SET closed = now(), closed_by = $4, closed_reason = $5 "
                "WHERE agent_id = $1 AND epoch = $2 AND batch = $3 AND closed IS NULL",
                found.agent_id,
                delivery.epoch,
                delivery.batch,
                by,
                reason,
            )
            await write(session, work, copies)
        return True

    async def _note_failure(self, number: int, reason: str) -> None:
        async with self._database.session() as session:
            await session.execute(
                "UPDATE dead_letter SET replays = replays + 1, replay_failure = $2 WHERE dead_letter_id = $1",
                number,
                reason[:REASON_CHARS_MAX].replace("\x00", "\N{REPLACEMENT CHARACTER}"),
            )


def _numbered(record: LogRecord) -> Incoming:
    """The batch in a letter. Raises ``_Failed`` when there is none."""
    incoming = read_incoming(record)
    if isinstance(incoming, DeadLetter):
        raise _Failed(incoming.reason)
    if incoming is None or incoming.delivery is None or incoming.delivery.batch == 0:
        raise _Failed(ONLY_BATCHES)
    return incoming


def _refuse_unreadable(work: Work) -> None:
    if work.dead_letters:
        raise _Failed(work.dead_letters[0].reason)
    if work.parked:
        raise _Failed(f"its definition {work.parked[0].definition} has not come yet: replay it when that is there")
