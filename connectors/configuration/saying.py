"""Sentences of commands, on a terminal and into a pipe."""

from __future__ import annotations

import shutil
import sys
import textwrap


def say(text: str, *, indent: int = 0, err: bool = False) -> None:
    """One line; on a terminal in as many as it takes there, the later ones ``indent`` to the right.

    ``err``: on standard error.
    """
    stream = sys.stderr if err else sys.stdout
    print(broken(text, indent=indent) if stream.isatty() else text, file=stream, flush=True)


def broken(text: str, *, indent: int = 0) -> str:
    """``text`` in lines that the terminal has room for, as ``say`` breaks it."""
    columns = shutil.get_terminal_size().columns
    return "\n".join(_wrapped(line, columns, indent) for line in text.split("\n"))


def _wrapped(line: str, columns: int, indent: int) -> str:
    if len(line) <= columns:
        return line
    return textwrap.fill(
        line.strip(),
        max(columns, indent + 10),
        initial_indent=" " * (len(line) - len(line.lstrip(" "))),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
