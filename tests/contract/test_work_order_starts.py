"""Recipes on their way to the machines: a work order runs when they are there, and what went wrong is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.historian.identities import Identities, TagKey
from cloud_ingest.lines.work_order_keeper import WorkOrderKeeper
from cloud_ingest.lines.work_order_questions import work_order as ask_for
from cloud_ingest.lines.work_order_rules import Deed
from connectors.commands.states import CommandState
from connectors.model.datatypes import DataType
from tests.contract.command_steps import TENANT
from tests.contract.work_order_steps import PRESS, Floor, RoutingLine, floor

TARGET = {"agent": "plant/line-1", "device": "press", "tag": "setpoint"}
PARAMETERS: dict[str, Any] = {
    "speed": TARGET,
    "count": {**TARGET, "tag": "count", "value": "quantity"},
}


async def with_recipe(here: Floor, parameters: dict[str, Any] | None = None, *, counted_max: bool = False) -> str:
    """A work order that is next, on a line with ``parameters`` and a recipe for ``speed``."""
    known = await Identities(here.database).agent(here.office.agent.name)
    limits = '{"engLow": 0.0, "engHigh": 35.0}' if counted_max else ""
    count = TagKey("press", "count", DataType.INT32, "pcs", properties=limits)
    await Identities(here.database).tags(known, [count])
    parameters = PARAMETERS if parameters is None else parameters
    await here.set_line(PRESS, parameters=json.dumps(parameters))
    recipe = {"speed": 32.5} if "speed" in parameters else {}
    (made,) = await here.plan(40, routing=(RoutingLine(*PRESS, recipe=recipe),))
    return made


async def shown(here: Floor, work_order: str) -> dict[str, Any]:
    async with here.database.session() as session:
        return await ask_for(session, 1, work_order, here.office.clock.now_ns())


async def test_a_work_order_runs_when_the_last_value_of_its_recipe_is_in_the_machine(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        order = await with_recipe(here)
        await here.start(order)
        await here.keeper.look()
        (first,) = await here.commands()
        assert json.loads(first["action"])["value"] == 32.5
        assert (first["issuer"], first["correlation"]) == ("anna", order)
        assert await here.state(order) == "next"
        with pytest.raises(RequestRefused, match="its recipe is on the way"):
            await here.start(order)
        await here.end_command()
        _, second = await here.commands()
        assert json.loads(second["action"])["value"] == 40, "how many are wanted"
        assert await here.state(order) == "next"
        await here.end_command()
        assert await here.state(order) == "running"
        found = await shown(here, order)
        assert found["download"] == "done"
        assert [(one["parameter"], one["value"], one["state"]) for one in found["writes"]] == [
            ("speed", 32.5, "succeeded"),
            ("count", 40, "succeeded"),
        ]


@pytest.mark.parametrize("state", [CommandState.FAILED, CommandState.REFUSED, CommandState.EXPIRED,
                                   CommandState.UNKNOWN])  # fmt: skip
async def test_what_failed_is_shown_and_can_be_tried_again(database_dsn: str, state: CommandState) -> None:
    async with floor(database_dsn) as here:
        order = await with_recipe(here)
        await here.start(order)
        await here.keeper.look()
        failed = await here.end_command(state)
        found = await shown(here, order)
        assert (found["state"], found["download"]) == ("next", "failed")
        assert f"command {failed} is {state}" in found["download_why"]
        assert len(await here.commands()) == 1, "nothing is written behind a value that failed"
        assert (await here.told(order))[-1] == "download-failed"
        await here.start(order)
        await here.keeper.look()
        await here.end_command()
        await here.end_command()
        assert len(await here.commands()) == 3
        assert await here.state(order) == "running"


async def test_what_nobody_can_write_fails_with_its_reason_at_once(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        order = await with_recipe(here, {"speed": {**TARGET, "tag": "no-such-tag"}})
        await here.start(order)
        await here.keeper.look()
        assert "has no tag press/no-such-tag" in (await here.row(order))["download_why"]
        await here.set_line(PRESS, parameters=json.dumps({"speed": {**TARGET, "agent": "plant/nobody"}}))
        await here.start(order)
        await here.keeper.look()
        assert "there is no agent plant/nobody" in (await here.row(order))["download_why"]
        await here.set_line(PRESS)
        with pytest.raises(RequestRefused, match="has no parameter 'speed'"):
            await here.start(order)
        assert not await here.commands()


@pytest.mark.parametrize(
    ("tag", "value", "why"),
    [
        ("setpoint", 4.9, "4.9 is outside of what the line's settings allow (from 5 to 40)"),
        ("setpoint", 41, "41 is outside of what the line's settings allow (from 5 to 40)"),
        ("setpoint", "fast", "'fast' is no Double"),
        ("count", 3_000_000_000, "Int32 is from"),
        ("count", 36, "its device file allows 0 to 35 pcs, and not 36"),
        ("nobody-knows", "fast", "'fast' is no number, and the line's settings give a range"),
    ],
)
async def test_nothing_is_planned_with_a_value_that_the_machine_does_not_take(
    database_dsn: str, tag: str, value: Any, why: str
) -> None:
    async with floor(database_dsn) as here:
        await with_recipe(here, counted_max=True)
        await here.set_line(
            PRESS, parameters=json.dumps({"speed": {**TARGET, "tag": tag, "value_min": 5, "value_max": 40}})
        )
        with pytest.raises(RequestRefused) as refused:
            await here.plan(40, routing=(RoutingLine(*PRESS, recipe={"speed": value}),))
        assert (refused.value.code, why in str(refused.value)) == ("value_unfit", True), str(refused.value)
        assert f"plant/line-1/press/{tag}" in str(refused.value)
        for fits in (5, 35 if tag == "count" else 40):
            assert await here.plan(40, routing=(RoutingLine(*PRESS, recipe={"speed": fits}),))


async def test_an_agent_of_another_tenant_is_nobody(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        order = await with_recipe(here)
        await here.fetch("INSERT INTO tenant (tenant_id, name) VALUES (2, 'theirs')")
        await here.fetch("UPDATE agent SET tenant_id = 2")
        await here.start(order)
        await here.keeper.look()
        assert "there is no agent plant/line-1" in (await here.row(order))["download_why"]
        assert not await here.commands()


async def test_a_value_that_has_to_be_armed_is_armed_first(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        order = await with_recipe(here, {"speed": {**TARGET, "arm": True, "precondition": "press/setpoint > 0"}})
        await here.start(order)
        await here.keeper.look()
        armed = await here.end_command()
        arm, execute = await here.commands()
        assert [arm["stage"], execute["stage"], execute["armed"]] == ["arm", "execute", armed]
        assert [arm["precondition"], execute["precondition"]] == ["press/setpoint > 0"] * 2
        await here.end_command()
        assert await here.state(order) == "running"


async def test_who_starts_it_cannot_approve_its_commands(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        here.office.requests._approve = ("plant/line-1/press/*",)
        order = await with_recipe(here, {"speed": TARGET})
        await here.start(order)
        await here.keeper.look()
        ((command),) = [row["command_id"] for row in await here.commands()]
        with pytest.raises(RequestRefused, match="another person has to"):
            await here.office.requests.approve(command, tenant_id=TENANT, approver="anna")
        await here.keeper.look()
        assert await here.state(order) == "next"
        await here.office.requests.approve(command, tenant_id=TENANT, approver="berta")
        await here.end_command()
        assert await here.state(order) == "running"


async def test_an_aborted_or_cancelled_start_takes_back_what_was_not_written(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        order = await with_recipe(here)
        await here.start(order)
        await here.keeper.look()
        await here.do(order, Deed.ABORT)
        await here.keeper.look()
        assert [row["state"] for row in await here.commands()] == ["cancelled"]
        assert (await here.row(order))["download_why"] == "aborted by anna"
        await here.start(order)
        await here.keeper.look()
        await here.do(order, Deed.CANCEL, "no longer wanted")
        await here.keeper.look()
        assert [row["state"] for row in await here.commands()] == ["cancelled", "cancelled"]
        assert await here.state(order) == "cancelled"


async def test_who_takes_over_a_start_asks_for_nothing_twice(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        order = await with_recipe(here)
        await here.start(order)
        await here.keeper.look()
        await here.fetch("UPDATE work_order_write SET command = NULL")  # killed before it had written it down
        other = WorkOrderKeeper(here.database, here.office.clock, here.office.requests)
        await other.look()
        assert len(await here.commands()) == 1
        await here.end_command()
        await here.end_command()
        await other.look()
        assert await here.state(order) == "running"


async def test_a_line_that_starts_by_itself_says_what_keeps_it_and_does_not_insist(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        order = await with_recipe(here)
        await here.set_line(PRESS, starts=True)
        await here.keeper.look()
        row = await here.row(order)
        assert (row["state"], row["download"]) == ("next", "failed")
        assert "has no parameter 'speed'" in row["download_why"]
        await here.keeper.look()
        assert (await here.row(order))["revision"] == row["revision"]


async def test_a_value_that_no_command_has_room_for_is_said_and_keeps_no_other_start_waiting(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        order = await with_recipe(here, {"count": {**TARGET, "tag": "t" * 300, "value": "quantity"}})
        await here.start(order)
        await here.keeper.look()
        found = await shown(here, order)
        assert (found["state"], found["download"]) == ("next", "failed")
        assert "no command can say this" in found["download_why"]


async def test_nothing_more_is_written_of_a_start_that_was_aborted_meanwhile(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with floor(database_dsn) as here:
        order = await with_recipe(here)
        await here.start(order)
        starter = here.keeper._starter
        step = starter._step

        async def aborted_first(row: Any) -> bool:
            if await here.state(order) == "next" and (await here.row(order))["download"] == "under_way":
                await here.do(order, Deed.ABORT)
            return await step(row)

        monkeypatch.setattr(starter, "_step", aborted_first)
        await here.keeper.look()
        assert await here.commands() == []
        assert (await here.state(order), (await here.row(order))["download"]) == ("next", "failed")


async def test_while_one_starts_it_stays_next_and_nothing_else_starts(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        order = await with_recipe(here)
        (other,) = await here.plan(1)
        await here.start(order)
        async with unit_of_work(here.database, 1) as work:
            await work.session.execute("UPDATE work_order SET place = -1 WHERE work_order_id = $1", other)
        await here.do(other, Deed.HOLD)
        await here.do(other, Deed.RELEASE)
        assert await here.states(order, other) == ["next", "ready"]
