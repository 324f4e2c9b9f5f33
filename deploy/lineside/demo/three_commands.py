"""Three commands to the press: one that is done, one that an operator's lock refuses, one whose time is up on its way.

After each, the press itself is asked what it holds. The third is late because the broker stands still while its second
passes: it is signed and sent, reaches the agent when it goes on, and is not done. Samples wait in the outbox meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from connectors.commands.states import ENDED, FINAL, CommandState
from connectors.model.errors import LinesideError
from lineside.demo.access import ISSUER
from lineside.demo.commanding import DEVICE, Commanding, NotTaken, NotYet, new_key

WAIT_S_MAX: Final = 30.0
"""For one command, from its request to its end."""
EARLIER_S_MAX: Final = 12.0
JOIN_S_MAX: Final = 60.0
EXPIRES_S: Final = 20.0
SHORT_S: Final = 1.0
BEYOND_S: Final = 0.3
"""So long after its time is up the late command is let through."""
EARLIER_MAX: Final = 50
LOCK_REASON: Final = "lineside demo: shows that a lock holds"
_POLL_S: Final = 0.05
_SPEEDS: Final = (32.0, 36.0)
_LOCKED_SPEED: Final = 45.0
_LATE_SPEED: Final = 12.0
TITLES: Final = ("done", "locked", "too late")

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Shown:
    """One of the three, when it is over."""

    title: str
    command: str
    """Its id; empty when it was not taken."""
    asked: str
    became: str
    holds: float | None
    """What the press held afterwards, read from the press; ``None`` where it was not read."""
    problem: str
    """What did not come out as it should; empty when all did."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What should become of a command: its state, and the code of a refusal where one is due."""

    state: CommandState
    code: str
    circumstances: str
    """What is to be said beside what was asked for."""


DONE: Final = Wanted(CommandState.SUCCEEDED, "", "")
LOCKED: Final = Wanted(CommandState.REFUSED, "locked", " under a lock")
LATE: Final = Wanted(CommandState.EXPIRED, "", ", good for 1 s, late")


class Stopped(LinesideError):
    """The demo was told to stop: the rest is not shown."""


