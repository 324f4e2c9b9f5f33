"""What a run of log records means: from messages to the work of one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cloud_ingest.historian.clock_errors import ClockErrors
from cloud_ingest.historian.decoding import by_message, decode_batches
from cloud_ingest.historian.delays import Delays
from cloud_ingest.historian.identities import DefinitionTags, Identities
from cloud_ingest.historian.incoming import Incoming, parked_record, read_incoming
from cloud_ingest.historian.ledger_book import LedgerBook
from cloud_ingest.historian.nodes import Nodes
from cloud_ingest.historian.presence import Presence
from cloud_ingest.historian.sample_rows import SampleRows
from cloud_ingest.historian.work import DeadLetter, DecodedBatch, GapRow, KnownAgent, ParkedBatch, Work
from connectors.model.delivery import EPOCH_MAX, SPANS_MAX, AgentName, BatchRanges, Epoch
from connectors.model.errors import PayloadInvalid
from connectors.model.samples import SampleBatch
from connectors.ports.event_log import LogRecord
from connectors.sparkplug.bulk_decode import TIME_MS_LIMIT
from connectors.sparkplug.definition import read_definition
from connectors.sparkplug.delivery import DEFINITION_BODY, EPOCH_START, GAP, Delivery, parse_epoch, sent_ms_of
from connectors.sparkplug.topics import Verb

AHEAD_MS_MAX: Final = 3_600_000
SENT_MS_MAX: Final = 1 << 62
"""Of a message that says when it was sent; beyond it no difference fits the database."""
DELAY_MS_MAX: Final = 100 * 86_400_000
"""A source time further ahead or behind is an odd clock's: no agent keeps its samples for so long."""
_DEATHS: Final = (Verb.NDEATH, Verb.DDEATH)


@dataclass(slots=True)
class _Fresh:
    """Batches of one definition that are stored for the first time, in the order of the log."""

    agent: KnownAgent
    definition: str
    messages: list[Incoming] = field(default_factory=list)


