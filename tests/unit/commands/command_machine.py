"""Days in the life of an agent that is commanded, as Hypothesis draws them, and what must hold after each.

A day is one start of the command part: real journal, checks, executor, recovery and telling, in virtual time. Commands
come, come again and out of order, are cancelled and expire; a line is locked and unlocked; the press refuses, holds
what it held, answers late or not at all, is away, and is set by somebody at its panel; the disk is full for a while, or
set back to an image. The agent is killed at any call of the journal and of the outbox, before it is done or after it,
at any write, before the press has it or after it, and at any moment in between. From then on nothing that it does has
effect.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from connectors.commands.envelope import Envelope
from connectors.commands.reports import CommandReport, Hello
from connectors.commands.states import ENDED, CommandState, may_follow
from connectors.model.errors import LinesideError
from connectors.model.tags import TagName
from connectors.ports.device import Reading, Value
from tests.unit.commands.played_line import Line, PlayedPress, running
from tests.virtual_time import run

SCENE_S, TURN_S = 8.0, 0.05
QUIET_S, QUIET_TURN_S = 30.0, 0.5
PANEL_FROM: Final = 1000
"""What is set at the panel, where it is not what somebody has commanded: no command may write so much."""
SELDOM: Final = st.integers(0, 90).map(lambda number: number if number <= 30 else None)
MOMENT: Final = st.sampled_from([None, None, None, 0.1, 0.2, 0.5, 1.0, 3.0])


class Ended(BaseException):
    """The agent is killed here."""


@dataclass(frozen=True, slots=True)
class Day:
    """What happens during one start of the agent."""

    fresh: tuple[int, ...] = ()
    """New commands, by how many seconds each has."""
    again: tuple[int, ...] = ()
    """Commands of earlier days that come once more."""
    backwards: bool = False
    """Whether the newest comes first, before what comes again."""
    cancels: tuple[int, ...] = ()
    passed_s: int = 0
    """So long ago was the day before."""
    tells_time: bool = True
    lock_s: float | None = None
    unlock_s: float | None = None
    panel_s: float | None = None
    panel: int = 0
    """What is set there: a value of its own, or that of a command."""
    refuses: bool = False
    keeps: bool = False
    answers: bool = True
    lost: bool = False
    away: bool = False
    write_s: float = 0.0
    answer_s: float = 0.0
    read_s: float = 0.0
    full: int | None = None
    cut_call: int | None = None
    cut_after: bool = False
    cut_tell: int | None = None
    cut_write: str = ""
    cut_s: float | None = None


def days() -> st.SearchStrategy[Day]:
    """Most days have few faults: where everything goes wrong, nothing is ever written."""
    seldom_true = st.sampled_from([False, False, False, False, True])
    indexes = st.lists(st.integers(0, 20), max_size=5).map(tuple)
    return st.builds(
        Day,
        fresh=st.lists(st.sampled_from([86_400, 86_400, 60, 3]), max_size=3).map(tuple),
        again=indexes, backwards=st.booleans(), cancels=st.lists(st.integers(0, 20), max_size=1).map(tuple),
        passed_s=st.sampled_from([0, 0, 20, 100_000]), tells_time=st.sampled_from([True, True, False]),
        lock_s=MOMENT, unlock_s=MOMENT, panel_s=MOMENT, panel=st.integers(0, 9),
        refuses=seldom_true, keeps=seldom_true, answers=st.sampled_from([True, True, False]), lost=st.booleans(),
        away=seldom_true, write_s=st.sampled_from([0.0, 0.0, 0.3]), answer_s=st.sampled_from([0.0, 0.0, 0.3, 4.0]),
        read_s=st.sampled_from([0.0, 0.0, 0.2]), full=SELDOM, cut_call=SELDOM, cut_after=st.booleans(),
        cut_tell=st.sampled_from([None, None, None, 1, 2, 3, 5]),
        cut_write=st.sampled_from(["", "", "", "before", "after"]), cut_s=MOMENT,
    )  # fmt: skip


class CutPress(PlayedPress):
    """A press that knows which command each write came from, by the value; the agent can be killed at a write."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = ""
        self.answer_s = 0.0
        self.ever_held: set[Value] = {self.holds["speed"]}
        self.is_cut: Callable[[], bool] = lambda: False
        self.begins: Callable[[Value], None] = lambda value: None

    def set_at_panel(self, value: Value) -> None:
        self.holds["speed"] = value
        self.ever_held.add(value)

    async def write(self, tag: TagName, value: Value) -> None:
        if self.is_cut() or self.cut == "before":
            raise Ended
        self.begins(value)
        try:
            await super().write(tag, value)
        finally:
            self.ever_held.add(self.holds[tag])
        await asyncio.sleep(self.answer_s)
        if self.cut == "after":
            raise Ended

    async def read(self, tag: TagName) -> Reading:
        if self.is_cut():
            raise Ended
        return await super().read(tag)


