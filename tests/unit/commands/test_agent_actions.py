"""What is for the agent itself: the same path as a write, done at most once, and its end found by the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from connectors.commands.envelope import Action, AgentAction, ApplyDeviceFile, Rebirth, Restart, SetLogLevel, told
from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from edge_agent.commands.agent_actions import Begin, Restarting, agent_works
from edge_agent.commands.executor import Switches
from edge_agent.commands.journal_file import JournalUnavailable
from edge_agent.commands.journal_rows import Command
from edge_agent.commands.targets import Refused
from edge_agent.commands.writing import Outcome
from tests.unit.commands.played_line import Line, end_here, running, until
from tests.virtual_time import virtual_time


class Agent(Line):
    """A line whose agent can be asked for something; ``restarts``, ``births`` and ``levels`` are what it did."""

    def __init__(self, folder: Path, *, start: int = 1, switches: Switches | None = None) -> None:
        self.restarts: list[str] = []
        self.births = 0
        self.levels: list[str] = []
        self.is_connected = True
        self.restarting = restarting = Restarting(self.restarts.append)
        actions = agent_works(restarting, self.rebirth, self.levels.append, lambda: "info")
        super().__init__(folder, start=start, switches=switches, actions=actions)
        restarting.being_done = self.commands.executor.being_done
        restarting.hold = self.commands.executor.gate.close

    def rebirth(self) -> bool:
        self.births += 1
        return self.is_connected

    def ask(self, action: Action, **more: object) -> str:
        """The cloud asks for ``action``; the id of the command."""
        return self.send(self.envelope(action=action, **more), device="").id


ACTIONS: list[AgentAction] = [Restart(), Rebirth(), SetLogLevel(level="debug")]


@virtual_time
async def test_a_restart_is_asked_for_once_and_the_next_start_reports_it(tmp_path: Path) -> None:
    async with running(Agent(tmp_path)) as agent:
        id_ = agent.ask(Restart())
        await until(lambda: agent.restarts)
        await asyncio.sleep(5.0)
        assert agent.states(id_) == ["received", "executing"], "whether it begins anew is not known before it has"
        command = agent.journal.journal.command(id_)
        assert command is not None
        assert (command.state, command.writes) == (CommandState.EXECUTING, 1)
    assert len(agent.restarts) == 1
    async with running(Agent(tmp_path, start=2)) as again:
        report = await again.done(id_)
        assert report.state is CommandState.SUCCEEDED
        await asyncio.sleep(60.0)
        assert again.restarts == []
        assert again.states(id_)[-1] == "succeeded"
    async with running(Agent(tmp_path, start=3)) as third:
        await asyncio.sleep(60.0)
        assert third.restarts == []
        assert set(third.states(id_)) <= {"succeeded"}, "told once more at most, and the same"


@virtual_time
async def test_who_asks_at_the_box_is_answered_before_the_agent_ends_for_it(tmp_path: Path) -> None:
    async with running(Agent(tmp_path)) as agent:
        await asyncio.sleep(1.0)

        def ends(_why: str) -> None:  # from now on the journal answers nobody: the disk is slow, and the agent ends
            agent.restarts.append("asked")
            agent.journal.before_call = lambda: (_ for _ in ()).throw(JournalUnavailable("it is being closed"))

        agent.restarting._restart = ends
        begun = asyncio.create_task(agent.commands.operators.begin(Restart(), "the press is slow", "carla"))
        await until(lambda: agent.restarts)
        for _ in range(3):
            await asyncio.sleep(0)
        assert begun.done(), "at once, while the socket is still there"
        answer = begun.result()
        assert (answer["state"], answer["waits_for_approval"]) == ("executing", False)
        agent.journal.before_call = lambda: None


@virtual_time
async def test_who_asks_at_the_box_for_what_is_refused_is_told_why(tmp_path: Path) -> None:
    async with running(Agent(tmp_path)) as agent:
        await asyncio.sleep(1.0)
        await agent.commands.operators.lock("agent", "the laptop is plugged in", "carla")
        answer = await agent.commands.operators.begin(Restart(), "the press is slow", "dora")
        assert (answer["state"], answer["code"]) == ("refused", "locked")
        assert agent.restarts == []


@virtual_time
async def test_the_same_command_sent_again_restarts_nothing(tmp_path: Path) -> None:
    async with running(Agent(tmp_path)) as agent:
        envelope = agent.envelope(action=Restart())
        agent.send(envelope, device="")
        await until(lambda: agent.restarts)
    async with running(Agent(tmp_path, start=2)) as again:
        await again.done(envelope.id)
        again.send(envelope, device="")
        await asyncio.sleep(30.0)
        assert again.restarts == []


@virtual_time
async def test_a_restart_that_was_not_begun_is_done_by_the_next_start(tmp_path: Path) -> None:
    async with running(Agent(tmp_path)) as agent:
        agent.press.write_s = 3.0
        agent.send(agent.envelope("speed", 1))
        await asyncio.sleep(0.5)
        id_ = agent.ask(Restart())
        await asyncio.sleep(0.5)
        assert agent.restarts == [], "a write is being done"
    async with running(Agent(tmp_path, start=2)) as again:
        await until(lambda: again.restarts)
    assert len(again.restarts) == 1
    async with running(Agent(tmp_path, start=3)) as third:
        assert (await third.done(id_)).state is CommandState.SUCCEEDED


@virtual_time
async def test_a_restart_waits_for_what_is_being_done_and_is_refused_when_that_takes_too_long(tmp_path: Path) -> None:
    async with running(Agent(tmp_path)) as agent:
        agent.press.write_s = 3.0
        first = agent.send(agent.envelope("speed", 1))
        await asyncio.sleep(0.5)
        agent.ask(Restart())
        await until(lambda: agent.restarts)
        assert agent.states(first.id)[-1] == "succeeded"
    async with running(Agent(tmp_path, start=2)) as again:
        await asyncio.sleep(40.0)
        again.press.write_s = 20.0
        again.send(again.envelope("speed", 2))
        await asyncio.sleep(3.0)
        report = await again.done(again.ask(Restart()))
        assert (report.state, report.code) == (CommandState.REFUSED, Refusal.BUSY)
        assert "press/speed" in report.detail
        assert again.restarts == []


@virtual_time
async def test_restarts_are_half_a_minute_apart_also_over_a_restart(tmp_path: Path) -> None:
    async with running(Agent(tmp_path)) as agent:
        agent.ask(Restart())
        await until(lambda: agent.restarts)
    async with running(Agent(tmp_path, start=2)) as again:
        await asyncio.sleep(10.0)
        assert (await again.done(again.ask(Restart()))).code is Refusal.TOO_OFTEN
        await asyncio.sleep(30.0)
        again.ask(Restart())
        await until(lambda: again.restarts)


@virtual_time
async def test_a_rebirth_publishes_the_births_again(tmp_path: Path) -> None:
    async with running(Agent(tmp_path)) as agent:
        report = await agent.done(agent.ask(Rebirth()))
        assert (report.state, report.detail, agent.births) == (CommandState.SUCCEEDED, "all births are published", 1)
        agent.is_connected = False
        await asyncio.sleep(10.0)
        report = await agent.done(agent.ask(Rebirth()))
        assert (report.state, report.detail) == (
            CommandState.SUCCEEDED, "the births are published with the next connection"
        )  # fmt: skip


@virtual_time
async def test_a_log_level_holds_for_its_time_and_the_newest_one_counts(tmp_path: Path) -> None:
    async with running(Agent(tmp_path)) as agent:
        assert (await agent.done(agent.ask(SetLogLevel(level="debug", for_s=30)))).state is CommandState.SUCCEEDED
        assert agent.levels == ["debug"]
        await asyncio.sleep(20.0)
        await agent.done(agent.ask(SetLogLevel(level="error", for_s=30)))
        await asyncio.sleep(20.0)
        assert agent.levels == ["debug", "error"], "the end of the first one ends nothing"
        await asyncio.sleep(11.0)
        assert agent.levels == ["debug", "error", "info"]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_lock_of_the_agent_and_remote_commands_off_refuse_all_of_them(action: AgentAction, tmp_path: Path) -> None:
    @virtual_time
    async def locked() -> None:
        async with running(Agent(tmp_path)) as agent:
            await agent.commands.operators.lock("press", "hands in the press", "carla")
            await agent.commands.operators.lock("agent", "the laptop is plugged in", "carla")
            report = await agent.done(agent.ask(action))
            assert (report.state, report.code) == (CommandState.REFUSED, Refusal.LOCKED)
            assert "the laptop is plugged in" in report.detail
        assert (agent.restarts, agent.births, agent.levels) == ([], 0, [])

    @virtual_time
    async def off() -> None:
        async with running(Agent(tmp_path, start=2, switches=Switches(remote_commands=False))) as agent:
            report = await agent.done(agent.ask(action))
            assert (report.state, report.code) == (CommandState.REFUSED, Refusal.REMOTE_OFF)
        assert (agent.restarts, agent.births, agent.levels) == ([], 0, [])

    locked()
    off()


@virtual_time
async def test_in_commissioning_the_agent_is_set_up_all_the_same_and_no_device_is_written(tmp_path: Path) -> None:
    async with running(Agent(tmp_path, switches=Switches(commissioning=True))) as agent:
        assert (await agent.done(agent.ask(Rebirth()))).state is CommandState.SUCCEEDED
        assert (await agent.done(agent.send(agent.envelope("speed", 1)).id)).code is Refusal.COMMISSIONING
    assert agent.press.writes == []


@virtual_time
async def test_expiry_rate_and_precondition_are_those_of_every_command(tmp_path: Path) -> None:
    async with running(Agent(tmp_path)) as agent:
        now_ms = agent.now_ms()
        late = await agent.done(agent.ask(Rebirth(), issued_ms=now_ms - 9000, expires_ms=now_ms - 5000))
        assert late.state is CommandState.EXPIRED
        unmet = await agent.done(agent.ask(Rebirth(), precondition="press/state == 9"))
        assert unmet.code is Refusal.PRECONDITION
        assert agent.births == 0
        await agent.done(agent.ask(Rebirth()))
        assert (await agent.done(agent.ask(Rebirth()))).code is Refusal.TOO_OFTEN
        assert agent.births == 1


@virtual_time
async def test_what_the_agent_does_not_know_how_to_do_is_refused(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        report = await line.done(line.send(line.envelope(action=Restart()), device="").id)
        assert (report.state, report.code) == (CommandState.REFUSED, Refusal.UNKNOWN_TARGET)


class Steps:
    """A further kind of work with two steps; ``cut`` ends the agent at one of them."""

    def __init__(self, cut: Callable[[str], None]) -> None:
        self.done: list[str] = []
        self._cut = cut

    async def refused(self, _command: Command) -> Refused | None:
        return None

    async def do(self, _command: Command, begin: Begin) -> Outcome | Refused:
        for step in ("first", "second"):
            if (refused := await begin(step)) is not None:
                return refused
            self._cut(step)
            self.done.append(step)
        return Outcome(CommandState.SUCCEEDED, "both")

    async def recovered(self, command: Command) -> Outcome | None:
        return Outcome(CommandState.FAILED, f"cut off in step {command.writes}")


@pytest.mark.parametrize(("cut_at", "steps"), [("first", 1), ("second", 2)])
def test_each_step_is_in_the_journal_before_it_is_done_and_recovery_is_told_how_far_it_came(
    cut_at: str, steps: int, tmp_path: Path
) -> None:
    @virtual_time
    async def scenario() -> None:
        def cut(step: str) -> None:
            if step == cut_at:
                end_here()  # kill -9 here: nothing after it is done or written

        work = Steps(cut)
        async with running(Line(tmp_path, actions={"restart": work})) as line:
            id_ = line.send(line.envelope(action=Restart()), device="").id
            await asyncio.sleep(5.0)
            assert line.states(id_) in (["received"], ["received", "executing"])
        assert len(work.done) == steps - 1
        again = Steps(lambda _step: None)
        async with running(Line(tmp_path, start=2, actions={"restart": again})) as line:
            report = await line.done(id_)
            assert (report.state, report.detail) == (CommandState.FAILED, f"cut off in step {steps}")
        assert again.done == []

    scenario()


def test_the_content_of_a_file_is_in_no_log() -> None:
    action = ApplyDeviceFile(name="devices/press.yaml", content="devices: []\n", sha256="0" * 64)
    assert "content" not in told(action)
    assert told(action)["sha256"] == "0" * 64


@pytest.mark.parametrize("name", ["../agent.yaml", "/etc/passwd.yaml", ".hidden.yaml", "a/../b.yaml", "press.txt", ""])
def test_a_name_that_leaves_the_folder_is_none(name: str) -> None:
    with pytest.raises(ValidationError):
        ApplyDeviceFile(name=name, content="")
