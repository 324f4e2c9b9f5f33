"""How the interactive ``edge-agent browse`` looks: rows of a tree, what is known of one of them, what keys do."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import takewhile
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.text import Text

from connectors.ports.survey import SurveyedVariable
from edge_agent.cli.browse_keys import BrowseKeys
from edge_agent.cli.browse_tree import Branch, BrowseTree
from edge_agent.cli.live_terminal import keys_help
from edge_agent.cli.words import shortened, value_text

TYPE_COLUMNS: Final = 12
VALUE_COLUMNS: Final = 20
COLUMNS_FOR_TYPES: Final = 60
COLUMNS_FOR_VALUES: Final = 44
PANE_LINES: Final = 6
LINES_FOR_PANE: Final = 14
SAID_LINES_MAX: Final = 3
INDENT_MAX: Final = 20
"""In columns: what is further down stands no further to the right, so that its name can be read."""


class BrowseView:
    """Draws; remembers only which row is the first that is seen."""

    def __init__(self, place: str, *, plain: bool = False) -> None:
        """``plain``: the terminal shows ASCII only."""
        self._place = place
        self._first = 0
        self._closed, self._opened, self._line = ("+", "-", "-") if plain else ("▸", "▾", "─")

    def screen(self, keys: BrowseKeys, columns: int, lines: int) -> RenderableType:
        """The screen now. Tells ``keys`` how many rows a page has."""
        tree = keys.tree
        rows = tree.rows()
        foot = self._foot(keys, columns, min(SAID_LINES_MAX, max(1, lines - 4)))
        pane = self._pane(tree, columns) if keys.has_pane and lines >= LINES_FOR_PANE else []
        keys.page = page = max(1, lines - 2 - len(foot) - len(pane))
        at = rows.index(tree.cursor) if tree.cursor in rows else 0
        last = min(at + _shown_below(rows, at), at + page // 2)
        self._first = max(0, min(max(self._first, last - page + 1), at, len(rows) - page))
        shown = [self._row(tree, row, columns) for row in rows[self._first : self._first + page]]
        if not rows:
            shown = [Text(line, "dim") for line in textwrap.wrap(self._why_empty(tree), columns)][:page]
        shown += [Text()] * (page - len(shown))
        return Group(self._head(tree, len(rows), page, columns), *shown, *pane, *foot, _help(columns))

    def _why_empty(self, tree: BrowseTree) -> str:
        if tree.root.state == "asked":
            return "the server is asked what it has ..."
        return tree.root.problem or "nothing that is loaded fits; Esc shows all of it"

    def _head(self, tree: BrowseTree, count: int, page: int, columns: int) -> Text:
        parts = [f"{self._first + 1}-{min(count, self._first + page)} of {count}"] if count > page else []
        parts += [f"{marks} marked"] if (marks := tree.marks_text()) else []
        right = "  ".join(parts)
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(shortened(value_text(self._place), max(10, columns - len(right) - 2)), "bold")
        return text.append(f"  {right}")

    def _row(self, tree: BrowseTree, branch: Branch, columns: int) -> Text:
        at_cursor = branch is tree.cursor
        mark = "[x]" if tree.is_marked(branch) else "[*]" if tree.marked_above(branch) else "   "
        indent = " " * min(INDENT_MAX, 2 * (len(branch.path) - 1))
        arrow = self._opened if branch.is_open else " " if branch.is_variable else self._closed
        name = value_text(branch.path[-1])
        text = f"{'>' if at_cursor else ' '}{mark} {indent}{arrow} {name}"
        variable = branch.node.variable if branch.node is not None else None
        says = _said_of(branch)
        line = Text(no_wrap=True, overflow="ellipsis", style="reverse" if at_cursor else "")
        if says and (variable is None or branch.is_open):
            line.append(f"{shortened(text, max(20, columns // 2))}  ")
            left = columns - line.cell_len
            return line.append(set_cell_size(_cut(says, left), left), "yellow" if branch.problem else "dim")
        has_type = columns >= COLUMNS_FOR_TYPES
        if columns < COLUMNS_FOR_VALUES:
            return line.append(set_cell_size(_cut(text, columns), columns), "" if variable is not None else "bold")
        left = columns - VALUE_COLUMNS - (TYPE_COLUMNS if has_type else 0)
        line.append(set_cell_size(_cut(text, left - 1), left), "" if variable is not None else "bold")
        if has_type:
            shown = "" if variable is None else variable.type
            line.append(set_cell_size(_cut(shown, TYPE_COLUMNS - 1), TYPE_COLUMNS), "dim")
        value = "" if variable is None else shortened(_value(variable), VALUE_COLUMNS)
        return line.append(" " * max(0, VALUE_COLUMNS - cell_len(value)) + value)

    def _pane(self, tree: BrowseTree, columns: int) -> list[Text]:
        """What is known of the node at the cursor, in so many lines as ever."""
        branch = tree.cursor
        lines = [Text(self._line * columns, "dim")]
        if branch is None or branch.node is None:
            return lines + [Text()] * (PANE_LINES - 1)
        variable = branch.node.variable
        pairs = [("path", "/".join(branch.path)), ("id", branch.node.at)]
        if variable is None:
            pairs.append(("type", "folder or object"))
        else:
            value = f"{_value(variable)} {variable.unit}".rstrip()
            pairs.append(("type", f"{variable.type}, {_access(variable)}"))
            pairs.append(("value", f"{value}: {variable.problem}" if variable.problem else value))
        about = branch.problem or branch.node.description
        pairs.append(("problem" if branch.problem else "about", about or "-"))
        for label, said in pairs:
            line = Text(no_wrap=True, overflow="ellipsis").append(f"{label:<8}", "dim")
            lines.append(line.append(shortened(value_text(said), columns - 8)))
        return lines + [Text()] * (PANE_LINES - len(lines))

    def _foot(self, keys: BrowseKeys, columns: int, most: int) -> list[Text]:
        match keys.asks:
            case "search":
                said = f"search: {keys.typed}_   Enter: keep, Esc: show all"
            case "path":
                said = f"write to: {keys.typed}_   Enter: write, Esc: do not"
            case "over":
                said = f"{keys.proposed} exists already, and may have been worked on. Overwrite it? y/n"
            case "leave":
                said = f"{keys.tree.marks_text()} marked and not written. q leaves, any other key stays"
            case _:
                said = keys.said
        if not said and keys.tree.pattern:
            said = f"shown is what fits {keys.tree.pattern!r}, of what is loaded; Esc shows all"
        lines = textwrap.wrap(value_text(said), columns, break_on_hyphens=False)[:most] if said else [""]
        return [Text(line, "yellow" if keys.asks else "", no_wrap=True) for line in lines]


def _shown_below(rows: Sequence[Branch], at: int) -> int:
    """How many rows follow that are below the one at ``at``: who opens a folder is to see what is in it."""
    if not rows or not rows[at].is_open:
        return 0
    depth = len(rows[at].path)
    return len(list(takewhile(lambda row: len(row.path) > depth, rows[at + 1 :])))


def _said_of(branch: Branch) -> str:
    """What a row says of what is below it, where that is not simply shown."""
    if branch.state == "asked":
        return f"{len(branch.children)} so far ..." if branch.children else "asked ..."
    if branch.is_open and branch.state == "loaded" and not branch.children:
        return "nothing below it"
    return branch.problem if branch.is_open or not branch.children else ""


def _cut(text: str, columns: int) -> str:
    return text if cell_len(text) <= columns else set_cell_size(text, max(0, columns - 1)) + "…"


def _value(variable: SurveyedVariable) -> str:
    return variable.quality or value_text(variable.value)


def _access(variable: SurveyedVariable) -> str:
    """What the server lets this session do."""
    if variable.is_readable:
        return "read and write" if variable.is_writable else "read"
    return "write only" if variable.is_writable else "no access"


def _help(columns: int) -> RenderableType:
    pairs = [("q", "quit"), ("→", "open"), ("←", "close"), ("space", "mark"), ("w", "write"), ("/", "search")]
    return keys_help(pairs + ([("i", "pane")] if columns >= 70 else []))
