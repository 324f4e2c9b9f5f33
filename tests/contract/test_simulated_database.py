"""The simulation's tables do what PostgreSQL does: the same calls on both give the same answers and rows.

The calls are those of whole seeds, as ingest and historian made them; so a fence that the product's SQL loses shows,
and one that only the simulation has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest

from cloud_ingest.commands import audit, audit_heads, numbers
from cloud_ingest.event_log.place import Place
from cloud_ingest.historian.nodes import Nodes
from cloud_ingest.historian.rollup_marks import Mark
from cloud_ingest.historian.storing import PROJECTION, Copies, read_parked, write
from cloud_ingest.historian.work import AgentChange, DeadLetter, GapRow, KnownAgent, LedgerEntry, ParkedBatch, Work
from cloud_ingest.ingest.host_book import HostBook
from cloud_ingest.ingest.plain_nodes import PlainNodes
from connectors.commands.reports import Hello
from connectors.model.delivery import AgentName, BatchRanges, Epoch
from connectors.model.errors import OffsetMoved
from connectors.postgres.database import open_database
from connectors.sparkplug import sparkplug_b_pb2 as pb
from tests.contract.two_databases import ONCE, SIMPLIFIED, TwoDatabases, TwoSessions, different_tables
from tests.servers.databases import Databases
from tests.simulation.database import Said
from tests.simulation.registry import STATEMENTS
from tests.simulation.seeds import run_seed
from tests.simulation.tables import Tables

SEEDS: Final = (*range(12), 20, 50, 190)
"""Some of them have commands; in the last, the image of a disk comes back, which makes them unknown."""
NOW_S: Final = 1_795_000_000.0
NODE: Final = AgentName("plant", "another maker's")


@pytest.mark.slow
@pytest.mark.timeout(600)  # it takes some seconds on a quiet machine
def test_every_statement_of_the_simulation_does_what_postgresql_does(databases: Databases) -> None:
    said: set[str] = set()
    for seed in SEEDS:
        day: list[Said] = []
        assert run_seed(seed, day.extend).violations == []
        with databases.with_tables() as dsn:
            both, differences = asyncio.run(_compare(dsn, day))
        assert differences == [], f"seed {seed}"
        said |= both
    assert said == STATEMENTS.keys()


async def _compare(dsn: str, day: Sequence[Said]) -> tuple[set[str], list[str]]:
    """The kinds of statements of a day, and where PostgreSQL and the simulation differ."""
    real = await open_database(dsn, connections_max=2, application_name="tests")
    tables = Tables()
    try:
        async with real.session() as session:
            both = TwoSessions(session, tables)
            await _say(both, day)
            await _say_again(both, day)
            await _say_what_is_rare(both)
            return both.said, both.differences + await different_tables(session, tables)
    finally:
        await real.close()


async def _say(both: TwoSessions, day: Sequence[Said]) -> None:
    for each in day:
        both.go_to(each.now_s)
        if each.table:
            await both.copy(each.table, each.sql.split(", "), each.args[0])
        elif isinstance(each.answer, int):
            await both.execute(each.sql, *each.args)
        else:
            await both.fetch(each.sql, *each.args)


async def _say_again(both: TwoSessions, day: Sequence[Said]) -> None:
    """What was said first and last of each kind: a place has moved on, a revision is another, a row is there."""
    first, last = ({_kind(each): each for each in some} for some in (reversed(day), day))
    for each in (*first.values(), *last.values()):
        if not each.table and not each.sql.startswith((*SIMPLIFIED, *ONCE)):
            await _say(both, [Said(both.now_s, each.sql, each.args, each.answer)])


def _kind(said: Said) -> str:
    return said.table or next(beginning for beginning in STATEMENTS if said.sql.startswith(beginning))


async def _say_what_is_rare(both: TwoSessions) -> None:
    """What no agent makes happen: nodes of other makers, parked batches, gaps that are taken back, fences at work."""
    database = TwoDatabases(both)
    nodes = PlainNodes(database)  # type: ignore[arg-type]
    nodes.heard(NODE)
    await nodes.refresh()
    rows = await both.fetch(
        "SELECT agent_id, tenant_id, acknowledges FROM agent WHERE group_name = $1 AND name = $2", NODE.group, NODE.name
    )
    node = KnownAgent(rows[0]["agent_id"], rows[0]["tenant_id"], NODE)
    gaps = [GapRow(node, "", "sequence_gap", first, first + 5_000_000, 2, ("a", "b"), "") for first in (10**18, 10**17)]
    births = {
        (node, device): pb.Payload(timestamp=1, seq=seq).SerializeToString() for seq, device in enumerate(("", "press"))
    }
    letters = [DeadLetter("t", b"p", "r", 5, node, Epoch(7), batch) for batch in (3, None)]
    parked = [ParkedBatch(node, Epoch(7), batch, "hash", "t", b"p", 1000 + batch) for batch in (2, 1)]
    ledger = {(node, Epoch(7)): LedgerEntry(BatchRanges([(1, 2), (5, 9)]), 4, 1, 12_345, 1, None)}
    told = Work(0, births=births, gaps=gaps, dead_letters=letters, parked=parked, ledger=ledger, devices={})
    await write(both, told, Copies({}, [Mark(1, 29_000_000, "{[1,4)}")]))
    for bytes_max, wanted in ((100, 2), (0, 1)):
        assert len(await read_parked(database, node, "hash", 10, bytes_max)) == wanted  # type: ignore[arg-type]
    restored = Nodes(database, None, reorder_ms=0, keep_decoded=False)  # type: ignore[arg-type]
    await restored._restored(node)
    with pytest.raises(OffsetMoved):  # the revision that was read is not that of the row any more
        await write(both, told, Copies({}, [Mark(1, 29_000_000, "{[1,4)}")]))
    nothing = Copies({}, [])
    await write(both, Work(0, unparked=parked, gaps_taken_back=gaps[:1], devices_gone={node: 9}), nothing)
    await write(both, Work(0, forgotten_births=[node], births={(node, ""): b""}), nothing)
    asked = []
    host = HostBook(database, "lineside")  # type: ignore[arg-type]
    for after_s, wants in ((0.5, False), (0.6, False), (0.2, True), (0.9, False), (0.2, True), (1.0, True)):
        both.go_to(both.now_s + after_s)
        if wants:
            change = AgentChange(round(both.now_s * 1000), wants_rebirth=True)
            await write(both, Work(0, agents={node: change}), nothing)
        asked.append(NODE in await host.rebirths_due())
    assert asked == [False, True, False, True, False, True], "not before it is wanted, nor twice within a second"
    head = await audit.lock_head(both)
    problems = []
    for number, hash_ in ((5, "five"), (7, "seven"), (3, "three")):
        hello = Hello.model_construct(audit_number=number, audit_hash=hash_, audit_base=0, audit_base_hash="")
        problems.append(bool(await audit_heads.take(both, head, node, hello, 1000)))
    assert problems == [False, False, True], "a log that has lost its end"
    place = Place(database, "topic", "", 0, PROJECTION)  # type: ignore[arg-type]
    assert await place.read() == 0
    await place.move(both, 0, 5, 1)
    with pytest.raises(OffsetMoved):
        await place.move(both, 0, 6, 2)
    heads = await audit.move_and_lock_heads(both, place, 5, 7, 3, (1,))
    assert heads.of(1).last is None or heads.of(1).last.number > 0
    with pytest.raises(OffsetMoved):
        await audit.move_and_lock_heads(both, place, 5, 8, 3, ())
    await numbers.take(both, {(node, "start", "journal"): 3, (node, "start", "other"): 1})
