"""Unit, type and description of a tag are what the newest birth of its device says, whatever old data comes later."""

from __future__ import annotations

from connectors.model.datatypes import DataType
from connectors.model.tags import DeviceName, MetricDefinition, TagName
from connectors.sparkplug.definition import make_definition
from tests.contract.historian_steps import Plant, RawLogOnPostgres, plant
from tests.played_agent import NOW_MS, PlayedAgent, Sample, Wire


async def unit(made: Plant) -> tuple[str, DataType]:
    (row,) = await made.fetch("SELECT unit, datatype FROM tag")
    return row["unit"], DataType(row["datatype"])


def sample(agent: PlayedAgent, value: float) -> Wire:
    return agent.samples("oven", [Sample("t", NOW_MS * 10**6 + agent.next, value)])


def configured(agent: PlayedAgent, unit_text: str, datatype: DataType = DataType.DOUBLE) -> Wire:
    return agent.define("oven", {"t": datatype}, unit=unit_text)


async def test_going_back_to_an_earlier_configuration_goes_back_to_its_unit_and_type(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.append(agent.start(), configured(agent, "°C"), agent.device_born("oven"), sample(agent, 1.0))
        async with made.projecting():
            earlier = agent.definitions["oven"]
            await made.append(configured(agent, "°F", DataType.FLOAT), agent.device_born("oven"), sample(agent, 33.8))
            await made.caught_up()
            assert await unit(made) == ("°F", DataType.FLOAT)
            again = PlayedAgent(first=agent.next)
            again.definitions["oven"] = earlier
            await made.append(again.start([agent]), again.device_born("oven"), sample(again, 2.0))
            await made.caught_up()
            assert await unit(made) == ("°C", DataType.DOUBLE)


async def test_old_data_sets_nothing_back_also_after_a_restart_of_the_historian(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        old = [configured(agent, "°C"), sample(agent, 1.0)]
        late = sample(agent, 2.0)
        await made.project(agent.start(), *old, agent.device_born("oven"))
        await made.project(configured(agent, "°F"), agent.device_born("oven"))
        await made.project(late)
        await made.project(*old)
        assert await unit(made) == ("°F", DataType.DOUBLE)


async def test_a_definition_that_is_told_late_overwrites_nothing_that_a_newer_birth_says(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        backlog = [configured(agent, "°C"), sample(agent, 1.0)]
        newer = configured(agent, "°F")
        await made.project(agent.start(), agent.device_born("oven"), newer, sample(agent, 33.8))
        await made.project(*backlog)
        assert await unit(made) == ("°F", DataType.DOUBLE)
        assert len(await made.rows(agent)) == 2


async def test_what_may_be_written_is_known_and_goes_when_the_device_file_says_it_no_longer(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        found = []
        start = [agent.start()]
        for limits in ((0.0, 250.0), (0.0, 200.0), None):
            metric = MetricDefinition(1 << 14, TagName("t"), DataType.DOUBLE, limits=limits)
            definition = agent.definition_of(make_definition(DeviceName("oven"), [metric]))
            await made.project(*start, definition, agent.device_born("oven"), sample(agent, 1.0))
            start = []
            found += [row["properties"] for row in await made.fetch("SELECT properties FROM tag")]
        assert found == ['{"engLow": 0.0, "engHigh": 250.0}', '{"engLow": 0.0, "engHigh": 200.0}', ""]


async def test_a_birth_before_its_definition_decides_when_the_definition_comes(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(agent.start(), configured(agent, "°C"), agent.device_born("oven"), sample(agent, 1.0))
        definition = configured(agent, "°F")
        await made.project(agent.device_born("oven"))
        assert await unit(made) == ("°C", DataType.DOUBLE)
        await made.project(definition)
        assert await unit(made) == ("°F", DataType.DOUBLE)