class PlayedCloud:
    """What the cloud makes of what it hears: which journal it knows, and whose reports it believes."""

    def __init__(self) -> None:
        self.journal, self.number, self.start = "", 0, ""
        self.restored: set[str] = set()
        self.heard: list[CommandReport] = []
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
        self.heard.append(report)
        if report.journal in self.restored:
            return
        self.believed.append(report)
        if report.journal == self.journal:
            self.number = max(self.number, report.number)


class Scene:
    """One start of the agent: who is killed when, and what the cloud hears of it."""

    def __init__(self, machine: CommandMachine, day: Day) -> None:
        self.machine, self.day = machine, day
        self.line = Line(machine.path, machine.press, start=machine.starts)
        self.is_cut = False
        self._calls = self._tells = self._heard = 0
        self._call, self._tell = self.line.journal.call, self.line.records.tell
        self.line.journal.call = self._called  # type: ignore[method-assign]
        self.line.records.tell = self._told  # type: ignore[method-assign]
        press = machine.press
        press.is_cut, press.begins = lambda: self.is_cut, lambda value: machine.write_begins(value, self.now_ms())
        press.cut, press.answers, press.is_lost_before = day.cut_write, day.answers, day.lost
        press.refuses, press.keeps, press.is_away = day.refuses, day.keeps, day.away
        press.write_s, press.answer_s, press.read_s = day.write_s, day.answer_s, day.read_s

    def now_ms(self) -> int:
        """The cloud's time."""
        return self.line.now_ms() + self.machine.ahead_ms

    async def play(self, lasts_s: float, turn_s: float) -> None:
        done: set[str] = set()
        try:
            async with running(self.line, knows_time=False):
                now_s = asyncio.get_running_loop().time
                while now_s() < lasts_s:
                    await asyncio.sleep(turn_s)
                    self.hear()
                    if self.day.cut_s is not None and now_s() >= self.day.cut_s:
                        self._end()
                    await self._act(now_s(), done)
        finally:
            self.is_cut = True
            self.hear()

    async def _act(self, now_s: float, done: set[str]) -> None:
        """What people and the cloud do in this turn."""
        day, machine = self.day, self.machine
        for what, at_s in (("send", 0.1), ("lock", day.lock_s), ("unlock", day.unlock_s), ("panel", day.panel_s)):
            if at_s is None or now_s < at_s or what in done:
                continue
            done.add(what)
            if what == "send":
                machine.send(self)
            elif what == "panel":
                machine.press.set_at_panel(machine.panel_value(day.panel))
            else:
                await self._lock(is_locked=what == "lock")

    async def _lock(self, *, is_locked: bool) -> None:
        machine, operators = self.machine, self.line.commands.operators
        machine.is_locked = False  # nobody relies on it until it is said to be done
        try:
            if is_locked:
                await operators.lock("press", "the door is open", "carl")
            else:
                await operators.unlock("press", "carl")
        except LinesideError:
            return
        machine.is_locked = is_locked

    def hear(self) -> None:
        """The cloud hears what is in the outbox."""
        line, cloud = self.line, self.machine.cloud
        for said in line.records.said[self._heard :]:
            if isinstance(said, CommandReport):
                cloud.hears_report(said)
                continue
            restored = cloud.hears_hello(said)
            if self.day.tells_time and said is line.hellos[-1] and not self.is_cut:
                line.tell_time(restored=restored, ahead_ms=self.machine.ahead_ms)
        self._heard = len(line.records.said)

    def _end(self) -> None:
        self.is_cut = True
        raise Ended

    async def _called(self, work: Any) -> Any:
        self._calls += 1
        is_it, full = self._calls == self.day.cut_call, self.day.full
        self.line.journal.is_full = full is not None and full <= self._calls < full + 5
        if self.is_cut or (is_it and not self.day.cut_after):
            self._end()
        found = await self._call(work)
        if is_it:
            self._end()
        return found

    async def _told(self, records: Any) -> None:
        self._tells += 1
        is_it = self._tells == self.day.cut_tell
        if self.is_cut or (is_it and not self.day.cut_after):
            self._end()
        await self._tell(records)
        if is_it:
            self._end()


