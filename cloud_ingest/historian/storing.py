"""The one transaction: place in the log, ledger, samples and everything beside them, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloud_ingest.event_log.place import Place
from cloud_ingest.historian.ledger_book import format_multirange
from cloud_ingest.historian.partitions import DEFAULT_TABLE, Partitions
from cloud_ingest.historian.rollup_marks import Mark, marks_of
from cloud_ingest.historian.sample_rows import COLUMNS, copy_data, storable_text
from cloud_ingest.historian.upkeep.rollups import mark
from cloud_ingest.historian.work import KnownAgent, ParkedBatch, Work
from connectors.model.errors import OffsetMoved
from connectors.ports.database import Database, Session

PROJECTION: Final = "historian"
REASON_CHARS_MAX: Final = 2000


async def store(database: Database, place: Place, expected: int, work: Work, partitions: Partitions) -> None:
    """Carry out ``work`` in one transaction.

    Raises ``OffsetMoved``, ``DatabaseUnavailable`` (it may have been committed: read the place again), or
    ``StatementRefused`` when the database does not take a value.
    """
    copies = copies_of(work, partitions)
    async with database.transaction() as session:
        await place.move(session, expected, work.next_offset, work.last_ms)
        await write(session, work, copies)


@dataclass(frozen=True, slots=True)
class Copies:
    """Samples as they are stored: a COPY stream a table, and the marks of the rollups that are due with them."""

    tables: Mapping[str, bytes]
    marks: Sequence[Mark]


def copies_of(work: Work, partitions: Partitions) -> Copies:
    """The samples of ``work``. Made before the transaction, which they would only make longer."""
    split = partitions.split(work.rows)
    marks = marks_of(part for table, parts in split.items() if table != DEFAULT_TABLE for part in parts)
    return Copies({table: copy_data(parts) for table, parts in split.items()}, marks)


async def write(session: Session, work: Work, copies: Copies) -> None:
    """All that ``work`` is, but for the place, within a transaction; ``copies`` are its samples.

    Raises ``OffsetMoved`` when a row of the ledger is no longer as it was read.
    """
    if work.ledger:
        await _ledger(session, work)
    for table, data in copies.tables.items():
        await session.copy(table, COLUMNS, data)
    if copies.marks:
        await mark(session, copies.marks)
    if work.agents:
        await _agents(session, work)
    await _rare(session, work)


async def _ledger(session: Session, work: Work) -> None:
    """Write the ledger. Raises ``OffsetMoved`` when a row is no longer as it was read: somebody else writes it."""
    entries = list(work.ledger.items())
    written = await session.execute(
        "INSERT INTO ledger AS known (agent_id, tenant_id, epoch, started, first_batch, last_batch, arrived, samples, "
        "duplicates, revision, incomplete_since) "
        "SELECT agent_id, tenant_id, epoch, to_timestamp(started_ms / 1000.0), first_batch, last_batch, "
        "arrived::int8multirange, samples, duplicates, revision + 1, CASE WHEN has_holes THEN now() END "
        "FROM unnest($1::int[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], "
        "$8::bigint[], $9::bigint[], $10::bigint[], $11::bool[]) "
        "AS given (agent_id, tenant_id, epoch, started_ms, first_batch, last_batch, arrived, samples, duplicates, "
        "revision, has_holes) "
        "ON CONFLICT (agent_id, epoch) DO UPDATE SET started = excluded.started, first_batch = excluded.first_batch, "
        "last_batch = excluded.last_batch, arrived = excluded.arrived, samples = excluded.samples, "
        "duplicates = excluded.duplicates, revision = excluded.revision, last_arrival = now(), "
        "incomplete_since = CASE WHEN excluded.incomplete_since IS NOT NULL "
        "    THEN coalesce(known.incomplete_since, excluded.incomplete_since) END "
        "WHERE known.revision = excluded.revision - 1",
        [agent.agent_id for (agent, _), _ in entries],
        [agent.tenant_id for (agent, _), _ in entries],
        [epoch for (_, epoch), _ in entries],
        [entry.started_ms for _, entry in entries],
        [entry.first_batch for _, entry in entries],
        [entry.last_batch for _, entry in entries],
        [format_multirange(entry.arrived) for _, entry in entries],
        [entry.samples for _, entry in entries],
        [entry.duplicates for _, entry in entries],
        [entry.revision for _, entry in entries],
        [entry.has_holes for _, entry in entries],
    )
    if written != len(entries):
        raise OffsetMoved("the ledger of an epoch has been written by another process")


async def _agents(session: Session, work: Work) -> None:
    """What became known of agents. One that delivers and is not online is asked for its births: they were missed."""
    changes = list(work.agents.items())
    await session.execute(
        "UPDATE agent SET "
        "last_seen = greatest(agent.last_seen, to_timestamp(given.seen_ms / 1000.0)), "
        "acknowledges = coalesce(given.acknowledges, agent.acknowledges), "
        "online_changed = CASE WHEN given.online <> agent.online THEN to_timestamp(given.seen_ms / 1000.0) "
        "    ELSE agent.online_changed END, "
        "online = coalesce(given.online, agent.online), "
        "bd_seq = coalesce(given.bd_seq, agent.bd_seq), "
        "seq = coalesce(given.seq, agent.seq), "
        "version = coalesce(given.version, agent.version), "
        "rebirth_wanted = CASE WHEN given.wants_rebirth "
        "    OR (coalesce(given.acknowledges, agent.acknowledges) AND NOT agent.online AND given.online IS NULL "
        "        AND coalesce(agent.rebirth_asked < now() - interval '10 seconds', true)) "
        "    THEN least(agent.rebirth_wanted, now() + given.rebirth_after_ms * interval '1 millisecond') "
        "    WHEN given.takes_rebirth_back AND agent.rebirth_wanted > now() THEN NULL "
        "    ELSE agent.rebirth_wanted END, "
        "delay_ms = coalesce(given.delay_ms, agent.delay_ms), "
        "delay_p95_ms = coalesce(given.delay_p95_ms, agent.delay_p95_ms), "
        "delay_measured = CASE WHEN given.delay_ms IS NULL THEN agent.delay_measured "
        "    ELSE to_timestamp(given.seen_ms / 1000.0) END, "
        "clock_error_ms = coalesce(given.clock_error_ms, agent.clock_error_ms) "
        "FROM unnest($1::int[], $2::bigint[], $3::bool[], $4::bool[], $5::bigint[], $6::text[], $7::bool[], "
        "    $8::bigint[], $9::bool[], $10::bigint[], $11::bigint[], $12::bigint[], $13::smallint[]) "
        "    AS given (agent_id, seen_ms, acknowledges, online, bd_seq, version, wants_rebirth, rebirth_after_ms, "
        "    takes_rebirth_back, delay_ms, delay_p95_ms, clock_error_ms, seq) "
        "WHERE agent.agent_id = given.agent_id",
        [agent.agent_id for agent, _ in changes],
        [change.last_seen_ms for _, change in changes],
        [change.acknowledges for _, change in changes],
        [change.online for _, change in changes],
        [change.bd_seq for _, change in changes],
        [None if change.version is None else storable_text(change.version) for _, change in changes],
        [change.wants_rebirth for _, change in changes],
        [change.rebirth_after_ms if change.wants_rebirth else 0 for _, change in changes],
        [change.takes_rebirth_back for _, change in changes],
        [change.delay_ms for _, change in changes],
        [change.delay_p95_ms for _, change in changes],
        [change.clock_error_ms for _, change in changes],
        [change.seq for _, change in changes],
    )


async def _rare(session: Session, work: Work) -> None:
    """What most transactions have none of."""
    await _births_and_devices(session, work)
    await _gaps(session, work)
    await _park(session, work)
    await store_dead_letters(session, work)
    if work.unparked:
        await _unpark(session, work.unparked)


async def _births_and_devices(session: Session, work: Work) -> None:
    for agent in work.forgotten_births:
        await session.execute("DELETE FROM birth WHERE agent_id = $1", agent.agent_id)
    for (agent, device), payload in work.births.items():
        await session.execute(
            "INSERT INTO birth (agent_id, tenant_id, device, payload) VALUES ($1,$2,$3,$4) "
            "ON CONFLICT (agent_id, device) DO UPDATE SET payload = excluded.payload",
            agent.agent_id,
            agent.tenant_id,
            device,
            payload,
        )
    for agent, time_ms in work.devices_gone.items():
        await session.execute(
            "UPDATE device SET online = false, online_changed = to_timestamp($2::bigint / 1000.0) "
            "WHERE agent_id = $1 AND online",
            agent.agent_id,
            time_ms,
        )
    for (agent, device), (online, time_ms) in work.devices.items():
        await session.execute(
            "INSERT INTO device (agent_id, tenant_id, name, online, online_changed) "
            "VALUES ($1,$2,$3,$4,to_timestamp($5::bigint / 1000.0)) ON CONFLICT (agent_id, name) DO UPDATE SET "
            "online = excluded.online, online_changed = CASE WHEN device.online <> excluded.online "
            "THEN excluded.online_changed ELSE device.online_changed END",
            agent.agent_id,
            agent.tenant_id,
            device,
            online,
            time_ms,
        )


async def _gaps(session: Session, work: Work) -> None:
    for gap in work.gaps:
        await session.execute(
            "INSERT INTO gap (agent_id, tenant_id, device, reason, first_time, last_time, sample_count, tags, detail, "
            "epoch, batches) "
            "VALUES ($1,$2,$3,$4, to_timestamp(0) + ($5::bigint / 1000) * interval '1 microsecond', "
            "to_timestamp(0) + ($6::bigint / 1000) * interval '1 microsecond', $7,$8,$9,$10,"
            "$11::text::int8multirange)",
            gap.agent.agent_id,
            gap.agent.tenant_id,
            storable_text(gap.device),
            storable_text(gap.reason),
            gap.first_ns,
            gap.last_ns,
            gap.count,
            None if gap.tags is None else [storable_text(tag) for tag in gap.tags],
            storable_text(gap.detail),
            gap.epoch,
            format_multirange(gap.batches) if gap.batches else None,
        )
    for gap in work.gaps_taken_back:
        await session.execute(
            "DELETE FROM gap WHERE agent_id = $1 AND device = $2 AND reason = $3 AND detail = $6 "
            "AND first_time = to_timestamp(0) + ($4::bigint / 1000) * interval '1 microsecond' "
            "AND last_time = to_timestamp(0) + ($5::bigint / 1000) * interval '1 microsecond'",
            gap.agent.agent_id,
            storable_text(gap.device),
            gap.reason,
            gap.first_ns,
            gap.last_ns,
            gap.detail,
        )


async def _park(session: Session, work: Work) -> None:
    for parked in work.parked:
        await session.execute(
            "INSERT INTO parked_batch (agent_id, tenant_id, epoch, batch, definition, topic, payload, received) "
            "VALUES ($1,$2,$3,$4,$5,$6,$7,to_timestamp($8::bigint / 1000.0)) ON CONFLICT DO NOTHING",
            parked.agent.agent_id,
            parked.agent.tenant_id,
            parked.epoch,
            parked.batch,
            parked.definition,
            parked.topic,
            parked.payload,
            parked.received_ms,
        )


async def _unpark(session: Session, unparked: Sequence[ParkedBatch]) -> None:
    """Forget what was parked. Raises ``OffsetMoved`` when somebody else has: then it is stored already."""
    gone = await session.execute(
        "DELETE FROM parked_batch USING unnest($1::int[], $2::bigint[], $3::bigint[]) "
        "AS given (agent_id, epoch, batch) WHERE parked_batch.agent_id = given.agent_id "
        "AND parked_batch.epoch = given.epoch AND parked_batch.batch = given.batch",
        [parked.agent.agent_id for parked in unparked],
        [parked.epoch for parked in unparked],
        [parked.batch for parked in unparked],
    )
    if gone != len(unparked):
        raise OffsetMoved("parked batches have been stored by another process")


async def store_dead_letters(session: Session, work: Work) -> None:
    """Set aside what cannot be used, with its reason: a batch that comes again while it is there, once."""
    for letter in work.dead_letters:
        await session.execute(
            "INSERT INTO dead_letter (tenant_id, agent_id, epoch, batch, topic, payload, reason, received, definition) "
            "VALUES ($1,$2,$3,$4,$5,$6,$7,to_timestamp($8::bigint / 1000.0),$9) "
            "ON CONFLICT (agent_id, epoch, batch) WHERE closed IS NULL AND batch > 0 DO NOTHING",
            1 if letter.agent is None else letter.agent.tenant_id,
            None if letter.agent is None else letter.agent.agent_id,
            letter.epoch,
            letter.batch,
            storable_text(letter.topic)[:REASON_CHARS_MAX],
            letter.payload,
            storable_text(letter.reason)[:REASON_CHARS_MAX],
            letter.received_ms,
            storable_text(letter.definition) or None,
        )


async def read_parked(
    database: Database, agent: KnownAgent, definition: str, batches_max: int, bytes_max: int
) -> list[ParkedBatch]:
    """The first batches of ``agent`` that wait for ``definition``, in their order; one at least, if there is any.

    Raises ``DatabaseUnavailable``.
    """
    async with database.session() as session:
        rows: Sequence[Any] = await session.fetch(
            "SELECT epoch, batch, topic, payload, received_ms FROM ("
            "    SELECT *, row_number() OVER w AS place, sum(octet_length(payload)) OVER w AS bytes FROM ("
            "        SELECT epoch, batch, topic, payload, (extract(epoch FROM received) * 1000)::bigint AS received_ms "
            "        FROM parked_batch WHERE agent_id = $1 AND definition = $2 ORDER BY epoch, batch LIMIT $3"
            "    ) AS first_ones WINDOW w AS (ORDER BY epoch, batch ROWS UNBOUNDED PRECEDING)"
            ") AS placed WHERE place = 1 OR bytes <= $4 ORDER BY epoch, batch",
            agent.agent_id,
            definition,
            batches_max,
            bytes_max,
        )
    return [
        ParkedBatch(
            agent,
            row["epoch"],
            row["batch"],
            definition,
            row["topic"],
            bytes(row["payload"]),
            row["received_ms"],
        )
        for row in rows
    ]
