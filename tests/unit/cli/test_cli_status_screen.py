"""The status screen says what is wrong, where and what to do, and nothing that is not true."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from edge_agent.cli.screens import insecure_sentences, status_screen


def device(name: str, driver: str = "modbus", **more: Any) -> dict[str, Any]:
    return {
        "device": name, "driver": driver, "endpoint": f"tcp://{name}", "online": True, "reason": "", "tags": 3,
        "problems": [], "not_good": [], "bad": 0, "samples_per_s": 1.0, "unborn": "", "online_s": 7200.0,
        "without_value": {"tags": 0, "names": []}, "reconnects": 0, "last_sample_s": 0.4, **more,
    }  # fmt: skip


def status(*devices: dict[str, Any], insecure: list[str] | None = None, **outbox: Any) -> dict[str, Any]:
    return {
        "agent": "plant/line", "version": "1.2.3", "uptime_s": 5.0, "commissioning": False, "promise": "kept",
        "insecure": insecure or [], "devices": list(devices), "waiting_for_outbox": "",
        "uplink": {
            "broker": "mqtts://b", "phase": "born", "reason": "", "host": "lineside", "host_online": None, "resent": 0,
            "acknowledged": 1, "refused": 0, "unanswered": False, "in_flight": 0,
            "lag_s": 0.1, "previews": 0, "clock_error_s": 0.3,
        },
        "outbox": {
            "batches": 0, "samples": 0, "oldest_s": None, "blocked": "", "waiting_bytes": 0, "database_bytes": 8192,
            "samples_pending": 0,
            "wal_bytes": 16_400_000, "used_bytes": 8192, "limit_bytes": 1_984_000_000, "limit_reason": "outbox_full",
            "free_disk_bytes": 5_000_000_000, "refuses_samples": False, "set_aside": [],
            "forecast": {"measured_s": 60.0, "full_s": None, "drained_s": 0.0}, **outbox,
        },
    }  # fmt: skip


def screen(document: dict[str, Any], columns: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=columns, highlight=False).print(status_screen(document))
    return out.getvalue()


def test_what_waits_is_told_apart_from_what_the_files_take() -> None:
    empty = screen(status(), 120)
    assert "outbox   nothing is waiting\n" in empty
    assert "files: database 8.2 kB, write-ahead log 16.4 MB; they keep their size and are used again" in empty
    some = screen(status(batches=1, samples=1, waiting_bytes=32, oldest_s=1.0))
    assert "outbox   1 sample in 1 batch waiting, 32 B, the oldest for 1 s\n" in some
    many = screen(status(batches=1200, samples=50_000, waiting_bytes=4_000_000, oldest_s=300.0))
    assert "outbox   50,000 samples in 1,200 batches waiting, 4.0 MB, the oldest for 5 min\n" in many


def test_how_long_until_the_outbox_is_full_or_drained() -> None:
    assert "drained" not in screen(status())
    away = {"measured_s": 120.0, "full_s": 9000.0, "drained_s": None}
    shown = screen(status(batches=9, samples=900, forecast=away), 120)
    assert "drained not at this rate, full in 2.5 h; by the rates of the last 2 min" in shown
    catching_up = {"measured_s": 30.0, "full_s": None, "drained_s": 0.4}
    assert "drained now, full not at this rate;" in screen(status(batches=1, samples=1, forecast=catching_up), 120)
    early = {"measured_s": 0.0, "full_s": None, "drained_s": None}
    assert "rates are being measured" in screen(status(batches=1, samples=1, forecast=early), 120)


def test_a_device_shows_where_it_is_for_how_long_and_how_fresh_it_is() -> None:
    oven = device("oven", reconnects=3, last_sample_s=75.0)
    wide = next(line for line in screen(status(oven), 120).splitlines() if line.startswith("oven"))
    assert " ".join(wide.split()) == "oven (modbus) online 2.0 h 3 0 1.0 75 s 3 tcp://oven"
    narrow = screen(status(oven), 80).splitlines()
    at = next(number for number, line in enumerate(narrow) if line.startswith("oven"))
    assert " ".join(narrow[at].split()) == "oven (modbus) online 2.0 h 3 0 1.0 75 s 3"
    assert narrow[at + 1].strip() == "tcp://oven"
    many = screen(status(*(device(f"d{number}") for number in range(9))), 80)
    assert "tcp://" not in many, "endpoints of many devices would push the rest off the screen"


def test_an_endpoint_has_a_line_of_its_own_and_is_whole_at_80_columns() -> None:
    endpoint = "opc.tcp://press.hall-1.plant-7.example:4840/ua/server"
    lines = [line.rstrip() for line in screen(status(device("press", "opcua", endpoint=endpoint))).splitlines()]
    assert f"  {endpoint}" in lines
    assert max(map(len, lines)) <= 80
    many = screen(status(*(device(f"press-{number}", endpoint=endpoint) for number in range(9))))
    assert endpoint not in many, "of many devices each has one line"


def test_tags_without_any_value_are_counted_and_the_first_named() -> None:
    empty = {"tags": 4, "names": ["a", "b", "c"]}
    assert "oven: 4 tags without any value so far: a, b, c and more; edge-agent tags -d oven\n" in screen(
        status(device("oven", without_value=empty)), 120
    )


def test_a_device_of_which_nothing_can_be_sent_is_named() -> None:
    shown = screen(status(device("oven", unborn="its birth takes 9,000 bytes"), device("press")), 120)
    assert "oven: NOTHING OF IT IS SENT: its birth takes 9,000 bytes" in shown
    assert shown.count("NOTHING OF IT") == 1


def test_how_full_the_outbox_is_shows_when_it_matters() -> None:
    assert "in use" not in screen(status(used_bytes=1_000_000_000))
    full = screen(status(used_bytes=1_800_000_000), 120)
    assert "91 % of 2.0 GB in use (outbox.size_max); the disk has 5.0 GB free" in full
    assert "NO ROOM" not in full
    assert "NO ROOM: older samples give way, and gaps say so" in screen(status(used_bytes=1_940_000_000))
    refuses = screen(status(used_bytes=1_940_000_000, refuses_samples=True), 120)
    assert "NO ROOM: samples that come now are given up (when_full: drop_newest)" in refuses
    disk = screen(status(limit_reason="disk_full", limit_bytes=50_000_000, free_disk_bytes=90_000_000), 120)
    why = "it grows no further, as the disk has less than outbox.free_disk_min left"
    assert f"0 % of 50.0 MB in use ({why}); the disk has 90.0 MB free" in " ".join(disk.split())


def test_a_disk_that_takes_nothing_is_said_with_what_waits_in_memory_and_no_forecast() -> None:
    why = "the outbox /data/outbox.db cannot be written: database or disk is full"
    said = screen(status(blocked=why, batches=3, samples=9, samples_pending=2, limit_reason="disk_full"), 120)
    assert f"BLOCKED, 2 samples in memory: {why}" in " ".join(said.split())
    assert "at this rate" not in said
    assert "in use" not in said


def test_an_uplink_that_catches_up_says_how_far_behind_it_is() -> None:
    document = status()
    document["uplink"]["lag_s"] = 300.0
    assert "catching up: what leaves now is 5 min old; the newest values are previewed" in screen(document, 120)


def test_a_clock_that_differs_from_the_host_s_is_said_with_what_to_do() -> None:
    document = status()
    assert "clock" not in screen(document)
    document["uplink"]["clock_error_s"] = -3700.0
    assert "the clock of this box is 62 min behind the host's: look at its time server" in screen(document, 120)


def test_one_batch_is_singular() -> None:
    document = status()
    assert "1 batch acknowledged, " in screen(document)
    document["uplink"]["acknowledged"] = 0
    assert "0 batches acknowledged, " in screen(document)


def test_insecure_says_of_each_protocol_what_is_true() -> None:
    document = status(
        device("oven"),
        device("dryer"),
        device("press", "opcua"),
        device("mill", "opcua"),
        device("robot", "other"),
        insecure=[
            "uplink mqtt://b:1883", "device oven tcp://oven", "device dryer tcp://dryer", "device press tcp://press",
            "device robot tcp://robot",
        ],
    )  # fmt: skip
    assert insecure_sentences(document) == [
        "Modbus/TCP is neither encrypted nor authenticated; tls:// is, where the device has it: oven, dryer",
        "OPC UA neither signed nor encrypted, allowed by 'insecure: true': press",
        "neither encrypted nor authenticated: robot",
        "MQTT without TLS, allowed by 'insecure: true': mqtt://b:1883",
    ]
    assert insecure_sentences(status(device("press", "opcua"))) == []


def test_a_device_that_is_away_is_named_once_with_its_reason() -> None:
    named = screen(status(device("oven", online=False, reason="oven: nobody answers")))
    assert "\noven: nobody answers\n" in named
    nameless = screen(status(device("oven", online=False, reason="not connected yet")))
    assert "\noven: not connected yet\n" in nameless


def test_tags_with_problems_and_with_bad_quality_are_said() -> None:
    problems = [{"tag": f"t{number}", "reason": "no such node"} for number in range(12)]
    quality = [{"quality": "BadSensorFailure", "code": "0x808C0000", "tags": 2}]
    shown = screen(status(device("oven", problems=problems, not_good=quality, bad=14)), 120)
    assert "oven: t9: no such node\n" in shown
    assert "t10" not in shown
    assert "oven: 2 more tags with a problem; edge-agent tags -d oven\n" in shown
    assert "oven: 2 tags with quality BadSensorFailure (0x808C0000); edge-agent tags -d oven\n" in shown


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_long_sentences_are_wrapped_under_their_label(columns: int) -> None:
    reason = "the broker mqtt://b cannot be reached: " + "its host name is unknown; check the spelling " * 3
    document = status(device("oven", online=False, reason="oven: " + "check the cable and the switch " * 8))
    document["uplink"] |= {"phase": "offline", "reason": reason}
    lines = screen(document, columns).splitlines()
    assert all(len(line) <= columns for line in lines)
    at = next(number for number, line in enumerate(lines) if line.startswith("uplink   offline"))
    assert lines[at + 1].startswith("         the broker mqtt://b cannot")
    assert lines[at + 2].startswith("         ")
    at = next(number for number, line in enumerate(lines) if line.startswith("oven: check"))
    assert lines[at + 1].startswith("  ")
    assert " ".join(" ".join(lines).split()).count("check the cable and the switch") == 8


def test_names_in_brackets_are_no_markup() -> None:
    shown = screen(status(device("[red]oven[/red]", online=False, reason="[bold]x")))
    assert "[red]oven[/red] (modbus)" in shown
    assert "[red]oven[/red]: [bold]x" in shown


def test_nothing_acknowledged_says_what_to_look_at() -> None:
    document = status()
    document["uplink"]["unanswered"] = True
    words = " ".join(screen(document).split())
    assert "NOTHING IS ACKNOWLEDGED: is cloud-ingest running, and on this broker?" in words
    assert "Does the broker let this agent publish?" in words


def test_a_broker_that_cannot_be_reached_is_the_only_reason_that_is_said() -> None:
    document = status()
    document["uplink"] |= {"unanswered": True, "phase": "offline", "reason": "the broker mqtts://b cannot be reached"}
    said = screen(document)
    assert "the broker mqtts://b cannot be reached" in said
    assert "cloud-ingest" not in said


def test_an_agent_that_waits_for_its_disk_says_so_and_nothing_else() -> None:
    waiting = {
        "agent": "plant/line", "version": "1.2.3", "uptime_s": 65.0, "devices": [device("press")],
        "waiting_for_outbox": "the outbox /data/outbox.db cannot be opened: the disk is read-only",
    }  # fmt: skip
    said = screen(waiting, 120)
    assert "up 65 s" in said
    assert "outbox   NOT OPEN: the outbox /data/outbox.db cannot be opened: the disk is read-only\n" in said
    assert "press" not in said


def test_a_damaged_outbox_that_was_set_aside_is_named() -> None:
    said = screen(status(set_aside=["/data/outbox.db.damaged-20261123T011502Z"]), 200)
    assert "a damaged outbox is set aside as /data/outbox.db.damaged-20261123T011502Z;" in said


def test_certificates_that_end_soon_are_said_and_others_are_not() -> None:
    document = status(device("press"))
    document["certificates"] = [{"problem": "the agent's own certificate ends in 9 days"}, {"problem": ""}]
    shown = screen(document, 120)
    assert "expiry   the agent's own certificate ends in 9 days\n" in shown
    assert shown.count("expiry") == 1


def test_a_device_that_is_reached_at_another_of_its_servers_says_so() -> None:
    reached = device("press", "opcua", reached_at="opc.tcp://b", endpoint="opc.tcp://a")
    assert "press: reached at opc.tcp://b, instead of opc.tcp://a" in screen(status(reached))
    assert "reached" not in screen(status(device("press", "opcua", reached_at="opc.tcp://a", endpoint="opc.tcp://a")))
