"""Every statement of the Sparkplug specification has a test or a reason, and no test names one that is not there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from docs.conformance import PREFIX, marks, sections

STATEMENTS = 300
RULES = [rule for section in sections() for rule in section.rules]


def test_every_statement_is_listed_once() -> None:
    listed = Counter(each for rule in RULES for each in rule.ids)
    assert [each for each, count in listed.items() if count > 1] == []
    assert len(listed) == STATEMENTS


def test_every_statement_has_a_test_of_its_own_or_a_reason_and_not_both() -> None:
    """Also where a rule has several statements: that one is shown says nothing of the others."""
    shown = marks()
    neither = [each for rule in RULES if not rule.not_applicable for each in rule.ids if each not in shown]
    both = [each for rule in RULES if rule.not_applicable for each in rule.ids if each in shown]
    assert (neither, both) == ([], [])


def test_no_test_names_a_statement_that_is_not_there() -> None:
    assert sorted(set(marks()) - {each for rule in RULES for each in rule.ids}) == []


def test_the_marks_of_a_file_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    mark = "@pytest.mark.sparkplug"
    (folder / "test_a.py").write_text(
        f"{mark}('{PREFIX}a', '{PREFIX}b')\nasync def test_x(): ...\n\nclass TestB:\n"
        f"    @other\n    {mark}('{PREFIX}b')\n    def test_y(self): ...\n"
    )
    (folder / "steps.py").write_text(f"{mark}('{PREFIX}c')\ndef test_z(): ...\n")
    first, second = "tests/test_a.py::test_x", "tests/test_a.py::test_y"
    assert marks(folder) == {f"{PREFIX}a": [first], f"{PREFIX}b": [first, second]}
