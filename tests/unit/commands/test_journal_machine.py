"""Journal, crashes, replays and duplicates, in any order: a device is written at most once for an id, and what is said
of a command is what the device holds, or unknown.

The agent is cut off at any call of the journal, before it is done or after it, and at any write, before the device has
it or after it. Its disk is full for a while, or set back to an image. Whatever was ever sent comes again at any time.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from connectors.commands.envelope import Envelope
from connectors.commands.reports import CommandReport, Hello
from connectors.commands.states import CommandState, may_follow
from connectors.model.tags import TagName
from connectors.ports.device import Value
from edge_agent.commands.audit_log import chain_problems
from tests.exploration import histories
from tests.unit.commands.played_line import START_MS, Line, PlayedPress, running
from tests.virtual_time import run

SCENE_S, TURN_S = 8.0, 0.05
EXPIRES_MS = START_MS + 86_400_000
"""Time begins anew with each start; what was sent once can always come again."""


SELDOM: Final = st.integers(0, 90).map(lambda number: number if number <= 30 else None)


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


class PlayedCloud:
    """What the cloud makes of what it hears: which journal it knows, and whose reports it believes."""

    def __init__(self) -> None:
        self.journal, self.number, self.start = "", 0, ""
        self.restored: set[str] = set()
        self.believed: list[CommandReport] = []

    def hears_hello(self, hello: Hello) -> bool:
        """Whether the journal is behind what is known of it; then nothing that comes under its id is believed."""
        is_other = self.journal not in ("", hello.journal) and self.journal not in self.restored
        is_behind = hello.journal == self.journal and (
            hello.number < self.number or (hello.start != self.start and hello.previous != self.start)
        )
        if hello.journal in self.restored or is_other or is_behind:
            self.restored |= {hello.journal, self.journal}
            return True
        self.number = max(hello.number, self.number if hello.journal == self.journal else 0)
        self.journal, self.start = hello.journal, hello.start
        return False

    def hears_report(self, report: CommandReport) -> None:
        if report.journal in self.restored:
            return
        self.believed.append(report)
        if report.journal == self.journal:
            self.number = max(self.number, report.number)


class CommandMachine(RuleBasedStateMachine):
    """Each rule is one start of the agent, which ends orderly or is cut off; before it, its disk may be set back."""

    @initialize()
    def begin(self) -> None:
        self.place = tempfile.TemporaryDirectory()
        self.path = Path(self.place.name) / "data"
        self.path.mkdir()
        self.image = Path(self.place.name) / "image"
        self.image.mkdir()
        self.press = CutPress()
        self.cloud = PlayedCloud()
        self.starts = 0
        self.sent: dict[str, Envelope] = {}
        self.counts: dict[Any, CommandReport] = {}

    def teardown(self) -> None:
        if hasattr(self, "place"):
            self.place.cleanup()

    def _touch_disk(self, what: str) -> None:
        """Keep an image of the disk, or set it back to the one that was kept."""
        target, source = (self.image, self.path) if what == "keep" else (self.path, self.image)
        if what:
            shutil.rmtree(target)
            shutil.copytree(source, target)

    @rule(
        disk=st.sampled_from(["", "keep", "restore"]),
        fresh=st.integers(0, 3),
        again=st.lists(st.integers(0, 20), min_size=1, max_size=6),
        cut_call=SELDOM,
        cut_after=st.booleans(),
        cut_write=st.sampled_from(["", "", "", "before", "after"]),
        answers=st.booleans(),
        lost=st.booleans(),
        full=SELDOM,
        tells_time=st.sampled_from([True, True, False]),
    )
    def one_start(
        self, disk: str, fresh: int, again: list[int], cut_call: int | None, cut_after: bool, cut_write: str,
        answers: bool, lost: bool, full: int | None, tells_time: bool,
    ) -> None:  # fmt: skip
        self._touch_disk(disk)
        self.press.cut, self.press.answers, self.press.is_lost_before = cut_write, answers, lost
        try:
            run(self._scene(fresh, again, cut_call, cut_after, full, tells_time))
        except* Ended:
            pass

    async def _scene(
        self, fresh: int, again: list[int], cut_call: int | None, cut_after: bool, full: int | None, tells_time: bool
    ) -> None:
        self.starts += 1
        line = Line(self.path, self.press, start=self.starts)
        calls = heard = 0
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

        def hear() -> None:
            nonlocal heard
            for said in line.records.said[heard:]:
                if isinstance(said, CommandReport):
                    self.cloud.hears_report(said)
                    continue
                restored = self.cloud.hears_hello(said)
                if tells_time and said is line.hellos[-1]:
                    line.tell_time(restored=restored)
            heard = len(line.records.said)

        line.journal.call = call  # type: ignore[method-assign]
        try:
            async with running(line, knows_time=False):
                for turn in range(round(SCENE_S / TURN_S)):
                    await asyncio.sleep(TURN_S)
                    hear()
                    if turn == 1:
                        self._send(line, fresh, again)
        finally:
            hear()

    def _send(self, line: Line, fresh: int, again: list[int]) -> None:
        """The cloud sends new commands; and somebody whatever was ever sent."""
        for _ in range(fresh):
            if self.cloud.journal in self.cloud.restored:
                continue  # it waits for the new journal
            known = {"journal": self.cloud.journal, "number": self.cloud.number}
            envelope = line.send(line.envelope("speed", len(self.sent) + 1, expires_ms=EXPIRES_MS, **known))
            self.sent[envelope.id] = envelope
        for number in again:
            if self.sent:
                line.send(list(self.sent.values())[number % len(self.sent)])

    @invariant()
    def no_command_is_written_twice(self) -> None:
        values = [value for _, value in self.press.writes]
        assert len(values) == len(set(values)), "each command has a value of its own"

    @invariant()
    def what_is_said_is_so(self) -> None:
        written = {value for _, value in self.press.writes}
        for report in self.cloud.believed:
            value = self.sent[report.id].action.value  # type: ignore[union-attr]
            if report.state is CommandState.SUCCEEDED:
                assert value in written, "it was written"
                assert report.after == value, "and was read"
            if report.state in (CommandState.REFUSED, CommandState.EXPIRED, CommandState.CANCELLED):
                assert value not in written, "it was not written"

    @invariant()
    def no_state_goes_back(self) -> None:
        newest: dict[tuple[str, str], CommandReport] = {}
        for report in sorted(self.cloud.believed, key=lambda each: each.step):
            key = (report.id, report.journal)
            before = newest.get(key)
            if before is not None and before.step != report.step and report.number and before.number:
                assert may_follow(report.state, before.state)
            newest[key] = report

    @invariant()
    def one_step_is_one_report(self) -> None:
        for report in self.cloud.believed:
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
