"""Which batches the historian has really taken: looked up in the ledger, not concluded from a place in the log."""

from __future__ import annotations

from collections.abc import Sequence

from cloud_ingest.historian.ledger_book import format_multirange, parse_multirange
from cloud_ingest.ingest.pending import BatchKey
from connectors.model.delivery import AgentName, BatchRanges, Epoch
from connectors.ports.database import Database


async def confirmed(database: Database, keys: Sequence[BatchKey]) -> list[BatchKey]:
    """Those of ``keys`` that are in the ledger or in the dead letters. Raises ``DatabaseUnavailable``."""
    if not keys:
        return []
    wanted: dict[tuple[AgentName, Epoch], BatchRanges] = {}
    for key in keys:
        wanted.setdefault((key.agent, key.epoch), BatchRanges()).add(key.batch)
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT place, ((coalesce(ledger.arrived, '{}') + ("
            "    SELECT coalesce(range_agg(int8range(batch, batch + 1)), '{}') FROM dead_letter "
            "    WHERE dead_letter.agent_id = agent.agent_id AND dead_letter.epoch = given.epoch "
            "    AND batch < 9223372036854775807)) * given.batches::int8multirange)::text AS taken "
            "FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) WITH ORDINALITY "
            "    AS given (group_name, name, epoch, batches, place) "
            "JOIN agent USING (group_name, name) "
            "LEFT JOIN ledger ON ledger.agent_id = agent.agent_id AND ledger.epoch = given.epoch",
            [agent.group for agent, _ in wanted],
            [agent.name for agent, _ in wanted],
            [epoch for _, epoch in wanted],
            [format_multirange(batches) for batches in wanted.values()],
        )
    places = list(wanted)
    taken = {places[int(row["place"]) - 1]: parse_multirange(row["taken"]) for row in rows}
    return [key for key in keys if key.batch in taken.get((key.agent, key.epoch), ())]
