"""The live view fits every terminal, lines up, and shows what an operator has to see."""

from __future__ import annotations

import io
import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lineside.demo.questions import Look
from lineside.demo.screen import Scene, Screen, clock, counted, plain_line, value_text
from lineside.demo.three_commands import Shown
from rich.console import Console, Group

SCENE = Scene("Mosquitto", "http://127.0.0.1:12345", ["edge-agent status", "edge-agent watch"])


def tag(name: str, value: Any, unit: str = "", device: str = "press", **more: Any) -> dict[str, Any]:
    return {"device": device, "tag": name, "value": value, "unit": unit, "quality": "Good", "stale": False, **more}


def device(name: str = "press", **more: Any) -> dict[str, Any]:
    endpoint = f"opc.tcp://127.0.0.1/{name}"
    return {"device": name, "online": True, "samples_per_s": 12.34, "endpoint": endpoint, "reason": "", **more}


def status(*devices: dict[str, Any], **uplink: Any) -> dict[str, Any]:
    outbox = {"samples_committed": 4321, "batches": 2, "file_bytes": 1_500_000}
    return {
        "devices": list(devices),
        "outbox": outbox,
        "uplink": {"phase": "born", "reason": "", "in_flight": 1, **uplink},
    }


def ledger(**more: Any) -> dict[str, Any]:
    known = {"samples": 9876, "arrived": 1234, "duplicates": 0, "missing": 0, "dead_letters": 0, "gaps": []}
    return {**known, "epochs": [{}], **more}


def screen_of(*looks: Look) -> Screen:
    screen = Screen(SCENE)
    for look in looks:
        screen.take(look)
    return screen


def shown(look: Look, width: int = 80, height: int = 24) -> list[str]:
    return [line.plain.rstrip() for line in screen_of(look).lines(width, height, 75.0, math.inf)]


def drawn_look(random: Random) -> Look:
    """A look of any shape, with values and texts of every length and kind."""
    texts = ("", "x", "press", "température", "温度センサー", "a\nb\x1b[31m", "e" * 40, "🏭 oven")
    values = (None, True, False, 0, 6, 99, -(2**63), 2**64, 0.0, -0.04, 1e300, math.nan, math.inf, *texts)
    names = ("state", "fault/text", "fault", "belt/jam", "zone1/temperature", *texts)
    choice, devices = random.choice, random.sample(texts, random.randrange(4))
    tags = [
        tag(choice(names), choice(values), choice(("", "kWh", "°C", "a long unit")), name)
        | {"quality": choice((None, "Good", "BadNotConnected")), "stale": random.random() < 0.2}
        for name in devices
        for _ in range(random.randrange(25))
    ]
    found = [
        device(name, online=random.random() < 0.8, reason=choice(texts), samples_per_s=10.0 ** random.randrange(9))
        for name in devices
    ]
    gap = {"device": choice(texts), "reason": "agent_not_running"}
    gap |= {"first": "2026-01-02T03:04:05+00:00", "last": "2026-01-02T03:04:06+00:00"}
    count = 10 ** random.randrange(19)
    book = ledger(samples=count, missing=choice((0, count)), dead_letters=choice((0, count)), gaps=[gap])
    answers = status(*found, phase=choice(("born", "offline")), reason=choice(texts))
    answers["commands"] = choice((None, {"locks": [drawn_lock(random, texts) for _ in range(random.randrange(5))]}))
    commands = [drawn_command(random, texts) for _ in range(random.randrange(9))]
    return Look(choice((None, answers, answers)), tags, choice((None, book, book)), choice((None, commands)))


def drawn_lock(random: Random, texts: tuple[str, ...]) -> dict[str, Any]:
    return {key: random.choice(texts) for key in ("line", "actor", "reason")}


def drawn_command(random: Random, texts: tuple[str, ...]) -> dict[str, Any]:
    choice = random.choice
    write = {"do": "write", "device": choice(texts), "tag": choice(texts), "value": choice((1e300, True, 7, *texts))}
    run = {"do": "run", "device": choice(texts), "command": choice(texts), "arguments": {}}
    return command(
        choice(("demo-1", "other")), choice((None, write, run)), issuer=choice(texts), detail=choice(texts),
        code=choice((None, *texts)), state=choice(("succeeded", "unknown", "refused")),
    )  # fmt: skip


