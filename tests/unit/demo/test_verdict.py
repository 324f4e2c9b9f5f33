"""The verdict of a demo finds whatever is missing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from lineside.demo.run import summary_lines
from lineside.demo.verdict import Verdict, make_verdict

STATUS: dict[str, Any] = {
    "epoch": "e2",
    "devices": [{"device": "press", "samples": 70}, {"device": "oven", "samples": 30}],
    "outbox": {"samples": 0, "samples_pending": 0},
}
LEDGER: dict[str, Any] = {
    "arrived": 12,
    "missing": 0,
    "samples": 250,
    "duplicates": 1,
    "dead_letters": 0,
    "epochs": [{"epoch": "e1", "samples": 150}, {"epoch": "e2", "samples": 100}],
    "gaps": [{"reason": "agent_not_running"}, {"reason": "agent_not_running"}, {"reason": "device_offline"}],
}
ROWS = {"press": 180, "oven": 70}


def judged(
    change: Callable[[dict[str, Any], dict[str, Any], dict[str, int]], object], *, unassigned: int = 0
) -> Verdict:
    status, ledger, rows = copy.deepcopy(STATUS), copy.deepcopy(LEDGER), dict(ROWS)
    change(status, ledger, rows)
    return make_verdict(status, ledger, rows, unassigned)


def text_of(verdict: Verdict) -> str:
    return "\n".join(line.plain for line in summary_lines(verdict))


def test_nothing_is_wrong_when_everything_is_accounted_for() -> None:
    verdict = judged(lambda *_: None)
    assert verdict.problems() == []
    assert (verdict.read, verdict.stored, verdict.waiting, verdict.starts) == (100, 100, 0, 2)
    assert verdict.gaps == {"agent_not_running": 2, "device_offline": 1}
    assert "missing 0" in text_of(verdict)
    assert "Every sample that the agent has read is accounted for." in text_of(verdict)


def test_what_waits_in_the_outbox_is_accounted_for() -> None:
    def change(status: dict[str, Any], ledger: dict[str, Any], rows: dict[str, int]) -> None:
        status["outbox"] = {"samples": 6, "samples_pending": 1}
        ledger["epochs"][1]["samples"] -= 7
        ledger["samples"] -= 7
        rows["press"] -= 7

    assert judged(change).problems() == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s, b, r: b.update(missing=2), "2 batches are missing from the ledger"),
        (lambda s, b, r: b.update(dead_letters=3), "3 messages are in the dead letters"),
        (lambda s, b, r: (r.pop("oven"), b.update(samples=180)), "nothing of the device oven is stored"),
        (lambda s, b, r: s.update(devices=[]), "the agent has read no device"),
        (lambda s, b, r: s["devices"][0].update(samples=71), "1 samples that the agent has read are neither stored"),
        (lambda s, b, r: b["epochs"].pop(), "100 samples that the agent has read are neither stored"),
        (lambda s, b, r: r.update(press=179), "the ledger says 250 samples, but PostgreSQL has 249 rows"),
        (lambda s, b, r: r.update(press=181), "the ledger says 250 samples, but PostgreSQL has 251 rows"),
    ],
)
def test_each_problem_is_found(change: Any, sentence: str) -> None:
    verdict = judged(change)
    assert any(sentence in problem for problem in verdict.problems())
    assert f"WRONG: {verdict.problems()[0]}" in text_of(verdict)
    assert "Every sample" not in text_of(verdict)


def test_a_dead_letter_that_belongs_to_no_agent_is_found() -> None:
    assert judged(lambda *_: None, unassigned=1).problems() == ["1 messages are in the dead letters"]
