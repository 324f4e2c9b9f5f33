"""What ``edge-agent watch`` knows and shows on a terminal: tags, their last minute, which ones, and in which order.

Without I/O: answers, keys and times come in, a screen goes out.
"""

from __future__ import annotations

import fnmatch
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from connectors.configuration.setting_names import counted
from edge_agent.cli.live_terminal import keys_help
from edge_agent.cli.tags_table import problem_sentences
from edge_agent.cli.words import duration, shortened, value_text

SPARKS: Final = "▁▂▃▄▅▆▇█"
SPARKS_ASCII: Final = "_.-~=+*#"
SPARK_VALUES_MAX: Final = 60
RATE_SPAN_S: Final = 10.0
RATE_MARKS_MAX: Final = 12
FRAME_LINES: Final = 4
"""Head, headings, and two at the foot."""
SORTS: Final = ("name", "age", "rate", "value")


@dataclass(slots=True)
class _Row:
    tag: dict[str, Any]
    values: deque[float] = field(default_factory=lambda: deque(maxlen=SPARK_VALUES_MAX))
    marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=RATE_MARKS_MAX))
    """When how many samples of it had come: for its rate."""

    def rate(self, now_s: float) -> float:
        """Samples a second over the last seconds."""
        if len(self.marks) < 2:
            return 0.0
        (then_s, then), (_, last) = self.marks[0], self.marks[-1]
        return (last - then) / max(1.0, now_s - then_s)