def command(id_: str, action: Any, **more: Any) -> dict[str, Any]:
    known = {"id": id_, "action": action, "changed": "2026-01-02T03:04:05+00:00", "state": "succeeded", "code": None}
    return {**known, "detail": "", "issuer": "demo", **more}


def write(value: float) -> dict[str, Any]:
    return {"do": "write", "device": "press", "tag": "ram/setpoint", "value": value}


SHOWN = Shown("done", "demo-1", "ram/setpoint := 32", "succeeded", 32.0, "")


@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 80), st.floats(0, 1e7))
def test_nothing_is_ever_wider_or_higher_than_the_terminal(
    seed: int, width: int, height: int, running_s: float
) -> None:
    random = Random(seed)
    screen = screen_of(*(drawn_look(random) for _ in range(3)))
    screen.take(drawn_look(random), random.choice(((), (SHOWN,))))
    lines = screen.lines(width, height, running_s, math.inf)
    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines)
    file = io.StringIO()
    Console(file=file, width=width, height=height, force_terminal=True).print(Group(*lines))
    assert file.getvalue().count("\n") == len(lines), "no line is wrapped"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 50)])
def test_values_units_and_qualities_line_up(width: int, height: int) -> None:
    tags = [
        tag("state", 6),
        tag("cycles", 1_234_567),
        tag("ram/force", -0.14, "kN"),
        tag("ram/speed", 25.0, "1/min"),
        tag("door/closed", value=True),
    ]
    lines = shown(Look(status(device()), tags, ledger()), width, height)
    rows = [next(line for line in lines if line.startswith(f" {one['tag']}")) for one in tags]
    assert len({row.index("Good") for row in rows}) == 1
    ends = {
        row.index(value) + len(value)
        for row, value in zip(rows, ("execute", "1,234,567", "-0.1", "25.0", "yes"), strict=True)
    }
    assert len(ends) == 1, "values are aligned to the right"
    assert {row.index("kN") for row in rows if "kN" in row} == {row.index("1/min") for row in rows if "1/min" in row}


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 50)])
def test_the_facts_are_always_in_sight(width: int, height: int) -> None:
    tags = [tag(f"tag{number}", number, device=name) for name in ("press", "oven") for number in range(18)]
    lines = shown(Look(status(device(), device("oven")), tags, ledger()), width, height)
    text = "\n".join(lines)
    for fact in ("24.7 samples/s, 4,321 since", "2 batches waiting, 1.5 MB", "9,876 rows", "1,234 batches arrived"):
        assert fact in text
    assert "missing 0" in text
    assert "running 1:15" in lines[0]
    assert "Ctrl-C" in text


def test_tags_that_do_not_fit_are_counted() -> None:
    tags = [tag(f"tag{number:02}", number) for number in range(18)]
    text = "\n".join(shown(Look(status(device()), tags, ledger())))
    assert sum(f"tag{number:02}" in text for number in range(18)) == 11
    assert "+7 tags" in text


def test_the_newest_commands_say_what_became_of_them_and_what_the_press_holds() -> None:
    refused = {"state": "refused", "code": "locked", "detail": "anna has locked press: the door is open"}
    commands = [command("3", write(50.0)), command("2", write(45.5), **refused), command("demo-1", write(32.0))]
    screen = screen_of()
    screen.take(Look(status(device()), [], ledger(), [*commands, command("0", write(1.0))]), [SHOWN])
    lines = [line.plain.rstrip() for line in screen.lines(80, 24, 0.0, math.inf)]
    assert lines[-4].endswith("press/ram/setpoint := 50 succeeded")
    assert " press/ram/setpoint := 4… refused, locked  anna has locke" in lines[-3]
    assert lines[-2].endswith("press/ram/setpoint := 32 succeeded ✓ press holds 32")
    assert "setpoint := 1 " not in "\n".join(lines), "three are enough on a small screen"


def test_a_lock_is_in_sight_with_its_reason_and_so_is_what_went_wrong() -> None:
    locked = status(device())
    locked["commands"] = {"locks": [{"line": "press", "actor": "anna", "reason": "the door is open"}]}
    screen = screen_of()
    wrong = Shown("done", "", "a new set-point", "not taken", None, "the API: no")
    screen.take(Look(locked, [], ledger(), [command(str(number), write(1.0)) for number in range(9)]), [wrong])
    text = "\n".join(line.plain for line in screen.lines(80, 24, 0.0, math.inf))
    assert "locked  press by anna: the door is open" in text
    assert "✗ done: the API: no" in text
    assert text.count("setpoint := 1") == 1


