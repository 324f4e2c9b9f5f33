"""The demo's three commands are only right when the state, the code and the press itself are as they should be."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lineside.demo import three_commands
from lineside.demo.commanding import Commanding, NotTaken, NotYet
from lineside.demo.run import command_line, commands_lines, commands_problems
from lineside.demo.three_commands import LOCK_REASON, Shown, ThreeCommands

JOIN_S_MAX = 30.0


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The late command's second passes sooner. That it is let through after its time, and not before, stays."""
    monkeypatch.setattr(three_commands, "SHORT_S", 0.1)
    monkeypatch.setattr(three_commands, "BEYOND_S", 0.05)
    monkeypatch.setattr(three_commands, "_POLL_S", 0.01)


class PlayedLine(Commanding):
    """A line that does as it is told, unless a test says otherwise; ``done`` tells in which order."""

    def __init__(self) -> None:
        self.held = 25.0
        self.lock_list: list[dict[str, Any]] = []
        self.commands: dict[str, dict[str, Any]] = {}
        self.earlier: list[dict[str, Any]] = []
        self.done: list[str] = []
        self.is_still = False
        self.heeds_locks = True
        self.heeds_time = True
        self.silent_for = 0

    def __exit__(self, *_: object) -> None:
        self.done.append("left")

    @contextlib.contextmanager
    def stands_still(self) -> Iterator[None]:
        self.is_still = True
        try:
            yield
        finally:
            self.is_still = False
            for command in self.commands.values():
                if command["state"] == "sent":
                    self._carry_out(command)

    def send(self, value: float, *, expires_s: float, reason: str, key: str) -> dict[str, Any]:
        assert reason
        if self.silent_for:
            self.silent_for -= 1
            raise NotYet("its tags are not known yet")
        action = {"do": "write", "device": "press", "tag": "ram/setpoint", "value": value}
        expires = datetime.now(UTC) + timedelta(seconds=expires_s)
        command = {"id": key, "action": action, "state": "sent", "code": None, "detail": ""}
        self.commands[key] = {**command, "expires": expires.isoformat()}
        if not self.is_still:
            self._carry_out(self.commands[key])
        return self.commands[key]

    def _carry_out(self, command: dict[str, Any]) -> None:
        if self.heeds_time and datetime.now(UTC) > datetime.fromisoformat(command["expires"]):
            command.update(state="expired", code="expired")
        elif self.lock_list and self.heeds_locks:
            command.update(state="refused", code="locked", detail="anna has locked press")
        else:
            command.update(state="succeeded")
            self.held = command["action"]["value"]

    def command(self, command: str) -> dict[str, Any]:
        return self.commands[command]

    def newest_of(self, issuer: str, count: int) -> list[dict[str, Any]]:
        assert (issuer, count) == ("demo", 50)
        return self.earlier

    def take_back(self, command: str) -> None:
        self.done.append(f"took back {command}")
        self.earlier = []

    def locks(self) -> list[dict[str, Any]]:
        return self.lock_list

    def lock(self, reason: str) -> None:
        self.lock_list = [{"line": "press", "actor": "anna", "reason": reason}]

    def unlock(self) -> None:
        self.done.append("unlocked")
        self.lock_list = []

    def press_holds(self) -> float:
        return self.held


def three_of(line: PlayedLine) -> ThreeCommands:
    return ThreeCommands(lambda: line, line.stands_still)


def shown_by(line: PlayedLine) -> tuple[Shown, ...]:
    three = three_of(line)
    three.start()
    three._thread.join(JOIN_S_MAX)
    assert three.is_over
    three.stop()
    assert line.done[-1] == "left"
    return three.shown


def test_all_three_come_out_as_they_should() -> None:
    line = PlayedLine()
    line.silent_for = 2
    shown = shown_by(line)
    assert [command_line(one).plain for one in shown] == [
        "  ✓ done      ram/setpoint := 32: succeeded; press holds 32",
        "  ✓ locked    ram/setpoint := 45 under a lock: refused, locked; press holds 32",
        "  ✓ too late  ram/setpoint := 12, good for 1 s, late: expired; press holds 32",
    ]
    assert commands_problems(shown, was_stopped=False) == []
    assert line.lock_list == []