class ThreeCommands:
    """Shows the three in a thread of its own, once; ``shown`` grows meanwhile.

    ``connect`` makes the way to the line, in that thread; ``broker_stands_still`` holds the broker while it is entered.
    Where the press is locked by somebody already, nothing is sent: that is a problem, and whose lock it is is said.
    """

    def __init__(
        self, connect: Callable[[], Commanding], broker_stands_still: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._connect = connect
        self._broker_stands_still = broker_stands_still
        self._shown: tuple[Shown, ...] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="three commands", daemon=True)

    @property
    def shown(self) -> tuple[Shown, ...]:
        """Those that are over, in order."""
        return self._shown

    @property
    def is_over(self) -> bool:
        """Whether no more will come."""
        return not self._thread.is_alive()

    def start(self) -> None:
        """Begin. ``stop`` is due afterwards."""
        self._thread.start()

    def stop(self) -> None:
        """Show no more; the press is not left locked, nor the broker still. Returns when that is so."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S_MAX)

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with self._connect() as line:
                self._tidy(line)
                for title, show in zip(TITLES, (self._done, self._locked, self._late), strict=True):
                    self._note(show(line, title))
        except Stopped:
            pass
        except (NotTaken, NotYet) as exc:
            title = TITLES[len(self._shown)]
            self._note(Shown(title, "", "a new set-point", "not taken", None, str(exc)))

    def _note(self, shown: Shown) -> None:
        self._shown = (*self._shown, shown)

    def _tidy(self, line: Commanding) -> None:
        """Undo what a demo that was killed in the middle has left: its lock, and commands that are still to be done."""
        for lock in line.locks():
            if lock["line"] == DEVICE and lock["reason"] == LOCK_REASON:
                line.unlock()
            elif lock["line"] in (DEVICE, "agent"):
                raise NotTaken(
                    f"{lock['line']} is locked by {lock['actor']} ({lock['reason']}); 'edge-agent unlock' unlocks it"
                )
        deadline_s = time.monotonic() + EARLIER_S_MAX
        while still_open := self._open(line):
            for command in still_open:
                try:
                    line.take_back(command)
                except NotTaken:
                    continue  # it is being done, or over
            if time.monotonic() > deadline_s:
                raise NotTaken(f"commands of an earlier start are still under way: {', '.join(still_open)}")
            self._rest(4 * _POLL_S)

    def _open(self, line: Commanding) -> list[str]:
        found = self._until_answered(lambda: line.newest_of(ISSUER, EARLIER_MAX))
        return [command["id"] for command in found if CommandState(command["state"]) not in ENDED]

    def _done(self, line: Commanding, title: str) -> Shown:
        before = line.press_holds()
        speed = next(speed for speed in _SPEEDS if speed != before)
        asked = self._send(line, speed, EXPIRES_S, "the demo sets another speed")
        ended = self._end_of(line, asked["id"])
        return _shown(line, title, ended, DONE, speed)

    def _locked(self, line: Commanding, title: str) -> Shown:
        before = line.press_holds()
        line.lock(LOCK_REASON)
        try:
            asked = self._send(line, _LOCKED_SPEED, EXPIRES_S, "the demo tries a locked press")
            with self._taken_back_unless_over(line, asked["id"]):
                ended = self._end_of(line, asked["id"])
        finally:
            line.unlock()
        return _shown(line, title, ended, LOCKED, before)

    def _late(self, line: Commanding, title: str) -> Shown:
        before = line.press_holds()
        with self._broker_stands_still():
            asked = self._send(line, _LATE_SPEED, SHORT_S, "the demo sends this too late")
            time.sleep(SHORT_S + BEYOND_S)  # also when the demo is to stop: let through sooner, it would be done
        ended = self._end_of(line, asked["id"])
        return _shown(line, title, ended, LATE, before)

    @contextmanager
    def _taken_back_unless_over(self, line: Commanding, command: str) -> Iterator[None]:
        """A command that was to meet a lock is not to be done when the lock is gone."""
        try:
            yield
        except LinesideError:
            with suppress(NotTaken, NotYet):
                line.take_back(command)
            raise

    def _send(self, line: Commanding, speed: float, expires_s: float, reason: str) -> dict[str, Any]:
        key = new_key()
        return self._until_answered(lambda: line.send(speed, expires_s=expires_s, reason=reason, key=key))

    def _end_of(self, line: Commanding, command: str) -> dict[str, Any]:
        """The command when it is over, or where it stands when that takes too long."""
        deadline_s = time.monotonic() + WAIT_S_MAX
        while True:
            found = self._until_answered(lambda: line.command(command))
            if CommandState(found["state"]) in FINAL or time.monotonic() > deadline_s:
                return found
            self._rest(_POLL_S)

    def _until_answered(self, ask: Callable[[], Answer]) -> Answer:
        deadline_s = time.monotonic() + WAIT_S_MAX
        while True:
            try:
                return ask()
            except NotYet:
                if time.monotonic() > deadline_s:
                    raise
            self._rest(4 * _POLL_S)

    def _rest(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped


@contextmanager
def held(pause: Callable[[], None], resume: Callable[[], None]) -> Iterator[None]:
    """``pause`` before the block, and ``resume`` after it in any case."""
    pause()
    try:
        yield
    finally:
        resume()


def _shown(line: Commanding, title: str, ended: dict[str, Any], wanted: Wanted, should_hold: float) -> Shown:
    """What became of a command, and of the press."""
    state, code = ended["state"], ended["code"]
    became = f"{state}, {code}" if code and code != state else str(state)
    holds = line.press_holds()
    problems = []
    if state != wanted.state or (wanted.code and code != wanted.code):
        problems.append(f"it should be {wanted.state} and is {became}: {ended['detail']}".rstrip(": "))
    if holds != should_hold:
        problems.append(f"the press should hold {should_hold:g} and holds {holds:g}")
    asked = asked_text(ended).removeprefix(f"{DEVICE}/") + wanted.circumstances
    return Shown(title, ended["id"], asked, became, holds, "; ".join(problems))


def asked_text(command: Mapping[str, Any]) -> str:
    """What a command asks for, in a few words."""
    action = command["action"]
    if action["do"] == "write":
        value = action["value"]
        text = f"{value:g}" if isinstance(value, float) else str(value)
        return f"{action['device']}/{action['tag']} := {text}"
    return f"{action['device']}/{action['command']}"
