"""One run of the demo: start the plant, show it, stop it, and say what was delivered."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Group
from rich.live import Live
from rich.text import Text

from lineside.demo.access import AccessNotMade
from lineside.demo.commanding import Commanding
from lineside.demo.console import Output
from lineside.demo.folder import DemoFolder, FolderInUse, FolderUnusable
from lineside.demo.office import Office
from lineside.demo.order_life import OrderLife, Told
from lineside.demo.plant import Plant, ProcessEnded, StopAsked, chosen_broker, program
from lineside.demo.questions import AGENT, NoAnswer, Questions
from lineside.demo.screen import Scene, Screen, counted, plain_line
from lineside.demo.three_commands import TITLES, Shown, ThreeCommands
from lineside.demo.verdict import Verdict, make_verdict
from lineside.servers.child_process import LOOPBACK, ProgramMissing, ServerNotStarted

EXIT_PROBLEM: Final = 1
EXIT_CANNOT_START: Final = 4
EXIT_INTERRUPTED: Final = 130
LOOK_EVERY_S: Final = 0.5
PLAIN_EVERY_S: Final = 5.0
LAST_ASKED_MAX: Final = 5
"""So often the agent is asked at the end, when it has not answered in time: its counts are in the summary."""
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_S: Final = 0.05


class StopSignals:
    """Counts how often the demo was told to stop: Ctrl-C, SIGTERM, or a terminal or pipe that nobody reads any more."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._told = 0

    @property
    def count(self) -> int:
        """How often. Output that was closed counts once: a terminal that is closed sends SIGHUP, too."""
        return max(self._told, int(self._output.is_closed))

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Count signals for the length of a block, instead of being ended by them."""
        before = {number: signal.signal(number, self._count) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self._told += 1


def run_demo(data: Path, seconds: float | None, broker: str) -> int:
    """Run until told to stop, or for ``seconds``; the exit code."""
    output = Output()
    folder = DemoFolder(data)
    signals = StopSignals(output)
    try:
        kind = chosen_broker(broker)
        with folder.held(), signals.watched():
            folder.put_logs_aside()
            ports = folder.choose_ports()
            folder.write_configuration(ports)
            ledger_command = [program("cloud-ingest"), "ledger", "--config", str(folder.cloud_config), "--json"]
            with Questions(folder.agent_socket, ports.api, ledger_command, folder.token) as questions:
                plant = Plant(folder, ports, kind, output, lambda: signals.count)
                press = f"opc.tcp://{LOOPBACK}:{ports.press}"

                def connect() -> Commanding:
                    return Commanding(questions.api_url, folder.token.read_text(), folder.agent_socket, press)

                def office() -> Office:
                    planner, engineer = folder.planner_token.read_text(), folder.engineer_token.read_text()
                    return Office(questions.api_url, {"planner": planner, "engineer": engineer})

                three = ThreeCommands(connect, plant.broker_stands_still)
                orders = OrderLife(office, AGENT, plant.apply_model, lambda: three.is_over)
                return DemoRun(output, folder, plant, questions, signals, three, orders).run(seconds)
    except (FolderInUse, FolderUnusable, ProgramMissing) as exc:
        output.line(f"lineside demo: {exc}")
        return EXIT_CANNOT_START


class DemoRun:
    """The course of one run."""

    def __init__(
        self,
        output: Output,
        folder: DemoFolder,
        plant: Plant,
        questions: Questions,
        signals: StopSignals,
        three: ThreeCommands,
        orders: OrderLife,
    ) -> None:
        self._output = output
        self._folder = folder
        self._plant = plant
        self._questions = questions
        self._signals = signals
        self._three = three
        self._orders = orders
        self._printed = 0
        self._told = 0

    def run(self, seconds: float | None) -> int:
        """Start, show, stop; the exit code."""
        output = self._output
        where = _short(self._folder.path)
        output.line(Text.assemble(("Lineside demo", "bold"), f"  data, configuration and logs are in {where}"))
        verdict: Verdict | None = None
        failure = ""
        was_stopped = False
        try:
            self._plant.start(self._questions)
            try:
                self._three.start()
                self._orders.start()
                self._show(seconds)
            finally:
                was_stopped = not (self._three.is_over and self._orders.is_over)
                self._three.stop()
                self._orders.stop()
            verdict = self._finish()
        except (StopAsked, ProcessEnded, ServerNotStarted, NoAnswer, AccessNotMade) as exc:
            failure = str(exc)
        finally:
            with output.step("everything else stopped" if verdict else "everything stopped"):
                self._plant.stop()
        if verdict is not None:
            shown = self._three.shown
            orders = orders_lines(self._orders.told[0 if output.is_live else self._told :], self._orders.problems)
            for line in [*commands_lines(shown, was_stopped=was_stopped), *orders, *summary_lines(verdict)]:
                output.line(line)
            wrong = verdict.problems() or commands_problems(shown, was_stopped=was_stopped) or self._orders.problems
            return EXIT_PROBLEM if wrong else 0
        output.line(Text(failure, "bold red"))
        return EXIT_INTERRUPTED if self._signals.count else EXIT_PROBLEM

    # -- while it runs -------------------------------------------------------------------------------------------------

    def _show(self, seconds: float | None) -> None:
        """Show the plant until it is time to stop, and commands and orders are over. Raises ``ProcessEnded``."""
        begun_s = time.monotonic()
        end_s = math.inf if seconds is None else begun_s + seconds
        if self._output.is_live:
            with self._output.unless_closed():
                self._show_live(begun_s, end_s)
        self._show_lines(begun_s, end_s)

    def _show_live(self, begun_s: float, end_s: float) -> None:
        screen = Screen(self._scene())
        console = self._output.console
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while not self._is_over(end_s):
                now_s = time.monotonic()
                screen.take(self._questions.look(), self._three.shown, self._orders.told)
                lines = screen.lines(console.width, console.height, now_s - begun_s, end_s - now_s)
                live.update(Group(*lines), refresh=True)
                self._rest(now_s + LOOK_EVERY_S, end_s)
                self._printed = len(self._three.shown)  # on the screen; the summary repeats them

    def _show_lines(self, begun_s: float, end_s: float) -> None:
        """Where there is no terminal: a line every few seconds."""
        while not self._is_over(end_s):
            now_s = time.monotonic()
            self._output.line(plain_line(self._questions.look(), now_s - begun_s))
            self._rest(now_s + PLAIN_EVERY_S, end_s, self._print_news)
        self._print_news()

    def _print_news(self) -> None:
        """Print what has happened since: of the three commands those that have ended, and of the orders everything."""
        told = self._orders.told
        for news in told[self._told :]:
            self._output.line(told_line(news))
        self._told = len(told)
        shown = self._three.shown
        for one in shown[self._printed :]:
            self._output.line(command_line(one))
        self._printed = len(shown)

    def _is_over(self, end_s: float) -> bool:
        self._plant.check()
        is_shown = self._three.is_over and self._orders.is_over
        return bool(self._signals.count) or (time.monotonic() >= end_s and is_shown)

    def _rest(self, until_s: float, end_s: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        while time.monotonic() < until_s and not self._is_over(end_s):
            meanwhile()
            time.sleep(max(0.0, min(_POLL_S, until_s - time.monotonic())))

    def _scene(self) -> Scene:
        agent, cloud = _short(self._folder.agent_config), _short(self._folder.cloud_config)
        commands = (
            f"{_short(Path(program('edge-agent')))} status -c {agent}",
            f"{_short(Path(program('edge-agent')))} watch -c {agent}",
            f"{_short(Path(program('cloud-ingest')))} ledger -c {cloud}",
            f"{_short(Path(program('edge-agent')))} lock press --reason 'a look inside' -c {agent}",
            f"{_short(Path(program('cloud-ingest')))} command send {AGENT} press ram/setpoint 25 -c {cloud}",
        )
        return Scene(self._plant.broker_name, self._questions.api_url, commands)

    # -- when it is over -----------------------------------------------------------------------------------------------

    def _finish(self) -> Verdict:
        """Stop the agent in order, and count. Raises ``StopAsked``, ``ProcessEnded`` or ``NoAnswer``."""
        step = self._output.step
        with step("machines stand still"):
            self._plant.settle(self._questions)
        status = next(filter(None, (self._questions.status() for _ in range(LAST_ASKED_MAX))), None)
        with step("edge-agent stopped"):
            self._plant.stop_agent()
        if self._signals.count > 1:
            raise StopAsked("stopped at once; what had not been delivered is in the outbox for the next start")
        if status is None:
            raise NoAnswer("the agent did not answer at the end; its log says why")
        with step("rows counted"):
            ledger, unassigned = self._questions.whole_ledger()
            return make_verdict(status, ledger, self._questions.stored_rows(), unassigned)


def command_line(shown: Shown) -> Text:
    """One of the three commands: what was asked, what became of it, what the press holds."""
    mark = ("✗", "bold red") if shown.problem else ("✓", "green")
    line = Text.assemble("  ", mark, f" {shown.title:<9} {shown.asked}: ", (shown.became, "bold"))
    if shown.holds is not None:
        line.append(f"; press holds {shown.holds:g}")
    return line


def told_line(told: Told) -> Text:
    """Something that has happened to an order, or in the factory."""
    return Text.assemble("  ", (f"{f'order {told.order}' if told.order else 'factory':<9}", "cyan"), told.text)


def orders_lines(told: Sequence[Told], problems: Sequence[str]) -> list[Text]:
    """What has happened to the orders, with what is wrong."""
    lines = [Text(), *map(told_line, told)] if told else []
    return [*lines, *(Text(f"  WRONG: {problem}", "bold red") for problem in problems)]


def commands_lines(shown: Sequence[Shown], *, was_stopped: bool) -> list[Text]:
    """The three commands for a person, with what is wrong."""
    lines = [Text(), Text("  command", "bright_black"), *map(command_line, shown)]
    problems = commands_problems(shown, was_stopped=was_stopped)
    if len(shown) < len(TITLES) and not problems:
        lines.append(Text(f"  - stopped before it was shown: {', '.join(TITLES[len(shown) :])}", "yellow"))
    return [*lines, *(Text(f"  WRONG: {problem}", "bold red") for problem in problems)]


def commands_problems(shown: Sequence[Shown], *, was_stopped: bool) -> list[str]:
    """What did not come out as it should, in sentences; commands that a stop has left out are no problem."""
    problems = [f"command {one.title!r}: {one.problem}" for one in shown if one.problem]
    if len(shown) < len(TITLES) and not was_stopped and not problems:
        problems.append(f"the commands ended by themselves before these were shown: {', '.join(TITLES[len(shown) :])}")
    return problems


def summary_lines(verdict: Verdict) -> list[Text]:
    """The verdict for a person."""
    lines = [Text(), Text("  device         read, this start    rows in PostgreSQL, all starts", "bright_black")]
    lines += [Text(f"  {d.device:<12} {d.read:>18,} {d.rows:>33,}") for d in verdict.devices]
    lines += [
        Text(),
        Text(
            f"  this start  {verdict.read:,} samples read, {verdict.stored:,} stored, "
            f"{verdict.waiting:,} still in the outbox"
        ),
        Text.assemble(
            f"  ledger      {counted(verdict.batches, 'batch')} of {counted(verdict.starts, 'start')} arrived, "
            f"{counted(verdict.duplicates, 'duplicate')} refused, ",
            (f"missing {verdict.missing:,}", "bold red" if verdict.missing else "bold green"),
        ),
    ]
    gaps = ", ".join(f"{count} {reason}" for reason, count in sorted(verdict.gaps.items()))
    lines.append(Text(f"  gaps        {gaps or 'none'} declared; {counted(verdict.dead_letters, 'dead letter')}"))
    problems = verdict.problems()
    if problems:
        lines += [Text(), *(Text(f"  WRONG: {problem}", "bold red") for problem in problems)]
    else:
        lines += [Text(), Text("  Every sample that the agent has read is accounted for.", "bold green")]
    return lines


def _short(path: Path) -> str:
    """A path as it is written from the current folder, where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
