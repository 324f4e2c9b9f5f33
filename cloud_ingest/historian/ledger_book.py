"""The ledger of the epochs of one partition, in memory beside the table.

A transaction works on a copy of each entry that it touches; the copy replaces the entry when the transaction has been
committed. When it was not, ``forget`` makes the book read the table again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any, Final

from cloud_ingest.historian.work import KnownAgent, LedgerEntry, Work
from connectors.model.delivery import BatchRanges, Epoch
from connectors.ports.database import Database

ENTRIES_MAX: Final = 10_000
"""An agent takes a fresh epoch at each start: those of a year are not kept. What is needed again is read again."""


class LedgerBook:
    """The ledger entries that this process needs, read when they are first needed; the newest in use are remembered."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries: OrderedDict[tuple[KnownAgent, Epoch], LedgerEntry] = OrderedDict()

    async def entry(self, work: Work, agent: KnownAgent, epoch: Epoch) -> LedgerEntry:
        """The entry of ``epoch`` for changing within ``work``."""
        key = (agent, epoch)
        changing = work.ledger.get(key)
        if changing is not None:
            return changing
        known = self._entries.get(key)
        if known is None:
            known = self._entries[key] = await self._read(agent, epoch)
        self._entries.move_to_end(key)
        changing = work.ledger[key] = replace(known, arrived=known.arrived.copy(), explained=known.explained.copy())
        return changing

    def explain(self, work: Work, agent: KnownAgent, epoch: Epoch, batches: BatchRanges) -> None:
        """A gap accounts for ``batches``, whether they are missing or not."""
        entry = work.ledger.get((agent, epoch)) or self._entries.get((agent, epoch))
        if entry is not None:  # else the table is read with the gap in it
            for first, last in batches:
                entry.explained.add(first, last)

    def committed(self, work: Work) -> None:
        """The transaction is in the database."""
        for entry in work.ledger.values():
            entry.revision += 1
        self._entries.update(work.ledger)
        while len(self._entries) > ENTRIES_MAX:
            self._entries.popitem(last=False)

    def forget(self) -> None:
        """It is not known what the table says now."""
        self._entries.clear()

    async def _read(self, agent: KnownAgent, epoch: Epoch) -> LedgerEntry:
        async with self._database.session() as session:
            rows = await session.fetch(
                "SELECT arrived::text AS arrived, samples, duplicates, first_batch, last_batch, revision, "
                "(extract(epoch FROM started) * 1000)::bigint AS started_ms, ("
                "    (SELECT coalesce(range_agg(batches), '{}') FROM gap WHERE batches IS NOT NULL "
                "        AND gap.agent_id = ledger.agent_id AND gap.epoch = ledger.epoch) "
                "    + (SELECT coalesce(range_agg(batches), '{}') FROM ledger_closing AS closing "
                "        WHERE closing.agent_id = ledger.agent_id AND closing.epoch = ledger.epoch) "
                "    + (SELECT coalesce(range_agg(int8range(batch, batch + 1)), '{}') FROM dead_letter AS letter "
                "        WHERE letter.agent_id = ledger.agent_id AND letter.epoch = ledger.epoch "
                "        AND letter.closed IS NOT NULL AND letter.batch < 9223372036854775807)"
                ")::text AS explained FROM ledger WHERE agent_id = $1 AND epoch = $2",
                agent.agent_id,
                epoch,
            )
        if not rows:
            return LedgerEntry(BatchRanges())
        row: Any = rows[0]
        return LedgerEntry(
            parse_multirange(row["arrived"]),
            int(row["samples"]),
            int(row["duplicates"]),
            row["started_ms"],
            row["first_batch"],
            row["last_batch"],
            int(row["revision"]),
            parse_multirange(row["explained"]),
        )


def format_multirange(ranges: BatchRanges) -> str:
    """A set of batch numbers as PostgreSQL writes an ``int8multirange``."""
    return "{" + ",".join(f"[{first},{last + 1})" for first, last in ranges) + "}"


def parse_multirange(text: str) -> BatchRanges:
    """The set of batch numbers in the text of an ``int8multirange`` (canonical form: ``{[1,5),[7,8)}``)."""
    ranges = BatchRanges()
    for part in text.strip("{}").split("),"):
        if part:
            first, last = part.strip("[)").split(",")
            ranges.add(int(first), int(last) - 1)
    return ranges
