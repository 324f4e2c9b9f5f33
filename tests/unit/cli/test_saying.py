"""Sentences end at words on a terminal, and are whole lines into a pipe."""

from __future__ import annotations

import io
import sys

import pytest

from connectors.configuration.saying import say

LONG = "PostgreSQL at 127.0.0.1:5432 cannot be reached: nothing listens there. Is it running, and is the port right?"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_sentence_ends_at_words_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    say(f"{LONG}\n  short", indent=2, err=True)
    assert terminal.getvalue().splitlines() == [
        "PostgreSQL at 127.0.0.1:5432 cannot be reached: nothing",
        "  listens there. Is it running, and is the port right?",
        "  short",
    ]


def test_into_a_pipe_a_sentence_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say(LONG)
    assert capsys.readouterr().out == f"{LONG}\n"
