"""States that are written in one round trip: only where nobody has written any since they were read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from cloud_ingest.commands import at_once, audit
from cloud_ingest.commands.at_once import Chance
from cloud_ingest.commands.outgoing import due_commands, end_by_time, look
from cloud_ingest.commands.requests import Requests
from connectors.commands.states import CommandState
from connectors.model.errors import OffsetMoved
from connectors.ports.database import Session
from tests.contract.command_steps import TENANT, Office, Reading, office

WAY = (CommandState.RECEIVED, CommandState.EXECUTING, CommandState.SUCCEEDED)


class Between:
    """Has something happen once between what is read and what is written at once; ``answers``: what came of writing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._write, self.happens, self.answers = at_once.write, _nothing, list[bool]()
        monkeypatch.setattr(at_once, "write", self.write)

    async def write(self, *args: Any) -> bool:
        happens, self.happens = self.happens, _nothing
        await happens()
        answer = await self._write(*args)
        self.answers.append(answer)
        return answer


async def _nothing() -> None:
    pass


async def in_order(here: Office) -> None:
    """The audit log is one chain, and what it says of commands are their states in the order of their numbers."""
    assert (await audit.verify(here.database))[1] == []
    states = await here.fetch("SELECT command_id, state, is_late FROM command_state ORDER BY state_id")
    entries = await here.fetch(
        "SELECT subject, action FROM command_audit WHERE action LIKE 'command %' ORDER BY number"
    )
    assert [(row["command_id"], f"command {row['state']}") for row in states] == [
        tuple(row.values()) for row in entries
    ]
    newest = {row["command_id"]: row["state"] for row in states if not row["is_late"]}
    assert {row["command_id"]: row["state"] for row in await here.fetch("SELECT * FROM command")} == newest


async def send(here: Office) -> list[str]:
    """Send what is due: the topics of the messages."""
    now_ms = here.clock.now_ms()
    due = await look(here.database, now_ms)
    return [one.topic for one in (await due_commands(here.database, here.key, now_ms, due, Chance())).messages]


async def test_a_command_goes_all_the_way_without_the_lock_where_nobody_else_writes(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(database_dsn) as here:
        between = Between(monkeypatch)
        locked: list[Any] = []
        monkeypatch.setattr(audit, "lock_heads", lambda *args: locked.append(args))
        command = await here.ask()
        assert len(await send(here)) == 1
        await Reading(here).take(*(here.report(command, state) for state in WAY))
        assert between.answers == [True, True, True]
        assert locked == []
        assert await here.states(command) == ["requested", "sent", *WAY]
        rows = await here.fetch("SELECT envelope, sends, next_send_ms, agent_id FROM command")
        assert rows[0]["envelope"]
        assert rows[0]["sends"] == 1
        assert rows[0]["next_send_ms"] > here.clock.now_ms()
        assert [row["number"] for row in await here.fetch("SELECT number FROM command_start")] == [1]
        await in_order(here)


async def test_what_was_taken_back_since_it_was_read_is_not_sent(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(database_dsn) as here:
        command = await here.ask()
        between = Between(monkeypatch)

        async def taken_back() -> None:
            await here.requests.cancel(command, tenant_id=TENANT, actor="anna")

        between.happens = taken_back
        assert await send(here) == []
        assert between.answers == [False]
        assert await here.states(command) == ["requested", "cancelled"]
        await in_order(here)


async def test_a_request_that_came_since_keeps_another_from_nothing(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(database_dsn) as here:
        between = Between(monkeypatch)
        others = Requests(here.database, here.clock)

        async def same_key() -> None:
            await others.take(here.request(), tenant_id=TENANT, issuer="anna", key="k")

        between.happens = same_key
        first = await here.ask("k")
        assert between.answers == [True, False]
        assert [row["command_id"] for row in await here.fetch("SELECT command_id FROM command")] == [first], "one key"
        assert await here.ask("other") != first
        assert between.answers == [True, False], "for a while it is not tried again"
        await in_order(here)


async def test_a_report_of_what_has_ended_since_it_was_read_does_not_lose_that_end(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(database_dsn) as here:
        command = await here.ask()
        await send(here)
        between = Between(monkeypatch)

        async def over() -> None:
            here.clock.ahead_ms = 600_000
            assert await end_by_time(here.database, here.clock.now_ms()) == 1

        between.happens = over
        reading = Reading(here)
        await reading.take(here.report(command, CommandState.RECEIVED))
        assert between.answers == [False]
        assert await here.states(command) == ["requested", "sent", "unknown"], "it came late"
        assert await here.fetch("SELECT next_offset FROM projection") == [(1,)]
        await in_order(here)


async def test_who_has_lost_the_partition_since_it_read_writes_nothing(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(database_dsn) as here:
        command = await here.ask()
        await send(here)
        between = Between(monkeypatch)
        reading = Reading(here)
        records = reading.records(*(here.report(command, state) for state in WAY))
        between.happens = lambda: _move(here)
        with pytest.raises(OffsetMoved):
            await reading.take_records(records)
        assert between.answers == [False]
        assert await here.states(command) == ["requested", "sent"]


async def _move(here: Office) -> None:
    """Another process has the partition now, and has gone on in it, whatever it read there."""
    await here.fetch("UPDATE projection SET next_offset = next_offset + 1 RETURNING 1")


async def test_who_holds_the_lock_is_waited_for_and_numbers_stay_in_the_order_of_commits(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        entered = asyncio.Event()

        async def within(_session: Session, _command: str) -> None:
            entered.set()
            await asyncio.sleep(0.2)

        holding = Requests(here.database, here.clock)
        first = asyncio.create_task(
            holding.take(here.request(), tenant_id=TENANT, issuer="anna", key="first", within=within)
        )
        await entered.wait()
        second = await here.ask("second")
        rows = await here.fetch("SELECT command_id FROM command_state ORDER BY state_id")
        assert [row["command_id"] for row in rows] == [(await first).command, second]
        await in_order(here)


async def test_whoever_writes_at_once_with_others_leaves_one_chain_and_loses_none(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        desks = [Requests(here.database, here.clock) for _ in range(5)]

        async def ask(number: int) -> str:
            desk = desks[number % len(desks)]
            desk._chance = Chance()  # it is tried each time
            return (await desk.take(here.request(), tenant_id=TENANT, issuer="anna", key=str(number))).command

        asks: list[Awaitable[str]] = [ask(number) for number in range(40)]
        commands = await asyncio.gather(*asks)
        assert len(set(commands)) == 40
        sent = sum([len(await send(here)) for _ in range(2)])
        assert sent == 32, "the bound of what is under way"
        await in_order(here)
