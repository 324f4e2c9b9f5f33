"""A command on a terminal of its own: a pseudo-terminal, whose screen is what a person would see (pyte, a VT100)."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final

import pyte

from tests.patience import WAIT_S_MAX
from tests.system.sparkplug_host import until

COLUMNS: Final = 80
LINES: Final = 24


class Terminal:
    """Runs ``command`` until it ends, or the ``with`` is left; type into it, and look at its screen."""

    def __init__(
        self, *command: str, columns: int = COLUMNS, lines: int = LINES, env: Mapping[str, str] | None = None
    ) -> None:
        self.raw = b""
        """All that the command has printed, with its control sequences."""
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._drawing = threading.Lock()
        self._master, self._own = pty.openpty()
        self.resize(columns, lines)
        self.modes_before = self.modes
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        # setsid makes it the terminal that sends SIGWINCH; SIGINT is heard also where the tests themselves ignore it.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "env", "--default-signal=INT", *command],
            stdin=self._own,
            stdout=self._own,
            stderr=self._own,
            env={**inherited, "TERM": "xterm-256color", "LANG": "C.UTF-8", **(env or {})},
        )
        self._reading = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reading.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._own)
        self._reading.join(10)
        os.close(self._master)

    @property
    def modes(self) -> list[Any]:
        """How the terminal treats what is typed (``termios``)."""
        return termios.tcgetattr(self._own)

    @property
    def screen(self) -> list[str]:
        """The lines that are seen, without blanks at their ends."""
        with self._drawing:
            return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """All that is seen, as words."""
        return " ".join(" ".join(self.screen).split())

    @property
    def colours(self) -> set[str]:
        """The foreground colours that are seen; ``default`` is none."""
        with self._drawing:
            cells = [cell for line in self._screen.buffer.values() for cell in line.values()]
            return {cell.fg for cell in cells if cell.data.strip()}

    def type(self, keys: str) -> None:
        """What a person types."""
        os.write(self._master, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Give it another size, as by pulling at a window."""
        with self._drawing:
            self._screen.resize(lines, columns)
        fcntl.ioctl(self._own, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def shows(self, *parts: str) -> None:
        """Wait until all of these words are seen."""
        self.until(lambda: all(part in self.text for part in parts))

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for ``condition``; what it gives. When it does not happen, the screen is what the test says."""
        try:
            return until(condition)
        except AssertionError as exc:
            raise AssertionError("\n".join([str(exc), *self.screen])) from exc

    def end(self) -> int:
        """Wait until the command has ended by itself, and all it has said is on the screen; its exit code."""
        code = self.process.wait(WAIT_S_MAX)
        mark = b"\x1b[8m"  # goes through the same line as what the command has said, and after it
        os.write(self._own, mark)
        until(lambda: self.raw.endswith(mark))
        return code

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # nobody has it open any more
                return
            if not data:
                return
            with self._drawing:
                self.raw += data
                self._stream.feed(data)
