"""Texts that every file, socket and database takes."""

from __future__ import annotations

import re
from typing import Final

_HALF: Final = re.compile("[\ud800-\udfff]")


def storable(text: str) -> str:
    """``text`` with U+FFFD in place of halves of surrogate pairs, which UTF-8 cannot write.

    A device's bytes that are no UTF-8 become such halves in a decoder that wants to be able to undo itself, and JSON
    may name them.
    """
    return text if text.isascii() else _HALF.sub("\ufffd", text)
