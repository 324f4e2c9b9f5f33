"""A terminal that shows one screen, anew whenever something changes, and reads single keys.

It draws only the lines that are not as they were, so that a slow line carries little; and however it is left (a key,
Ctrl-C, SIGTERM, an error), the terminal is as it was found.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from types import TracebackType
from typing import Final

from rich.console import Console, RenderableType
from rich.text import Text

ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[2J"
"""xterm's control sequences: the other screen, no cursor, empty."""
LEAVE: Final = "\x1b[0m\x1b[?25h\x1b[?1049l"
SIZE_WITHOUT: Final = (80, 24)

KEYS: Final = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left", "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1bOA": "up", "\x1bOB": "down", "\x1bOC": "right", "\x1bOD": "left", "\x1b[H": "home", "\x1b[F": "end",
    "\x1b[1~": "home", "\x1b[4~": "end", "\x1b[3~": "delete",
    "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x1b": "escape", "\t": "tab",
    "\x03": "interrupt", "\x04": "interrupt",
}  # fmt: skip
"""What terminals send for keys that are no characters (xterm, VT220)."""


def keys_of(text: str) -> Iterator[str]:
    """The keys that ``text``, as a terminal sends it, stands for: characters, or the names in ``KEYS``."""
    at = 0
    while at < len(text):
        for length in (4, 3, 1):
            part = text[at : at + length]
            if part in KEYS and len(part) == length:
                yield KEYS[part]
                at += length
                break
        else:
            if text[at].isprintable():
                yield text[at]
            at += 1


def is_interactive() -> bool:
    """Whether there is a person at a terminal that can place its cursor."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


class LiveTerminal:
    """Enter it with ``with``; inside, ``draw`` shows and ``key`` waits.

    ``changed`` is set when a key was pressed or the terminal has another size; whoever draws waits for it.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._keys: list[str] = []
        self._shown: list[str] = []
        self._size = SIZE_WITHOUT
        self._console = Console(highlight=False, file=sys.stdout)

    @property
    def columns(self) -> int:
        """Of the terminal, as it is now."""
        return self._size[0]

    @property
    def lines(self) -> int:
        """Of the terminal, as it is now."""
        return self._size[1]

    def __enter__(self) -> LiveTerminal:
        self._input = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._input)
        self._measure()
        loop = asyncio.get_running_loop()
        try:
            tty.setcbreak(self._input, termios.TCSADRAIN)
            attributes = termios.tcgetattr(self._input)
            attributes[3] &= ~termios.ISIG  # Ctrl-C comes as a key: what is on the screen is left in one way only
            termios.tcsetattr(self._input, termios.TCSADRAIN, attributes)
            loop.add_reader(self._input, self._read)
            loop.add_signal_handler(signal.SIGWINCH, self._resized)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                loop.add_signal_handler(number, self._press, "interrupt")
            self._write(ENTER)
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def pressed(self) -> list[str]:
        """What was pressed since the last call."""
        keys, self._keys = self._keys, []
        return keys

    def draw(self, screen: RenderableType) -> None:
        """Show ``screen``; what does not fit below is left out."""
        with self._console.capture() as captured:
            self._console.print(screen, width=self.columns, height=None, crop=True, overflow="ellipsis")
        lines = captured.get().split("\n")[: self.lines]
        lines += [""] * (self.lines - len(lines))
        parts: list[str] = []
        for at, line in enumerate(lines):
            if at >= len(self._shown) or self._shown[at] != line:
                parts.append(f"\x1b[{at + 1};1H{line}\x1b[0m\x1b[K")
        if parts:
            self._write("".join(parts))
        self._shown = lines

    def _restore(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._input)
        for number in (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            with contextlib.suppress(ValueError, RuntimeError):
                loop.remove_signal_handler(number)
        with contextlib.suppress(OSError):
            self._write(LEAVE)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)

    def _read(self) -> None:
        try:
            data = os.read(self._input, 4096)
        except OSError:
            data = b""
        if not data:  # the terminal has gone
            asyncio.get_running_loop().remove_reader(self._input)
            self._press("interrupt")
            return
        for key in keys_of(data.decode(errors="ignore")):
            self._press(key)

    def _press(self, key: str) -> None:
        self._keys.append(key)
        self.changed.set()

    def _resized(self) -> None:
        self._measure()
        self._shown = []
        self._write("\x1b[2J")
        self.changed.set()

    def _measure(self) -> None:
        size = shutil.get_terminal_size(SIZE_WITHOUT)
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(sys.stdout.fileno())
        self._size = (max(20, size.columns), max(5, size.lines))

    def _write(self, text: str) -> None:
        """All of ``text``: a terminal may take it in pieces."""
        sys.stdout.write(text)
        sys.stdout.flush()


async def changed_within(terminal: LiveTerminal, longest_s: float) -> bool:
    """Wait for a key or another size, but not longer; whether there is one."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await terminal.changed.wait()
    came = terminal.changed.is_set()
    terminal.changed.clear()
    return came


def keys_help(pairs: list[tuple[str, str]]) -> Text:
    """What the keys do, for the last line of a screen."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for key, what in pairs:
        text.append(f" {key} ", "reverse").append(f"{what}  ", "dim")
    return text
