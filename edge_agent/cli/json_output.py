"""JSON for programs, on standard output."""

from __future__ import annotations

import json
import sys
from typing import Any

import typer


def print_json(document: Any) -> None:
    """One document: in one line, or indented for a person at a terminal."""
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))