class Interpreter:
    """Reads the records of one partition, in order."""

    def __init__(
        self, identities: Identities, book: LedgerBook, nodes: Nodes, presence: Presence, *, keep_decoded: bool
    ) -> None:
        self._identities = identities
        self._book = book
        self._nodes = nodes
        self._presence = presence
        self._keep_decoded = keep_decoded
        self._delays = Delays()
        self._clock_errors = ClockErrors()

    async def interpret(self, records: Sequence[LogRecord]) -> Work:
        """The work of ``records``, which are not empty, or of the first of them. Raises ``DatabaseUnavailable``.

        A batch that comes twice ends the work before it comes again: whether it is a duplicate is only known when the
        first one has been decoded.
        """
        work = Work(next_offset=records[0].offset)
        fresh: dict[tuple[int, str], _Fresh] = {}
        taken: set[tuple[AgentName, Epoch, int]] = set()
        for record in records:
            found = read_incoming(record)
            if isinstance(found, DeadLetter):
                work.dead_letters.append(found)
            elif found is not None:
                if found.delivery is not None and found.delivery.batch:
                    key = (found.topic.agent, found.delivery.epoch, found.delivery.batch)
                    if key in taken:
                        break
                    taken.add(key)
                await self._message(work, fresh, found)
            work.next_offset, work.last_ms = record.offset + 1, record.time_ms
        for batches in fresh.values():
            await self._samples(work, batches)
        return work

    async def _message(self, work: Work, fresh: dict[tuple[int, str], _Fresh], incoming: Incoming) -> None:
        agent = await self._identities.agent(incoming.topic.agent)
        change = work.change(agent, incoming.message.received_ms)
        delivery = incoming.delivery
        if delivery is not None:
            change.acknowledges = True
            self._identities.acknowledging.add(agent.agent_id)
            await self._of_agent(work, fresh, agent, incoming, delivery)
        elif incoming.topic.verb in _DEATHS and agent.agent_id in self._identities.acknowledging:
            await self._presence_of(work, agent, incoming)
        else:
            await self._nodes.receive(work, agent, incoming)

    async def _of_agent(
        self,
        work: Work,
        fresh: dict[tuple[int, str], _Fresh],
        agent: KnownAgent,
        incoming: Incoming,
        delivery: Delivery,
    ) -> None:
        """A message of an agent that takes part in acknowledged delivery."""
        if delivery.batch == 0:
            await self._presence_of(work, agent, incoming)
            return
        entry = await self._book.entry(work, agent, delivery.epoch)
        if delivery.batch in entry.arrived:
            entry.duplicates += 1
            work.duplicates += 1
            return
        if delivery.records:
            try:
                await self._records(work, agent, delivery)
            except PayloadInvalid as exc:
                self._dead(work, agent, incoming, str(exc))
                return
            entry.arrived.add(delivery.batch)
            return
        entry.arrived.add(delivery.batch)
        key = (agent.agent_id, delivery.definition)
        if key not in fresh:
            fresh[key] = _Fresh(agent, delivery.definition)
        fresh[key].messages.append(incoming)

    async def _presence_of(self, work: Work, agent: KnownAgent, incoming: Incoming) -> None:
        message, topic, delivery = incoming.message, incoming.topic, incoming.delivery
        if topic.verb is Verb.DBIRTH and delivery is not None and delivery.definition:
            await self._identities.born(agent, topic.device, delivery.definition)
        try:
            await self._presence.receive(work, agent, topic, message.payload, message.received_ms)
        except PayloadInvalid as exc:
            self._dead(work, agent, incoming, str(exc))

    async def _records(self, work: Work, agent: KnownAgent, delivery: Delivery) -> None:
        for name, value in delivery.records.items():
            if name == DEFINITION_BODY:
                await self._definition(work, agent, value)
            elif name == GAP:
                gap = _gap(agent, value)
                work.gaps.append(gap)
                if gap.epoch is not None:
                    self._book.explain(work, agent, gap.epoch, gap.batches)
            elif name == EPOCH_START:
                await self._epoch_start(work, agent, value)

    async def _definition(self, work: Work, agent: KnownAgent, body: Any) -> None:
        if not isinstance(body, bytes):
            raise PayloadInvalid("a definition is not bytes")
        definition = read_definition(body)
        await self._identities.learn_definition(agent, definition)
        work.defined.append((agent, definition.hash))

    async def _epoch_start(self, work: Work, agent: KnownAgent, text: Any) -> None:
        try:
            document = json.loads(text)
            epoch, first = parse_epoch(document["epoch"]), int(document["first"])
            started_ms = int(document["started_ms"])
            earlier = [(parse_epoch(e["epoch"]), int(e["first"]), int(e["last"])) for e in document["earlier"]]
            for number, begin, end in ((epoch, first, first), *earlier):
                if not 0 < number <= EPOCH_MAX or not 0 < begin <= end + 1 < EPOCH_MAX:
                    raise ValueError(f"epoch {number} cannot have batches {begin} to {end}")
            if not 0 <= started_ms < TIME_MS_LIMIT:
                raise ValueError(f"it did not start at {started_ms} ms")
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as exc:
            raise PayloadInvalid(f"not an epoch start: {exc} in {str(text)[:120]!r}") from exc
        entry = await self._book.entry(work, agent, epoch)
        entry.first_batch, entry.started_ms = first, started_ms
        for before, first_before, last_before in earlier:
            ended = await self._book.entry(work, agent, before)
            ended.first_batch = first_before if ended.first_batch is None else min(ended.first_batch, first_before)
            # A restored image knows less: that batches were numbered does not become untrue.
            ended.last_batch = last_before if ended.last_batch is None else max(ended.last_batch, last_before)

    async def _samples(self, work: Work, fresh: _Fresh) -> None:
        tags = await self._identities.definition(fresh.agent, fresh.definition)
        if tags is None:
            for message in fresh.messages:
                self._park(work, fresh.agent, message)
            return
        decoded = decode_batches(fresh.messages, tags)
        for message, reason in decoded.refused:
            await self._take_back(work, fresh.agent, message)
            self._dead(work, fresh.agent, message, reason)
        for batch in decoded.batches:
            stored = batch.with_tags(tags.tag_ids(batch.tag))
            work.rows.append(SampleRows.of(fresh.agent.tenant_id, stored))
            work.samples += len(batch)
        refused = {id(message) for message, _ in decoded.refused}
        good = [message for message in fresh.messages if id(message) not in refused]
        for message in good:
            if message.delivery is not None:
                entry = await self._book.entry(work, fresh.agent, message.delivery.epoch)
                entry.samples += message.delivery.count
        if decoded.batches:
            self._note_delay(work, fresh.agent, good[-1], decoded.batches)
            self._note_clock(work, fresh.agent, good[-1])
        if self._keep_decoded:
            self._keep(work, fresh.agent, good, by_message(good, decoded.batches, tags), tags)

    def _note_clock(self, work: Work, agent: KnownAgent, last: Incoming) -> None:
        received_ms, sent_ms = last.message.received_ms, sent_ms_of(last.message.payload)
        if sent_ms is not None and sent_ms < SENT_MS_MAX:
            work.change(agent, received_ms).clock_error_ms = self._clock_errors.note(agent, received_ms, sent_ms)

    def _note_delay(self, work: Work, agent: KnownAgent, last: Incoming, batches: Sequence[SampleBatch]) -> None:
        received_ms = last.message.received_ms
        # The clock of a machine may stand at 1970 or at 2107: it says nothing of how long samples are under way.
        earliest_ns = (received_ms - DELAY_MS_MAX) * 1_000_000
        latest_ns = (received_ms + AHEAD_MS_MAX) * 1_000_000
        times_ns = [batch.time_ns[(batch.time_ns >= earliest_ns) & (batch.time_ns <= latest_ns)] for batch in batches]
        newest_ns = max((int(one.max()) for one in times_ns if len(one)), default=None)
        if newest_ns is None:
            return
        change = work.change(agent, received_ms)
        change.delay_ms, change.delay_p95_ms = self._delays.note(agent, received_ms, newest_ns)

    def _keep(
        self,
        work: Work,
        agent: KnownAgent,
        messages: Sequence[Incoming],
        parts: Sequence[tuple[SampleBatch, ...]],
        tags: DefinitionTags,
    ) -> None:
        """Keep the decoded samples of each batch for the samples topic."""
        for message, batches in zip(messages, parts, strict=True):
            delivery = message.delivery
            if delivery is not None and batches:
                work.decoded.append(
                    DecodedBatch(
                        agent,
                        message.topic.device,
                        delivery.epoch,
                        delivery.batch,
                        message.message.received_ms,
                        batches,
                        tags.names,
                    )
                )

    async def knows(self, agent: KnownAgent, definition: str) -> bool:
        """Whether batches of ``definition`` can be read. Raises ``DatabaseUnavailable``."""
        return await self._identities.definition(agent, definition) is not None

    async def unpark(self, work: Work, parked: Sequence[ParkedBatch]) -> None:
        """Take in batches whose definition is known now; they are in the ledger since they were parked."""
        fresh: dict[tuple[int, str], _Fresh] = {}
        for one in parked:
            found = read_incoming(parked_record(one))
            if isinstance(found, Incoming) and found.delivery is not None and found.delivery.batch == one.batch:
                work.unparked.append(one)
                key = (one.agent.agent_id, one.definition)
                fresh.setdefault(key, _Fresh(one.agent, one.definition)).messages.append(found)
            else:
                reason = found.reason if isinstance(found, DeadLetter) else f"it is not batch {one.batch} any more"
                await self.set_parked_aside(work, one, reason)
        for batches in fresh.values():
            await self._samples(work, batches)

    async def set_parked_aside(self, work: Work, parked: ParkedBatch, reason: str) -> None:
        """A batch that was parked cannot be used: it is missing, and in the dead letters."""
        work.unparked.append(parked)
        entry = await self._book.entry(work, parked.agent, parked.epoch)
        entry.arrived.discard(parked.batch)
        work.dead_letters.append(
            DeadLetter(
                parked.topic, parked.payload, reason, parked.received_ms, parked.agent, parked.epoch, parked.batch
            )
        )

    def _park(self, work: Work, agent: KnownAgent, incoming: Incoming) -> None:
        delivery = incoming.delivery
        assert delivery is not None  # noqa: S101  only delivered batches come here
        work.parked.append(
            ParkedBatch(
                agent,
                delivery.epoch,
                delivery.batch,
                delivery.definition,
                incoming.message.topic,
                incoming.message.payload,
                incoming.message.received_ms,
            )
        )

    async def _take_back(self, work: Work, agent: KnownAgent, incoming: Incoming) -> None:
        """A batch that is set aside has not arrived: the ledger counts it as missing."""
        delivery = incoming.delivery
        assert delivery is not None  # noqa: S101  only delivered batches come here
        entry = await self._book.entry(work, agent, delivery.epoch)
        entry.arrived.discard(delivery.batch)

    def _dead(self, work: Work, agent: KnownAgent, incoming: Incoming, reason: str) -> None:
        delivery, message = incoming.delivery, incoming.message
        epoch: Epoch | None = None if delivery is None else delivery.epoch
        batch = None if delivery is None else delivery.batch
        brings = "" if delivery is None else delivery.defines
        work.dead_letters.append(
            DeadLetter(message.topic, message.payload, reason, message.received_ms, agent, epoch, batch, brings)
        )


