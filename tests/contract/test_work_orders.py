"""Work orders on lines: one next, one running, counts by the time when they were made, steps one after the other."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.lines.plant_file import PlantFile, apply_plant
from cloud_ingest.lines.work_order_deeds import change_over, resequence
from cloud_ingest.lines.work_order_published import cancel_work_order, capacity, promise, work_orders_of
from cloud_ingest.lines.work_order_rules import Deed
from connectors.model.errors import StatementRefused
from tests.contract.work_order_steps import (
    OVEN,
    PRESS,
    PRESSED,
    PRESSED_AND_BAKED,
    Floor,
    RoutingLine,
    floor,
    in_hours,
)

SOME = Decimal(1)


async def check_invariants(here: Floor) -> None:
    rows = await here.fetch("SELECT site, line, state, download FROM work_order ORDER BY site, line, place")
    for place in {(row["site"], row["line"]) for row in rows}:
        on_line = [row for row in rows if (row["site"], row["line"]) == place]
        waiting = [row["state"] for row in on_line if row["state"] in ("ready", "next")]
        assert sum(row["state"] == "running" for row in on_line) <= 1
        assert waiting == ["next", *["ready"] * (len(waiting) - 1)][: len(waiting)]
    unbounded = await here.fetch("SELECT site, line, count(*) FROM work_order_run WHERE end_ns IS NULL GROUP BY 1, 2")
    assert all(row["count"] == 1 for row in unbounded)
    overlaps = await here.fetch(
        "SELECT FROM work_order_run a JOIN work_order_run b USING (site, line) WHERE a.run_id < b.run_id "
        "AND (a.end_ns IS NULL OR a.end_ns > b.begin_ns)"
    )
    assert not overlaps


async def test_the_first_of_a_line_is_next_and_runs_to_its_end(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        (first,), (second,) = await here.plan(10), await here.plan(5)
        assert await here.states(first, second) == ["next", "ready"]
        with pytest.raises(RequestRefused, match="start is for one that is next"):
            await here.start(second)
        await here.start(first)
        assert await here.states(first, second) == ["running", "next"]
        with pytest.raises(RequestRefused, match=f"work order {first} runs on the line"):
            await here.start(second)
        assert await here.count(PRESS, 7, 1) == first
        with pytest.raises(RequestRefused, match="fewer were made"):
            await here.do(first, Deed.COMPLETE)
        await here.do(first, Deed.COMPLETE, "the coil was used up")
        assert await here.count(PRESS, 1) is None, "what is made between two work orders belongs to none"
        await here.do(first, Deed.CLOSE)
        row = await here.row(first)
        assert (row["state"], row["good"], row["reject"]) == ("closed", 7, 1)
        assert await here.told(first) == ["ready", "next", "started", "progressed", "completed", "closed"]
        assert await here.history(first) == ["ready", "next", "running", "complete", "closed"]


async def test_the_database_itself_has_one_running_and_one_next_on_a_line(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        (first,), (second,) = await here.plan(10), await here.plan(5)
        with pytest.raises(StatementRefused, match="work_order_one_next"):
            await here.fetch("UPDATE work_order SET state = 'next' WHERE work_order_id = $1", second)
        await here.start(first)
        with pytest.raises(StatementRefused, match="work_order_one_running"):
            await here.fetch("UPDATE work_order SET state = 'running' WHERE work_order_id = $1", second)


async def test_a_count_belongs_to_the_work_order_that_ran_when_it_was_made_however_late_it_comes(
    database_dsn: str,
) -> None:
    async with floor(database_dsn) as here:
        (first,), (second,) = await here.plan(10), await here.plan(5)
        await here.start(first)
        await here.count(PRESS, 4)
        made_ns = time.time_ns()
        await here.do(first, Deed.COMPLETE, "enough")
        await here.start(second)
        await here.count(PRESS, 1)
        assert await here.count(PRESS, 6, 2, made_ns) == first
        row = await here.row(first)
        assert (row["state"], row["good"], row["late_good"], row["late_reject"]) == ("complete", 10, 6, 2)
        assert (await here.row(second))["good"] == 1
        assert (await here.told(first))[-1] == "progressed"
        await here.do(first, Deed.CLOSE)
        assert await here.count(PRESS, 1, 0, made_ns) == first, "also when it is closed: a lost count is a wrong bill"
        assert (await here.row(first))["good"] == 11


async def test_paused_it_leaves_the_line_to_another_and_goes_on_later(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        (first,), (second,) = await here.plan(10), await here.plan(5)
        await here.start(first)
        await here.do(first, Deed.PAUSE, "urgent order")
        await here.start(second)
        with pytest.raises(RequestRefused, match=f"work order {second} runs"):
            await here.do(first, Deed.RESUME)
        await here.count(PRESS, 5)
        await here.do(second, Deed.COMPLETE)
        await here.do(first, Deed.RESUME)
        await here.count(PRESS, 3)
        assert (await here.told(first))[-2:] == ["resumed", "progressed"]
        assert [(await here.row(one))["good"] for one in (first, second)] == [3, 5]
        await here.do(first, Deed.COMPLETE, "short")
        await here.do(first, Deed.REOPEN, "it was not over")
        assert await here.states(first, second) == ["paused", "complete"]
        await check_invariants(here)


async def test_a_step_gets_ready_when_enough_of_the_one_before_is_made(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        await here.set_line(PRESS, completes=True)
        await here.set_line(OVEN, completes=True)
        pressed, baked = await here.plan(10, routing=PRESSED_AND_BAKED, transfer=Decimal(4))
        assert await here.states(pressed, baked) == ["next", "planned"]
        await here.start(pressed)
        await here.count(PRESS, 3)
        await here.keeper.look()
        assert await here.state(baked) == "planned"
        await here.count(PRESS, 1)
        await here.keeper.look()
        assert await here.state(baked) == "next"
        await here.start(baked)
        await here.count(PRESS, 5, 1)
        await here.keeper.look()
        assert await here.state(pressed) == "running", "nine of ten"
        await here.do(pressed, Deed.COMPLETE, "one was spoilt")
        await here.count(OVEN, 8)
        await here.keeper.look()
        assert await here.state(baked) == "running", "one more is to come"
        await here.count(OVEN, 0, 1)
        await here.keeper.look()
        assert await here.state(baked) == "complete", "all that came was used up"
        await check_invariants(here)


async def test_what_has_its_quantity_is_complete_by_itself_and_the_next_one_starts(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        await here.set_line(PRESS, completes=True, starts=True)
        (first,), (second,) = await here.plan(3), await here.plan(5)
        await here.keeper.look()
        assert await here.states(first, second) == ["running", "next"]
        await here.count(PRESS, 4)
        await here.keeper.look()
        assert await here.states(first, second) == ["complete", "running"]
        assert (await here.row(first))["good"] == 4, "more than was ordered is counted, and not cut"
        await here.do(second, Deed.PAUSE)
        (third,) = await here.plan(1)
        await here.keeper.look()
        assert await here.states(second, third) == ["paused", "next"], "who has paused it decides what is made now"


async def test_a_changeover_ends_one_and_starts_the_next_or_does_nothing(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        (first,), (second,) = await here.plan(3), await here.plan(5)
        await here.start(first)
        await here.count(PRESS, 1)

        async def over(then: Deed, reason: str = "") -> None:
            async with unit_of_work(here.database, 1) as work:
                await change_over(work, here.act(reason=reason), PRESS, then)

        with pytest.raises(RequestRefused, match="fewer were made"):
            await over(Deed.COMPLETE)
        assert await here.states(first, second) == ["running", "next"]
        await over(Deed.COMPLETE, "short")
        assert await here.states(first, second) == ["complete", "running"]
        with pytest.raises(RequestRefused) as refused:
            await over(Deed.PAUSE)
        assert refused.value.code == "nothing_next"
        (third,) = await here.plan(1)
        await over(Deed.PAUSE)
        assert await here.states(second, third) == ["paused", "running"]


async def test_another_sequence_makes_another_one_next_and_of_two_planners_the_second_is_told(
    database_dsn: str,
) -> None:
    async with floor(database_dsn) as here:
        orders = [(await here.plan(1))[0] for _ in range(3)]
        (row,) = await here.fetch("SELECT revision FROM work_order_line")

        async def order_them(wanted: list[str]) -> None:
            async with unit_of_work(here.database, 1) as work:
                await resequence(work, here.act("paul"), PRESS, wanted, f'"{row["revision"]}"')

        with pytest.raises(RequestRefused, match="leaves out"):
            await order_them(orders[:2])
        await order_them([orders[2], orders[0], orders[1]])
        assert await here.states(*orders) == ["ready", "ready", "next"]
        with pytest.raises(RequestRefused) as refused:
            await order_them(orders)
        assert refused.value.why is Why.CHANGED
        await check_invariants(here)


async def test_cancelled_while_running_it_keeps_its_count_and_the_steps_behind_it_go_too(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        pressed, baked = await here.plan(10, routing=PRESSED_AND_BAKED, order="O-1", order_line=1)
        (single,) = await here.plan(4, order="O-1", order_line=2)
        await here.start(pressed)
        await here.count(PRESS, 6, 1)
        async with unit_of_work(here.database, 1) as work:
            assert await cancel_work_order(work, 1, pressed, "the customer", "orders") == 0, "half-made is no product"
        assert await here.states(pressed, baked, single) == ["cancelled", "cancelled", "next"]
        assert (await here.row(pressed))["good"] == 6
        await here.start(single)
        await here.count(PRESS, 3)
        async with unit_of_work(here.database, 1) as work:
            assert await cancel_work_order(work, 1, single, "the customer", "orders") == 3
        async with unit_of_work(here.database, 1) as work:
            assert await cancel_work_order(work, 1, single, "again", "orders") == 3, "over already: as it was"
        async with here.database.session() as session:
            facts = await work_orders_of(session, 1, "O-1")
        assert [(one.state, one.good, one.made) for one in facts] == [
            ("cancelled", 6, 0),
            ("cancelled", 0, 0),
            ("cancelled", 3, 3),
        ]


async def test_a_large_quantity_is_divided_and_planned_behind_what_is_there(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        batches = (RoutingLine(*PRESS, batch_max=Decimal(1800), setup_s=Decimal(0)),)
        assert len(await here.plan(4000, routing=batches)) == 3
        rows = await here.fetch("SELECT quantity, begin_planned, end_planned FROM work_order ORDER BY place")
        assert [row["quantity"] for row in rows] == [1800, 1800, 400]
        assert [round(in_hours(row["begin_planned"], row["end_planned"]), 2) for row in rows] == [1, 1, 0.22]
        assert all(one["end_planned"] == other["begin_planned"] for one, other in pairwise(rows))
        now = datetime.now(UTC)
        async with here.database.session() as session:
            free = await capacity(session, 1, *PRESS)
            end = await promise(session, 1, PRESSED, Decimal(1770), now)
        assert round(in_hours(now, free.free_from), 2) == 2.22
        assert free.rate_per_hour == 1800
        assert round(in_hours(now, end), 2) == 3.22
        due = now + timedelta(hours=24)
        (late,) = await here.plan(1770, due=due)
        row = await here.row(late)
        assert (row["end_planned"], round(in_hours(row["begin_planned"], due), 2)) == (due, 1.0), "backwards from due"


async def test_work_is_planned_in_the_shifts_of_the_line_and_not_in_their_breaks(database_dsn: str) -> None:
    shift = {"shift": "day", "begin": "08:00", "end": "16:00", "breaks": [{"begin": "12:00", "end": "13:00"}]}
    line = {"line": "press", "calendar": "days", "signals": {}}
    site = {
        "site": "plant",
        "calendars": [{"calendar": "days", "shifts": [shift]}],
        "areas": [{"area": "hall", "lines": [line]}],
    }
    async with floor(database_dsn) as here:

        async def describe() -> None:
            async with unit_of_work(here.database, 1) as work:
                await apply_plant(work.session, 1, PlantFile.model_validate({"sites": [site]}), "eva", prune=False)

        await describe()
        hour = (RoutingLine(*PRESS, ideal_cycle_s=Decimal(3600), setup_s=Decimal(0)),)
        orders = [(await here.plan(7, routing=hour))[0] for _ in range(2)]
        first, second = [await here.row(one) for one in orders]
        apart = in_hours(first["end_planned"], second["end_planned"])
        assert round(apart, 1) == 24, "a shift has seven hours of work"
        due = datetime.now(UTC).replace(hour=10, minute=0, second=0, microsecond=0) + timedelta(days=20)
        (late,) = await here.plan(3, routing=hour, due=due)
        row = await here.row(late)
        assert row["begin_planned"] == due - timedelta(days=1) + timedelta(hours=5), "at 15:00 on the day before"
        shift["begin"] = "09:00"
        await describe()
        (after,) = await here.plan(3, routing=hour, due=due)
        row = await here.row(after)
        assert row["begin_planned"] == due - timedelta(days=1) + timedelta(hours=4), "the calendar is another at once"


async def test_what_nobody_can_make_is_refused_with_what_to_do(database_dsn: str) -> None:
    async with floor(database_dsn) as here:
        with pytest.raises(RequestRefused, match="has no routing"):
            await here.plan(1, routing=())
        with pytest.raises(RequestRefused, match="no parameter 'speed'"):
            await here.plan(1, routing=(RoutingLine(*PRESS, recipe={"speed": 20}),))
        with pytest.raises(RequestRefused, match="at most 1000"):
            await here.plan(100_000, routing=(RoutingLine(*PRESS, batch_max=SOME),))
        with pytest.raises(RequestRefused, match="there is no work order"):
            await here.start("01AAAAAAAAAAAAAAAAAAAAAAAA")
        assert not await here.fetch("SELECT FROM work_order")


async def test_whatever_people_do_at_once_a_line_has_one_running_and_the_first_that_is_ready_next(
    database_dsn: str,
) -> None:
    """People at the same time, on two lines whose jobs cross: no deadlock, and what holds on a line holds."""
    chance = random.Random(7)
    async with floor(database_dsn) as here:
        crossed = (RoutingLine(*OVEN), RoutingLine(*PRESS))
        orders = [
            one
            for routing in (PRESSED_AND_BAKED, crossed, PRESSED) * 2
            for one in await here.plan(4, routing=routing, transfer=SOME)
        ]

        async def person(number: int) -> None:
            for _ in range(12):
                one, act = chance.choice(orders), chance.choice([*Deed, "count", "count", "look"])
                try:
                    if isinstance(act, Deed):
                        await here.do(one, act, "because", f"person {number}")
                    elif act == "count":
                        await here.count(chance.choice([PRESS, OVEN]), 1)
                    else:
                        await here.keeper.look()
                except RequestRefused:
                    continue

        await asyncio.gather(*(person(number) for number in range(4)))
        await check_invariants(here)
        made = await here.fetch("SELECT coalesce(sum(good), 0) AS good FROM work_order")
        told = await here.fetch(
            "SELECT coalesce(sum((event::json -> 'data' ->> 'good_added')::numeric), 0) AS good FROM event_outbox"
        )
        assert made[0]["good"] == told[0]["good"], "what was told adds up to what is there"
