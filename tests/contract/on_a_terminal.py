"""What ``edge-agent`` shows on a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path


def shown_on_terminal(columns: int, *words: str) -> str:
    """All that the command prints on a terminal so wide, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environ = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    environ.pop("COLUMNS", None)
    program = [str(Path(sys.executable).parent / "edge-agent"), *words]
    with subprocess.Popen(program, stdout=theirs, stderr=theirs, stdin=theirs, env=environ):
        os.close(theirs)
        shown = b""
        while True:
            try:
                read = os.read(ours, 1 << 16)
            except OSError:  # nobody has the other end any more
                break
            if not read:
                break
            shown += read
    os.close(ours)
    return re.sub("\x1b\\[[0-9;]*m", "", shown.decode().replace("\r\n", "\n"))  # without dim headings
