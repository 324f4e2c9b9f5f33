"""What a controller keeps over a power cut: its counters, in a small file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class RetentiveMemory:
    """A JSON object in ``path``; without a path, nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._written: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """What was kept; nothing when there is no file, or it cannot be understood."""
        if self._path is None:
            return {}
        try:
            document = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def write(self, values: Mapping[str, Any]) -> None:
        """Keep ``values``: the file holds either the old or the new ones, whenever this process ends."""
        if self._path is None or self._written == values:
            return
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.write_text(json.dumps(values))
        fresh.replace(self._path)
        self._written = dict(values)
