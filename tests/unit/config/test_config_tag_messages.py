"""A tag that its driver cannot read, or with a setting that would do nothing, is named before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_config_files import OVEN, PRESS, Case, said_of

CASES: dict[str, Case] = {
    "a device without tags": (OVEN % "", ["4:62: 'tags' of device 'oven' needs at least 1 entry."]),
    "an index that no namespace can have": (
        PRESS.replace("ns=2;i=1", "ns=70000;i=5") % "",
        [
            "8:27: 'at' of tag 'force': 'ns=70000;i=5': the index of a namespace goes from 0 to 65535. Write the one "
            "that the server has given it, or nsu=<namespace uri>."
        ],
    ),
    "a number that no node can have": (
        PRESS.replace("ns=2;i=1", "ns=2;i=99999999999") % "",
        [
            "8:27: 'at' of tag 'force': 'ns=2;i=99999999999': after i= comes a number from 0 to 4294967295. Write s= "
            "before a text."
        ],
    ),
    "a GUID that is none": (
        PRESS.replace("ns=2;i=1", "ns=2;g=xyz") % "",
        [
            "8:27: 'at' of tag 'force': 'ns=2;g=xyz': after g= comes a GUID. Write it with all its digits, such as "
            "g=09087e75-8e5e-499b-954f-f2a9603db28a."
        ],
    ),
}


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("text", "lines"), CASES.values(), ids=CASES)
def test_a_tag_that_cannot_be_as_it_is_written_is_named_with_its_place(text: str, lines: list[str]) -> None:
    assert said_of(text) == [f"agent.yaml:{line}" for line in lines]
