"""People close what will never come, with a reason that is kept; and nothing that may still come."""

from __future__ import annotations

from typing import Any

import pytest

from cloud_ingest.gateway.ledger import is_settled
from cloud_ingest.gateway.ledger import ledger as ledger_of
from cloud_ingest.historian.closing import Closed, NotClosed, close_epoch
from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges, Epoch
from tests.contract.historian_steps import Plant, RawLogOnPostgres, plant
from tests.played_agent import NOW_MS, PlayedAgent, Sample, Wire


def batch(agent: PlayedAgent) -> Wire:
    return agent.samples("press", [Sample("force", NOW_MS * 10**6 + agent.next, 1.0)])


async def with_holes(made: Plant) -> tuple[PlayedAgent, PlayedAgent]:
    """Two starts of an agent: batches 4, 6 and 7 of the first never came, and 2 of the second."""
    first, second = PlayedAgent(), PlayedAgent(first=11)
    wires = [first.start(), first.define("press", {"force": DataType.DOUBLE}), *(batch(first) for _ in range(8))]
    second.definitions = first.definitions
    second_wires = [second.start([first]), batch(second), batch(second)]
    del second_wires[1]
    await made.project(*(wire for number, wire in enumerate(wires, 1) if number not in (4, 6, 7)), *second_wires)
    assert (await made.epoch(first))["missing"] == [(4, 4), (6, 7)]
    assert (await made.epoch(second))["missing"] == [(12, 12)]
    return first, second


async def close(made: Plant, epoch: Epoch, *spans: tuple[int, int], quiet_s: float = 0.0, **more: Any) -> Closed:
    batches = BatchRanges(spans) if spans else None
    return await close_epoch(
        made.database, "plant/line-1", epoch, batches, reason="the disk broke", by="anna", quiet_s=quiet_s
    )


async def test_what_is_closed_is_not_missing_and_says_who_when_and_why(database_dsn: str) -> None:
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        first, _ = await with_holes(made)
        assert list((await close(made, first.epoch, (6, 6))).batches) == [(6, 6)]
        assert (await made.epoch(first))["missing"] == [(4, 4), (7, 7)]
        assert list((await close(made, first.epoch)).batches) == [(4, 4), (7, 7)]
        assert not await close(made, first.epoch), "a second time changes nothing"
        assert not await close(made, first.epoch, (4, 4), (6, 7))
        epoch = await made.epoch(first)
        assert (epoch["missing"], epoch["closed"]) == ([], [(4, 4), (6, 7)])
        (entry,) = await ledger_of(made.database)
        assert [(one["batches"], one["closed_by"], one["reason"], one["end"]) for one in entry["closings"]] == [
            ([(6, 6)], "anna", "the disk broke", False),
            ([(4, 4), (7, 7)], "anna", "the disk broke", False),
        ]
        assert entry["closed"] == 3


async def test_what_arrives_after_all_counts_as_arrived(database_dsn: str) -> None:
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        first, _ = await with_holes(made)
        await close(made, first.epoch)
        first.next = 4
        await made.project(batch(first))
        epoch = await made.epoch(first)
        assert (epoch["closed"], epoch["missing"], epoch["arrived"]) == ([(6, 7)], [], [(1, 5), (8, 10)])


async def test_batches_whose_definition_was_closed_are_missing_until_they_are_closed_too(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        start, definition = agent.start(), agent.define("press", {"force": DataType.DOUBLE})
        await made.project(start)
        await made.fetch("ALTER TABLE definition ADD CONSTRAINT none CHECK (device <> 'press')")
        await made.project(definition, batch(agent), batch(agent))
        await close(made, agent.epoch, (2, 2))
        rows = await ledger_of(made.database)
        assert (rows[0]["stuck"], rows[0]["missing"], is_settled(rows, 0)) == (2, 2, False)
        assert list((await close(made, agent.epoch, (3, 4))).batches) == [(3, 4)], "of the current epoch, as they came"
        rows = await ledger_of(made.database)
        assert (rows[0]["stuck"], rows[0]["missing"], is_settled(rows, 0)) == (0, 0, True)


async def test_what_may_still_come_is_not_closed(database_dsn: str) -> None:
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        first, second = await with_holes(made)
        with pytest.raises(NotClosed, match=r"is the current one .* batch 12 is not in the dead letters and may still"):
            await close(made, second.epoch)
        with pytest.raises(NotClosed, match=r"has arrived 0 s ago, and more may follow: .* for 10 minutes"):
            await close(made, first.epoch, quiet_s=600)
        with pytest.raises(NotClosed, match="batches 5, 8-9 are not missing"):
            await close(made, first.epoch, (4, 9))
        with pytest.raises(NotClosed, match="batch 99 is not missing"):
            await close(made, first.epoch, (99, 99))
        with pytest.raises(NotClosed, match="has no epoch 0000000000000005"):
            await close(made, Epoch(5))
        with pytest.raises(NotClosed, match="there is no agent plant/line-9"):
            await close_epoch(made.database, "plant/line-9", first.epoch, None, reason="x", by="anna")
        (entry,) = await ledger_of(made.database)
        assert (entry["missing"], entry["closings"]) == (4, [])


async def test_dead_letters_of_the_current_epoch_can_be_closed_they_do_not_come_again(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE}), agent.raw("press", b"", 5)]
        await made.project(*wires, batch(agent))
        closed = await close(made, agent.epoch, quiet_s=600)
        assert (list(closed.batches), closed.dead_letters) == ([(3, 3)], 1)
        (entry,) = await ledger_of(made.database)
        assert (entry["missing"], entry["dead_letters"]) == (0, 0)


