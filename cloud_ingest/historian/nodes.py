"""Nodes that do not acknowledge: any Sparkplug device of any maker, read by its births, stored as it comes.

The promise to them is Sparkplug's own: at most once; what seq shows as lost is declared as a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cloud_ingest.historian.identities import Identities, TagKey
from cloud_ingest.historian.incoming import Incoming
from cloud_ingest.historian.presence import death_ms
from cloud_ingest.historian.sample_rows import SampleRows, storable_text
from cloud_ingest.historian.work import AgentChange, DeadLetter, DecodedBatch, GapRow, KnownAgent, Work
from connectors.model.datatypes import DataType
from connectors.model.errors import PayloadInvalid
from connectors.model.samples import batch_of_rows
from connectors.ports.database import Database
from connectors.sparkplug.node_session import MetricSample, NodeReading, NodeSession
from connectors.sparkplug.topics import Topic, Verb

REASONS_MAX: Final = 5
SEQUENCE_GAP: Final = "sequence_gap"


class Nodes:
    """The sessions of the nodes of one partition; after a restart they go on from births and seq in the database."""

    def __init__(self, database: Database, identities: Identities, *, keep_decoded: bool, reorder_ms: int = 0) -> None:
        self._database = database
        self._reorder_ms = reorder_ms
        self._open_gaps: dict[KnownAgent, list[GapRow]] = {}  # while their messages may still come
        self._identities = identities
        self._keep_decoded = keep_decoded
        self._sessions: dict[KnownAgent, NodeSession] = {}
        self._last_ms: dict[KnownAgent, int] = {}

    def forget(self) -> None:
        """A transaction failed: what was learned from its records is learned again."""
        self._sessions.clear()
        self._open_gaps.clear()

    async def receive(self, work: Work, agent: KnownAgent, incoming: Incoming) -> None:
        """Take the next message of a node into ``work``. Raises ``DatabaseUnavailable``."""
        topic, message = incoming.topic, incoming.message
        session = self._sessions.get(agent)
        if session is None:
            session = self._sessions[agent] = await self._restored(agent)
        try:
            reading = session.receive(topic, message.payload, message.received_ms)
        except PayloadInvalid as exc:
            work.dead_letters.append(DeadLetter(message.topic, message.payload, str(exc), message.received_ms, agent))
            return
        if reading.duplicate:
            work.duplicates += 1
            return
        change = work.change(agent, message.received_ms)
        _wish(change, reading)
        if reading.online is not None:
            change.online = reading.online
            work.all_devices_gone(agent, message.received_ms)
        if topic.verb is Verb.NBIRTH:
            work.forget_births(agent)
        if topic.verb in (Verb.NBIRTH, Verb.DBIRTH) and session.born:
            work.births[agent, topic.device] = message.payload
        if topic.verb in (Verb.DBIRTH, Verb.DDEATH) and session.born:
            since_ms = death_ms(message.payload, message.received_ms) if topic.verb is Verb.DDEATH else None
            work.devices[agent, topic.device] = (since_ms is None, since_ms or message.received_ms)
        if reading.refused:
            reason = "; ".join(reading.refused[:REASONS_MAX])
            work.dead_letters.append(DeadLetter(message.topic, message.payload, reason, message.received_ms, agent))
        self._note_gaps(work, agent, incoming, reading)
        if not session.waits_for_missing:
            self._open_gaps.pop(agent, None)
        self._last_ms[agent] = message.received_ms
        change.seq = session.seq
        work.transient += reading.transient
        if reading.samples:
            await self._store(work, agent, reading.samples)
            if self._keep_decoded:
                _keep(work, agent, topic.device, message.received_ms, reading.samples)

    async def _restored(self, agent: KnownAgent) -> NodeSession:
        session = NodeSession(self._reorder_ms)
        async with self._database.session() as database:
            rows = await database.fetch(
                "SELECT device, payload FROM birth WHERE agent_id = $1 ORDER BY device", agent.agent_id
            )
            left = await database.fetch(
                "SELECT seq, (extract(epoch FROM last_seen) * 1000)::bigint AS last_ms FROM agent WHERE agent_id = $1",
                agent.agent_id,
            )
        for row in rows:
            device = str(row["device"])
            topic = Topic(agent.name, Verb.DBIRTH if device else Verb.NBIRTH, device)
            session.receive(topic, bytes(row["payload"]))
        session.resume(left[0]["seq"] if left and rows else None)
        if left:
            self._last_ms[agent] = left[0]["last_ms"]
        return session

    def _note_gaps(self, work: Work, agent: KnownAgent, incoming: Incoming, reading: NodeReading) -> None:
        """Declare what is missing at once, and take it back when it comes late: so no restart forgets it."""
        if reading.lost_messages:
            gap = self._lost(agent, incoming.topic, incoming.message.received_ms, reading.lost_messages)
            work.gaps.append(gap)
            self._open_gaps.setdefault(agent, []).append(gap)
        if reading.found_missing:
            work.take_back(self._open_gaps.get(agent, ()))

    def _lost(self, agent: KnownAgent, topic: Topic, received_ms: int, count: int) -> GapRow:
        first_ms = self._last_ms.get(agent, received_ms)
        return GapRow(
            agent,
            topic.device,
            SEQUENCE_GAP,
            first_ms * 1_000_000,
            received_ms * 1_000_000,
            None,
            None,
            f"{count} messages were lost before this one",
        )

    async def _store(self, work: Work, agent: KnownAgent, samples: Sequence[MetricSample]) -> None:
        keys = {
            (sample.device, sample.name): TagKey(
                sample.device,
                sample.name,
                sample.about.type_number,
                storable_text(sample.about.unit),
                storable_text(sample.about.description),
                sample.about.properties,
            )
            for sample in samples
        }
        ids = await self._identities.tags(agent, list(keys.values()))
        groups: dict[DataType, list[MetricSample]] = {}
        for sample in samples:
            groups.setdefault(sample.datatype, []).append(sample)
        for datatype, group in groups.items():
            rows = [(ids[s.device, s.name], s.time_ns, s.value, s.quality) for s in group]
            work.rows.append(SampleRows.of(agent.tenant_id, batch_of_rows(datatype, rows)))
        work.samples += len(samples)


def _wish(change: AgentChange, reading: NodeReading) -> None:
    """Whether the node is to be asked for its births, and when: the earliest time that any message wants."""
    if reading.takes_rebirth_back:
        change.takes_rebirth_back = True
        change.wants_rebirth = change.wants_rebirth and not change.rebirth_after_ms
    if reading.wants_rebirth:
        after_ms = reading.rebirth_after_ms
        change.rebirth_after_ms = min(change.rebirth_after_ms, after_ms) if change.wants_rebirth else after_ms
        change.wants_rebirth = True


def _keep(work: Work, agent: KnownAgent, device: str, received_ms: int, samples: Sequence[MetricSample]) -> None:
    """Keep the samples of one message for the samples topic; their aliases are their places in it."""
    index: dict[str, int] = {}
    groups: dict[DataType, list[tuple[int, int, Any, int]]] = {}
    for sample in samples:
        alias = index.setdefault(sample.name, len(index))
        groups.setdefault(sample.datatype, []).append((alias, sample.time_ns, sample.value, sample.quality))
    parts = tuple(batch_of_rows(datatype, rows) for datatype, rows in groups.items())
    names = {alias: name for name, alias in index.items()}
    work.decoded.append(DecodedBatch(agent, device, 0, 0, received_ms, parts, names))
