"""What ``cloud-ingest`` shows: numbers with their nouns, times with their zone, names as they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from io import StringIO
from typing import Any

import pytest
from rich.console import Console, RenderableType

from cloud_ingest.cli.ledger_screens import ledger_screen
from cloud_ingest.cli.screens import (
    agents_screen,
    exact_time,
    more_follow,
    samples_screen,
    status_screen,
    tags_screen,
)

EIGHT = datetime(2026, 11, 22, 8, tzinfo=UTC)
EPOCH: dict[str, Any] = {
    "epoch": "0123456789abcdef",
    "started": EIGHT,
    "last_batch": None,
    "end": "open",
    "has_closed_end": False,
    "arrived": [(1, 1)],
    "missing": [],
    "given_up": [],
    "stuck": [],
    "samples": 1,
}
LEDGER: dict[str, Any] = {
    "agent": "plant/line-1",
    "arrived": 1,
    "missing": 0,
    "oldest_missing": None,
    "last_seen": EIGHT,
    "clock_error_s": None,
    "silent_s": 1.0,
    "given_up": 0,
    "unknown_ends": 0,
    "unnumbered_dead_letters": 0,
    "parked": 0,
    "oldest_parked": None,
    "stuck": 0,
    "delay": None,
    "reasons": [],
    "closings": [],
    "gaps_total": 0,
    "samples": 1,
    "duplicates": 0,
    "dead_letters": 0,
    "epochs": [EPOCH],
    "gaps": [],
}


def shown(screen: RenderableType) -> list[str]:
    """The lines of a screen, without what pads them."""
    file = StringIO()
    Console(file=file, width=400, color_system=None, highlight=False).print(screen)
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_the_ledger_of_one_batch_is_in_the_singular() -> None:
    gap = {"device": "press", "reason": "device_unavailable", "first": EIGHT, "last": EIGHT, "samples": 1}
    one = {**LEDGER, "duplicates": 1, "given_up": 1, "parked": 1, "dead_letters": 1}
    one |= {"gaps": [gap] * 20, "gaps_total": 21}
    one["epochs"] = [{**EPOCH, "given_up": [(7, 7)]}]
    assert shown(ledger_screen([one], 1, 1)) == [
        "plant/line-1 1 batch with 1 sample, missing 0, 1 duplicate refused",
        "1 batch given up: 7 of 0123456789abcdef",
        "1 batch waits for its definition",
        "epoch started (UTC) batches ends at missing samples",
        "0123456789abcdef 2026-11-22 08:00:00 1 open none 1",
        *["gap press: 2026-11-22 08:00:00 to 2026-11-22 08:00:00 UTC, 1 sample: device_unavailable"] * 20,
        "and 1 earlier gap (--json shows the newest 1,000)",
        "1 message in the dead letters",
        "",
        "1 dead letter of no known agent",
        "1 event that a part of the platform could not take: `cloud-ingest event-letters list`",
    ]


def test_the_ledger_of_many_is_in_the_plural() -> None:
    many = {**LEDGER, "arrived": 1200, "samples": 0, "parked": 2, "dead_letters": 2}
    lines = shown(ledger_screen([many], 2, 2))
    assert lines[0] == "plant/line-1 1,200 batches with 0 samples, missing 0, 0 duplicates refused"
    assert lines[1] == "2 batches wait for their definitions"
    assert lines[-4:-1] == ["2 messages in the dead letters", "", "2 dead letters of no known agent"]
    assert lines[-1].startswith("2 events that a part of the platform could not take: ")


def test_the_oldest_missing_batch_and_a_silent_agent_are_shown_with_since_when() -> None:
    oldest = {"epoch": "0123456789abcdef", "batch": 7, "since": EIGHT}
    lines = shown(ledger_screen([{**LEDGER, "missing": 2, "oldest_missing": oldest, "silent_s": 7500.0}], 0, 0))
    assert lines[1:3] == [
        "oldest missing: batch 7 of 0123456789abcdef, incomplete since 2026-11-22 08:00:00 UTC",
        "silent for 2 hours: the last message came at 2026-11-22 08:00:00 UTC",
    ]


@pytest.mark.parametrize(("arrived", "after"), [([(1, 5), (7, 9)], "after batch 9"), ([], "at all")])
def test_an_epoch_that_never_said_how_far_it_went_is_explained(arrived: list[tuple[int, int]], after: str) -> None:
    lost = {**EPOCH, "epoch": "00000000000000aa", "arrived": arrived, "end": "undeclared"}
    told = {**EPOCH, "epoch": "00000000000000bb", "end": "declared", "last_batch": 12}
    lines = shown(ledger_screen([{**LEDGER, "epochs": [lost, told, EPOCH]}], 0, 0))
    ends = {line.split()[0]: line.split()[-3] for line in lines[2:5]}
    assert ends == {"00000000000000aa": "unknown", "00000000000000bb": "12", "0123456789abcdef": "open"}
    (explained,) = [line for line in lines if line.startswith("epoch 00000000000000aa")]
    assert f"never said how far it went, and a later start knew nothing of it: what it had taken {after}" in explained
    assert "Was the agent's disk replaced" in explained


def test_the_status_shows_each_stage_with_everything_that_is_wrong_with_it() -> None:
    stages = [
        {"stage": "broker", "ok": True, "state": "lineside is online at mqtts://b:8883", "reasons": []},
        {"stage": "historian", "ok": False, "state": "h:7", "reasons": ["h:7, historian lag: late", "h:8 is silent"]},
    ]
    partitions = [
        {"partition": 0, "historian": "h:7", "records": 1, "behind_s": 0.25},
        {"partition": 1, "historian": None, "records": 4200, "behind_s": 1234.5},
    ]
    assert shown(status_screen({"stages": stages, "partitions": partitions})) == [
        "stage state",
        "broker ok lineside is online at mqtts://b:8883",
        "historian not ok h:7, historian lag: late",
        "h:8 is silent",
        "",
        "partition stored by not stored yet behind",
        "0 h:7 1 record 0.2 s",
        "1 nobody who says so 4,200 records 1,234.5 s",
    ]


def test_names_are_shown_as_they_are_and_never_as_commands() -> None:
    tag = {
        "tag_id": 1,
        "agent": "plant/[red]",
        "device": "oven",
        "tag": "zone[left]\x1b[2J",
        "type": "Float",
        "unit": "°",
    }
    assert shown(tags_screen([tag]))[1] == "1 plant/[red] oven zone[left]·[2J Float °"
    agent = {
        "agent": "[b]/x",
        "online": True,
        "acknowledges": False,
        "tags": 1,
        "last_seen": EIGHT,
        "clock_error_s": -3700.0,
        "forged": 2,
        "forged_reason": "[b]not signed",
        "audit_alarms": ["[b]cut off"],
        "locked": [{"line": "[b]press", "actor": "carla", "reason": "[b]cleaning", "since": EIGHT}],
    }
    device = {"device": "[left]", "online": False, "since": None}
    lines = shown(agents_screen([{**agent, "devices": [device]}]))
    assert lines == [
        "agent state delivery tags last seen (UTC)",
        "[b]/x online sparkplug 1 2026-11-22 08:00:00",
        "its clock is 61 minutes behind",
        "its audit log: [b]cut off",
        "2 messages under its name not believed: [b]not signed",
        "[b]press is locked by carla: [b]cleaning 2026-11-22 08:00:00",
        "[left] offline -",
    ]
    rows = [{"time": EIGHT, "value": "[on]", "quality": "Good"}, {"time": EIGHT, "value": None, "quality": "Bad"}]
    assert shown(samples_screen(rows)) == [
        "time (UTC) value quality",
        "2026-11-22T08:00:00.000000Z [on] Good",
        "2026-11-22T08:00:00.000000Z - Bad",
    ]


def test_a_time_that_is_shown_can_be_asked_for() -> None:
    there = datetime(2026, 11, 22, 9, 0, 0, 123456, timezone(timedelta(hours=1)))
    assert exact_time(there) == "2026-11-22T08:00:00.123456Z"
    assert datetime.fromisoformat(exact_time(there)) == there


def test_that_more_follow_is_said_with_how_to_get_it() -> None:
    assert more_follow(100, EIGHT, gathered=False) == (
        "100 samples shown, which are the first; more follow. The next: --from 2026-11-22T08:00:00.000000Z   "
        "more at once: --count 1000   gathered: --bucket 1m"
    )
    assert more_follow(1, EIGHT, gathered=True).startswith("1 interval shown, which is the first; more follow.")
