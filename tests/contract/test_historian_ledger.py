"""What the delivery ledger says, case by case; ``test_ledger_machine`` goes through what may happen in any order."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cloud_ingest.cli.ledger_screens import ledger_screen
from cloud_ingest.gateway.ledger import ledger as ledger_of
from connectors.model.datatypes import DataType
from connectors.sparkplug.delivery import COMMAND_REPORT, format_epoch
from tests.contract.historian_steps import RawLogOnPostgres, plant
from tests.played_agent import NOW_MS, PlayedAgent, Sample


async def test_a_closed_dead_letter_is_no_longer_missing(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE})]
        wires += [agent.raw("press", b"", 5), agent.samples("press", [Sample("force", NOW_MS * 10**6, 1.0)])]
        wires += [agent.raw("press", b"", 5)]
        await made.project(*wires)
        assert (await made.epoch(agent))["missing"] == [(3, 3), (5, 5)]
        await made.fetch(
            "UPDATE dead_letter SET closed = now(), closed_reason = 'repaired by hand' WHERE batch = 5 RETURNING 1"
        )
        assert (await made.epoch(agent))["missing"] == [(3, 3)]
        (entry,) = await ledger_of(made.database)
        assert (entry["missing"], entry["dead_letters"]) == (1, 1)


async def test_a_batch_that_its_agent_declared_as_refused_is_given_up_and_not_missing(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        wires = [agent.start(), agent.define("press", {"force": DataType.DOUBLE})]
        refused = agent.samples("press", [Sample("force", NOW_MS * 10**6, 1.0)])
        await made.project(*wires, agent.gap("press", "device_unavailable", 1, 2))
        assert (await made.epoch(agent))["missing"] == [(3, 3)], "a gap that names no batch explains none"
        await made.fetch(
            "INSERT INTO dead_letter (tenant_id, agent_id, epoch, batch, topic, payload, reason, received) "
            "SELECT 1, agent_id, $1, 3, '', '', 'too large', now() FROM agent RETURNING 1",
            agent.epoch,
        )
        gap = {"epoch": format_epoch(agent.epoch), "batches": [[3, 3]], "detail": "too large"}
        await made.project(agent.gap("press", "refused", 1, 2, **gap))
        epoch = await made.epoch(agent)
        assert (epoch["missing"], epoch["given_up"]) == ([], [(3, 3)])
        (entry,) = await ledger_of(made.database)
        assert (entry["missing"], entry["given_up"], entry["dead_letters"]) == (0, 1, 1)
        assert "1 batch given up: 3 of" in printed(entry)
        await made.project(refused)
        epoch = await made.epoch(agent)
        assert (epoch["arrived"], epoch["given_up"]) == ([(1, 5)], []), "what arrived all the same is not given up"


async def test_reports_of_commands_and_hellos_are_batches_without_samples(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        report = agent.start(), agent.record({COMMAND_REPORT: "{}"}), agent.hello("ab" * 16)
        await made.project(*report, agent.record({COMMAND_REPORT: b"no text"}), report[1])
        assert (await made.epoch(agent))["arrived"] == [(1, 4)]
        (entry,) = await ledger_of(made.database)
        assert (entry["missing"], entry["parked"], entry["dead_letters"], entry["samples"]) == (0, 0, 0, 0)
        assert entry["duplicates"] == 1


@pytest.mark.parametrize(
    "named",
    [
        {"epoch": 5, "batches": [[1, 1]]},
        {"epoch": "x", "batches": [[1, 1]]},
        {"epoch": "1", "batches": [[1, 1 << 63]]},
        {"epoch": "1", "batches": [[0, 3]]},
        {"epoch": "1", "batches": [[7, 3]]},
        {"epoch": "1", "batches": 7},
        {"epoch": "1", "batches": [7]},
        {"epoch": "1", "batches": [[number, number] for number in range(1, 20_003, 2)]},
    ],
)
async def test_a_gap_that_names_no_possible_batch_is_set_aside(database_dsn: str, named: dict[str, Any]) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.project(agent.start(), agent.gap("press", "refused", 1, 2, **named))
        assert [reason[:16] for reason in await made.reasons()] == ["not a gap record"]


async def test_a_restored_image_takes_no_batch_out_of_the_ledger(database_dsn: str) -> None:
    first, restored = PlayedAgent(), PlayedAgent(first=6)
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        wires = [first.start(), first.define("press", {"force": DataType.DOUBLE})]
        wires += [first.samples("press", [Sample("force", NOW_MS * 10**6, 1.0)]) for _ in range(8)]
        await made.project(*wires[:8], PlayedAgent(first=11).start([first]))
        assert (await made.epoch(first))["missing"] == [(9, 10)]
        first.next = 6  # the image knows of five batches
        await made.project(restored.start([first]))
        epoch = await made.epoch(first)
    assert (epoch["first_batch"], epoch["last_batch"], epoch["missing"]) == (1, 10, [(9, 10)])


async def test_batches_that_wait_for_their_definition_are_counted(database_dsn: str) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        start, definition = agent.start(), agent.define("press", {"force": DataType.DOUBLE})
        data = [agent.samples("press", [Sample("force", NOW_MS * 10**6 + n, 1.0)]) for n in range(3)]
        await made.project(start, *data)
        (entry,) = await ledger_of(made.database)
        assert entry["parked"] == 3
        assert "3 batches wait for their definition" in printed(entry)
        await made.project(definition)
        (entry,) = await ledger_of(made.database)
        assert (entry["parked"], entry["missing"]) == (0, 0)


async def test_a_batch_whose_definition_has_not_come_for_a_quarter_of_an_hour_is_missing_until_it_comes(
    database_dsn: str,
) -> None:
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        start, definition = agent.start(), agent.define("press", {"force": DataType.DOUBLE})
        data = [agent.samples("press", [Sample("force", NOW_MS * 10**6 + n, 1.0)]) for n in range(2)]
        await made.project(start, *data)
        assert (await made.epoch(agent))["missing"] == [(2, 2)], "only the definition itself, so far"
        await made.fetch("UPDATE parked_batch SET parked = now() - interval '16 minutes' WHERE batch = 4")
        (entry,) = await ledger_of(made.database)
        epoch = entry["epochs"][0]
        assert (epoch["arrived"], epoch["missing"], epoch["stuck"]) == ([(1, 1), (3, 3)], [(2, 2), (4, 4)], [(4, 4)])
        assert "1 batch of them missing" in printed(entry)
        await made.project(definition)
        epoch = await made.epoch(agent)
        assert (epoch["arrived"], epoch["missing"], epoch["stuck"]) == ([(1, 4)], [], [])


def printed(entry: dict[str, Any]) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(ledger_screen([entry], 0, 0))
    return console.export_text()


async def test_what_an_earlier_epoch_never_sent_is_missing(database_dsn: str) -> None:
    first, second, third = (PlayedAgent() for _ in range(3))
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        start = first.start()
        first.next = 10
        await made.project(start, second.start([first]), third.start([first, second]))
        epochs = [await made.epoch(agent) for agent in (first, second, third)]
        assert [epoch["missing"] for epoch in epochs] == [[(2, 9)], [], []]
        assert [(epoch["first_batch"], epoch["last_batch"]) for epoch in epochs] == [(1, 9), (1, 1), (1, None)]


async def test_the_clock_error_of_an_agent_is_recorded(database_dsn: str) -> None:
    """Its messages say when they were sent; the ingest knows when they came."""
    agent = PlayedAgent()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        await made.append(agent.start(), agent.define("press", {"force": DataType.DOUBLE}), received_ms=NOW_MS)
        await made.append(
            agent.samples("press", [Sample("force", NOW_MS * 10**6, 1.0)]), received_ms=NOW_MS - 3_600_000
        )
        async with made.projecting():
            await made.caught_up()
        (entry,) = await ledger_of(made.database, str(agent.name))
        assert entry["clock_error_s"] == 3600.0
