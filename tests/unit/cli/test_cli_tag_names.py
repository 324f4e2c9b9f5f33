"""Which tag a person means, and which ones are nearly called as what was mistyped."""

from __future__ import annotations

import pytest

from edge_agent.cli.tag_names import MATCHES_MAX, UnknownTag, tags_named

NAMES = {"press": ["ram/force", "ram/speed", "state", "odd[1]"], "oven": ["zone1", "zone2", "state"]}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("press/ram/force", ["press/ram/force"]),
        ("ram/speed", ["press/ram/speed"]),
        ("zone1", ["oven/zone1"]),
        ("oven/zone*", ["oven/zone1", "oven/zone2"]),
        ("*/state", ["press/state", "oven/state"]),
        ("press/odd[1]", ["press/odd[1]"]),
    ],
)
def test_a_tag_is_meant_by_name_short_name_or_pattern(written: str, meant: list[str]) -> None:
    assert [f"{device}/{tag}" for device, tag in tags_named(written, NAMES)] == meant


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("press/ram/forse", "there is no tag 'press/ram/forse'; did you mean press/ram/force"),
        ("Press/RAM/Force", "did you mean press/ram/force"),
        ("zone3", "did you mean oven/zone"),
        ("state", "2 devices have a tag 'state': write press/state or oven/state"),
        ("mill/qqqq", "there is no tag 'mill/qqqq', and no device 'mill'; there are press, oven"),
        ("oven/xyzzy", "there is no tag 'oven/xyzzy'; 'edge-agent tags' lists all of them"),
        ("mill/*", "no tag is like 'mill/*'; 'edge-agent tags' lists all of them"),
    ],
)
def test_a_mistyped_name_is_answered_with_near_ones(written: str, sentence: str) -> None:
    with pytest.raises(UnknownTag) as said:
        tags_named(written, NAMES)
    assert sentence in str(said.value)


def test_a_pattern_is_no_name_where_one_tag_is_meant() -> None:
    with pytest.raises(UnknownTag):
        tags_named("oven/*", NAMES, patterns=False)


def test_a_pattern_that_means_very_many_tags_is_refused() -> None:
    with pytest.raises(UnknownTag, match=f"at most {MATCHES_MAX}"):
        tags_named("a/*", {"a": [f"t{number}" for number in range(MATCHES_MAX + 1)]})
