"""What is listed on a terminal: as a table where it has room, else each thing by itself. No id is ever cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

GAP: Final = 2
INDENT: Final = "  "


class Listing:
    """Rows below headings. Cells break between words alone.

    Where the longest words of the columns have no room beside each other, each row is a few lines: its first cell, and
    below it the others behind their headings. A cell is a ``Text``, or a text as it is: brackets are no markup.
    """

    def __init__(self, *headings: str) -> None:
        self._headings = [Text(heading, "dim") for heading in headings]
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """One more; as many cells as there are headings."""
        self._rows.append([cell if isinstance(cell, Text) else Text(cell) for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        has_headings = any(heading.plain for heading in self._headings)
        rows = [self._headings, *self._rows] if has_headings else self._rows
        columns = list(zip(*rows, strict=True))
        widths = _widths(columns, options.max_width)
        if widths is None:
            for row in self._rows:
                yield from self._by_itself(row, console, options.max_width)
            return
        table = Table(box=None, pad_edge=False, header_style="", show_header=has_headings, padding=(0, GAP, 0, 0))
        for heading, width in zip(self._headings, widths, strict=True):
            table.add_column(heading, width=width, overflow="fold")
        for row in self._rows:
            table.add_row(*row)
        yield table

    def _by_itself(self, row: Sequence[Text], console: Console, columns: int) -> Iterator[Text]:
        yield from row[0].wrap(console, columns, overflow="fold")
        line = Text(INDENT)
        for heading, cell in zip(self._headings[1:], row[1:], strict=True):
            if not cell.plain:
                continue
            pair = Text.assemble(heading, " ", cell) if heading.plain else cell
            if line.plain != INDENT and line.cell_len + GAP + pair.cell_len > columns:
                yield line
                line = Text(INDENT)
            line.append(" " * GAP if line.plain != INDENT else "").append_text(pair)
            if line.cell_len > columns:
                *whole, last = Text(line.plain, spans=line.spans).wrap(console, columns - len(INDENT), overflow="fold")
                for part, each in enumerate(whole):
                    yield each if part == 0 else Text(INDENT).append_text(each)
                line = Text(INDENT).append_text(last)
        if line.plain != INDENT:
            yield line


class Hanging:
    """A line of text; where it takes several, those after the first stand ``indent`` to the right."""

    def __init__(self, text: Text, indent: int) -> None:
        self._text, self._indent = text, indent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        first, *more = self._text.wrap(console, options.max_width, overflow="fold")
        yield first
        if more:
            rest = self._text[len(first.plain) :]
            rest = rest[len(rest.plain) - len(rest.plain.lstrip()) :]
            for line in rest.wrap(console, max(10, options.max_width - self._indent), overflow="fold"):
                yield Text(" " * self._indent).append_text(line)


def _widths(columns: Sequence[Sequence[Text]], columns_max: int) -> list[int] | None:
    """So wide is each of ``columns``; ``None`` where not every word has room."""
    narrowest = [max((_word(cell) for cell in column), default=0) for column in columns]
    widest = [max((cell.cell_len for cell in column), default=0) for column in columns]
    left = columns_max - sum(narrowest) - GAP * (len(columns) - 1)
    if left < 0:
        return None
    widths = list(narrowest)
    for at in sorted(range(len(columns)), key=lambda at: widest[at] - narrowest[at]):
        more = min(left, widest[at] - narrowest[at])
        widths[at] += more
        left -= more
    return widths


def _word(cell: Text) -> int:
    """The longest word of a cell, the first one with what stands before it."""
    text = cell.plain
    indent = len(text) - len(text.lstrip())
    return max((cell_len(word) + (indent if first == 0 else 0) for first, word in enumerate(text.split())), default=0)
