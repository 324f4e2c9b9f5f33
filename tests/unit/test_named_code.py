"""The code that the pages on delivery name is there, under that name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PROTOCOL: Final = ROOT / "docs" / "protocol"
MODEL: Final = sorted((PROTOCOL / "model").glob("*.pml"))


def named_in_table() -> list[tuple[str, str]]:
    """(file, name) of the table of invariants; an empty name stands for the file alone."""
    page = (PROTOCOL / "delivery.md").read_text(encoding="utf-8")
    rows = page.partition("| invariant | kept by | shown by |")[2].partition("\n\n")[0].splitlines()[2:]
    found: list[tuple[str, str]] = []
    for row in rows:
        _, _, kept_by, shown_by, _ = row.split("|")
        file = ""
        for name in re.findall(r"`([^`]+)`", kept_by):
            file = name if name.endswith(".py") else file
            found.append((file, "" if file == name else name))
        folder = ""
        for name in re.findall(r"`(\S+)`", shown_by):
            folder = name.rpartition("/")[0] or folder
            found.append((name if "/" in name else f"{folder}/{name}", ""))
    return found


def named_in_model() -> list[tuple[str, str]]:
    """(file name, name) where a comment of the model says ``file.py: name, name``."""
    found: list[tuple[str, str]] = []
    for path in MODEL:
        for file, names in re.findall(r"(\w+\.py)((?:: \w+(?:, \w+(?!\.))*)?)", path.read_text(encoding="utf-8")):
            found += [(file, name) for name in re.findall(r"\w+", names)] or [(file, "")]
    return found


def defined(source: str, name: str) -> bool:
    return re.search(rf"^\s*(?:(?:async )?def|class) {name}\b", source, re.MULTILINE) is not None


@pytest.mark.parametrize(("file", "name"), named_in_table())
def test_what_the_table_of_invariants_names_is_there(file: str, name: str) -> None:
    path = ROOT / file
    assert path.exists(), f"docs/protocol/delivery.md names {file}"
    assert not name or defined(path.read_text(encoding="utf-8"), name), (
        f"docs/protocol/delivery.md names {file}: {name}"
    )


@pytest.mark.parametrize(("file", "name"), named_in_model())
def test_what_the_model_names_is_there(file: str, name: str) -> None:
    sources = [path for folder in ("edge_agent", "cloud_ingest", "connectors") for path in (ROOT / folder).rglob(file)]
    assert sources, f"docs/protocol/model names {file}"
    if name:
        assert any(defined(path.read_text(encoding="utf-8"), name) for path in sources), f"{file}: {name}"


def test_something_is_named() -> None:
    assert len(named_in_table()) > 30
    assert len(named_in_model()) > 15