def test_a_press_that_holds_the_speed_already_gets_another() -> None:
    line = PlayedLine()
    line.held = 32.0
    assert shown_by(line)[0].asked == "ram/setpoint := 36"


def _locks_unheeded(line: PlayedLine) -> None:
    line.heeds_locks = False


def _time_unheeded(line: PlayedLine) -> None:
    line.heeds_time = False


@pytest.mark.parametrize(
    ("spoil", "at", "problem"),
    [
        (
            _locks_unheeded,
            1,
            "it should be refused and is succeeded; the press should hold 32 and holds 45",
        ),
        (
            _time_unheeded,
            2,
            "it should be expired and is succeeded; the press should hold 32 and holds 12",
        ),
    ],
)
def test_a_command_that_is_done_though_it_must_not_be_is_wrong(
    spoil: Callable[[PlayedLine], None], at: int, problem: str
) -> None:
    line = PlayedLine()
    spoil(line)
    shown = shown_by(line)
    assert [bool(one.problem) for one in shown] == [number == at for number in range(3)]
    assert shown[at].problem == problem
    assert f"  WRONG: command '{shown[at].title}': {problem}" in [
        text.plain for text in commands_lines(shown, was_stopped=False)
    ]


def test_what_the_press_does_not_hold_was_not_done_whatever_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    line = PlayedLine()
    monkeypatch.setattr(line, "press_holds", lambda: 25.0)
    assert shown_by(line)[0].problem == "the press should hold 32 and holds 25"


def test_a_lock_of_somebody_is_left_alone_and_nothing_is_sent() -> None:
    line = PlayedLine()
    line.lock("the door is open")
    shown = shown_by(line)
    assert not line.commands
    assert line.done == ["left"]
    (problem,) = commands_problems(shown, was_stopped=False)
    assert problem == ("command 'done': press is locked by anna (the door is open); 'edge-agent unlock' unlocks it")


def test_what_a_demo_that_was_killed_has_left_is_undone_first() -> None:
    line = PlayedLine()
    line.lock(LOCK_REASON)
    line.earlier = [{"id": "old", "state": "sent"}]
    shown = shown_by(line)
    assert line.done[:2] == ["unlocked", "took back old"]
    assert commands_problems(shown, was_stopped=False) == []


def test_a_stop_before_anything_was_sent_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    line = PlayedLine()
    line.earlier = [{"id": "old", "state": "executing"}]
    monkeypatch.setattr(line, "take_back", lambda _command: (_ for _ in ()).throw(NotTaken("it is too late")))
    three = three_of(line)
    three.start()
    three.stop()
    assert (three.is_over, three.shown, line.commands) == (True, (), {})
    assert commands_problems(three.shown, was_stopped=True) == []
    (said,) = [text.plain for text in commands_lines((), was_stopped=True) if "stopped" in text.plain]
    assert said == "  - stopped before it was shown: done, locked, too late"


def test_a_stop_under_a_lock_takes_the_command_back_before_the_lock_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    line = PlayedLine()
    carry_out = line._carry_out
    monkeypatch.setattr(line, "_carry_out", lambda command: None if line.lock_list else carry_out(command))
    three = three_of(line)
    three.start()
    deadline_s = time.monotonic() + JOIN_S_MAX
    while len(line.commands) < 2:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    three.stop()
    assert line.done == [f"took back {list(line.commands)[1]}", "unlocked", "left"]
    assert [one.title for one in three.shown] == ["done"]
    assert commands_problems(three.shown, was_stopped=True) == []


def test_a_stop_does_not_let_the_late_command_through_in_time() -> None:
    line = PlayedLine()
    three = three_of(line)
    three.start()
    deadline_s = time.monotonic() + JOIN_S_MAX
    while len(line.commands) < 3:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    three.stop()
    assert [command["state"] for command in line.commands.values()] == ["succeeded", "refused", "expired"]
    assert line.held == 32.0


def test_commands_that_nobody_has_shown_are_wrong() -> None:
    assert commands_problems((), was_stopped=False) == [
        "the commands ended by themselves before these were shown: done, locked, too late"
    ]
