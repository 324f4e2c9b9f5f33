"""What somebody is told of one tag: what it holds, and what a write would change and be checked by."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.cli.single_tags import about_sentences, changes, reading_sentence

READ = {
    "device": "press", "tag": "speed", "type": "Double", "unit": "rpm", "value": 20.0, "quality": "Good",
    "quality_code": "0x00000000", "time_ns": 0, "cached": False, "stale": False, "took_ms": 3.2, "error": "",
    "problem": "",
}  # fmt: skip
ABOUT: dict[str, Any] = {
    "device": "press", "tag": "speed", "type": "Double", "unit": "rpm", "description": "", "writable": True,
    "why_not": "", "limits": [0.0, 250.0], "interlock": "", "approve": False, "arm_s": None, "pulse": None,
    "online": True, "locked": "", "commissioning": False,
}  # fmt: skip


def test_a_reading_has_value_unit_quality_type_time_and_where_it_is_from() -> None:
    assert reading_sentence(READ) == "press/speed = 20 rpm  Good  Double  1970-01-01 00:00:00.000 UTC (read in 3.2 ms)"
    kept = reading_sentence({**READ, "cached": True, "stale": True, "quality": "Uncertain", "quality_code": "0x4000"})
    assert kept.endswith("Uncertain (0x4000)  Double  1970-01-01 00:00:00.000 UTC (cached, and its device is away)")
    assert reading_sentence({**READ, "error": "press: not connected"}) == "press/speed: press: not connected"


def test_before_a_write_the_old_value_and_the_limits_are_shown() -> None:
    assert about_sentences(ABOUT, READ, "25") == [
        "press/speed: 20 rpm → 25 rpm", "  limits    0 to 250 rpm", "  type      Double",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        ("250", "  limits    0 to 250 rpm"),
        ("250.5", "  limits    0 to 250 rpm: 250.5 WILL BE REFUSED"),
        ("-1", "  limits    0 to 250 rpm: -1 WILL BE REFUSED"),
        ("nan", "  limits    0 to 250 rpm: nan WILL BE REFUSED"),
        ("fast", "  limits    0 to 250 rpm"),
    ],
)
def test_before_a_write_a_value_beyond_the_limits_is_said_to_be_refused(value: str, limits: str) -> None:
    assert about_sentences(ABOUT, READ, value)[1] == limits


def test_before_a_write_all_that_it_will_be_asked_for_is_said() -> None:
    strict = {
        **ABOUT, "limits": None, "interlock": "press/state == idle", "approve": True, "arm_s": 30.0, "locked": "eve: x",
        "commissioning": True, "pulse": {"value": 1, "back_to": 0, "s": 0.5}, "description": "of the ram",
    }  # fmt: skip
    said = "\n".join(about_sentences(strict, {**READ, "error": "press: not connected"}, "1"))
    for part in (
        "press/speed: press: not connected → 1 rpm", "of the ram", "goes back to 0 after 0.5 s",
        "interlock press/state == idle", "a second person has to agree", "at most 30 s earlier",
        "LOCKED by eve: x: it will be refused", "COMMISSIONING: it will be refused",
    ):  # fmt: skip
        assert part in said
    assert "limits" not in said


def test_of_a_structure_each_field_that_changes_is_shown_old_and_new() -> None:
    about = {**ABOUT, "tag": "recipe", "type": "String", "unit": "", "limits": None}
    now = {**READ, "value": '{"Name": "A7", "Corners": [{"X": 1.0}], "Passes": 3}', "unit": ""}
    assert about_sentences(about, now, '{"Name": "B", "Corners": [{"X": 2}], "Passes": 3}') == [
        "press/recipe: this changes", '  Name          "A7" → "B"', "  Corners[0].X  1.0 → 2", "  type      String",
    ]  # fmt: skip
    assert about_sentences(about, now, str(now["value"]))[0] == "press/recipe: nothing changes"
    assert about_sentences(about, {**now, "value": None}, "{}")[0].endswith("→ {}"), "what it holds is not known"


def test_many_changes_are_shown_up_to_a_number_and_that_there_are_more() -> None:
    found = changes("[" + "0, " * 99 + "0]", "[" + "1, " * 99 + "1]")
    assert found is not None
    assert (len(found), found[-1]) == (51, "  and more")
