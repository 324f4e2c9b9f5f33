"""What the ledger says of the end of each start of an agent: declared, still open, or never to be known."""

from __future__ import annotations

from cloud_ingest.gateway.ledger import ledger as ledger_of
from connectors.model.datatypes import DataType
from connectors.sparkplug.delivery import format_epoch
from tests.contract.historian_steps import Plant, RawLogOnPostgres, plant
from tests.played_agent import NOW_MS, PlayedAgent, Sample


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


async def test_the_current_start_is_told_by_what_arrives_and_not_by_the_clock_of_the_agent(database_dsn: str) -> None:
    """The second start believes to be in 1970, as a box without a battery does before it has found its time server."""
    first, second = PlayedAgent(), PlayedAgent(first=4)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await started(made, first)
        await started(made, second, started_ms=1000)
        assert await ends(made, first, second) == ["undeclared", "open"]
