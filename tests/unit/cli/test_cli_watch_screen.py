"""What ``edge-agent watch`` shows on a terminal, key by key; the terminal itself is in tests/system."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from edge_agent.cli.live_terminal import keys_of
from edge_agent.cli.watch_screen import SPARKS_ASCII, WatchScreen, sparkline

NOW_NS = 1_700_000_000_000_000_000


def tag(name: str, value: Any, *, samples: int = 1, age_s: float = 1.0, quality: str = "Good", **more: Any) -> Any:
    device, _, own = name.partition("/")
    return {
        "device": device, "tag": own, "value": value, "unit": "kN", "quality": quality, "quality_code": "0x0",
        "time_ns": NOW_NS - round(age_s * 1e9), "samples": samples, "stale": False, "problem": "", "locked": "", **more,
    }  # fmt: skip


def shown(watched: WatchScreen, columns: int = 80, lines: int = 24) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=columns, highlight=False)
    console.print(watched.screen(columns, lines, 100.0, NOW_NS))
    return out.getvalue().splitlines()


def names(watched: WatchScreen, columns: int = 80, lines: int = 24) -> list[str]:
    return [line.split()[0] for line in shown(watched, columns, lines) if "/" in line.split(" ")[0]]


@pytest.fixture
def watched() -> WatchScreen:
    screen = WatchScreen()
    for at in range(10):
        force, zone = tag("press/force", at * 1.5, samples=5 * at), tag("oven/zone", 180 - at, samples=at, age_s=9)
        screen.take([force, zone], 90.0 + at)
    screen.take([tag("press/state", "running", age_s=60), tag("oven/door", None, quality="BadSensorFailure")], 99.0)
    return screen


def press(screen: WatchScreen, *keys: str) -> WatchScreen:
    for key in keys:
        screen.press(key)
    return screen


@pytest.mark.parametrize(("columns", "lines"), [(40, 10), (80, 24), (120, 40), (200, 60)])
def test_the_screen_is_as_large_as_the_terminal(watched: WatchScreen, columns: int, lines: int) -> None:
    found = shown(watched, columns, lines)
    assert len(found) == lines
    assert all(len(line.rstrip()) <= columns for line in found)
    assert " q " in found[-1]


def test_a_tag_shows_value_age_rate_and_course(watched: WatchScreen) -> None:
    line = next(line for line in shown(watched, 120) if line.startswith("press/force"))
    assert line.split()[:7] == ["press/force", "13.5", "kN", "Good", "1", "s", "4.5"]
    assert line.rstrip().endswith("▁▂▃▃▄▅▆▆▇█")


def test_tags_are_sorted_by_what_the_key_says(watched: WatchScreen) -> None:
    assert names(watched) == ["oven/door", "oven/zone", "press/force", "press/state"]
    assert names(press(watched, "r")) == ["press/state", "press/force", "oven/zone", "oven/door"]
    assert names(press(watched, "r", "s")) == ["oven/door", "press/force", "oven/zone", "press/state"]
    assert names(press(watched, "s"))[:2] == ["press/force", "oven/zone"]
    assert names(press(watched, "s")) == ["oven/zone", "press/force", "press/state", "oven/door"]
    assert names(press(watched, "s"))[0] == "oven/door"


def test_a_filter_is_a_part_of_the_name_or_a_pattern(watched: WatchScreen) -> None:
    assert names(press(watched, "/", *"ZONE")) == ["oven/zone"]
    assert any("filter: ZONE_" in line for line in shown(watched))
    assert names(press(watched, *["backspace"] * 4, *"press/*", "enter")) == ["press/force", "press/state"]
    assert names(press(watched, "/", "x", "escape")) == ["press/force", "press/state"]
    assert len(names(press(watched, "escape"))) == 4
    assert not press(watched, "/", "q").is_done


def test_only_what_is_bad_or_stale(watched: WatchScreen) -> None:
    watched.take([tag("robot/x", 1, stale=True)], 99.5)
    assert names(press(watched, "b")) == ["oven/door", "robot/x"]
    assert names(WatchScreen(only_bad=True)) == []


def test_a_pause_keeps_what_comes_for_later(watched: WatchScreen) -> None:
    press(watched, " ")
    watched.take([tag("press/force", 77.0, samples=99)], 99.5)
    assert any("PAUSED" in line for line in shown(watched))
    assert not any("77" in line for line in shown(watched))
    press(watched, " ")
    assert any("77" in line for line in shown(watched))


def test_more_tags_than_lines_are_scrolled_through() -> None:
    screen = WatchScreen()
    screen.take([tag(f"press/t{number:03}", number) for number in range(100)], 1.0)
    assert names(screen, lines=14)[0] == "press/t000"
    assert "1-10 of 100 tags" in shown(screen, lines=14)[0]
    assert names(press(screen, "page down", "down"), lines=14)[0] == "press/t011"
    assert names(press(screen, "end"), lines=14)[-1] == "press/t099"
    assert names(press(screen, "home"), lines=14)[0] == "press/t000"


@pytest.mark.parametrize("key", ["q", "interrupt"])
def test_these_keys_leave(watched: WatchScreen, key: str) -> None:
    assert press(watched, key).is_done


def test_a_course_lies_between_its_least_and_its_greatest_value() -> None:
    assert sparkline([], 10) == ""
    assert sparkline([5, 5, 5], 10) == "▄▄▄"
    assert sparkline(range(100), 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 1], 8, SPARKS_ASCII) == "_#"


def test_keys_come_as_terminals_send_them() -> None:
    assert list(keys_of("q/\x1b[A\x1b[5~\x1bOB\x7f\r\x03é")) == [
        "q", "/", "up", "page up", "down", "backspace", "enter", "interrupt", "é",
    ]  # fmt: skip
    assert list(keys_of("\x1b")) == ["escape"]
