"""What the keys of the interactive ``edge-agent browse`` do, to the tree and to what is typed.

Without I/O: keys come in, wishes go out: ``tree.wanted`` is to be asked for, ``writing`` to be written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from edge_agent.cli.browse_tree import BrowseTree

TYPED_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Writing:
    """Write what is marked to this path; ``over``: what is there already may go."""

    path: str
    over: bool = False


class BrowseKeys:
    """One look at a device.

    ``is_done`` once somebody wants to leave; ``said`` is the last thing to say; ``is_unwritten``: marks were set since
    the last file.
    """

    def __init__(self, tree: BrowseTree, path: str) -> None:
        """``path``: what is proposed for the device file."""
        self.tree = tree
        self.is_done = self.is_unwritten = False
        self.has_pane = True
        self.said = ""
        self.writing: Writing | None = None
        self.page = 1
        self.typed: str | None = None
        self.asks: Literal["", "search", "path", "over", "leave"] = ""
        self._path = path

    def press(self, key: str) -> None:
        """A key, as ``live_terminal.KEYS`` names it."""
        if key == "interrupt":
            self.is_done = True
        elif self.asks in ("search", "path"):
            self._edit(key)
        elif self.asks == "over":
            self._answer_over(key)
        elif self.asks == "leave":
            self.is_done, self.asks = key in ("q", "y"), ""
        else:
            self.said = ""
            self._act(key)

    def exists(self, path: str) -> None:
        """There is a file at ``path``: ask whether it may go."""
        self.asks, self._path = "over", path

    def written(self, said: str) -> None:
        """It is written."""
        self.said, self.is_unwritten = said, False

    @property
    def proposed(self) -> str:
        """Where to write, as it was said last."""
        return self._path

    def _act(self, key: str) -> None:
        tree = self.tree
        steps = {
            "up": -1, "k": -1, "down": 1, "j": 1, "page up": -self.page, "page down": self.page,
            "home": -1_000_000, "g": -1_000_000, "end": 1_000_000, "G": 1_000_000,
        }  # fmt: skip
        match key:
            case "right" | "l" | "enter":
                tree.open()
            case "left" | "h":
                tree.close()
            case " ":
                self.said = tree.mark()
                self.is_unwritten = bool(tree.marks_text())
            case "i":
                self.has_pane = not self.has_pane
            case "/":
                self.asks, self.typed = "search", ""
            case "escape":
                tree.search("")
            case "w" if not tree.marks_text():
                self.said = "nothing is marked: space marks a variable, or all of a folder"
            case "w":
                self.asks, self.typed = "path", self._path
            case "q" if self.is_unwritten:
                self.asks = "leave"
            case "q":
                self.is_done = True
            case _ if key in steps:
                tree.move(steps[key])

    def _edit(self, key: str) -> None:
        typed = self.typed or ""
        if key == "escape":
            if self.asks == "search":
                self.tree.search("")
            self.asks, self.typed = "", None
            return
        if key == "enter":
            asked, self.asks, self.typed = self.asks, "", None
            if asked == "path" and typed.strip():
                self._path = typed.strip()
                self.writing = Writing(self._path)
            return
        if key == "backspace":
            typed = typed[:-1]
        elif len(key) == 1 and len(typed) < TYPED_MAX:
            typed += key
        self.typed = typed
        if self.asks == "search":
            self.tree.search(typed)

    def _answer_over(self, key: str) -> None:
        self.asks = ""
        if key in ("y", "Y"):
            self.writing = Writing(self._path, over=True)
        else:
            self.said = f"{self._path} is as it was; w writes to another file"
