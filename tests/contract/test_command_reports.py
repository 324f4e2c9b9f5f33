"""What agents report is taken exactly once, in whatever order and however often it comes; a state never goes back."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from cloud_ingest.commands import audit, questions, reports
from cloud_ingest.historian.dead_letters import letters
from cloud_ingest.historian.work import KnownAgent
from cloud_ingest.observability.command_events import JournalRestored, ReportRefused
from cloud_ingest.observability.events import StoringFailed
from connectors.commands.reports import CommandReport
from connectors.commands.states import FINAL, CommandState, may_follow
from connectors.model.delivery import AgentName
from connectors.model.errors import OffsetMoved
from connectors.sparkplug.delivery import COMMAND_REPORT, HELLO, format_epoch
from tests.contract.command_steps import JOURNAL, Office, Reading, office
from tests.played_agent import PlayedAgent, Wire

OTHER_JOURNAL = "cd" * 16
WAY = (CommandState.RECEIVED, CommandState.EXECUTING, CommandState.SUCCEEDED)


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The events of the projection."""
    found: list[Any] = []
    monkeypatch.setattr(reports, "emit", found.append)
    return found


async def sent(here: Office, key: str = "k", **more: Any) -> str:
    """A command that was sent."""
    command = await here.ask(key, **more)
    await here.make(command, CommandState.SENT)
    return command


