"""The nodes of a device as somebody opens, marks and searches them: what is loaded, what is shown, where the cursor is.

Without I/O: nodes and moves come in, rows go out, and which nodes somebody wants to see below.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from connectors.configuration.setting_names import counted
from connectors.ports.survey import SurveyedNode, SurveyedVariable

LEVELS_MAX: Final = 50
"""As deep as a browse rule goes: what is further down is a loop."""

Path = tuple[str, ...]


@dataclass(slots=True, eq=False)
class Branch:
    """A node in the tree. ``problem``: why what is below it, or the rest of it, is not shown."""

    node: SurveyedNode | None
    parent: Branch | None = None
    children: list[Branch] = field(default_factory=list)
    state: Literal["unasked", "asked", "loaded"] = "unasked"
    is_open: bool = False
    problem: str = ""

    @property
    def path(self) -> Path:
        """The names on the way to it."""
        return () if self.node is None else self.node.path

    @property
    def at(self) -> str:
        """Its node, as a device file writes it."""
        return "" if self.node is None else self.node.at

    @property
    def is_variable(self) -> bool:
        """Whether it has a value; it may have something below it, too."""
        return self.node is not None and self.node.variable is not None

    def above(self) -> Iterator[Branch]:
        """The branches on the way to it, from the nearest on, without the root."""
        above = self.parent
        while above is not None and above.node is not None:
            yield above
            above = above.parent


class BrowseTree:
    """What is loaded of a tree, and what of it is marked.

    ``wanted`` are the branches whose children have to be asked for; who asks takes them from there, and hands over
    what comes: ``take``, then ``finish``. The first is the root, whose children are the first rows.
    """

    def __init__(self) -> None:
        self.root = Branch(None, is_open=True, state="asked")
        self.wanted: list[Branch] = [self.root]
        self.cursor: Branch | None = None
        self.pattern = ""
        self._marked: dict[Branch, None] = {}

    def take(self, branch: Branch, nodes: Sequence[SurveyedNode]) -> None:
        """One page of what is below ``branch``."""
        branch.children += [Branch(node, branch) for node in nodes]
        if self.cursor is None and self.root.children:
            self.cursor = self.root.children[0]

    def finish(self, branch: Branch, problem: str = "") -> None:
        """All of ``branch`` has come, or the rest will not, and this is why. Then opening it asks anew."""
        branch.state = "unasked" if problem else "loaded"
        branch.problem = problem

    def looked(self, branch: Branch, variable: SurveyedVariable) -> None:
        """What the variable of ``branch`` has now."""
        if branch.node is not None:
            branch.node = SurveyedNode(branch.node.path, branch.node.at, variable, variable.description)

    # ---------------------------------------------------------------------------------------------------------------

    def rows(self) -> list[Branch]:
        """What is shown, from top to bottom: with a pattern what fits it, the way there, and what is opened below."""
        rows: list[Branch] = []
        self._gather(self.root, rows, is_below_match=False)
        return rows

    def _gather(self, branch: Branch, rows: list[Branch], *, is_below_match: bool) -> bool:
        """Add what is shown below ``branch``; whether anything there fits the pattern itself."""
        any_fits = False
        for child in branch.children:
            fits, at = self._fits(child), len(rows)
            rows.append(child)
            if child.is_open:
                fits_below = self._gather(child, rows, is_below_match=is_below_match or (fits and self.pattern != ""))
            else:
                fits_below = self.pattern != "" and self._gather(child, rows, is_below_match=False)
            if not (fits or fits_below or is_below_match):
                del rows[at:]
            any_fits = any_fits or fits or fits_below
        return any_fits

    def _fits(self, branch: Branch) -> bool:
        if not self.pattern:
            return True
        pattern = self.pattern.casefold()
        if any(char in pattern for char in "*?["):
            return fnmatch.fnmatchcase("/".join(branch.path).casefold(), pattern)
        return pattern in branch.path[-1].casefold()

    def search(self, pattern: str) -> None:
        """Show what fits; the cursor stays where it is if that is shown, else it goes to the first that fits."""
        self.pattern = pattern
        rows = self.rows()
        if self.cursor is not None and self.cursor in rows and self._fits(self.cursor):
            return
        self.cursor = next((row for row in rows if self._fits(row)), self.cursor)

    # ---------------------------------------------------------------------------------------------------------------

    def move(self, steps: int) -> None:
        """The cursor up or down by so many rows, at most to the ends."""
        rows = self.rows()
        if rows:
            at = rows.index(self.cursor) if self.cursor in rows else 0
            self.cursor = rows[max(0, min(len(rows) - 1, at + steps))]

    def open(self) -> None:
        """Open where the cursor is; if it is open, go to the first below it."""
        branch = self.cursor
        if branch is None:
            return
        if branch.is_open and branch.children:
            self.cursor = next((row for row in self.rows() if row.parent is branch), branch)
            return
        branch.is_open = True
        if branch.state != "unasked" or branch.children:
            return
        if len(branch.path) >= LEVELS_MAX:
            branch.problem = f"this is {LEVELS_MAX} levels down; begin further down: --under"
        elif any(above.at == branch.at for above in branch.above()):
            branch.problem = "it is above itself: a loop"
        else:
            branch.problem, branch.state = "", "asked"
            self.wanted.append(branch)

    def close(self) -> None:
        """Close where the cursor is; if that is closed, go to what is above it."""
        branch = self.cursor
        if branch is None:
            return
        if branch.is_open:
            branch.is_open = False
        elif branch.parent is not None and branch.parent.node is not None:
            self.cursor = branch.parent

    # ---------------------------------------------------------------------------------------------------------------

    def mark(self) -> str:
        """Mark where the cursor is, or no more; a sentence where that cannot be."""
        branch = self.cursor
        if branch is None:
            return ""
        if (above := self.marked_above(branch)) is not None:
            return f"{'/'.join(above.path)} is marked, and so is all below it; take that mark away first"
        if branch in self._marked:
            del self._marked[branch]
            return ""
        self._marked[branch] = None
        if branch.is_variable:
            return ""
        return f"all variables below {'/'.join(branch.path)}, by a rule that also finds what is added later"

    def is_marked(self, branch: Branch) -> bool:
        """Whether it is marked itself."""
        return branch in self._marked

    def marked_above(self, branch: Branch) -> Branch | None:
        """The marked folder that it is in, if any."""
        return next((each for each in branch.above() if each in self._marked and not each.is_variable), None)

    def marked(self) -> tuple[list[SurveyedNode], list[SurveyedNode]]:
        """The variables that are marked, and the folders; by their paths, without what a folder has anyway."""
        chosen = [each for each in self._marked if each.node is not None and self.marked_above(each) is None]
        chosen.sort(key=lambda each: each.path)
        nodes = [(each.is_variable, each.node) for each in chosen]
        return (
            [node for is_variable, node in nodes if node is not None and is_variable],
            [node for is_variable, node in nodes if node is not None and not is_variable],
        )

    def marks_text(self) -> str:
        """How much is marked."""
        variables, folders = self.marked()
        counts = ((variables, "variable"), (folders, "folder"))
        return " and ".join(counted(len(nodes), what) for nodes, what in counts if nodes)