async def test_an_epoch_that_never_said_how_far_it_went_counts_until_its_end_is_closed(database_dsn: str) -> None:
    """The disk was set back to a state between the first start and the second."""
    first, second, third = PlayedAgent(), PlayedAgent(first=2), PlayedAgent(first=2)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(first.start(), second.start([first]))
        await made.project(third.start([first]))
        (entry,) = await ledger_of(made.database)
        assert (entry["missing"], entry["unknown_ends"], is_settled([entry], 0)) == (0, 1, False)
        with pytest.raises(NotClosed, match="more may follow"):
            await close(made, second.epoch, quiet_s=600)
        assert (await close(made, second.epoch)).end
        assert not await close(made, second.epoch)
        assert not await close(made, third.epoch), "the current one has no end yet"
        (entry,) = await ledger_of(made.database)
        assert (entry["undeclared_epochs"], entry["unknown_ends"], is_settled([entry], 0)) == (1, 0, True)
        assert [one["end"] for one in entry["closings"]] == [True]


async def test_what_was_given_up_is_told_by_reason(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE}), *(batch(agent) for _ in range(6))]
        name = f"{agent.epoch:016x}"
        wires.append(agent.gap("press", "outbox_full", 1, 2, count=40, epoch=name, batches=[[3, 5]]))
        wires.append(agent.gap("oven", "outbox_full", 1, 2, count=2))
        wires.append(agent.gap("press", "device_unavailable", 1, 2))
        await made.project(*wires[:2], *wires[4:])
        (entry,) = await ledger_of(made.database)
        assert entry["missing"] == 0
        reasons = {one.pop("reason"): one for one in entry["reasons"]}
        assert reasons == {
            "outbox_full": {"gaps": 2, "uncounted_gaps": 0, "samples": 42, "batches": 2},
            "device_unavailable": {"gaps": 1, "uncounted_gaps": 1, "samples": 0, "batches": 0},
        }, "batch 5 arrived all the same"
        assert entry["epochs"][0]["reasons"] == ["outbox_full"]


async def test_the_odd_clock_of_one_machine_says_nothing_of_the_delay(database_dsn: str) -> None:
    agent = PlayedAgent()
    now_ms = 1_795_400_000_000
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.append(agent.start(), agent.define("press", {"force": DataType.DOUBLE}), received_ms=now_ms)
        for at_ms in (0, 4_300_000_000_000):
            sample = Sample("force", at_ms * 1_000_000, 1.0)
            await made.append(agent.samples("press", [sample]), received_ms=now_ms)
            async with made.projecting():
                await made.caught_up()
            (entry,) = await ledger_of(made.database)
            assert entry["delay"] is None
        odd = Sample("force", 4_300_000_000_000_000_000, 1.0)
        mixed = agent.samples("press", [odd, Sample("force", (now_ms - 500) * 1_000_000, 1.0)])
        await made.append(mixed, received_ms=now_ms)
        async with made.projecting():
            await made.caught_up()
        (entry,) = await ledger_of(made.database)
        assert entry["delay"]["newest_s"] == 0.5


async def test_the_ledger_says_how_far_samples_are_behind(database_dsn: str) -> None:
    agent = PlayedAgent()
    now_ms = 1_795_400_000_000
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.append(agent.start(), agent.define("press", {"force": DataType.DOUBLE}), received_ms=now_ms)
        async with made.projecting():
            await made.caught_up()
            (entry,) = await ledger_of(made.database)
            assert entry["delay"] is None
            for second in range(20):
                behind_ms = 4000 if second == 7 else 250
                at_ns = (now_ms + second * 1000 - behind_ms) * 1_000_000
                wire = agent.samples("press", [Sample("force", at_ns, 1.0), Sample("force", at_ns - 10**9, 1.0)])
                await made.append(wire, received_ms=now_ms + second * 1000)
                await made.caught_up()
        (entry,) = await ledger_of(made.database)
    assert (entry["delay"]["newest_s"], entry["delay"]["p95_s"]) == (0.25, 0.25)