class WatchScreen:
    """The state of one ``watch``. ``is_done`` once somebody wants to leave."""

    def __init__(self, *, sort: str = "name", only_bad: bool = False, pattern: str = "", plain: bool = False) -> None:
        """``plain``: the terminal shows ASCII only."""
        self.is_done = self.is_paused = self._descending = False
        self._rows: dict[str, _Row] = {}
        self._sort, self._only_bad, self._pattern = sort, only_bad, pattern
        self._typed: str | None = None
        self._held: list[tuple[list[dict[str, Any]], float]] = []  # what came while it was paused: the newest of a tag
        self._first = self._page = 0
        self._sparks = SPARKS_ASCII if plain else SPARKS

    def take(self, changed: Iterable[dict[str, Any]], now_s: float) -> None:
        """An answer of the agent, at this monotonic time; while it is paused, it is kept for later."""
        if self.is_paused:
            newest = {(tag["device"], tag["tag"]): tag for tags, _ in self._held for tag in tags}
            newest |= {(tag["device"], tag["tag"]): tag for tag in changed}
            self._held = [(list(newest.values()), now_s)]
            return
        for tag in changed:
            name = f"{tag['device']}/{tag['tag']}"
            row = self._rows.get(name)
            if row is None:
                row = self._rows[name] = _Row(tag)
            is_new = not row.marks or tag["samples"] != row.marks[-1][1]
            row.tag = tag
            if not is_new:
                continue
            while row.marks and now_s - row.marks[0][0] > RATE_SPAN_S:
                row.marks.popleft()
            row.marks.append((now_s, tag["samples"]))
            value = tag["value"]
            if isinstance(value, int | float):
                row.values.append(float(value))

    def press(self, key: str) -> None:
        """A key, as ``live_terminal.KEYS`` names it."""
        if key == "interrupt":
            self.is_done = True
        elif self._typed is not None:
            self._edit(key)
        else:
            self._act(key)

    def screen(self, columns: int, lines: int, now_s: float, now_ns: int) -> RenderableType:
        """The screen now."""
        chosen = self._chosen(now_s)
        problems = self._problem_lines(columns, lines)
        self._page = max(1, lines - FRAME_LINES - len(problems))
        self._first = max(0, min(self._first, len(chosen) - self._page))
        shown = chosen[self._first : self._first + self._page]
        table = _table([(name, self._rows[name]) for name in shown], columns, now_s, now_ns, self._sparks)
        padding = [Text()] * (self._page - len(shown))
        return Group(self._head(chosen), table, *padding, *problems, self._foot(columns), _help(columns))

    # ---------------------------------------------------------------------------------------------------------------

    def _chosen(self, now_s: float) -> list[str]:
        found = [name for name, row in self._rows.items() if self._is_wanted(name, row.tag)]
        keys: dict[str, Callable[[str], Any]] = {
            "name": lambda name: name.casefold(),
            "age": lambda name: -(self._rows[name].tag["time_ns"] or 0),
            "rate": lambda name: -self._rows[name].rate(now_s),
            "value": lambda name: _value_key(self._rows[name].tag["value"]),
        }
        found.sort()
        return sorted(found, key=keys[self._sort], reverse=self._descending)

    def _is_wanted(self, name: str, tag: dict[str, Any]) -> bool:
        if self._only_bad and tag["quality"] == "Good" and not tag["stale"] and not tag["problem"]:
            return False
        pattern = (self._pattern if self._typed is None else self._typed).casefold()
        if any(char in pattern for char in "*?["):
            return fnmatch.fnmatchcase(name.casefold(), pattern)
        return pattern in name.casefold()

    def _problem_lines(self, columns: int, lines: int) -> list[Text]:
        """What is wrong with tags, in at most a quarter of the screen."""
        sentences = problem_sentences([row.tag for row in self._rows.values()])
        found = [line for sentence in sentences for line in sentence.lines(columns)]
        return found[: max(1, lines // 4)]

    def _head(self, chosen: list[str]) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        last = min(len(chosen), self._first + self._page)
        of = f"{self._first + 1}-{last} of " if len(chosen) > self._page else ""
        text.append(f"{of}{counted(len(chosen), 'tag')}", "bold")
        if len(chosen) < len(self._rows):
            text.append(f" of {len(self._rows)}", "dim")
        text.append(f"  by {self._sort}{' (reversed)' if self._descending else ''}", "dim")
        if self._only_bad:
            text.append("  only bad or stale", "yellow")
        if self.is_paused:
            text.append("  PAUSED", "bold yellow")
        return text

    def _foot(self, columns: int) -> Text:
        if self._typed is not None:
            return Text(f"filter: {self._typed}_   Enter: keep, Esc: as before", no_wrap=True)
        if self._pattern:
            return Text(shortened(f"filter: {self._pattern}", columns), "dim", no_wrap=True)
        return Text()

    def _edit(self, key: str) -> None:
        typed = self._typed or ""
        if key == "enter":
            self._pattern, self._typed, self._first = typed, None, 0
        elif key == "escape":
            self._typed = None
        elif key == "backspace":
            self._typed = typed[:-1]
        elif len(key) == 1:
            self._typed = typed + key

    def _act(self, key: str) -> None:
        match key:
            case "q":
                self.is_done = True
            case "/":
                self._typed = self._pattern
            case "escape":
                self._pattern, self._only_bad = "", False
            case "s":
                self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
            case "r":
                self._descending = not self._descending
            case "b":
                self._only_bad, self._first = not self._only_bad, 0
            case " ":
                self._pause()
            case _:
                steps = {"up": -1, "down": 1, "page up": -self._page, "page down": self._page}
                ends = {"home": -self._first, "end": len(self._rows)}
                self._first = max(0, self._first + steps.get(key, ends.get(key, 0)))

    def _pause(self) -> None:
        self.is_paused = not self.is_paused
        held, self._held = self._held, []
        for tags, at_s in held:
            self.take(tags, at_s)


def _help(columns: int) -> RenderableType:
    pairs = [("q", "quit"), ("/", "filter"), ("b", "bad only"), ("s", "sort"), ("r", "reverse"), ("space", "pause")]
    return keys_help(pairs + ([("↑↓", "scroll")] if columns >= 80 else []))


def _table(rows: list[tuple[str, _Row]], columns: int, now_s: float, now_ns: int, sparks: str) -> Table:
    """Names get what is left; the course of a value is the first to go where there is little room."""
    cells = [_cells(row, now_s, now_ns) for _, row in rows]
    fixed = sum(2 + max([len(heading), *(len(cell[at].plain) for cell in cells)]) for at, heading in enumerate(_HEADS))
    longest = max([3, *(len(name) for name, _ in rows)])
    spark_columns = min(30, columns - fixed - 2 - min(longest, max(16, columns // 3)))
    has_sparks = spark_columns >= 6
    left = max(8, columns - fixed - (spark_columns + 2 if has_sparks else 0))
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("tag", no_wrap=True, width=min(left, longest))
    for heading in _HEADS:
        table.add_column(heading, justify="left" if heading in ("unit", "quality") else "right", no_wrap=True)
    if has_sparks:
        table.add_column("course", no_wrap=True)
    for (name, row), cell in zip(rows, cells, strict=True):
        course = [Text(sparkline(row.values, spark_columns, sparks), "cyan")] if has_sparks else []
        table.add_row(Text(shortened(name, left)), *cell, *course)
    return table


_HEADS: Final = ("value", "unit", "quality", "age", "rate/s")


def _cells(row: _Row, now_s: float, now_ns: int) -> list[Text]:
    tag = row.tag
    stale = tag["stale"]
    quality = "stale" if stale and tag["quality"] == "Good" else str(tag["quality"] or "no value")
    age = "-" if tag["time_ns"] is None else duration(max(0.0, (now_ns - tag["time_ns"]) / 1e9))
    return [
        Text(shortened(value_text(tag["value"], tag.get("type")), 16), "dim" if stale else "bold"),
        Text(shortened(tag["unit"], 8)),
        Text(shortened(quality, 20), "green" if quality == "Good" else "yellow"),
        Text(age),
        Text(f"{row.rate(now_s):.1f}"),
    ]


def _value_key(value: Any) -> tuple[int, float, str]:
    """Numbers by their size, largest first, then texts, then nothing."""
    if isinstance(value, int | float):
        return (0, -float(value), "")
    return (2, 0.0, "") if value is None else (1, 0.0, str(value))


def sparkline(values: Iterable[float], columns: int, sparks: str = SPARKS) -> str:
    """The last ``columns`` values, each as a bar between the least and the greatest of them."""
    shown = list(values)[-columns:] if columns > 0 else []
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    if high == low:
        return sparks[len(sparks) // 2 - 1] * len(shown)
    top = len(sparks) - 1
    return "".join(sparks[round((value - low) / (high - low) * top)] for value in shown)
