"""Where the commands print for people: as wide as the terminal, in whole lines into a pipe."""

from __future__ import annotations

import contextlib
import logging
import sys
import textwrap
from collections.abc import Iterator
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

PIPE_COLUMNS: Final = 4096
"""Into a pipe or a file every row is one line, whatever width the terminal has."""


def console() -> Console:
    """Standard output; as wide as the terminal, if it is one."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def print_screen(screen: RenderableType) -> None:
    """Show ``screen`` once."""
    console().print(screen)


@contextlib.contextmanager
def without_logs() -> Iterator[None]:
    """What a library logs would stand across the screen; what matters of it is a sentence there."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


class Sentence:
    """A sentence after a label, in as many lines as it takes; the lines after the first stand under it."""

    def __init__(self, label: str, text: str, style: str = "", *, indent: int | None = None) -> None:
        self._label, self._text, self._style = label, text, style
        self._indent = len(label) if indent is None else indent

    def lines(self, columns: int) -> list[Text]:
        """The lines for a screen so wide."""
        wrapped = textwrap.wrap(
            self._label + self._text,
            max(columns, self._indent + 10),
            subsequent_indent=" " * self._indent,
            break_on_hyphens=False,
        )
        return [Text(line, self._style, no_wrap=True) for line in wrapped]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield from self.lines(options.max_width)
