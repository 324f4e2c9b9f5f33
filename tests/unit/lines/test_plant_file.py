"""A plant file says what it means, and every mistake in it is told with its line and column."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from cloud_ingest.lines.line_rules import alarm_rule, line_rule
from cloud_ingest.lines.model import LineModel, ReasonModel
from cloud_ingest.lines.model_types import written
from cloud_ingest.lines.plant_file import parts_of, read_plant
from connectors.model.errors import ConfigInvalid

SAMPLE = Path(__file__).parents[3] / "config" / "plants" / "plant-7.yaml"
LINE = "sites:\n- site: a\n  areas:\n  - area: b\n    lines:\n    - line: c\n"


def problems(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "plant.yaml"
    file.write_text(text)
    with pytest.raises(ConfigInvalid) as found:
        read_plant(file)
    return [str(problem).removeprefix(f"{file}:") for problem in found.value.problems]


def test_the_sample_file_is_valid_and_its_parts_come_behind_what_they_name() -> None:
    parts = parts_of(read_plant(SAMPLE))
    kinds = [key.kind for key in parts]
    order = ["enterprise", "site", "area", "calendar", "reason", "line", "cell"]
    assert kinds == sorted(kinds, key=order.index)
    by_code = {key.code: model for key, model in parts.items()}
    line = by_code["press-1"]
    assert isinstance(line, LineModel)
    assert (line.area, line.micro_stop_s, line.signals.total is not None) == ("hall-1", 60.0, True)
    jam = by_code["jam"]
    assert isinstance(jam, ReasonModel)
    assert jam.parent == "technical"


def test_what_is_stored_of_a_part_is_read_as_the_same() -> None:
    for model in parts_of(read_plant(SAMPLE)).values():
        assert type(model).model_validate(written(model)) == model


def test_a_file_becomes_rules() -> None:
    (line,) = [model for key, model in parts_of(read_plant(SAMPLE)).items() if key.code == "press-1"]
    assert isinstance(line, LineModel)
    rule = line_rule(line, {"state": 1, "total": 2, "reject": 3, "speed": 4, "energy": 5})
    assert rule.meanings["2"].reason == "jam"
    assert (rule.counters[2].modulus, rule.counters[5].scale) == (65_536, Decimal("0.001"))
    assert alarm_rule(line.alarms[0]).delay_ns == 10_000_000_000


@pytest.mark.parametrize(
    ("more", "place", "words"),
    [
        ("      signals: {god: {tag: g/a/d/t}}\n", "7:17", "Did you mean 'good'?"),
        ("      signals: {good: {tag: no-tag}}\n", "7:29", "'tag' of 'good'"),
        ("      calendar: days\n", "7:17", "there is no calendar 'days'"),
        ("      signals: {good: {tag: g/a/d/t, modulus: 12bit}}\n", "7:47", "'modulus'"),
        ("      signals: {good: {tag: g/a/d/t, rate_max: 0}}\n", "7:48", "more than 0"),
        ("      signals: {good: {tag: g/a/d/t}, total: {tag: g/a/d/u}}\n", "7:46", "counted twice"),
        ("      signals: {fault: {tag: g/a/d/t, reason: jam}}\n", "7:16", "there is no reason 'jam'"),
        ("      micro_stop: 60\n", "7:19", "such as 100ms"),
        ("      alarms: [{alarm: x, tag: g/a/d/t}]\n", "7:16", "'when'"),
        ("      alarms: [{alarm: x, tag: g/a/d/t, high: 1, low: 2}]\n", "7:55", "never come back"),
        ("    - line: c\n", "7:13", "already"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, more: str, place: str, words: str) -> None:
    (problem,) = problems(tmp_path, LINE + more)
    assert words in problem
    assert problem.startswith(f"{place}:"), problem


def test_shifts_that_overlap_are_told(tmp_path: Path) -> None:
    text = """sites:
- site: a
  time_zone: Europe/Berlin
  calendars:
  - calendar: x
    shifts:
    - {shift: early, begin: "06:00", end: "14:00"}
    - {shift: late, begin: "13:00", end: "22:00"}
"""
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("8:"), problem
    assert "the shifts 'early' and 'late' overlap" in problem
    (problem,) = problems(tmp_path, text.replace('"13:00", end: "22:00"', '"14:00", end: "06:30"'))
    assert problem.startswith("7:"), problem
    assert "'early' begins before 'late' of the day before is over" in problem
    (problem,) = problems(tmp_path, text.replace("13:00", "14:00").replace("Berlin", "Berlim"))
    assert problem.startswith("3:14:"), problem
