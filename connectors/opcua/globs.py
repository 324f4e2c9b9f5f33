"""Patterns for the paths of variables below a node: ``Ram/*``, ``**/Temperature``, ``Zone?/[AB]``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

ANY_DEPTH: Final = "**"
_PIECE: Final = re.compile(r"\*+|\?|\[!?[^]/]+\]|.", re.DOTALL)


class Globs:
    """Some patterns. ``*`` stands for any part of one name, ``?`` for one character, ``**`` for any number of names."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raises ``ValueError``, with what to write, when a pattern cannot be one."""
        self._patterns = [_compiled(pattern) for pattern in patterns]

    def match(self, names: Iterable[str]) -> bool:
        """Whether any pattern is that of the path with these names."""
        path = "".join(f"/{name}" for name in names)
        return any(pattern.fullmatch(path) is not None for pattern in self._patterns)


def _compiled(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    for name in pattern.split("/"):
        if not name:
            raise ValueError(f"{pattern!r} has an empty name in it; write it such as Ram/* or **/Force")
        if name == ANY_DEPTH:
            parts.append("(?:/[^/]*)*")
        else:
            parts.append("/" + "".join(_translated(found[0]) for found in _PIECE.finditer(name)))
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as exc:
        raise ValueError(f"{pattern!r} is not a pattern: the set in its brackets cannot be") from exc


def _translated(piece: str) -> str:
    if piece.startswith("*"):
        return "[^/]*"
    if piece == "?":
        return "[^/]"
    if len(piece) > 2 and piece.startswith("["):
        inner = re.sub(r"[\\\[\]^&~|]", r"\\\g<0>", piece[1:-1])
        return f"[^/{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
    return re.escape(piece)
