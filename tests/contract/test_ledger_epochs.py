"""What the ledger says of the end of each start of an agent: declared, still open, or never to be known."""

from __future__ import annotations

from typing import Any

from cloud_ingest.gateway.ledger import ledger as ledger_of
from connectors.model.datatypes import DataType
from connectors.sparkplug.delivery import format_epoch
from tests.contract.historian_steps import Plant, RawLogOnPostgres, plant
from tests.played_agent import NOW_MS, PlayedAgent, Sample, Wire


async def started(made: Plant, agent: PlayedAgent, *earlier: PlayedAgent, started_ms: int = NOW_MS) -> None:
    """A start that knows of ``earlier`` ones, and delivers a sample."""
    wires = [agent.start(earlier, started_ms=started_ms), agent.define("press", {"force": DataType.DOUBLE})]
    await made.project(*wires, agent.samples("press", [Sample("force", NOW_MS * 10**6, 1.0)]))


async def ends(made: Plant, *agents: PlayedAgent) -> list[str]:
    """How the ledger puts the end of each start."""
    (ledger,) = await ledger_of(made.database)
    found = {epoch["epoch"]: epoch["end"] for epoch in ledger["epochs"]}
    assert ledger["undeclared_epochs"] == list(found.values()).count("undeclared")
    return [found[format_epoch(agent.epoch)] for agent in agents]


async def test_a_start_that_no_later_one_knows_is_undeclared(database_dsn: str) -> None:
    """The disk was set back to a state between the first start and the second."""
    first, second, third = PlayedAgent(), PlayedAgent(first=4), PlayedAgent(first=4)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await started(made, first)
        assert await ends(made, first) == ["open"]
        await started(made, second, first)
        assert await ends(made, first, second) == ["declared", "open"]
        await started(made, third, first)
        assert await ends(made, first, second, third) == ["declared", "undeclared", "open"]
        assert (await made.epoch(second))["missing"] == [], "what nobody has numbered cannot be counted"


async def test_a_late_batch_of_an_earlier_start_makes_that_not_the_current_one(database_dsn: str) -> None:
    """A replica of the broker may keep a message for long; nobody has declared the earlier start."""
    first, second = PlayedAgent(), PlayedAgent(first=4)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await started(made, first)
        late = first.samples("press", [Sample("force", NOW_MS * 10**6 + 1, 2.0)])
        await started(made, second)
        await made.project(late)
        assert await ends(made, first, second) == ["undeclared", "open"]


async def test_an_epoch_says_since_when_it_is_incomplete(database_dsn: str) -> None:
    first, second = PlayedAgent(), PlayedAgent("line-2")
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:

        def batch(agent: PlayedAgent) -> Wire:
            return agent.samples("press", [Sample("force", NOW_MS * 10**6 + agent.next, 1.0)])

        async def missing() -> tuple[Any, Any]:
            (entry,) = await ledger_of(made.database, str(first.name))
            return entry["oldest_missing"], entry["epochs"][0]["missing_since"]

        await started(made, first)
        assert await missing() == (None, None)
        lost = [batch(first), batch(first)]
        await made.project(batch(first))
        oldest, since = await missing()
        assert (oldest["batch"], oldest["since"]) == (4, since)
        assert since is not None
        await made.project(batch(first))
        assert await missing() == (oldest, since), "later batches make it no younger"
        await made.project(lost[0])
        assert (await missing())[0] == {**oldest, "batch": 5}
        named = {"epoch": format_epoch(first.epoch), "batches": [[5, 5]]}
        await made.project(first.gap("press", "outbox_full", 1, 2, **named))
        assert await missing() == (None, None)
        lost = [batch(first)]
        await made.project(batch(first))
        again = (await missing())[1]
        assert again > since, "what was explained meanwhile does not count"
        await made.project(lost[0])
        assert await missing() == (None, None)

        await made.fetch("ALTER TABLE sample ADD CONSTRAINT sensible CHECK (value_double <> 7)")
        await started(made, second)
        await made.project(second.samples("press", [Sample("force", NOW_MS * 10**6, 7.0)]))
        (entry,) = await ledger_of(made.database, str(second.name))
        assert entry["oldest_missing"]["batch"] == 4
        assert entry["oldest_missing"]["since"] is not None, "the last one is in the dead letters"
        assert entry["silent_s"] >= 0


async def test_the_current_start_is_told_by_what_arrives_and_not_by_the_clock_of_the_agent(database_dsn: str) -> None:
    """The second start believes to be in 1970, as a box without a battery does before it has found its time server."""
    first, second = PlayedAgent(), PlayedAgent(first=4)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await started(made, first)
        await started(made, second, started_ms=1000)
        assert await ends(made, first, second) == ["undeclared", "open"]