async def test_a_command_goes_the_way_that_its_agent_reports(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        command = await sent(here)
        await Reading(here).take(
            here.report(command, WAY[0]),
            here.report(command, WAY[1]),
            here.report(command, WAY[2], before=1.5, after=120.0, detail="read back"),
        )
        found = await questions.command(here.database, command)
        assert [state["state"] for state in found["states"]] == ["requested", *WAY]
        assert (found["state"], found["before"], found["after"], found["detail"]) == (
            "succeeded",
            1.5,
            120.0,
            "read back",
        )
        assert (await audit.verify(here.database))[1] == []


@pytest.mark.parametrize("seed", range(6))
async def test_reports_in_any_order_and_any_number_of_times_end_in_the_same_state(database_dsn: str, seed: int) -> None:
    draw = random.Random(seed)
    async with office(database_dsn) as here:
        wires: list[Wire] = []
        wanted: dict[str, CommandState] = {}
        for number in range(8):
            command = await sent(here, str(number))
            wanted[command] = draw.choice(sorted(FINAL))
            wires += [here.report(command, state) for state in (*WAY[:2], wanted[command])]
        wires += draw.choices(wires, k=20)
        draw.shuffle(wires)
        reading = Reading(here)
        while wires:
            size = draw.randint(1, 9)
            await reading.take(*wires[:size])
            del wires[:size]
        for command, state in wanted.items():
            found = await questions.command(here.database, command)
            path = [CommandState(one["state"]) for one in found["states"] if not one["late"]]
            assert path[-1] == found["state"] == state
            assert all(may_follow(later, earlier) for earlier, later in pairwise(path))
            assert len(found["states"]) == 4  # every report once, late ones too
        assert (await audit.verify(here.database))[1] == []


async def test_a_crash_between_two_transactions_repeats_and_skips_nothing(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        command = await sent(here)
        reading = Reading(here)
        records = reading.records(*(here.report(command, state) for state in WAY))
        await reading.take_records(records[:2])
        again = Reading(here)  # another process, which read the place before the first one stored
        assert await again.projector._place.read() == 2
        again.projector._next = 2
        await again.take_records(records[2:])
        with pytest.raises(OffsetMoved):
            await reading.take_records(records[2:])  # the zombie
        assert await here.states(command) == ["requested", *WAY]


async def test_what_is_unknown_is_resolved_by_a_later_report(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        command = await sent(here)
        await here.make(command, CommandState.UNKNOWN)
        await Reading(here).take(
            here.report(command, WAY[0]), here.report(command, WAY[1]), here.report(command, WAY[2])
        )
        assert await here.states(command) == ["requested", "succeeded"]
        late = [one["state"] for one in (await questions.command(here.database, command))["states"] if one["late"]]
        assert late == ["received", "executing"]


async def test_what_an_operator_does_at_the_machine_is_known_by_its_reports(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        command = "01JDV3W3Z8Q6C0V2B7N4M5K9XR"
        await Reading(here).take(here.report(command, WAY[0], actor="otto"), here.report(command, WAY[2], actor="otto"))
        found = await questions.command(here.database, command)
        assert (found["origin"], found["action"], found["issuer"], found["state"]) == (
            "agent",
            None,
            "otto",
            "succeeded",
        )


async def test_an_agent_says_nothing_of_commands_to_another(database_dsn: str, emitted: list[Any]) -> None:
    async with office(database_dsn) as here:
        command = await sent(here)
        stranger = PlayedAgent("line-2")
        await Reading(here).take(here.report(command, WAY[2], agent=stranger), here.report(command, WAY[0]))
        assert await here.states(command) == ["requested", "received"]
        (refused,) = [event for event in emitted if isinstance(event, ReportRefused)]
        assert refused.agent == "plant/line-2"
        assert "another agent's" in refused.reason


async def test_what_cannot_be_read_or_stored_keeps_no_other_report_from_being_taken(
    database_dsn: str, emitted: list[Any]
) -> None:
    async with office(database_dsn) as here:
        command = await sent(here)
        bad = [
            here.agent.record({COMMAND_REPORT: "{}"}),
            here.agent.record({HELLO: "not JSON"}),
            Wire("spBv1.0/plant/NDATA/line-1", b"\x12\xff"),
            here.report("01JDV3W3Z8Q6C0V2B7N4M5K9XS", WAY[0], time_ms=253_402_300_799_999, detail="nul \0 inside"),
            here.agent.hello(JOURNAL, previous="f" * 16),  # no epoch that the database could hold
        ]
        await Reading(here).take(*bad[:2], here.report(command, WAY[0]), *bad[2:], here.report(command, WAY[2]))
        assert await here.states(command) == ["requested", "received", "succeeded"]
        assert len([event for event in emitted if isinstance(event, ReportRefused)]) >= 3
        found = await questions.command(here.database, "01JDV3W3Z8Q6C0V2B7N4M5K9XS")
        assert found["requested"].year == 9999


async def test_a_report_that_brings_out_a_defect_is_a_dead_letter_and_keeps_no_other_from_being_taken(
    database_dsn: str, emitted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = reports.actor_of

    def broken(agent: KnownAgent, report: CommandReport) -> str:
        if report.detail == "broken":
            raise KeyError("a defect\0")
        return real(agent, report)

    monkeypatch.setattr(reports, "actor_of", broken)
    async with office(database_dsn) as here:
        command, other = await sent(here, "one"), await sent(here, "two")
        await Reading(here).take(
            here.report(command, WAY[0]), here.report(other, WAY[0], detail="broken"), here.report(command, WAY[2])
        )
        assert await here.states(command) == ["requested", "received", "succeeded"]
        assert await here.states(other) == ["requested"]
        (letter,) = await letters(here.database, agent=str(here.agent.name))
        assert "cannot be stored: a defect of Lineside" in letter.reason
        (refused,) = [event for event in emitted if isinstance(event, ReportRefused)]
        assert refused.agent == str(here.agent.name)
        (failed,) = [event for event in emitted if isinstance(event, StoringFailed)]
        assert "in broken" in failed.traceback
        assert (await here.fetch("SELECT FROM command_forged")) == []


# -- hellos ------------------------------------------------------------------------------------------------------------


async def test_a_hello_is_answered_with_what_is_known_of_the_journal(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        command = await sent(here)
        hello = here.agent.hello(JOURNAL, nonce="12" * 16, number=4, locks=("press",))
        await Reading(here).take(hello, here.report(command, WAY[0], number=5), hello)
        (request,) = await here.fetch("SELECT * FROM time_request")
        assert (request["nonce"], request["journal"], request["number"], request["restored"]) == (
            "12" * 16, JOURNAL, 4, False,
        )  # fmt: skip
        (journal,) = await here.fetch("SELECT * FROM command_journal")
        assert (journal["start"], journal["locks"]) == (format_epoch(here.agent.epoch), ["press"])
        assert [row["number"] for row in await here.fetch("SELECT number FROM command_start")] == [5]


async def test_a_restored_disk_makes_unknown_what_was_sent_and_a_report_resolves_it(
    database_dsn: str, emitted: list[Any]
) -> None:
    async with office(database_dsn) as here:
        first, image = here.agent, PlayedAgent()
        reading = Reading(here)
        await reading.take(first.hello(JOURNAL))
        waiting, done = await here.ask("waiting"), await sent(here, "done")
        begun = await sent(here, "begun")
        reported = [here.report(done, WAY[2], number=1), here.report(begun, WAY[1], number=2)]
        await reading.take(*reported)
        await reading.take(image.hello(JOURNAL, number=1, previous=format_epoch(first.epoch)))
        assert [await here.state(command) for command in (waiting, done, begun)] == [
            "requested",
            "succeeded",
            "unknown",
        ]
        (request,) = await here.fetch("SELECT restored, number FROM time_request")
        assert (request["restored"], request["number"]) == (True, 2)
        (event,) = [event for event in emitted if isinstance(event, JournalRestored)]
        assert (event.agent, event.finding, event.unknown) == ("plant/line-1", "restored", 1)
        fresh = image.hello(OTHER_JOURNAL)
        await reading.take(fresh, here.report(begun, WAY[2], agent=image, journal=OTHER_JOURNAL))
        assert await here.state(begun) == "succeeded"
        (request,) = await here.fetch("SELECT restored, journal FROM time_request")
        assert (request["restored"], request["journal"]) == (False, OTHER_JOURNAL)
        assert (await audit.verify(here.database))[1] == []


async def test_more_batches_than_the_start_before_has_declared_show_a_restored_disk(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        reading = Reading(here)
        await reading.take(here.agent.hello(JOURNAL))
        await here.fetch(
            "INSERT INTO ledger (agent_id, tenant_id, epoch, first_batch, last_batch, arrived) "
            "SELECT agent_id, tenant_id, $1, 1, 5, '{[1,10)}' FROM agent WHERE name = 'line-1' RETURNING 1",
            here.agent.epoch,
        )
        await reading.take(PlayedAgent().hello(JOURNAL, previous=format_epoch(here.agent.epoch)))
        (request,) = await here.fetch("SELECT restored FROM time_request")
        assert request["restored"]


async def test_a_hello_that_names_a_file_twice_is_taken_with_what_it_says_last(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        files = [{"name": "press.yaml", "sha256": "", "version": number, "state": "in_use"} for number in (1, 2)]
        await Reading(here).take(here.agent.hello(JOURNAL, files=files))
        (row,) = await here.fetch("SELECT version FROM device_file_in_use")
        assert row["version"] == 2


async def test_hellos_of_many_agents_at_once_are_all_taken(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        agents = [PlayedAgent(f"line-{number}") for number in range(30)]
        for agent in agents:
            await here.prepare(AgentName("plant", agent.name.name))
        await Reading(here).take(*(agent.hello(JOURNAL) for agent in agents))
        assert len(await here.fetch("SELECT FROM time_request")) == 30
