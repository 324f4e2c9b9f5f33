"""The launcher with real processes: to a release, back from a bad one, and after its own end."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.releases.layout import ReleaseFolder
from edge_agent.releases.switching import STARTS_MAX, State
from tests.unit.releases.fake_agent import CRASHES, DIES_ONCE, GOOD, HANGS, NEVER_HEALTHY, Box, until


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path)
    try:
        yield box
    finally:
        box.kill()


def test_without_a_release_the_base_installation_runs_and_ends_with_the_launcher(box: Box) -> None:
    process = box.launch()
    until(lambda: box.is_running("base"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert [line.split()[1] for line in box.lives()] == ["start", "stop"]


def test_an_agent_that_ends_is_started_again(box: Box) -> None:
    box.launch()
    until(lambda: box.is_running("base"))
    process, _ = box.folder.child()
    os.kill(process, signal.SIGKILL)
    until(lambda: box.starts() == ["base", "base"])


def test_a_good_release_takes_over_and_stays_over_a_restart(box: Box) -> None:
    box.install("1.1-b", GOOD)
    process = box.launch()
    until(lambda: box.is_running("base"))
    box.order("A", "1.1-b")
    until(lambda: box.has_ended("1.1-b"))
    assert box.outcome() == ("A", True)
    assert [line.split()[:2] for line in box.lives()] == [["base", "start"], ["base", "stop"], ["1.1-b", "start"]]
    process.terminate()
    assert process.wait(20) == 0
    box.launch()
    until(lambda: box.starts() == ["base", "1.1-b", "1.1-b"])


@pytest.mark.parametrize(
    ("does", "limit_s", "starts", "reason"),
    [
        (CRASHES, 30.0, STARTS_MAX, "exit code 7"),
        (NEVER_HEALTHY, 1.0, 1, "within 1 s"),
        (HANGS, 1.0, 1, "within 1 s"),
    ],
)
def test_a_bad_release_is_rolled_back(box: Box, does: str, limit_s: float, starts: int, reason: str) -> None:
    box.install("1.0-a", GOOD)
    box.install("1.1-b", does)
    box.folder.keep(State(current="1.0-a"))
    box.launch()
    until(lambda: box.is_running("1.0-a"))
    box.order("A", "1.1-b", limit_s)
    until(lambda: box.outcome() == ("A", False))
    until(lambda: box.is_running("1.0-a"))
    assert box.starts() == ["1.0-a", *["1.1-b"] * starts, "1.0-a"]
    outcome = box.state().outcome
    assert outcome is not None
    assert reason in outcome.reason
    assert (outcome.runs, box.state().current) == ("1.0-a", "1.0-a")


def test_a_release_that_is_killed_once_in_its_trial_gets_another_chance(box: Box) -> None:
    box.install("1.1-b", DIES_ONCE)
    box.order("A", "1.1-b")
    box.launch()
    until(lambda: box.outcome() == ("A", True))
    assert box.starts() == ["1.1-b", "1.1-b"]


@pytest.mark.parametrize("name", ["1.1-b", "../1.1-b", "", "current"])
def test_a_release_that_is_not_installed_is_refused_and_nothing_is_stopped_for_long(box: Box, name: str) -> None:
    box.launch()
    until(lambda: box.is_running("base"))
    box.order("A", name)
    until(lambda: box.outcome() == ("A", False))
    until(lambda: box.is_running("base"))


def test_a_release_that_was_removed_leaves_the_base(box: Box) -> None:
    box.folder.keep(State(current="1.1-b"))
    box.launch()
    until(lambda: box.is_running("base"))
    assert box.state().current == ""
    assert not (box.root / "current").is_symlink()


def test_two_launchers_never_work_in_one_folder(box: Box) -> None:
    box.launch()
    until(lambda: box.is_running("base"))
    assert box.launch().wait(20) == 4
    assert box.starts() == ["base"]


def test_an_agent_whose_launcher_was_killed_ends_before_another_is_started(box: Box) -> None:
    box.launch().kill()
    process = box.launch()
    until(lambda: box.is_running("base"))
    process.kill()
    process.wait()
    box.launch()
    until(lambda: box.starts()[-2:] == ["base", "base"])
    lines = [line.split()[1] for line in box.lives()]
    assert all(first != second for first, second in itertools.pairwise(lines)), lines


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"current": 5, "trial": 1}', "\0" * 50])
def test_a_damaged_state_is_what_the_link_says(tmp_path: Path, damage: str) -> None:
    folder = ReleaseFolder(tmp_path)
    folder.keep(State(current="1.0-a", previous="0.9-z"))
    (tmp_path / "state.json").write_text(damage)
    assert folder.state() == State(current="1.0-a")
