"""The command ``lineside`` where something that it needs is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lineside.cli import app
from typer.testing import CliRunner


def test_without_the_extra_the_demo_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lineside.demo.run", raising=False)
    monkeypatch.delitem(sys.modules, "lineside.demo.questions", raising=False)
    monkeypatch.setitem(sys.modules, "lineside.demo.questions", None)
    said = CliRunner().invoke(app, ["demo", "--data", str(tmp_path / "plant")])
    assert said.exit_code == 1
    assert said.stderr.startswith(
        "the demo needs the package 'lineside.demo.questions', which is not installed; install"
    )
    assert "'.[demo]'" in said.stderr
