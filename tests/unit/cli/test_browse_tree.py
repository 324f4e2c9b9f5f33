"""The interactive ``edge-agent browse`` without a terminal and without a server: keys in, rows and wishes out."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
import yaml
from rich.console import Console

from connectors.opcua.settings import OpcUaDevice
from connectors.ports.survey import SurveyedNode, SurveyedVariable
from edge_agent.cli.browse import entry_lines, marked_file
from edge_agent.cli.browse_keys import BrowseKeys, Writing
from edge_agent.cli.browse_tree import LEVELS_MAX, Branch, BrowseTree
from edge_agent.cli.browse_view import BrowseView
from edge_agent.drivers import OpcUaBrowse


def folder(*path: str, at: str = "") -> SurveyedNode:
    return SurveyedNode(path, at or f"ns=2;s={'.'.join(path)}")


def variable(*path: str, **more: object) -> SurveyedNode:
    at = f"ns=2;s={'.'.join(path)}"
    has = SurveyedVariable(path, "/".join(path), at, "Double", 1.5, **more)  # type: ignore[arg-type]
    return SurveyedNode(path, at, has, has.description)


def answer(tree: BrowseTree, *nodes: SurveyedNode, problem: str = "") -> Branch:
    """The server answers the one thing that it is asked."""
    (branch,) = tree.wanted
    tree.wanted = []
    tree.take(branch, nodes)
    tree.finish(branch, problem)
    return branch


def press(keys: BrowseKeys, *pressed: str) -> None:
    for key in pressed:
        keys.press(key)


def names(tree: BrowseTree) -> list[str]:
    return ["/".join(row.path) for row in tree.rows()]


@pytest.fixture
def keys() -> BrowseKeys:
    """Two folders and a variable; the first folder has been opened."""
    keys = BrowseKeys(BrowseTree(), "press.yaml")
    answer(keys.tree, folder("Press"), folder("Oven"), variable("Speed"))
    press(keys, "right")
    answer(keys.tree, folder("Press", "Ram"), variable("Press", "Force"), variable("Press", "State"))
    return keys


def shown(keys: BrowseKeys, columns: int = 80, lines: int = 24, view: BrowseView | None = None) -> list[str]:
    file = io.StringIO()
    screen = (view or BrowseView("opc.tcp://p:4840  /Objects")).screen(keys, columns, lines)
    Console(file=file, width=columns, highlight=False).print(screen)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def file_of(variables: Sequence[SurveyedNode], folders: Sequence[SurveyedNode]) -> dict[str, object]:
    entry = {
        "name": "p",
        "driver": "opcua",
        "endpoint": "opc.tcp://p:1",
        "insecure": True,
        "tags": [{"name": "x", "at": "i=1"}],
    }
    device = OpcUaDevice.model_validate(entry)
    read = [node.variable for node in variables if node.variable is not None]
    text = marked_file(device, OpcUaBrowse(under="/Objects"), read, folders, entry_lines(device))
    (made,) = yaml.safe_load(text)["devices"]
    assert OpcUaDevice.model_validate(made)
    return dict(made)


# ---------------------------------------------------------------------------------------------------------------------


def test_a_folder_is_asked_for_when_it_is_opened_and_only_then(keys: BrowseKeys) -> None:
    assert names(keys.tree) == ["Press", "Press/Ram", "Press/Force", "Press/State", "Oven", "Speed"]
    press(keys, "left")
    assert names(keys.tree) == ["Press", "Oven", "Speed"]
    press(keys, "l")
    assert keys.tree.wanted == [], "its children are known"
    press(keys, "l", "l")
    assert [branch.path for branch in keys.tree.wanted] == [("Press", "Ram")]
    press(keys, "l")
    assert len(keys.tree.wanted) == 1, "it has been asked for already"


def test_the_cursor_goes_through_what_is_shown_and_stays_within(keys: BrowseKeys) -> None:
    for pressed, at in [
        (("j", "down"), "Press/Force"), (("left",), "Press"), (("right",), "Press/Ram"), (("G",), "Speed"),
        (("j",), "Speed"), (("k",), "Oven"), (("home",), "Press"), (("up",), "Press"),
    ]:  # fmt: skip
        press(keys, *pressed)
        assert keys.tree.cursor is not None
        assert "/".join(keys.tree.cursor.path) == at, pressed


def test_a_refusal_is_a_sentence_in_the_row_and_asked_for_again_when_it_is_opened_again(keys: BrowseKeys) -> None:
    press(keys, "G", "k", "enter")
    assert "asked ..." in next(line for line in shown(keys) if "Oven" in line)
    answer(keys.tree, problem="the server does not let it be browsed (BadUserAccessDenied 0x801F0000)")
    lines = shown(keys)
    assert "▾ Oven  the server does not let it be browsed" in next(line for line in lines if "Oven" in line)
    assert "problem the server does not let it be browsed (BadUserAccessDenied 0x801F0000)" in lines
    press(keys, "enter")
    answer(keys.tree)
    assert "nothing below it" in next(line for line in shown(keys) if "Oven" in line)


def test_what_came_before_a_refusal_stays(keys: BrowseKeys) -> None:
    press(keys, "G", "k", "enter")
    answer(keys.tree, variable("Oven", "Zone"), problem="there are more than 20,000 nodes right below it")
    press(keys, "enter")
    assert keys.tree.wanted == []
    assert keys.tree.cursor is not None
    assert keys.tree.cursor.path == ("Oven", "Zone")


def test_a_loop_has_an_end() -> None:
    keys = BrowseKeys(BrowseTree(), "a.yaml")
    answer(keys.tree, folder("A", at="i=1"))
    press(keys, "l")
    answer(keys.tree, folder("A", "B", at="i=1"))
    press(keys, "l", "l")
    assert keys.tree.wanted == []
    assert "it is above itself: a loop" in " ".join(shown(keys))
    deep = BrowseTree()
    answer(deep, folder(*(str(level) for level in range(LEVELS_MAX))))
    deep.open()
    assert deep.wanted == []


# ---------------------------------------------------------------------------------------------------------------------


def test_marks_are_tags_and_those_of_folders_are_rules_whose_tags_are_named_alike(keys: BrowseKeys) -> None:
    press(keys, "G", " ", "home", "j", " ")
    assert "all variables below Press/Ram" in keys.said
    assert keys.tree.marks_text() == "1 variable and 1 folder"
    made = file_of(*keys.tree.marked())
    assert made["tags"] == [{"name": "Speed", "at": "ns=2;s=Speed"}]
    assert made["browse"] == [{"under": "ns=2;s=Press.Ram", "name": "Press/Ram/{path}"}]


def test_a_name_with_braces_is_none_of_a_rules_placeholders() -> None:
    (rule,) = file_of([], [folder("Line {1}")])["browse"]  # type: ignore[misc]
    assert rule["name"] == "Line (1)/{path}"
    (rule,) = file_of([], [folder("L" * 300)])["browse"]  # type: ignore[misc]
    assert rule["name"] == "{path}"


def test_what_is_below_a_marked_folder_is_marked_with_it_and_once(keys: BrowseKeys) -> None:
    press(keys, "j", "j", " ", "home", " ")
    variables, folders = keys.tree.marked()
    assert (variables, [node.path for node in folders]) == ([], [("Press",)])
    assert sum("[*]" in line for line in shown(keys)) == 2  # Ram and State
    press(keys, "j", "j", "j", " ")
    assert keys.said == "Press is marked, and so is all below it; take that mark away first"
    press(keys, "home", " ")
    assert keys.tree.marks_text() == "1 variable"


# ---------------------------------------------------------------------------------------------------------------------


def test_a_search_shows_what_fits_the_way_there_and_what_is_opened_below(keys: BrowseKeys) -> None:
    press(keys, "left", "/", *"for", "enter")
    assert names(keys.tree) == ["Press", "Press/Force"]
    assert keys.tree.cursor is not None
    assert keys.tree.cursor.path == ("Press", "Force")
    assert "shown is what fits 'for', of what is loaded; Esc shows all" in shown(keys)
    press(keys, "/", *"press", "enter")
    assert names(keys.tree) == ["Press"]
    press(keys, "right")
    assert names(keys.tree) == ["Press", "Press/Ram", "Press/Force", "Press/State"]
    press(keys, "/", *"press/*a*", "enter")
    assert names(keys.tree) == ["Press", "Press/Ram", "Press/State"]
    press(keys, "/", *"nowhere")
    assert "nothing that is loaded fits" in " ".join(shown(keys))
    press(keys, "escape")
    assert len(names(keys.tree)) == 6


def test_writing_asks_for_the_path_and_before_it_takes_a_file_away(keys: BrowseKeys) -> None:
    press(keys, "w")
    assert "nothing is marked" in keys.said
    press(keys, "G", " ", "w")
    assert "write to: press.yaml_" in " ".join(shown(keys))
    press(keys, *["backspace"] * 20, *"q.yaml", "enter")
    assert keys.writing == Writing("q.yaml")
    keys.writing = None
    keys.exists("q.yaml")
    press(keys, "n")
    assert (keys.writing, keys.said) == (None, "q.yaml is as it was; w writes to another file")
    keys.exists("q.yaml")
    press(keys, "y")
    assert keys.writing == Writing("q.yaml", over=True)


def test_marks_that_are_not_written_are_not_left_by_mistake(keys: BrowseKeys) -> None:
    press(keys, " ", "q")
    assert not keys.is_done
    assert "1 folder marked and not written. q leaves" in " ".join(shown(keys))
    press(keys, "j", "q", "q")
    assert keys.is_done
    again = BrowseKeys(BrowseTree(), "a.yaml")
    press(again, "/", "interrupt")
    assert again.is_done


# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 10), (20, 5), (200, 60)])
def test_the_screen_fits_whatever_is_in_it(columns: int, lines: int) -> None:
    keys = BrowseKeys(BrowseTree(), "a.yaml")
    odd = variable("a\x1b[2Jb", description="漢字" * 100, quality="BadSensorFailure", problem="p" * 300)
    answer(keys.tree, variable("N" * 300), odd, *(variable(f"漢字{number}") for number in range(200)))
    view = BrowseView("opc.tcp://" + "p" * 300)
    for key in ("down", "end", "i", " ", "page up", "/", "漢", "escape", "w", "enter", "q"):
        press(keys, key)
        drawn = shown(keys, columns, lines, view)
        assert len(drawn) == lines, key
        assert sum(line.startswith(">") for line in drawn) == 1, key
        assert "\x1b[2J" not in "".join(drawn)


def test_what_is_in_a_folder_that_is_opened_at_the_bottom_of_the_screen_is_seen() -> None:
    keys, view = BrowseKeys(BrowseTree(), "a.yaml"), BrowseView("p")
    answer(keys.tree, *(folder(f"F{number}") for number in range(30)))
    press(keys, *["down"] * 14)
    at_the_bottom = shown(keys, view=view)[keys.page]
    assert at_the_bottom.split() == [">", "▸", "F14"]
    press(keys, "right")
    answer(keys.tree, *(variable("F14", f"V{number}") for number in range(4)))
    drawn = "\n".join(shown(keys, view=view))
    assert all(f"V{number}" in drawn for number in range(4))
    assert ">    ▾ F14" in drawn


def test_the_pane_says_what_a_variable_is_and_what_may_be_done_with_it() -> None:
    keys = BrowseKeys(BrowseTree(), "a.yaml")
    answer(keys.tree, variable("A", unit="kN", is_writable=True, description="Force of the ram"), variable("B"))
    text = "\n".join(shown(keys))
    for part in (
        "path    A",
        "id      ns=2;s=A",
        "Double, read and write",
        "value   1.5 kN",
        "about   Force of the ram",
    ):
        assert part in text
    press(keys, "i")
    assert "Force of the ram" not in "\n".join(shown(keys))
    plain = shown(keys, view=BrowseView("p", plain=True))
    assert all(char.isascii() or char in "→←" for line in plain for char in line)
