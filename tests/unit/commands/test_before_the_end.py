"""While the agent is about to end, no command to a device begins; when it does not end after all, they go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from connectors.commands.envelope import Rebirth, Restart
from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from edge_agent.commands.agent_actions import Begin
from edge_agent.commands.journal_rows import Command
from edge_agent.commands.targets import Refused
from edge_agent.commands.writing import Outcome
from tests.unit.commands.files_box import PRESS, Box, living, sha
from tests.unit.commands.played_line import running, until
from tests.unit.commands.test_agent_actions import Agent
from tests.unit.commands.test_apply_file import FASTER, ask_and_restart
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_write_that_comes_after_the_restart_was_asked_for_is_done_by_the_next_start(tmp_path: Path) -> None:
    async with running(Agent(tmp_path)) as agent:
        agent.press.write_s = 3.0
        agent.ask(Restart())
        await until(lambda: agent.restarts)
        write = agent.send(agent.envelope("speed", 1))
        await asyncio.sleep(10.0)
        assert (agent.states(write.id), agent.press.writes) == (["received"], [])
    async with running(Agent(tmp_path, start=2)) as again:
        assert (await again.done(write.id)).state is CommandState.SUCCEEDED
        assert again.press.writes == [("speed", 1)]


class Stays:
    """Holds all commands to devices, and then the agent does not end after all."""

    def __init__(self, agent: Agent, how: str) -> None:
        self._agent = agent
        self._how = how

    async def refused(self, command: Command) -> Refused | None:
        assert await self._agent.restarting.quiet(command.id) is None
        return Refused(Refusal.BUSY, "something else") if self._how == "refused" else None

    async def do(self, command: Command, begin: Begin) -> Outcome | Refused:
        await asyncio.sleep(2.0)
        if self._how == "defect":
            raise ValueError("a defect")
        if self._how == "journal":
            self._agent.journal.is_full = True
        if (refused := await begin("it")) is not None:
            return refused
        return Outcome(CommandState.FAILED, "the launcher's order cannot be written")

    async def recovered(self, command: Command) -> Outcome | None:
        return None


@pytest.mark.parametrize("how", ["failed", "refused", "defect", "journal"])
def test_when_the_agent_does_not_end_after_all_commands_to_devices_are_done_again(how: str, tmp_path: Path) -> None:
    @virtual_time
    async def scenario() -> None:
        async with running(Agent(tmp_path)) as agent:
            agent.commands.executor.work.actions = {"rebirth": Stays(agent, how)}
            id_ = agent.ask(Rebirth())
            await asyncio.sleep(1.0)
            write = agent.send(agent.envelope("speed", 1))
            await asyncio.sleep(0.5)
            assert how == "refused" or agent.press.writes == []
            await asyncio.sleep(3.0)
            agent.journal.is_full = False
            assert (await agent.done(id_)).state in (CommandState.FAILED, CommandState.REFUSED)
            await agent.done(write.id)
            again = agent.send(agent.envelope("speed", 2))
            assert (await agent.done(again.id)).state is CommandState.SUCCEEDED

    scenario()


@virtual_time
async def test_a_write_that_was_begun_is_waited_for_before_the_agent_ends_to_put_a_file_back(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.reads_with[FASTER] = set()
    await ask_and_restart(box, FASTER, replaces=sha(PRESS))
    async with living(box.start()) as start:
        start.press.write_s = 5.0
        await asyncio.sleep(58.0)
        write = start.send(start.envelope("speed", 1))
        await until(lambda: box.content == PRESS)
        assert start.states(write.id)[-1] == "executing"
        await until(lambda: start.restarts)
        assert start.states(write.id)[-1] == "succeeded"
        late = start.send(start.envelope("speed", 2))
        await asyncio.sleep(20.0)
        assert start.states(late.id) == ["received"]
