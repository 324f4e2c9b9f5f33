"""The tags with their newest values as a table, and what is wrong with them in lines of their own below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from connectors.configuration.setting_names import counted
from edge_agent.cli.terminal import Sentence
from edge_agent.cli.words import clock_time, quality_text, shortened, value_text

HEADINGS: Final = ("value", "unit", "quality", "time (UTC)")
COLUMNS_MAX: Final = (24, 8, 24)
COLUMNS_MAX_NARROW: Final = (10, 4, 12)
"""The longest value, unit and quality that is shown whole; on a narrow screen the name of the tag goes before."""
TAG_COLUMNS_MIN: Final = 16
GAP_COLUMNS: Final = 2
NAMES_MAX: Final = 5
"""So many of the tags that share a problem are named."""


class TagsTable:
    """The answer to ``tags`` for a person.

    With ``lines_max`` it takes no more lines than that, and says how many tags are left out.
    """

    def __init__(self, tags: Sequence[dict[str, Any]], lines_max: int | None = None) -> None:
        self._tags = tags
        self._lines_max = lines_max

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        columns = options.max_width
        problems = [line for sentence in problem_sentences(self._tags) for line in sentence.lines(columns)]
        cells = [_cells(tag, COLUMNS_MAX) for tag in self._tags]
        if columns - _columns_of(cells) < TAG_COLUMNS_MIN:
            cells = [_cells(tag, COLUMNS_MAX_NARROW) for tag in self._tags]
        left = max(1, columns - _columns_of(cells))
        heights = [-(-len(_name(tag)) // left) for tag in self._tags]
        rows, problem_lines = room_for(heights, len(problems), self._lines_max)
        yield _table(self._tags[:rows], cells[:rows], left)
        if rows < len(self._tags):
            more = counted(len(self._tags) - rows, "more tag")
            yield _cut(f"… {more}: use a taller terminal, --device or --search", columns)
        if problem_lines < len(problems):
            yield from problems[: problem_lines - 1]
            yield _cut("… more problems: edge-agent status", columns)
        else:
            yield from problems


def _table(tags: Sequence[dict[str, Any]], cells: Sequence[tuple[str, ...]], left: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, GAP_COLUMNS, 0, 0))
    table.add_column("tag", overflow="fold", max_width=left)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading == "value" else "left", no_wrap=True)
    for tag, (value, unit, quality, time) in zip(tags, cells, strict=True):
        colour = "green" if quality == "Good" else "yellow"
        table.add_row(Text(_name(tag)), Text(value), Text(unit), Text(quality, colour), time)
    return table


def room_for(heights: Sequence[int], problem_lines: int, lines_max: int | None) -> tuple[int, int]:
    """How many tags (of so many lines each) and lines of problems are shown below the heading.

    Tags go first; problems get a third of the screen, or what the tags leave. One line says how many tags there are
    besides.
    """
    if lines_max is None or 1 + sum(heights) + problem_lines <= lines_max:
        return len(heights), problem_lines
    room = max(2, lines_max - 1)
    shown_problems = min(problem_lines, max(room // 3, room - sum(heights)))
    room -= shown_problems
    if sum(heights) <= room:
        return len(heights), shown_problems
    ends = accumulate(heights)
    return sum(1 for end in ends if end <= room - 1), shown_problems


def _cells(tag: dict[str, Any], longest: tuple[int, ...]) -> tuple[str, ...]:
    """What stands under ``HEADINGS``."""
    texts = (value_text(tag["value"], tag.get("type")), tag["unit"], _quality(tag))
    return (*map(shortened, texts, longest), clock_time(tag["time_ns"]))


def _columns_of(cells: Sequence[tuple[str, ...]]) -> int:
    """The columns that the tag's own one does not get."""
    return sum(GAP_COLUMNS + max(map(len, texts)) for texts in zip(HEADINGS, *cells, strict=True))


def _name(tag: dict[str, Any]) -> str:
    return f"{tag['device']}/{tag['tag']}"


def problem_sentences(tags: Sequence[dict[str, Any]]) -> list[Sentence]:
    """What is wrong with the tags, one sentence for all tags of a device that have the same problem."""
    found: dict[tuple[str, str], list[str]] = {}
    offline: dict[str, None] = {}
    for tag in tags:
        if tag["stale"]:
            offline[tag["device"]] = None
        elif tag["problem"] or tag["quality"] not in (None, "Good"):
            what = tag["problem"] or quality_text(tag["quality"], tag["quality_code"])
            found.setdefault((tag["device"], what), []).append(tag["tag"])
    sentences = [
        Sentence(f"{device}: ", f"{_named(names)}: {what}", "yellow", indent=2)
        for (device, what), names in found.items()
    ]
    locked = {tag["device"]: tag["locked"] for tag in tags if tag.get("locked")}
    for device, by in locked.items():
        sentences.insert(0, Sentence(f"{device}: ", f"LOCKED by {by}", "bold yellow", indent=2))
    if offline:
        away = Sentence("offline: ", f"{_named(list(offline))}; edge-agent status says why", "yellow", indent=2)
        sentences.insert(0, away)
    return sentences


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMES_MAX
    return ", ".join(names[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def _quality(tag: dict[str, Any]) -> str:
    if tag["stale"] and tag["quality"] == "Good":
        return "stale"
    return str(tag["quality"] or "no value yet")


def _cut(text: str, columns: int) -> Text:
    return Text(text if len(text) <= columns else f"{text[: columns - 1]}…", "bold", no_wrap=True)
