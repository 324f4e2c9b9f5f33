"""Imports that leave out what this program never uses, and what would cost every box memory and every start time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

_ABSENT: Final = object()


@contextmanager
def counted_as_absent(name: str) -> Iterator[None]:
    """Within it, importing the module ``name`` says that it is not installed; afterwards it can be imported."""
    before: Any = sys.modules.get(name, _ABSENT)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is _ABSENT:
            del sys.modules[name]
        else:
            sys.modules[name] = before
