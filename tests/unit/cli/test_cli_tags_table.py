"""The table of tags: no tag is left out without a word, no name is cut, and problems stand below in whole sentences."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edge_agent.cli.tags_table import TagsTable, room_for
from edge_agent.cli.terminal import PIPE_COLUMNS
from edge_agent.cli.words import clock_time, shortened, value_text

LONG = "the server has no such node; check the spelling and the namespace (BadNodeIdUnknown 0x80340000)"


def tag(name: str, **more: Any) -> dict[str, Any]:
    return {
        "device": "press", "tag": name, "value": 12.5, "unit": "kN", "quality": "Good", "quality_code": "0x00000000",
        "time_ns": 1_795_000_000_000_000_000, "stale": False, "problem": "", **more,
    }  # fmt: skip


def lines_of(tags: list[dict[str, Any]], columns: int = 80, lines_max: int | None = None) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=columns, height=24, highlight=False).print(TagsTable(tags, lines_max))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_times_say_that_they_are_utc() -> None:
    assert lines_of([tag("force")])[0].split() == ["tag", "value", "unit", "quality", "time", "(UTC)"]


def test_a_problem_is_a_sentence_below_the_table_and_not_in_its_columns() -> None:
    bad = {"quality": "BadNodeIdUnknown", "quality_code": "0x80340000", "problem": LONG, "value": None}
    lines = lines_of([tag("force"), tag("forec", **bad), tag("state")])
    assert [line.split()[0] for line in lines[1:4]] == ["press/force", "press/forec", "press/state"]
    assert lines[4:] == [
        "press: forec: the server has no such node; check the spelling and the namespace",
        "  (BadNodeIdUnknown 0x80340000)",
    ]


def test_tags_with_the_same_problem_share_one_sentence() -> None:
    lines = lines_of([tag(f"t{number}", problem="no such node") for number in range(8)], 100)
    assert lines[9:] == ["press: t0, t1, t2, t3, t4 and 3 more: no such node"]


def test_a_quality_that_nothing_explains_is_named_with_its_code() -> None:
    lines = lines_of([tag("force", quality="BadSensorFailure", quality_code="0x808C0000")])
    assert lines[2:] == ["press: force: BadSensorFailure (0x808C0000)"]
    unknown = lines_of([tag("force", quality="Bad (0x8FFF0000)", quality_code="0x8FFF0000")])
    assert unknown[2:] == ["press: force: Bad (0x8FFF0000)"]


def test_tags_of_a_device_that_is_away_are_stale_and_their_old_problems_are_not_repeated() -> None:
    lines = lines_of([tag("force", stale=True), tag("forec", stale=True, problem=LONG, quality=None)])
    assert " stale " in lines[1]
    assert lines[3:] == ["offline: press; edge-agent status says why"]


def test_a_name_of_any_length_is_shown_whole() -> None:
    name = "/".join(f"station{number}" for number in range(20))
    for lines_max in (None, 24):
        lines = lines_of([tag(name), tag("force")], 80, lines_max)
        assert all(len(line) <= 80 for line in lines)
        assert "".join(line.split()[0] for line in lines[1:-1]) == f"press/{name}"


@pytest.mark.parametrize("columns", [50, 60, 80, 140])
def test_the_table_keeps_to_its_lines_on_every_width(columns: int) -> None:
    tags = [
        tag(f"station{number}/axis/position", value="x" * 30, quality="BadAttributeIdInvalid") for number in range(40)
    ]
    lines = lines_of(tags, columns, 24)
    assert len(lines) <= 24
    assert all(len(line) <= columns for line in lines)
    assert sum(line.startswith("… ") and "more tags: " in line for line in lines) == 1


def test_into_a_pipe_every_tag_is_one_line() -> None:
    tags = [tag("a/" * 100), tag("forec", problem=LONG * 3)]
    assert len(lines_of(tags, PIPE_COLUMNS)) == 4


def test_what_does_not_fit_is_counted() -> None:
    lines = lines_of([tag(f"t{number}") for number in range(100)], 80, 24)
    assert len(lines) == 24
    assert [line.split()[0] for line in lines[1:23]] == [f"press/t{number}" for number in range(22)]
    assert lines[23] == "… 78 more tags: use a taller terminal, --device or --search"
    assert lines_of([tag("a"), tag("b"), tag("c")], 80, 3)[-1].startswith("… 2 more tags: ")


def test_exactly_what_fits_is_shown_without_a_word() -> None:
    lines = lines_of([tag(f"t{number}") for number in range(23)], 80, 24)
    assert (len(lines), lines[-1].split()[0]) == (24, "press/t22")


def test_problems_leave_room_for_tags_and_are_counted_too() -> None:
    tags = [tag(f"t{number}", problem=f"{LONG} {number}") for number in range(40)]
    lines = lines_of(tags, 80, 24)
    assert len(lines) == 24
    assert sum(line.startswith("press/") for line in lines) >= 10
    assert lines[-1] == "… more problems: edge-agent status"


@given(st.lists(st.integers(1, 4), max_size=60), st.integers(0, 60), st.integers(6, 60))
def test_the_screen_is_never_overfilled(heights: list[int], problem_lines: int, lines_max: int) -> None:
    tags, problems = room_for(heights, problem_lines, lines_max)
    more = tags < len(heights)
    assert 1 + sum(heights[:tags]) + more + problems <= lines_max
    assert 0 <= problems <= problem_lines
    assert problems > 0 or not problem_lines


@pytest.mark.parametrize(
    ("text", "width", "shown"), [("abc", 3, "abc"), ("abcdefghij", 7, "ab…ghij"), ("abc", 2, "…c"), ("abc", 1, "…")]
)
def test_what_is_too_long_loses_its_middle(text: str, width: int, shown: str) -> None:
    assert (shortened(text, width), len(shown)) == (shown, min(len(text), width))


def test_a_value_is_one_line_and_no_command_for_the_terminal() -> None:
    assert value_text("two\nlines\x1b[31m") == "two·lines·[31m"
    assert [value_text(value) for value in (None, True, 0.1 + 0.2, 7)] == ["-", "true", "0.3", "7"]
    assert value_text(1_000_000_000_250, "DateTime") == "2001-09-09 01:46:40.250"
    assert value_text(-1, "DateTime") == "1969-12-31 23:59:59.999"
    assert [value_text(value, "DateTime") for value in (None, 1 << 60)] == ["-", "out of range"]


def test_another_day_is_shown_with_its_date() -> None:
    assert clock_time(0) == "1970-01-01 00:00:00.000"
    assert (clock_time(None), clock_time(1 << 100)) == ("-", "out of range")
