"""What the demo writes line by line: whole words on a terminal, whole lines into a pipe."""

from __future__ import annotations

import io

import pytest
from lineside.demo.console import Output
from rich.console import Console

TOLD = "  factory  OEE of the oven with BRACKET-40-COATED is 98% (availability 100%, performance 98%, quality 100%)"


def written(text: str, monkeypatch: pytest.MonkeyPatch, *, columns: int, is_live: bool) -> list[str]:
    out = io.StringIO()
    output = Output()
    output.is_live = is_live
    monkeypatch.setattr(output, "console", Console(file=out, width=columns, highlight=False, markup=False))
    output.line(text)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_on_a_terminal_a_long_line_ends_at_a_word_and_goes_on_below_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(TOLD, monkeypatch, columns=80, is_live=True) == [
        "  factory  OEE of the oven with BRACKET-40-COATED is 98% (availability 100%,",
        "           performance 98%, quality 100%)",
    ]


def test_into_a_pipe_a_line_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(TOLD, monkeypatch, columns=80, is_live=False) == [TOLD]


def test_a_word_that_is_longer_than_the_screen_has_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = written("x" * 50, monkeypatch, columns=20, is_live=True)
    assert max(map(len, lines)) <= 20
    assert "".join(lines) == "x" * 50