class CommandMachine(RuleBasedStateMachine):
    """Each rule is one start of the agent, which ends orderly or is killed; before it, its disk may be set back."""

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
        self.ahead_ms = 0
        """How much later it is than the clock says, which begins anew with each start."""
        self.is_locked = False
        """Whether somebody was told that the press is locked, and relies on it."""
        self.sent: dict[str, Envelope] = {}
        self.counts: dict[Any, CommandReport] = {}
        self.wrong: list[str] = []

    def teardown(self) -> None:
        if hasattr(self, "place"):
            self.place.cleanup()

    @rule(disk=st.sampled_from(["", "", "keep", "restore"]), day=days())
    def a_day(self, disk: str, day: Day) -> None:
        """Before it, an image of the disk is kept, or the disk is set back to the one that was."""
        if disk:
            target, source = (self.image, self.path) if disk == "keep" else (self.path, self.image)
            shutil.rmtree(target)
            shutil.copytree(source, target)
            self.is_locked = self.is_locked and disk == "keep"
        self._live(day, SCENE_S, TURN_S)

    @rule()
    def a_quiet_day(self) -> None:
        """Nothing goes wrong, and whatever was sent comes again: of every command the end is told."""
        everything = tuple(range(len(self.sent)))
        self._live(Day(again=everything, unlock_s=0.2), QUIET_S, QUIET_TURN_S)
        ended = {report.id for report in self.cloud.heard if report.state in ENDED}
        assert self.sent.keys() <= ended, "of every command the end is told"

    def _live(self, day: Day, lasts_s: float, turn_s: float) -> None:
        self.starts += 1
        self.ahead_ms += day.passed_s * 1000
        try:
            run(self._play(day, lasts_s, turn_s))
        except* Ended:
            pass
        self.ahead_ms += round(lasts_s * 1000)

    async def _play(self, day: Day, lasts_s: float, turn_s: float) -> None:
        await Scene(self, day).play(lasts_s, turn_s)

    def send(self, scene: Scene) -> None:
        """The cloud sends new commands; and somebody whatever was ever sent."""
        line, day, cloud = scene.line, scene.day, self.cloud
        now_ms = scene.now_ms()
        coming = [list(self.sent.values())[number % len(self.sent)] for number in day.again if self.sent]
        for lasts_s in day.fresh if cloud.journal not in cloud.restored else ():  # else it waits for the new journal
            envelope = line.envelope(
                "speed", len(self.sent) + 1, issued_ms=now_ms, expires_ms=now_ms + lasts_s * 1000,
                journal=cloud.journal, number=cloud.number,
            )  # fmt: skip
            self.sent[envelope.id] = envelope
            coming.append(envelope)
        for envelope in reversed(coming) if day.backwards else coming:
            line.send(envelope)
        for number in day.cancels if self.sent else ():
            line.cancel(list(self.sent)[-1 - number % len(self.sent)])

    def panel_value(self, drawn: int) -> Value:
        """What somebody sets at the panel."""
        commanded = drawn < 5 and drawn < len(self.sent)
        return len(self.sent) - drawn if commanded else PANEL_FROM + drawn

    def write_begins(self, value: Value, now_ms: int) -> None:
        """The agent begins to write."""
        if self.is_locked:
            self.wrong.append("it was written although an operator has locked the line")
        if any(each.action.value == value and each.expires_ms < now_ms for each in self.sent.values()):  # type: ignore[union-attr]
            self.wrong.append("it was written although its time was up")

    @invariant()
    def no_command_is_written_twice(self) -> None:
        values = [value for _, value in self.press.writes]
        assert len(values) == len(set(values)), "a command was written twice"

    @invariant()
    def nothing_is_written_that_must_not_be(self) -> None:
        assert not self.wrong, self.wrong[0]

    @invariant()
    def what_is_said_is_so(self) -> None:
        written = {value for _, value in self.press.writes}
        for report in self.cloud.believed:
            value = self.sent[report.id].action.value  # type: ignore[union-attr]
            assert report.after is None or report.after in self.press.ever_held, "what is said to be held was held"
            if report.state is CommandState.SUCCEEDED:
                assert report.after == value, "what has succeeded is held"
            if report.state in (CommandState.REFUSED, CommandState.EXPIRED, CommandState.CANCELLED):
                assert value not in written, "what was refused was not written"
            if report.state is CommandState.FAILED:
                assert (report.after is not None) == (value in written), "what has failed, and was not sent"

    @invariant()
    def no_state_goes_back(self) -> None:
        newest: dict[tuple[str, str], CommandReport] = {}
        for report in sorted(self.cloud.believed, key=lambda each: each.step):
            key = (report.id, report.journal)
            before = newest.get(key)
            if before is not None and before.step != report.step and report.number and before.number:
                assert may_follow(report.state, before.state), "a state has gone back"
            newest[key] = report

    @invariant()
    def one_step_is_one_report(self) -> None:
        for report in self.cloud.believed:
            key = (report.id, report.journal, report.step, report.number > 0)
            said = report.model_copy(update={"start": ""})  # a later start may tell it again
            assert self.counts.setdefault(key, said) == said
