"""Where the demo writes: a terminal, a pipe, or a terminal that was closed meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.text import Text

NAME_WIDTH: Final = 26
_LABEL: Final = re.compile(r" *(\S+ ?\S* {2,})?")
"""What a line begins with: a word or two before a gap, as in ``  order 2  All of it has left``."""


def _label(line: str) -> str:
    found = _LABEL.match(line)
    return "" if found is None else found[0]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Say it to the caller; what it is overridden for: rich ends the process here."""
        raise BrokenPipeError


class Output:
    """Lines and steps on standard output. A reader that went away is no reason to stop in disorder."""

    def __init__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        self.console = _Console(highlight=False, emoji=False, markup=False)
        self.is_closed = False
        """Nobody reads the output any more."""
        self.is_live = self.console.is_terminal and not self.console.is_dumb_terminal

    def line(self, text: str | Text = "") -> None:
        """Write one line; on a terminal in as many as it takes there, the later ones below its words."""
        with self.unless_closed():
            for each in self._lines(Text(text) if isinstance(text, str) else text):
                self.console.print(each, soft_wrap=True)

    def _lines(self, text: Text) -> Iterator[Text]:
        if not self.is_live or text.cell_len <= self.console.width:
            yield text
            return
        first = text.wrap(self.console, self.console.width)[0]
        yield first
        rest = text[len(first.plain) :]
        rest = rest[len(rest.plain) - len(rest.plain.lstrip()) :]
        indent = len(_label(text.plain))
        for each in rest.wrap(self.console, max(20, self.console.width - indent)):
            yield Text(" " * indent).append_text(each)

    @contextlib.contextmanager
    def step(self, name: str, place: str = "", *, since_s: float | None = None) -> Iterator[None]:
        """Show a step while its block runs, and then how long it took (from ``since_s`` on the monotonic clock)."""
        begun_s = time.monotonic() if since_s is None else since_s
        mark, style = "✗", "bold red"
        status = self.console.status(Text(name), spinner="dots") if self.is_live else contextlib.nullcontext()
        try:
            with status:
                yield
            mark, style = "✓", "green"
        finally:
            took_s = time.monotonic() - begun_s
            line = Text.assemble(
                "  ", (mark, style), f" {name:<{NAME_WIDTH}}{took_s:5.1f} s  ", (place, "bright_black")
            )
            if self.is_live:
                line.truncate(self.console.width, overflow="ellipsis")
            self.line(line)

    @contextlib.contextmanager
    def unless_closed(self) -> Iterator[None]:
        """Do something with the output; from the moment on at which nobody reads it, it goes nowhere."""
        try:
            yield
            sys.stdout.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for descriptor in (1, 2):
                os.dup2(nowhere, descriptor)
            os.close(nowhere)
            self.is_live = False
            self.is_closed = True
