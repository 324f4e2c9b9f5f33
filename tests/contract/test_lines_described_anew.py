"""Lines that are removed, and described while their machines run: what goes on ends, and what was counted stays."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.lines import equipment
from cloud_ingest.lines.equipment import EquipmentKey
from cloud_ingest.lines.role import Lines
from tests.contract.line_steps import LINE, T0, TOPIC, Plant, S, plant


async def remove(here: Plant) -> None:
    async with tenant_transaction(here.database, 1) as session:
        await equipment.remove(session, 1, EquipmentKey("berlin", "line", "press-1"))


async def test_what_goes_on_of_a_line_ends_when_it_is_removed(database_dsn: str) -> None:
    alarm = {"alarm": "oil-hot", "tag": LINE["signals"]["state"]["tag"].replace("state", "oil"), "high": 80}
    async with plant(database_dsn) as here:
        await here.describe(alarms=[alarm])
        await here.take((0, "state", 1), (0, "good", 0), (5, "state", 3), (6, "oil", 85.0), (9, "good", 5), at_s=30)
        await remove(here)
        log: Any = None
        lines = Lines(here.database, log, here.clock, TOPIC)
        here.clock.now = T0 + 60 * S
        await lines.look()
        assert await here.states() == [("running", 0, 5), ("faulted", 5, 60)]
        assert [one["kind_of"] for one in await here.events()][-3:] == ["stop-closed", "state-changed", "alarm-cleared"]
        assert not await here.fetch("SELECT FROM line_stop WHERE end_ns IS NULL")
        await here.describe()
        await here.take((90, "state", 1), (90, "good", 100), (91, "good", 103))
        assert (await here.states())[2:] == [("offline", 60, 90), ("running", 90, None)]
        assert await here.sums() == (8, 0), "what the counter did while nobody counted is not known"


async def test_a_line_that_is_described_anew_keeps_what_was_counted_on_it(database_dsn: str) -> None:
    """Samples before were read by other rules: one that comes late has none of them read again."""
    async with plant(database_dsn) as here:
        await here.take((0, "good", 0), (70, "good", 50), (140, "good", 90))
        await remove(here)
        await here.describe()
        await here.take((200, "good", 500), (210, "good", 510))
        await here.take((205, "good", 503), (100, "good", 70), at_s=211)
        assert await here.sums() == (100, 0)


@pytest.mark.parametrize("is_online", [True, False])
async def test_a_line_that_is_described_while_its_machine_runs_begins_with_what_its_tags_said_last(
    database_dsn: str, is_online: bool
) -> None:
    """Agents tell of changes alone: a machine that runs on says nothing, and its counter the next piece."""
    now_s = round(time.time()) - T0 / S
    async with plant(database_dsn) as here:
        await remove(here)
        await here.fold(0)
        async with here.database.session() as session:
            await session.execute(
                "INSERT INTO agent (tenant_id, group_name, name, online, online_changed) "
                "VALUES (1, 'plant-7', 'line-1', $1, now() - interval '1 hour')",
                is_online,
            )
            await session.execute(
                "INSERT INTO tag (tenant_id, agent_id, device, name, datatype) SELECT 1, agent_id, 'press', told, 8 "
                "FROM agent, unnest('{state,good}'::text[]) AS told"
            )
            await session.execute(
                "INSERT INTO sample (time, tag_id, tenant_id, quality, value_int) SELECT now() - ago, tag_id, 1, 0, "
                "value FROM tag JOIN (VALUES ('state', interval '9 min', 2), ('state', interval '8 min', 1), "
                "('good', interval '1 min', 100)) AS told (name, ago, value) USING (name)"
            )
        await here.describe()
        await here.take((now_s, "good", 103), at_s=now_s)
        states = [state for state, _, _ in await here.states()]
        assert (await here.sums(), states[-1]) == (((3, 0), "running") if is_online else ((0, 0), "offline"))
