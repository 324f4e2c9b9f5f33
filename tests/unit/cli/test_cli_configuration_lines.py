"""``status`` says whether the agent runs with what its files say, and what to do when it does not."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console, Group

from edge_agent.cli.configuration_lines import configuration_lines
from edge_agent.cli.reload import lines

SINCE_NS = 1_764_407_747_000_000_000


def screen(**more: Any) -> list[str]:
    """At 80 columns, without the time."""
    found = {"state": "in_sync", "since_ns": SINCE_NS, "by": "", "loaded_ns": 0, "files": [], "reasons": []}
    out = io.StringIO()
    console = Console(file=out, width=80, color_system=None)
    console.print(Group(*configuration_lines({**found, "restart": [], **more})))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def said(**more: Any) -> list[str]:
    answer = {"done": True, "passes": False, "dry_run": False, "reasons": [], "devices": [], "settings": []}
    return lines({**answer, "restart": [], "seconds": 0.123, **more})


def test_an_agent_that_was_not_started_from_files_says_nothing() -> None:
    assert list(configuration_lines(None)) == []


def test_in_sync_is_one_line() -> None:
    (line,) = screen()
    assert line.startswith("config   in sync since ")
    assert line.endswith(" UTC")


def test_changed_files_are_named_with_what_uses_them() -> None:
    head, *rest = screen(state="out_of_sync", files=["agent.yaml", "devices/oven.yaml"])
    assert head.startswith("config   OUT OF SYNC since ")
    text = " ".join(line.strip() for line in rest)
    assert text == "changed, and not in use: agent.yaml and devices/oven.yaml; 'edge-agent reload' uses what is there"


def test_of_many_files_the_first_are_named() -> None:
    text = " ".join(line.strip() for line in screen(state="out_of_sync", files=[f"{n}.yaml" for n in range(9)]))
    assert "0.yaml, 1.yaml, 2.yaml, 3.yaml, 4.yaml and 4 more;" in text


def test_what_waits_for_a_restart_is_named() -> None:
    _, line = screen(state="out_of_sync", restart=["outbox.size_max"])
    assert line == "         takes effect with a restart of the agent only: outbox.size_max"


def test_what_cannot_be_used_says_why_and_where_to_see_all_of_it() -> None:
    head, *rest = screen(state="failed", reasons=["a.yaml:1:1: one", "two", "three", "four", "five"])
    assert head.startswith("config   FAILED since ")
    assert rest[-4:] == [
        "         a.yaml:1:1: one", "         two", "         three", "         2 more; 'edge-agent check' shows all",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({}, ["nothing has changed", "in use after 0.12 s"]),
        (
            {
                "devices": [
                    {"device": "kiln", "how": "added", "said": "3 tags"},
                    {"device": "oven", "how": "adjusted", "said": "1 tag changed"},
                ],
                "settings": ["agent.commissioning"],
                "restart": ["outbox.size_max"],
                "dry_run": True,
            },
            [
                "kiln: added: 3 tags",
                "oven: goes on with other settings: 1 tag changed",
                "agent.commissioning: in effect",
                "outbox.size_max: takes effect with the next restart of the agent",
                "nothing was done (--dry-run)",
            ],
        ),
        (
            {"reasons": ["a.yaml:1:1: one", "a.yaml:2:1: two"]},
            ["a.yaml:1:1: one", "a.yaml:2:1: two", "2 problems; the agent goes on with what it had"],
        ),
        (
            {"reasons": ["a command is being done"], "passes": True},
            ["a command is being done", "not reloaded; the agent goes on with what it had"],
        ),
    ],
)
def test_what_has_come_of_a_reload_is_said(answer: dict[str, Any], expected: list[str]) -> None:
    assert said(**answer) == expected
