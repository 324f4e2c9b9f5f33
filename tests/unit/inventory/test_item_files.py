"""Items from spreadsheets: what people save, and a sentence for each row that is no item."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.inventory.item_files import ItemsInvalid, read_items


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ItemsInvalid) as caught:
        read_items(text)
    return caught.value.problems


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_what_spreadsheets_save_is_read(between: str) -> None:
    rows = [["Code", "Kind", "Name", "tracking", "is_phantom", "reorder_point"],
            ["SCREW", "component", '"Screw, M4; short"', "lot", "", "1000"],
            ["", "", "", "", "", ""],
            ["KIT", "component", "", "", "yes", ""]]  # fmt: skip
    (first, screw), (second, kit) = read_items("\ufeff" + "\r\n".join(between.join(row) for row in rows) + "\r\n")
    assert (first, second) == (2, 4)
    assert (screw.code, screw.name, screw.tracking) == ("SCREW", "Screw, M4; short", "lot")
    assert screw.reorder_point == Decimal(1000)
    assert (kit.is_phantom, kit.unit, kit.reorder_point) == (True, "pcs", None)


def test_each_row_that_is_no_item_is_named_with_its_line() -> None:
    text = (
        "code,kind,reorder_point,quarantine\nA,raw,5,no\nB,steel,5,\nA,raw,,\nC,raw,-1,\nD,raw,1,maybe\nE,raw,1,no,x\n"
    )
    assert [one.partition(":")[0] for one in problems(text)] == [f"line {line}" for line in range(3, 8)]
    assert problems(text)[1] == "line 4: A stands in line 2 already"
    assert problems(text)[3] == "line 6: quarantine: 'maybe' is neither yes nor no"
    assert "the column 'kind' is missing" in problems("code\nA\n")[0]
    assert "there is no column 'colour'" in problems("code,kind,colour\nA,raw,red\n")[0]
    assert problems("")


def test_a_file_with_many_mistakes_is_not_endless() -> None:
    found = problems("code,kind\n" + "A,none\n" * 1000)
    assert len(found) == 101
    assert found[-1] == "and 900 more"


@given(st.text(max_size=200))
def test_whatever_is_in_a_file_it_is_items_or_sentences(text: str) -> None:
    for said in (text, f"code,kind\n{text}"):
        found: tuple[str, ...] = ()
        try:
            read_items(said)
        except ItemsInvalid as exc:
            found = exc.problems
        assert all(problem.startswith("line ") for problem in found)