def _gap(agent: KnownAgent, text: Any) -> GapRow:
    try:
        document = json.loads(text)
        tags, count = document.get("tags"), document.get("count")
        return GapRow(
            agent,
            str(document["device"]),
            str(document["reason"]),
            int(document["first_ns"]),
            int(document["last_ns"]),
            None if count is None else int(count),
            None if tags is None else tuple(str(tag) for tag in tags),
            str(document.get("detail", "")),
            *_named_batches(document),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as exc:
        raise PayloadInvalid(f"not a gap record: {exc} in {str(text)[:120]!r}") from exc


def _named_batches(document: dict[str, Any]) -> tuple[Epoch | None, BatchRanges]:
    """The batches that a gap explains, if it names any. Raises ``ValueError``, ``TypeError``."""
    epoch, ranges = document.get("epoch"), document.get("batches")
    if epoch is None or not ranges:
        return None, BatchRanges()
    if len(ranges) > SPANS_MAX:
        raise ValueError(f"{len(ranges)} ranges of batches; {SPANS_MAX} is the limit")
    number, named = parse_epoch(epoch), BatchRanges((int(first), int(last)) for first, last in ranges)
    lowest, highest = min(first for first, _ in named), named.highest
    if not 0 < number <= EPOCH_MAX or lowest <= 0 or highest is None or highest >= EPOCH_MAX:
        raise ValueError(f"epoch {number} cannot have the batches {named}")
    return number, named
