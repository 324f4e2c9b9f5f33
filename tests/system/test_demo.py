"""The demo as a user runs it: a whole plant of real processes, in one folder, from start to start.

The tests of one folder run in the order in which they stand here: each goes on with what the one before has left.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests import plain_http
from tests.patience import WAIT_S_MAX

pytestmark = pytest.mark.slow

LINESIDE = Path(sys.executable).with_name("lineside")
RUNNING_S_MAX = 180.0
GONE_S_MAX = WAIT_S_MAX
DONE = "  ✓ done      ram/setpoint := 32: succeeded; press holds 32"
LOCKED = "  ✓ locked    ram/setpoint := 45 under a lock: refused, locked; press holds 32"
LATE = "  ✓ too late  ram/setpoint := 12, good for 1 s, late: expired; press holds 32"
NEVER = (45.0, 12.0)
"""The speeds of the commands that must not be done."""
PARTS = ("lineside machine press", "lineside machine oven", "postgres -D", "cloud-ingest run", "edge-agent run")


class Demo:
    """One run of ``lineside demo``, with everything that it starts."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._output = folder.with_name(f"{folder.name}-{time.monotonic_ns()}.out")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DEMO_")}
        with self._output.open("wb") as output:
            self._process = psutil.Popen(
                [str(LINESIDE), "demo", "--data", str(folder), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self._family: set[psutil.Process] = set()

    @property
    def text(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")  # the last character may be half written

    def wait_until_running(self) -> None:
        self.wait_for(lambda: "stored" in self.text, RUNNING_S_MAX)
        self.family()

    def family(self) -> list[psutil.Process]:
        """Every process of the demo that lives, itself not counted."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._family.update(self._process.children(recursive=True))
        return [process for process in self._family if lives(process)]

    def part(self, words: str) -> psutil.Process:
        return next(process for process in self.family() if words in command_of(process))

    def commands(self) -> list[str]:
        """The command line of each process of the demo, itself not counted."""
        return [command_of(process) for process in self.family()]

    def ask(self, path: str, **parameters: str) -> Any:
        """An answer of the API, to the token of the demo."""
        port = json.loads((self.folder / "ports.json").read_text())["api"]
        token = (self.folder / "access" / "token").read_text()
        headers = {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{port}/api/v1/{path}"
        return plain_http.ask("GET", url, params=parameters, headers=headers).raise_for_status().json()

    def stored(self, tag: str) -> list[Any]:
        """Every value of a tag of the press that PostgreSQL has, in order of time."""
        (found,) = [one for one in self.ask("tags")["tags"] if (one["device"], one["tag"]) == ("press", tag)]
        span = {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
        return [one["value"] for one in self.ask("samples", tag_id=str(found["tag_id"]), **span)["samples"]]

    def at_the_box(self, *arguments: str) -> None:
        """Run ``edge-agent`` as an operator does."""
        command = [str(LINESIDE.with_name("edge-agent")), *arguments, "--config", str(self.folder / "agent.yaml")]
        said = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S_MAX, check=False)
        assert said.returncode == 0, said.stderr

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ended(self) -> int:
        """The exit code, after everything is gone; the test fails when something is left."""
        deadline_s = time.monotonic() + RUNNING_S_MAX
        while self._process.poll() is None:
            self.family()
            assert time.monotonic() < deadline_s, self.text
            time.sleep(0.1)
        self.wait_for(lambda: not self._left(), GONE_S_MAX)
        return self._process.returncode

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, f"{self.text}\nleft: {self._left()}"
            time.sleep(0.05)

    def rows(self) -> dict[str, int]:
        """Rows in PostgreSQL by device, as the summary says."""
        found = re.findall(r"^  (press|oven) +[\d,]+ +([\d,]+)$", self.text, re.MULTILINE)
        return {device: int(count.replace(",", "")) for device, count in found}

    def end(self) -> None:
        """Leave nothing behind, whatever the test has found."""
        for process in [*self.family(), self._process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def _left(self) -> list[str]:
        """Processes of this run, or with the folder in their command line, that still live."""
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess):
                command = " ".join(process.cmdline())
                if process in self._family or (process != self._process and str(self.folder) in command):
                    left.append(process)
        return [str(process) for process in left if lives(process)]


def lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_of(process: psutil.Process) -> str:
    """Its command line; empty when it has ended meanwhile, as those do that start servers."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "plant"


@pytest.fixture
def demo(folder: Path) -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def start(*options: str) -> Demo:
        started.append(Demo(folder, *options))
        return started[-1]

    yield start
    for one in started:
        one.end()


def cycles(folder: Path) -> int:
    return int(json.loads((folder / "machines" / "press.json").read_text())["cycles"])


def test_the_demo_stops_by_itself_and_accounts_for_every_sample(demo: Callable[..., Demo], folder: Path) -> None:
    run = demo("--seconds", "6")
    run.wait_until_running()
    for part in PARTS:
        assert any(part in command for command in run.commands()), f"{part} is a process of its own"
    assert run.ended() == 0, run.text
    assert "missing 0\n" in run.text
    assert "Every sample that the agent has read is accounted for." in run.text
    assert run.rows()["press"] > 20
    assert run.rows()["oven"] > 20
    assert "\x1b" not in run.text, "no control sequences where there is no terminal"
    for line in (DONE, LOCKED, LATE):
        assert run.text.splitlines().count(line) == 2, "as it is done, and in the summary"
    assert "WRONG" not in run.text
    for number in (1, 2):
        life = [line for line in run.text.splitlines() if line.startswith(f"  order {number}")]
        steps = ("acme orders", "It is paid", "It is released", "complete", "All of it is packed", "All of it has left")
        at = [next(place for place, line in enumerate(life) if step in line) for step in steps]
        assert at == sorted(at), "\n".join(life)
    assert cycles(folder) > 0


def test_the_demo_needs_no_broker_that_is_installed(tmp_path: Path) -> None:
    """As on a fresh machine without Mosquitto: the broker comes from a wheel."""
    run = Demo(tmp_path / "demo", "--seconds", "4", "--broker", "iotcore")
    try:
        run.wait_until_running()
        assert not any("mosquitto" in command for command in run.commands())
        assert run.ended() == 0, run.text
    finally:
        run.end()
    assert "missing 0\n" in run.text
    assert run.text.splitlines().count(LATE) == 2, "this broker stands still, too"
    assert min(run.rows().values()) > 10


class SecondRun(NamedTuple):
    """The second run on the data of the first, in which an operator locked the press before Ctrl-C: what was seen."""

    run: Demo
    beside: subprocess.CompletedProcess[str]
    commands: list[dict[str, Any]]
    late: list[dict[str, Any]]
    speeds: list[Any]
    exit_code: int


@pytest.fixture(scope="module")
def second_run(folder: Path) -> Iterator[SecondRun]:
    before = cycles(folder)
    run = Demo(folder)
    try:
        run.wait_until_running()
        beside = subprocess.run([LINESIDE, "demo", "--data", folder], capture_output=True, text=True, check=False)
        run.wait_for(lambda: LATE in run.text, RUNNING_S_MAX)
        commands = run.ask("commands", issuer="demo")["commands"]
        late = run.ask(f"commands/{commands[0]['id']}")["states"]
        speeds = run.stored("ram/setpoint")
        run.wait_for(lambda: cycles(folder) > before, RUNNING_S_MAX)
        run.at_the_box("lock", "press", "--reason", "the door is open")
        run.send(signal.SIGINT)
        yield SecondRun(run, beside, commands, late, speeds, run.ended())
    finally:
        run.end()


def test_the_second_run_goes_on_with_the_data_and_ctrl_c_stops_everything(second_run: SecondRun, folder: Path) -> None:
    assert second_run.beside.returncode == 4
    assert f"a demo runs already in {folder}" in second_run.beside.stdout
    run = second_run.run
    assert "signing key" not in run.text, "they are those of the first run"
    ends = [(one["action"]["value"], one["state"], one["code"]) for one in second_run.commands]
    assert ends == [(12.0, "expired", "expired"), (45.0, "refused", "locked"), (32.0, "succeeded", None)] * 2
    assert [(state["state"], state["actor"]) for state in second_run.late][-2:] == [
        ("sent", "lineside"),
        ("expired", "demo-plant/line-1"),
    ]
    assert 32.0 in second_run.speeds
    assert not set(second_run.speeds) & set(NEVER)
    assert second_run.exit_code == 0, run.text
    assert "of 2 starts arrived" in run.text
    assert "missing 0\n" in run.text
    assert min(run.rows().values()) > 40


def test_a_lock_of_an_operator_holds_over_the_next_start_and_is_said(
    second_run: SecondRun, demo: Callable[..., Demo]
) -> None:
    """The demo takes no lock of somebody else away: it sends nothing, and says so."""
    again = demo()
    again.wait_for(lambda: "✗ done" in again.text, RUNNING_S_MAX)
    assert len(again.ask("commands", issuer="demo")["commands"]) == 6, "those of the two runs before"
    again.at_the_box("unlock", "press")
    again.send(signal.SIGINT)
    assert again.ended() == 1, again.text
    assert "WRONG: command 'done': press is locked by " in again.text
    assert "(the door is open); 'edge-agent unlock' unlocks it" in again.text
    assert "Every sample that the agent has read is accounted for." in again.text


def waiting_in(folder: Path) -> list[int]:
    """The numbers of the batches that the outbox of the demo's agent holds, in order."""
    path = folder / "agent" / "outbox.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30.0)) as outbox:
        return [number for (number,) in outbox.execute("SELECT batch FROM outbox ORDER BY batch")]


def test_a_batch_that_vanished_from_the_outbox_is_found_missing(demo: Callable[..., Demo], folder: Path) -> None:
    """kill -9 leaves no process; then a batch that had got its number is taken out of the outbox, and not declared."""
    run = demo()
    run.wait_until_running()
    run.part("cloud-ingest run").suspend()
    may_be_stored = waiting_in(folder)  # their acknowledgements may be under way
    run.wait_for(lambda: len(set(waiting_in(folder)) - set(may_be_stored)) >= 3, RUNNING_S_MAX)
    run.send(signal.SIGKILL)
    assert run.ended() == -signal.SIGKILL

    with sqlite3.connect(folder / "agent" / "outbox.db") as outbox:
        vanishing = waiting_in(folder)[-2]
        outbox.execute("DELETE FROM outbox WHERE batch = ?", (vanishing,))
    outbox.close()

    again = demo("--seconds", "2")
    assert again.ended() == 1, again.text
    assert "missing 1\n" in again.text
    assert "WRONG: 1 batches are missing from the ledger" in again.text
    assert "Every sample" not in again.text


def test_a_process_that_dies_is_named_and_nothing_is_left(demo: Callable[..., Demo], folder: Path) -> None:
    run = demo()
    run.wait_until_running()
    run.part("postgres -D").kill()
    assert run.ended() == 1
    assert f"PostgreSQL has ended by itself. The end of {folder}/logs/postgres.log" in run.text
