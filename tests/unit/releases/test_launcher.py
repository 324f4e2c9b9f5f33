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

STEPS_MAX = 60


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
    until(lambda: has_ended(box, "1.1-b"))
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


def has_ended(box: Box, name: str) -> bool:
    """Whether nothing is left to do, and ``name`` runs."""
    link, state = box.root / "current", box.state()
    is_decided = state.outcome is not None and state.current == name and link.is_symlink()
    return is_decided and link.readlink() == Path(name) and box.folder.order() is None and box.is_running(name)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("does", "succeeds"), [(GOOD, True), (CRASHES, False)])
def test_the_launcher_is_killed_at_each_step_and_the_next_one_ends_the_same(
    tmp_path: Path, does: str, succeeds: bool
) -> None:
    kills = 0
    expected = "1.1-b" if succeeds else "1.0-a"
    for step in range(1, STEPS_MAX):
        folder = tmp_path / str(step)
        folder.mkdir()
        box = Box(folder)
        try:
            box.install("1.0-a", GOOD)
            box.install("1.1-b", does)
            box.folder.keep(State(current="1.0-a"))
            box.order("A", "1.1-b")
            process = box.launch(killed_at=step)
            until(lambda box=box, process=process: process.poll() is not None or has_ended(box, expected))
            is_over = process.poll() is None
            if not is_over:
                kills += 1
                box.launch()
            until(lambda box=box: has_ended(box, expected))
            assert box.outcome() == ("A", succeeds)
            assert box.starts().count("1.1-b") <= STARTS_MAX + 1
        finally:
            box.kill()
        if is_over:
            break
    assert 8 < kills < STEPS_MAX - 1, "each step was reached, and then one had none left"