def test_what_people_did_at_the_machine_is_said_to_be_theirs() -> None:
    lines = shown(Look(status(device()), [], ledger(), [command("1", None, issuer="anna")]))
    assert "at the machine, by anna  succeeded" in lines[-2]


def test_alarms_are_named_even_where_their_tags_do_not_fit() -> None:
    tags = [tag(f"tag{number:02}", number) for number in range(18)]
    tags += [tag("fault", value=True), tag("belt/jam", value=True), tag("zone1/heater_trip", value=False)]
    line = shown(Look(status(device()), tags, ledger()))[4]
    assert "belt/jam" in line
    assert "heater_trip" not in line
    assert "opc.tcp" not in line


def test_the_text_of_a_fault_is_readable() -> None:
    fault = "Overload: ram force above 230 kN"
    for width, height in ((80, 24), (200, 50)):
        text = "\n".join(shown(Look(status(device()), [tag("fault/text", fault)], ledger()), width, height))
        assert fault in text


def test_a_device_that_is_offline_says_why() -> None:
    lines = shown(Look(status(device(online=False, reason="connection refused")), [], ledger()))
    assert "● offline" in lines[3]
    assert "connection refused" in lines[4]


def styles_of(look: Look, text: str) -> set[str]:
    for line in screen_of(look).lines(80, 24, 0.0, math.inf):
        if text in line.plain:
            begin = line.plain.index(text)
            return {str(span.style) for span in line.spans if span.start <= begin < span.end} | {str(line.style)}
    raise AssertionError(f"{text} is not shown")


def test_missing_is_green_at_zero_and_red_above() -> None:
    assert "bold green" in styles_of(Look(status(), [], ledger()), "missing 0")
    assert "bold red" in styles_of(Look(status(), [], ledger(missing=3)), "missing 3")


def test_values_are_not_dimmed_by_what_is_beside_them() -> None:
    look = Look(status(device(), device("oven")), [tag("cycles", 77), tag("parts", 88, device="oven")], ledger())
    for text in ("77", "88", "cycles", "press", "oven"):
        assert "bright_black" not in styles_of(look, text)


def test_silence_is_shown_as_such() -> None:
    assert any("the agent does not answer" in line for line in shown(Look(None, [], None)))
    assert "does not answer" in plain_line(Look(None, [], None), 1.0)
    assert "cloud side: no answer" in plain_line(Look(status(device()), [], None), 1.0)


def test_a_trend_rises_with_its_values_and_noise_is_level() -> None:
    def bars(name: str, values: list[float]) -> str:
        screen = screen_of(*(Look(status(device()), [tag(name, value, "°C")], ledger()) for value in values))
        line = next(line for line in screen.lines(200, 50, 0.0, math.inf) if line.plain.startswith(f" {name}"))
        return line.plain.split("Good")[1].strip()

    assert bars("oil", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]) == "▁▂▃▄▅▆▇█"
    assert set(bars("zone1", [160.0, 160.1, 160.0, 160.1])) <= set("▄▅")
    assert bars("setpoint", [25.0, 25.0, 25.0]) == ""
    assert bars("state", [6.0, 9.0]) == "■■"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("state", 1, "clearing"),
        ("state", 15, "resetting"),
        ("state", 99, "99"),
        ("parts", 1234567, "1,234,567"),
        ("fault", False, "no"),
        ("ram/force", 0.04, "0.0"),
        ("fault/text", "", "none"),
        ("anything", None, "-"),
    ],
)
def test_values_are_written_for_people(name: str, value: Any, text: str) -> None:
    assert value_text(tag(name, value))[0] == text


def test_times_and_counts_are_written_for_people() -> None:
    assert [clock(seconds) for seconds in (0, 59.9, 60, 3600, 3661)] == ["0:00", "0:59", "1:00", "1:00:00", "1:01:01"]
    assert [counted(number, "batch") for number in (0, 1, 2000)] == ["0 batches", "1 batch", "2,000 batches"]
    assert counted(1, "start") == "1 start"
    assert counted(2, "start") == "2 starts"
