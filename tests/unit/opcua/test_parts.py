"""Parts of values: which one a text means, and what is there."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.opcua.parts import parse_part, part_of

TREE = {"Name": "A", "Corners": [{"X": 1.0, "Y": 2.0}, {"X": 3.0}], "Grid": [[1, 2], [3, 4]], "None": None}


@pytest.mark.parametrize(
    ("text", "part", "value"),
    [
        ("Name", ("Name",), "A"),
        ("Corners[1].X", ("Corners", 1, "X"), 3.0),
        ("Grid[1][0]", ("Grid", 1, 0), 3),
        ("Corners", ("Corners",), TREE["Corners"]),
        ("Corners[2].X", ("Corners", 2, "X"), None),
        ("Corners[1].Y", ("Corners", 1, "Y"), None),
        ("None.X", ("None", "X"), None),
        ("Name.X", ("Name", "X"), None),
        ("Name[0]", ("Name", 0), None),
        ("[0]", (0,), None),
        ("Größe 1", ("Größe 1",), None),
    ],
)
def test_a_part_is_fields_and_places_from_the_outside_in(text: str, part: Any, value: Any) -> None:
    assert parse_part(text) == part
    assert part_of(TREE, part) == value


@pytest.mark.parametrize(
    "text", ["", ".", "A.", ".A", "A..B", "[", "[x]", "[-1]", "A[0", "A]", "[0]A", "A[1][", "[0] .B"]
)
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no part of a value; write it such as Origin\.X"):
        parse_part(text)


def test_a_part_that_never_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="goes 51 steps into a value"):
        parse_part("[0]" * 51)
