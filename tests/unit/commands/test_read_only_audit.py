"""Who may read the files of the journal, and write none in that folder, can verify and export the audit log."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_agent.cli import audit
from edge_agent.commands.journal import Journal

NOBODY = 65534
RUNNER = CliRunner()


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may read."""
    with tempfile.TemporaryDirectory(prefix="ro") as made:
        os.chmod(made, 0o755)
        yield Path(made)


@contextmanager
def reader_of(folder: Path) -> Iterator[None]:
    """As a user who may write nothing there."""
    if os.geteuid() == 0:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
        return
    folder.chmod(0o555)
    for file in folder.iterdir():
        file.chmod(0o444)
    try:
        yield
    finally:
        folder.chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o644)


def looked(folder: Path) -> dict[str, object]:
    with reader_of(folder):
        with pytest.raises(PermissionError):
            (folder / "mine").write_text("")
        found = RUNNER.invoke(audit.app, ["verify", "--json", "--journal", str(folder / "commands.db")])
        exported = RUNNER.invoke(audit.app, ["export", "--journal", str(folder / "commands.db")])
    assert found.exit_code == exported.exit_code == 0, found.output + exported.output
    answer: dict[str, object] = json.loads(found.output)
    assert answer["last"] == len(exported.output.splitlines())
    return answer


def test_while_the_agent_runs_and_after_it_has_stopped(folder: Path) -> None:
    journal = Journal(folder / "commands.db", start="1" * 16, now_ms=1)
    journal.lock("press", "cleaning", "carla", 2)
    assert (folder / "commands.db-wal").stat().st_size > 0
    assert looked(folder) == {**looked(folder), "valid": True, "last": 1}
    journal.unlock("press", "carla", 3)
    journal.close()
    assert not (folder / "commands.db-wal").exists()
    assert looked(folder) == {**looked(folder), "valid": True, "last": 2}
