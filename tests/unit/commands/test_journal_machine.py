"""Journal, crashes, replays and duplicates, in any order: a device is written at most once for an id, and what is said
of a command is what the device holds, or unknown.

The agent is cut off at any call of the journal, before it is done or after it, and at any write, before the device has
it or after it. The cloud sends each command as often as it likes.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from connectors.commands.envelope import Envelope
from connectors.commands.reports import CommandReport
from connectors.commands.states import CommandState, may_follow
from connectors.model.tags import TagName
from connectors.ports.device import Value
from edge_agent.commands.audit_log import chain_problems
from tests.exploration import histories
from tests.unit.commands.played_line import Line, PlayedPress, running
from tests.virtual_time import run

SCENE_S = 4.0


class Ended(BaseException):
    """The agent is killed here."""


class CutPress(PlayedPress):
    """A press that knows which command each write came from, by the value; the agent can be cut off at a write."""

    def __init__(self) -> None:
        super().__init__()
        self.cut: str = ""

    async def write(self, tag: TagName, value: Value) -> None:
        if self.cut == "before":
            raise Ended
        await super().write(tag, value)
        if self.cut == "after":
            raise Ended


class CommandMachine(RuleBasedStateMachine):
    """Each rule is one start of the agent, which ends orderly or is cut off."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.press = CutPress()
        self.starts = 0
        self.sent: dict[str, Envelope] = {}
        self.heard: list[CommandReport] = []
        self.counts: dict[Any, int] = {}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(
        fresh=st.integers(0, 3),
        again=st.lists(st.integers(0, 20), max_size=6),
        cut_call=st.none() | st.integers(0, 30),
        cut_after=st.booleans(),
        cut_write=st.sampled_from(["", "", "before", "after"]),
        answers=st.booleans(),
        lost=st.booleans(),
        full=st.none() | st.integers(0, 30),
    )
    def one_start(
        self, fresh: int, again: list[int], cut_call: int | None, cut_after: bool, cut_write: str, answers: bool,
        lost: bool, full: int | None,
    ) -> None:  # fmt: skip
        self.press.cut, self.press.answers, self.press.is_lost_before = cut_write, answers, lost
        try:
            run(self._scene(fresh, again, cut_call, cut_after, full))
        except* Ended:
            pass

    async def _scene(
        self, fresh: int, again: list[int], cut_call: int | None, cut_after: bool, full: int | None
    ) -> None:
        self.starts += 1
        line = Line(self.path, self.press, start=self.starts)
        calls = 0
        really = line.journal.call

        async def call(work: Any) -> Any:
            nonlocal calls
            calls += 1
            line.journal.is_full = full is not None and full <= calls < full + 5
            if calls == cut_call and not cut_after:
                raise Ended
            found = await really(work)
            if calls == cut_call:
                raise Ended
            return found

        line.journal.call = call  # type: ignore[method-assign]
        try:
            async with running(line, knows_time=False):
                await asyncio.sleep(0.1)
                if line.hellos:
                    line.tell_time()
                for _ in range(fresh):
                    number = len(self.sent) + 1
                    envelope = line.send(line.envelope("speed", number % 250))
                    self.sent[envelope.id] = envelope
                for number in again:
                    if self.sent:
                        line.send(list(self.sent.values())[number % len(self.sent)])
                await asyncio.sleep(SCENE_S)
        finally:
            self.heard += line.reports

    @invariant()
    def no_command_is_written_twice(self) -> None:
        values = [value for _, value in self.press.writes]
        assert len(values) == len(set(values)), "each command has a value of its own"

    @invariant()
    def what_is_said_is_so(self) -> None:
        written = {value for _, value in self.press.writes}
        for report in self.heard:
            value = self.sent[report.id].action.value  # type: ignore[union-attr]
            if report.state is CommandState.SUCCEEDED:
                assert value in written, "it was written"
                assert report.after == value, "and was read"
            if report.state in (CommandState.REFUSED, CommandState.EXPIRED, CommandState.CANCELLED):
                assert value not in written, "it was not written"

    @invariant()
    def no_state_goes_back(self) -> None:
        newest: dict[str, CommandReport] = {}
        for report in sorted(self.heard, key=lambda each: each.step):
            before = newest.get(report.id)
            if before is not None and before.step != report.step and report.number and before.number:
                assert may_follow(report.state, before.state)
            newest[report.id] = report

    @invariant()
    def one_step_is_one_report(self) -> None:
        for report in self.heard:
            key = (report.id, report.journal, report.step, report.number > 0)
            assert self.counts.setdefault(key, report) == report


TestCommands = CommandMachine.TestCase
TestCommands.settings = settings(max_examples=histories(60), stateful_step_count=8, deadline=None)


def test_the_audit_log_of_such_a_history_is_whole(tmp_path: Path) -> None:
    async def scene(start: int) -> None:
        line = Line(tmp_path, start=start)
        async with running(line):
            for value in range(5):
                await line.done(line.send(line.envelope("speed", value)).id)
            assert list(chain_problems(line.journal.journal._opened())) == []

    for start in (1, 2, 3):
        run(scene(start))
