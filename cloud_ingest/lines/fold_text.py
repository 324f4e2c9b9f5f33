"""A fold as JSON, in which it lies in its table."""

from __future__ import annotations

import json
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from cloud_ingest.lines.alarm_rules import Condition
from cloud_ingest.lines.counter_rules import CounterState
from cloud_ingest.lines.events import LineState
from cloud_ingest.lines.fold_rules import CountPlace, Fold, Meaning, StateSpan, Tally


def fold_text(fold: Fold) -> str:
    """``fold`` as JSON."""
    document = {
        "time_ns": fold.time_ns,
        "signal": fold.signal,
        "counters": {str(signal): asdict(state) for signal, state in fold.counters.items()},
        "tallies": [[asdict(place), asdict(tally)] for place, tally in fold.tallies.items()],
        "owed": fold.owed,
        "meaning": None if fold.meaning is None else asdict(fold.meaning),
        "is_fault": fold.is_fault,
        "speed": fold.speed,
        "counted_ns": fold.counted_ns,
        "bad": sorted(fold.bad),
        "lost": sorted(fold.lost),
        "state": fold.state,
        "reason": fold.reason,
        "since_ns": fold.since_ns,
        "before": None if fold.before is None else asdict(fold.before),
    }
    return json.dumps(document, default=str, separators=(",", ":"))


def read_fold(text: str) -> Fold:
    """The fold in ``text``; the empty text is that of no sample."""
    if not text:
        return Fold()
    told: dict[str, Any] = json.loads(text)
    meaning, before = told["meaning"], told["before"]
    return Fold(
        time_ns=told["time_ns"],
        signal=told["signal"],
        counters={int(signal): _counter(state) for signal, state in told["counters"].items()},
        tallies={CountPlace(**place): _tally(tally) for place, tally in told["tallies"]},
        owed=Decimal(told["owed"]),
        meaning=None if meaning is None else Meaning(LineState(meaning["state"]), meaning["reason"]),
        is_fault=told["is_fault"],
        speed=_number(told["speed"]),
        counted_ns=told["counted_ns"],
        bad=frozenset(told["bad"]),
        lost=frozenset(told["lost"]),
        state=LineState(told["state"]),
        reason=told["reason"],
        since_ns=told["since_ns"],
        before=None
        if before is None
        else StateSpan(before["begin_ns"], before["end_ns"], LineState(before["state"]), before["reason"]),
    )


def conditions_text(conditions: dict[str, Condition]) -> str:
    """The conditions of a line's alarms, by their codes."""
    return json.dumps({code: asdict(condition) for code, condition in conditions.items()}, separators=(",", ":"))


def read_conditions(text: str) -> dict[str, Condition]:
    """The conditions in ``text``."""
    return {code: Condition(**told) for code, told in json.loads(text).items()}


def _counter(told: dict[str, Any]) -> CounterState:
    return CounterState(Decimal(told["value"]), told["time_ns"], _number(told["candidate"]), told["candidate_ns"])


def _tally(told: dict[str, Any]) -> Tally:
    numbers = (Decimal(told[name]) for name in ("good", "reject", "energy"))
    return Tally(told["begin_ns"], told["end_ns"], *numbers)


def _number(told: str | None) -> Decimal | None:
    return None if told is None else Decimal(told)
