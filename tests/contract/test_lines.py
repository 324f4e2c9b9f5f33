"""What the samples of a line become: counts, states, stops and alarms, told once, whatever order they come in."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from typing import Any

import pytest

from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.lines import equipment
from cloud_ingest.lines.calendar_model import CalendarModel
from cloud_ingest.lines.equipment import EquipmentKey
from cloud_ingest.lines.model import MODELS
from cloud_ingest.lines.presence import mark_presence
from cloud_ingest.lines.role import Lines
from cloud_ingest.lines.work_order_book import Act
from cloud_ingest.lines.work_order_deeds import do
from cloud_ingest.lines.work_order_planning import plan
from cloud_ingest.lines.work_order_rules import Deed
from cloud_ingest.lines.work_order_terms import NewWorkOrder
from tests.contract.historian_steps import eventually
from tests.contract.line_steps import LINE, T0, TOPIC, Plant, S, Sample, plant
from tests.contract.work_order_steps import RoutingLine


def production(seconds: int, *, seed: int = 7) -> tuple[list[Sample], int, int]:
    """Samples of a press, one a second, whose counters roll over, are reset and glitch; good and reject truly made."""
    chance = random.Random(seed)
    good, reject, made, scrapped = 65_500, 10, 0, 0
    samples: list[Sample] = [(0, "good", good), (0, "reject", reject), (0, "state", 1)]
    for second in range(1, seconds):
        if second % 97 == 0:
            samples += [(second, "good", (good + 30_000) % 65_536), (second, "reject", None)]
            continue
        step, scrap = chance.randint(0, 3), chance.randint(0, 1)
        made, scrapped = made + step, scrapped + scrap
        good, reject = (good + step) % 65_536, (reject + scrap) % 65_536
        samples += [(second, "good", good), (second, "reject", reject)]
        if second % 50 == 0:
            samples.append((second, "state", 2))
        elif second % 50 == (20 if second % 100 > 50 else 5):
            samples.append((second, "state", 1))
    return samples, made, scrapped


async def outcome(made: Plant) -> tuple[object, ...]:
    minutes = await made.fetch(
        "SELECT end_minute, begin_minute, good, reject FROM line_minute WHERE good <> 0 OR reject <> 0 "
        "ORDER BY end_minute, begin_minute"
    )
    return await made.sums(), [tuple(row.values()) for row in minutes], await made.states(), await made.stops()


async def test_samples_become_counts_and_states(database_dsn: str) -> None:
    async with plant(database_dsn) as here:
        await here.take((0, "state", 1), (0, "good", 100), (0, "reject", 5))
        await here.take((1, "good", 103), (1, "reject", 6))
        await here.take((5, "state", 3), (6, "good", 104))
        assert await here.sums() == (4, 1)
        assert await here.states() == [("running", 0, 5), ("faulted", 5, None)]
        first, second = await here.events("counted")
        assert (first["site"], first["line"], first["good"], first["reject"]) == ("berlin", "press-1", "3", "1")
        assert (first["product"], first["work_order"], first["late"]) == (None, None, False)
        assert second["begin_ns"] == first["end_ns"], "increments follow each other"
        assert [(one["state"], one["previous"], one["reason"]) for one in await here.events("state-changed")] == [
            ("running", "offline", None),
            ("faulted", "running", "jam"),
        ]


async def test_the_same_batch_again_changes_nothing(database_dsn: str) -> None:
    async with plant(database_dsn) as here:
        batch = here.record((0, "state", 1), (0, "good", 100), (1, "good", 103))
        await here.store_records([batch])
        await here.fold(2)
        told = len(await here.events())
        await here.store_records([batch, batch])
        await here.fold(3)
        assert (await here.sums(), len(await here.events())) == ((3, 0), told)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_samples_that_come_late_and_in_any_order_say_the_same_as_in_order(database_dsn: str, seed: int) -> None:
    samples, good, reject = production(400)
    async with plant(database_dsn) as here:
        for at in range(0, len(samples), 100):
            await here.take(*samples[at : at + 100])
        await here.fold(400)
        expected = await outcome(here)
        assert expected[0] == (good, reject)
        async with here.database.session() as session:
            await session.execute(
                "TRUNCATE line_sample, line_minute, line_state, line_stop, line_checkpoint, event_outbox"
            )
            await session.execute(
                "UPDATE production_line SET fold = '', folded_ns = 0, good = 0, reject = 0, energy_kwh = 0"
            )
        chance = random.Random(seed)
        batches = [samples[at : at + 40] for at in range(0, len(samples), 40)]
        chance.shuffle(batches)
        for batch in batches:
            chance.shuffle(batch)
            await here.store(*batch)
            if chance.random() < 0.6:
                await here.fold(400)
        await here.fold(400)
        assert await outcome(here) == expected
        told = await here.events("counted")
        assert sum(Decimal(one["good"]) for one in told) == good
        assert any(one["late"] for one in told)


async def test_what_comes_late_is_told_as_a_correction_at_its_own_time(database_dsn: str) -> None:
    async with plant(database_dsn) as here:
        await here.take((0, "state", 1), (0, "good", 0), (200, "good", 100))
        await here.take((100, "good", 90), at_s=201)
        await here.take((50, "state", 2), (55, "state", 1), (60, "state", 2), (90, "state", 1), at_s=202)
        told = [(one["good"], one["late"]) for one in await here.events("counted")]
        assert told == [("100", False), ("90", True), ("10", True), ("-100", True)]
        assert await here.states() == [
            ("running", 0, 50), ("stopped", 50, 55), ("running", 55, 60), ("stopped", 60, 90), ("running", 90, None),
        ]  # fmt: skip
        assert await here.stops() == [(50, 55, "micro", None), (60, 90, "unplanned", None)]
        changed = [one["state"] for one in await here.events("state-changed")]
        assert changed == ["running", "stopped", "running", "stopped", "running"]
        await here.take((70, "state", 1), (300, "state", 2), at_s=301)
        (corrected,) = await here.events("states-corrected")
        assert corrected["end_ns"] - corrected["begin_ns"] == 30 * 10**9, "from 60 to 90"
        assert await here.stops() == [(50, 55, "micro", None), (60, 70, "unplanned", None), (300, None, "micro", None)]
        closed = [(one["kind"]) for one in await here.events("stop-closed")]
        assert closed == ["micro", "unplanned", "unplanned"], "told again as it is now"


async def test_counts_go_to_the_work_order_that_ran_when_they_were_made(database_dsn: str) -> None:
    async with plant(database_dsn) as here:
        await here.take((0, "good", 0))
        (row,) = await here.fetch("SELECT max(time_ns) AS at FROM line_sample")
        begin = row["at"]
        async with here.database.session() as session:
            for order, product in (("A", "bolt"), ("B", "nut")):
                await session.execute(
                    "INSERT INTO work_order (work_order_id, tenant_id, job, step, steps, site, line, product, "
                    "quantity, transfer, released, state, place, cycle_s, setup_s, created_by) VALUES "
                    "($1, 1, $1, 1, 1, 'berlin', 'press-1', $2, 100, 100, true, 'complete', 1, 1, 0, 'anna')",
                    order, product,
                )  # fmt: skip
            await session.execute_many(
                "INSERT INTO work_order_run (tenant_id, work_order_id, site, line, begin_ns, end_ns) "
                "VALUES (1, $1, 'berlin', 'press-1', $2, $3)",
                [("A", begin + 5 * 10**9, begin + 20 * 10**9), ("B", begin + 20 * 10**9, None)],
            )
        await here.take((5, "good", 1), (10, "good", 5), (20, "good", 8), (25, "good", 9))
        told = {one["work_order"]: (one["good"], one["product"]) for one in await here.events("counted")}
        assert told == {None: ("1", None), "A": ("7", "bolt"), "B": ("1", "nut")}
        rows = await here.fetch("SELECT work_order_id, good FROM work_order ORDER BY work_order_id")
        assert [tuple(row.values()) for row in rows] == [("A", 7), ("B", 1)], "and the work orders have them"


async def test_what_is_counted_while_a_work_order_starts_is_its_own(database_dsn: str) -> None:
    """Who folds at the same time does not see what the other transaction has not committed."""
    routing = (RoutingLine("berlin", "press-1"),)
    async with plant(database_dsn) as here:
        await here.take((0, "good", 0), (3, "good", 2))
        async with unit_of_work(here.database, 1) as work:
            new = NewWorkOrder("bolt", Decimal(100), routing, "paul")
            (order,) = (await plan(work, Act(1, T0, "paul"), new)).work_orders
        async with unit_of_work(here.database, 1) as work:
            await do(work, Act(1, T0 + 5 * S, "anna"), order, Deed.START)
            await here.take((6, "good", 4), (10, "good", 7))
        await here.fold(11)
        assert [row["good"] for row in await here.fetch("SELECT good FROM work_order")] == [5]
        assert await here.sums() == (7, 0)


async def test_a_machine_whose_clock_is_ahead_keeps_its_work_order_what_it_has_counted(database_dsn: str) -> None:
    routing = (RoutingLine("berlin", "press-1"),)
    async with plant(database_dsn) as here:
        async with unit_of_work(here.database, 1) as work:
            new = NewWorkOrder("bolt", Decimal(5), routing, "paul")
            (order,) = (await plan(work, Act(1, T0, "paul"), new)).work_orders
            await do(work, Act(1, T0, "anna"), order, Deed.START)
        await here.take((31, "good", 0), (40, "good", 5))
        async with unit_of_work(here.database, 1) as work:
            await do(work, Act(1, T0 + 10 * S, "anna"), order, Deed.COMPLETE)
        await here.take((35, "good", 3), at_s=11)
        assert [row["good"] for row in await here.fetch("SELECT good FROM work_order")] == [5]


async def test_a_stop_is_opened_when_it_is_longer_than_a_micro_stop(database_dsn: str) -> None:
    async with plant(database_dsn) as here:
        await here.take((0, "state", 1), (20, "state", 2))
        (row,) = await here.fetch("SELECT wake_ns FROM production_line")
        assert not await here.events("stop-opened")
        await here.fold(31)
        (opened,) = await here.events("stop-opened")
        assert row["wake_ns"] == opened["begin_ns"] + 10 * 10**9
        await here.take((60, "state", 1))
        (closed,) = await here.events("stop-closed")
        assert (closed["stop"], closed["kind"]) == (opened["stop"], "unplanned")
        assert closed["end_ns"] - closed["begin_ns"] == 40 * 10**9


async def test_another_tenant_cannot_read_the_tags_of_an_agent_that_is_not_its_own(database_dsn: str) -> None:
    async with plant(database_dsn) as here:
        async with here.database.session() as session:
            await session.execute("INSERT INTO tenant (name) VALUES ('other')")
        there = Plant(here.database, tenant=2)
        await there.describe()
        await here.store((0, "good", 0), (1, "good", 5))
        await here.fold(2)
        await there.fold(2)
        rows = await here.fetch("SELECT tenant_id, good FROM production_line ORDER BY tenant_id")
        assert [tuple(row.values()) for row in rows] == [(1, 5), (2, 0)]
        assert not await here.fetch("SELECT FROM line_sample WHERE tenant_id = 2")


async def test_a_line_whose_device_is_lost_is_offline_until_it_is_back(database_dsn: str) -> None:
    async with plant(database_dsn) as here:

        async def device_is(online: bool, at_s: float) -> None:
            async with here.database.transaction() as session:
                await session.execute(
                    "INSERT INTO agent (tenant_id, group_name, name, online, online_changed) "
                    "VALUES (1, 'plant-7', 'line-1', true, to_timestamp($1)) ON CONFLICT DO NOTHING",
                    T0 / S - 100,
                )
                await session.execute(
                    "INSERT INTO device (agent_id, tenant_id, name, online, online_changed) "
                    "SELECT agent_id, 1, 'press', $1, to_timestamp($2) FROM agent ON CONFLICT (agent_id, name) "
                    "DO UPDATE SET online = excluded.online, online_changed = excluded.online_changed",
                    online,
                    T0 / S + at_s,
                )
                await mark_presence(session)
            await here.fold(at_s)

        await here.take((0, "state", 1))
        await device_is(True, 1)
        assert await here.states() == [("running", 0, None)]
        await device_is(False, 10)
        await device_is(False, 10)
        assert await here.states() == [("running", 0, 10), ("offline", 10, None)]
        await device_is(True, 30)
        assert (await here.states())[1:] == [("offline", 10, 30), ("running", 30, None)]
        await here.take((12, "state", 1), (20, "state", 2), at_s=31)
        assert (await here.states())[1:] == [("offline", 10, 12), ("running", 12, 20), ("stopped", 20, None)]


async def test_a_line_that_stands_outside_of_its_shifts_has_a_planned_stop(database_dsn: str) -> None:
    async with plant(database_dsn) as here:
        # T0 is 16:14 in Berlin
        key = EquipmentKey("berlin", "calendar", "day")
        shifts = {"shifts": [{"shift": "day", "begin": "06:00", "end": "16:15"}]}
        async with tenant_transaction(here.database, 1) as session:
            await equipment.put(session, 1, key, CalendarModel.model_validate(shifts), "anna")
        await here.describe(calendar="day")
        await here.take((0, "state", 1), (30, "state", 2))
        (row,) = await here.fetch("SELECT wake_ns FROM production_line")
        assert row["wake_ns"] == T0 + 40 * S, "then it is no micro-stop any more"
        await here.fold(41)
        (row,) = await here.fetch("SELECT wake_ns FROM production_line")
        await here.fold((row["wake_ns"] - T0) / S + 1)
        shift_end_s = (row["wake_ns"] - T0) / S
        assert (await here.states())[1:] == [("stopped", 30, shift_end_s), ("planned_stop", shift_end_s, None)]
        assert [stop[2] for stop in await here.stops()] == ["unplanned", "planned"]


async def test_what_was_read_by_other_rules_stays_as_it_was_read(database_dsn: str) -> None:
    async with plant(database_dsn) as here:
        await here.take((0, "good", 0), (10, "good", 10), (70, "good", 20))
        signals = {**LINE["signals"], "good": {**LINE["signals"]["good"], "scale": 2}}
        await here.describe(signals=signals)
        await here.take((5, "good", 3), (80, "good", 21), at_s=81)
        assert await here.sums() == (22, 0)


async def test_energy_that_comes_late_is_told_though_nothing_was_made(database_dsn: str) -> None:
    signals = {**LINE["signals"], "energy": {"tag": "plant-7/line-1/press/energy"}}
    async with plant(database_dsn) as here:
        await here.describe(signals=signals)
        await here.take((0, "state", 2), (0, "energy", 0), (7200, "energy", 9))
        assert not await here.events("states-corrected")
        await here.take((30, "energy", 4), at_s=7201)
        (told,) = await here.events("states-corrected")
        assert (told["begin_ns"], told["end_ns"]) == (T0, T0 + 7200 * S)
        assert not await here.events("counted")


@pytest.mark.parametrize("tag", ["good", "speed"])
async def test_a_value_that_no_table_holds_stops_no_line(database_dsn: str, tag: str) -> None:
    signals = {name: {"tag": f"plant-7/line-1/press/{name}"} for name in ("good", "speed")}
    async with plant(database_dsn) as here:
        await here.describe(signals=signals)
        await here.take((0, "good", 0), (0, "speed", 5))
        await here.take((1, tag, 5 * 10**17), at_s=1)
        await here.take((2, "good", 4), at_s=2)
        assert await here.sums() == (4, 0)


async def test_samples_that_can_change_nothing_any_more_are_deleted_and_counting_goes_on(database_dsn: str) -> None:
    async with plant(database_dsn) as here:
        await here.take((0, "good", 0), (70, "good", 5), (140, "good", 9))
        here.clock.now = T0 + 9 * 86_400 * S
        log: Any = None
        await Lines(here.database, log, here.clock, TOPIC).prune()
        rows = await here.fetch("SELECT time_ns FROM line_sample ORDER BY time_ns")
        assert [row["time_ns"] - T0 for row in rows] == [70 * S, 140 * S]
        await here.take((200, "good", 10))
        await here.take((60, "good", 4), at_s=201)
        assert await here.sums() == (10, 0), "what is older than the oldest fold changes nothing"


async def test_a_line_that_has_to_wait_holds_up_no_other(database_dsn: str) -> None:
    async with plant(database_dsn) as here:
        async with tenant_transaction(here.database, 1) as session:
            model = MODELS["line"].model_validate(LINE)
            await equipment.put(session, 1, EquipmentKey("berlin", "line", "press-2"), model, "anna")
        await here.store((0, "state", 1), (0, "good", 100), (1, "good", 103))
        first, second = [row["line_id"] for row in await here.fetch("SELECT line_id FROM production_line ORDER BY 1")]
        await here.fetch("UPDATE production_line SET looked_ns = line_id")
        here.clock.now = T0 + 5 * S
        no_log: Any = None

        async def is_folded() -> bool:
            return not await here.fetch("SELECT FROM line_due WHERE line_id = $1", second)

        async with asyncio.TaskGroup() as tasks, here.database.transaction() as other:
            await other.fetch("SELECT FROM line_due WHERE line_id = $1 FOR UPDATE", first)
            tasks.create_task(Lines(here.database, no_log, here.clock, TOPIC).look())
            await eventually(is_folded)
        assert await here.fetch("SELECT FROM line_due") == []
