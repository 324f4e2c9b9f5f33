"""Which paths a pattern of a browse rule means."""

from __future__ import annotations

import pytest

from connectors.opcua.globs import Globs


@pytest.mark.parametrize(
    ("pattern", "paths", "others"),
    [
        ("**", ["Force", "Ram/Force", "Ram/Axis/Force"], []),
        ("*", ["Force", "a.b (1)"], ["Ram/Force"]),
        ("Ram/*", ["Ram/Force", "Ram/"], ["Ram", "Ram/Axis/Force", "Drum/Force", "ram/Force"]),
        ("Ram/**", ["Ram", "Ram/Force", "Ram/Axis/Force"], ["Ramp", "Drum/Ram"]),
        ("**/Force", ["Force", "Ram/Force", "Ram/Axis/Force"], ["Ram/Force/Limit", "PeakForce"]),
        ("**/Ram/**/Force", ["Ram/Force", "a/Ram/b/c/Force"], ["Ram/Speed"]),
        ("Zone?/T[12]", ["Zone1/T1", "ZoneA/T2"], ["Zone/T1", "Zone12/T1", "Zone1/T3"]),
        ("T[!0-2]", ["T3", "Tx"], ["T0", "T2", "T", "T33"]),
        ("a***b", ["ab", "axyb"], ["a/b"]),
        ("x.y+(z)", ["x.y+(z)"], ["xay+(z)"]),
        ("Zone[1", ["Zone[1"], ["Zone1"]),
        ("T[^1]", ["T^", "T1"], ["T2"]),
    ],
)
def test_a_pattern_means_whole_paths(pattern: str, paths: list[str], others: list[str]) -> None:
    globs = Globs([pattern])
    assert [path for path in paths if not globs.match(path.split("/"))] == []
    assert [path for path in others if globs.match(path.split("/"))] == []


def test_any_of_several_patterns_will_do_and_none_fits_nothing() -> None:
    assert Globs(["Ram/*", "Drum/*"]).match(["Drum", "Force"])
    assert not Globs([]).match(["Force"])


@pytest.mark.parametrize("pattern", ["", "/Ram", "Ram/", "Ram//Force"])
def test_a_pattern_with_an_empty_name_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="has an empty name in it; write it such as Ram/\\* or \\*\\*/Force"):
        Globs([pattern])


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [("[[]", "["), ("[\\]", "\\"), ("[a&&b]", "&"), ("[a||b]", "|"), ("[a~~b]", "b"), ("[!!]", "a"), ("[]]", "[]]")],
)
def test_odd_sets_mean_their_characters(pattern: str, fits: str) -> None:
    assert Globs([pattern]).match([fits])


@pytest.mark.parametrize("pattern", ["[z-a]", "x[9-0]y"])
def test_a_set_that_cannot_be_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a pattern"):
        Globs([pattern])
