"""What an operator sees and types at a real terminal, beside a real agent with real devices."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator

import pytest

from edge_agent.cli.live_terminal import ENTER, LEAVE
from tests.patience import WAIT_S_MAX
from tests.system.operator_line import BAD_SENSOR, OperatorLine, operator_line
from tests.system.sparkplug_host import until
from tests.system.terminal import Terminal

LEFT = LEAVE.encode()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorLine]:
    with operator_line(tmp_path_factory.mktemp("a")) as running:
        yield running


def rows(terminal: Terminal) -> list[str]:
    """The first words of the lines that are tags."""
    return [line.split()[0] for line in terminal.screen if re.match(r"(press|oven|robot)/", line)]


def row(terminal: Terminal, tag: str) -> str:
    """The line of a tag; empty while the screen is being drawn."""
    return next((line for line in terminal.screen if tag in line), "")


# ---------------------------------------------------------------------------------------------------------------------


def test_status_is_one_screen_of_eighty_columns(line: OperatorLine) -> None:
    with line.terminal("status", lines=60) as terminal:
        assert terminal.end() == 1, "the robot is away"
        text = terminal.text
    said = terminal.raw.decode()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert max(len(one) for one in plain.splitlines()) <= 80
    assert len(plain.splitlines()) <= 36
    for part in ("plant/line", "press (opcua) online", "robot (modbus) offline", "press: forec: the server has no such",
                 "1 tag with quality BadSensorFailure (0x808C0000): sensor", "uplink online", "outbox",
                 "refused the connection"):  # fmt: skip
        assert part in text
    assert "\x1b[?" not in said, "a screen that is printed once takes nothing over"


def test_without_colour_the_screens_say_the_same(line: OperatorLine) -> None:
    with (
        line.terminal("status", lines=60) as coloured,
        line.terminal("status", lines=60, env={"NO_COLOR": "1"}) as plain,
    ):
        coloured.end()
        plain.end()
        assert "red" in coloured.colours
        assert plain.colours == {"default"}
        assert re.sub(r"\d", "", plain.text)[:200] == re.sub(r"\d", "", coloured.text)[:200]
    with line.terminal("watch", env={"NO_COLOR": "1"}) as plain:
        plain.shows("press/force", "BadSensorFailure")
        assert plain.colours == {"default"}


def test_status_goes_on_until_it_is_left_and_shows_what_changes(line: OperatorLine) -> None:
    with line.terminal("status", "--watch", "-n", "0.2", lines=60) as terminal:
        terminal.shows("press (opcua) online", "uplink online")
        assert "LOCKED" not in terminal.text
        line.agent.command("lock", "press", "--reason", "a look inside")
        terminal.shows("LOCKED press by", "a look inside")
        line.agent.command("unlock", "press")
        terminal.until(lambda: "LOCKED" not in terminal.text)
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.modes == terminal.modes_before


# ---------------------------------------------------------------------------------------------------------------------


def test_watch_shows_values_as_they_change_with_their_course(line: OperatorLine) -> None:
    with line.terminal("watch", "-n", "0.1", columns=100) as terminal:
        terminal.shows("press/force", "oven/zone", "robot/x", "tags by name")
        for value in (10.0, 50.0, 99.5):
            line.press.write("force", "Double", value)
            terminal.until(lambda value=value: f"{value:g}" in row(terminal, "press/force"))
        terminal.until(lambda: row(terminal, "press/force").endswith("▁▄█"))
        terminal.type("q")
        assert terminal.end() == 0


def test_watch_filters_sorts_and_pauses_by_keys(line: OperatorLine) -> None:
    with line.terminal("watch", "-n", "0.1") as terminal:
        terminal.shows("press/force", "oven/zone", "robot/x")
        every = rows(terminal)
        terminal.type("/press/s*\r")
        terminal.until(lambda: rows(terminal) == ["press/sensor", "press/speed", "press/state"])
        terminal.shows("3 tags of 9", "filter: press/s*")
        terminal.type("r")
        terminal.until(lambda: rows(terminal) == ["press/state", "press/speed", "press/sensor"])
        terminal.type("r\x1b")
        terminal.until(lambda: rows(terminal) == every)
        terminal.type("b")
        terminal.until(lambda: rows(terminal) == ["press/forec", "press/sensor", "robot/x"])
        terminal.shows("only bad or stale", "BadNodeIdUnknown")
        terminal.type("b")
        terminal.until(lambda: rows(terminal) == every)
        terminal.type(" ")
        terminal.shows("PAUSED")
        line.press.write("state", "String", "seen later")
        until(lambda: line.host.values("press", "state")[-1] == "seen later")
        assert "seen later" not in terminal.text
        terminal.type(" ")
        terminal.shows("seen later")


@pytest.mark.parametrize("how", ["q", "\x03", signal.SIGTERM], ids=["q", "ctrl-c", "sigterm"])
def test_however_watch_is_left_the_terminal_is_as_it_was(line: OperatorLine, how: str | signal.Signals) -> None:
    with line.terminal("watch") as terminal:
        terminal.shows("press/force")
        assert terminal.modes != terminal.modes_before
        if isinstance(how, signal.Signals):
            terminal.process.send_signal(how)
        else:
            terminal.type(how)
        assert terminal.end() == 0
        assert terminal.modes == terminal.modes_before
        assert ENTER.encode() in terminal.raw
        assert terminal.raw.count(LEFT) == 1


def test_watch_takes_the_size_that_the_terminal_gets(line: OperatorLine) -> None:
    with line.terminal("watch", columns=120, lines=30) as terminal:
        terminal.shows("course", "q quit")
        terminal.resize(60, 12)
        terminal.until(lambda: terminal.screen[11].startswith(" q quit") and "press/force" in rows(terminal))


def test_watch_says_that_the_agent_has_stopped_and_gives_the_terminal_back(line: OperatorLine) -> None:
    with line.terminal("watch") as terminal:
        terminal.shows("press/force")
        line.agent.stop()
        assert terminal.end() == 3
        assert terminal.modes == terminal.modes_before
        assert "has it stopped?" in terminal.raw.decode()
    line.agent.start()
    line.wait_until_seen()


def test_a_terminal_that_cannot_place_its_cursor_gets_lines(line: OperatorLine) -> None:
    with line.terminal("watch", "-n", "0.1", "--device", "press", env={"TERM": "dumb"}, columns=200) as terminal:
        terminal.shows("press/state")
        line.press.write("state", "String", "on a line printer")
        terminal.shows("press/state on a line printer Good")
        assert b"\x1b[" not in terminal.raw


# ---------------------------------------------------------------------------------------------------------------------


def test_read_asks_the_device_and_not_what_is_kept(line: OperatorLine) -> None:
    line.oven.set("holding", 0, 1805)
    said = line.agent.command("read", "zone", "press/state")
    assert said.code == 0
    assert re.match(r"oven/zone = 180.5 °C  Good  Double  \d\d:\d\d:\d\d\.\d{3} UTC \(read in [\d.]+ ms\)", said.out)
    answer = line.agent.command("read", "press/*", "--json")
    assert answer.code == 1, "one of them has no node, and one is bad"
    found = {one["tag"]: one for one in answer.json}
    assert found["force"]["error"] == ""
    assert (found["forec"]["quality"], "no such node" in found["forec"]["problem"]) == ("BadNodeIdUnknown", True)
    assert "BadNodeIdUnknown (0x80340000): the server has no such node" in line.agent.command("read", "forec").out
    assert found["sensor"]["quality_code"] == f"0x{BAD_SENSOR:08X}"
    cached = line.agent.command("read", "force", "--cached")
    assert (cached.code, "(cached)" in cached.out) == (0, True)
    assert "refused the connection" in line.agent.command("read", "robot/x").out


def test_a_mistyped_tag_is_answered_with_the_nearest(line: OperatorLine) -> None:
    said = line.agent.command("read", "press/forse")
    assert (said.code, said.out) == (2, "")
    assert "did you mean press/forec or press/force?" in said.err
    assert "no device 'ofen'" in line.agent.command("read", "ofen/x").err


# ---------------------------------------------------------------------------------------------------------------------


def test_write_shows_what_is_there_and_the_limits_and_does_nothing_unless_told_to(line: OperatorLine) -> None:
    line.press.write("speed", "Double", 40.0)
    with line.terminal("write", "press/speed", "55") as terminal:
        terminal.shows("press/speed: 40 1/min → 55 1/min", "strokes of the ram", "limits 0 to 100 1/min", "why:")
        terminal.type("trial\r")
        terminal.shows("write it? [y/N]:")
        terminal.type("n\r")
        assert terminal.end() == 1
        terminal.shows("nothing was written")
    assert line.press.read("speed")[1] == 40.0
    assert line.agent.command("commands", "list", "--json").json == []


def test_write_does_it_once_somebody_says_yes_and_reads_back(line: OperatorLine) -> None:
    with line.terminal("write", "speed", "55", "--reason", "job 81") as terminal:
        terminal.shows("write it? [y/N]:")
        terminal.type("y\r")
        assert terminal.end() == 0
        terminal.shows("press/speed: done, and holds 55")
    assert line.press.read("speed")[1] == 55.0


def test_who_writes_what_nobody_may_write_is_told_before_anything_is_asked(line: OperatorLine) -> None:
    with line.terminal("write", "press/force", "1") as terminal:
        assert terminal.end() == 1
        terminal.shows("press/force is not writable: its entry in the device file has to say so ('writable')")


def test_write_beyond_the_limits_is_refused(line: OperatorLine) -> None:
    before = line.press.read("speed")[1]
    with line.terminal("write", "speed", "101", "--reason", "too fast", "--yes") as terminal:
        assert terminal.end() == 1
        terminal.shows("refused", "100")
        assert "write it?" not in terminal.text
    assert line.press.read("speed")[1] == before


def test_scripts_are_never_asked_and_say_why(line: OperatorLine) -> None:
    silent = line.agent.command("write", "oven/setpoint", "200")
    assert (silent.code, silent.out) == (2, "")
    assert "--reason" in silent.err
    done = line.agent.command("write", "oven/setpoint", "200", "--reason", "script", "--json")
    assert (done.code, done.json["state"]) == (0, "succeeded")
    assert line.oven.get("holding", 1) == [200]
    refused = line.agent.command("write", "press/force", "1", "--reason", "script")
    assert (refused.code, "writable" in refused.out) == (1, True)


# ---------------------------------------------------------------------------------------------------------------------


def test_logs_tell_in_plain_words_what_happened(line: OperatorLine) -> None:
    said = line.agent.command("logs")
    assert said.code == 0
    assert re.search(r"\d\d:\d\d:\d\d\.\d{3} info +press is connected: 5 tags known, 1 with a problem", said.out)
    assert re.search(r"warning +robot is away, next attempt in [\d.]+ s: ", said.out)
    robot = line.agent.command("logs", "--device", "robot", "--level", "warning", "--json").out.splitlines()
    assert robot
    assert {(one["device"], one["event"]) for one in map(json.loads, robot)} == {("robot", "device_lost")}
    assert line.agent.command("logs", "-n", "1").out.count("\n") == 1
    assert line.agent.command("logs", "--since", "soon").code == 2
    unknown = line.agent.command("logs", "--device", "kiln")
    assert (unknown.code, unknown.err) == (1, "no device 'kiln'; there are oven, press, robot\n")
    quiet = line.agent.command("logs", "--device", "oven", "--level", "error")
    assert (quiet.code, quiet.out, "is one of these" in quiet.err) == (0, "", True)


def test_logs_go_on_while_they_are_followed(line: OperatorLine) -> None:
    with line.terminal("logs", "--follow", "--device", "oven", columns=160) as terminal:
        terminal.shows("oven is connected")
        line.agent.command("lock", "oven", "--reason", "mould change")
        terminal.shows("oven is locked by", "mould change")
        line.agent.command("unlock", "oven")
        terminal.type("\x03")
        assert terminal.end() == 0


def test_commands_are_shown_as_they_come_until_somebody_leaves(line: OperatorLine) -> None:
    with line.terminal("commands", "list", "--watch") as terminal:
        terminal.shows("id, and what was asked for")
        line.agent.command("write", "oven/setpoint", "205", "--reason", "a test")
        terminal.shows("oven/setpoint := 205", "succeeded")
        terminal.type("q")
        assert terminal.end() == 0


def test_trace_follows_a_sample_from_the_wire_to_the_acknowledgement(line: OperatorLine) -> None:
    with line.terminal("trace", "press/force") as terminal:
        terminal.shows("press/force: nsu=", "every value is reported")
        line.press.write("force", "Double", 77.25)
        assert terminal.end() == 0
        steps = [one.split()[3] for one in terminal.screen if re.match(r"\d\d:\d\d:\d\d", one)]
        assert steps == ["received", "reported", "committed", "sent", "acknowledged"]
        assert "77.25 of" in terminal.text
        assert max(len(one) for one in terminal.raw.decode().splitlines()) <= 80


def test_trace_of_a_derived_tag_has_its_formula(line: OperatorLine) -> None:
    with line.terminal("trace", "work") as terminal:
        terminal.shows("press/work: = force * speed")
        line.press.write("force", "Double", 31.0)
        assert terminal.end() == 0
        terminal.shows("received", "acknowledged")
    refused = line.agent.command("write", "press/work", "1", "--reason", "script")
    assert (refused.code, line.agent.command("read", "work").code) == (1, 0)


def test_trace_says_how_far_a_sample_came(line: OperatorLine) -> None:
    none = line.agent.command("trace", "press/state", "--within", "1s")
    assert (none.code, "no sample came" in none.err) == (1, True)
    line.host.acknowledges = False
    try:
        tracing = line.agent.watch("trace", "press/state", "--within", "15s", "--json")
        assert tracing.stdout is not None
        assert json.loads(tracing.stdout.readline())["tag"] == "state"
        line.press.write("state", "String", "nobody answers")
        out, err = tracing.communicate(timeout=WAIT_S_MAX)
        assert [json.loads(one)["step"] for one in out.splitlines()][:4] == [
            "received",
            "reported",
            "committed",
            "sent",
        ]
        assert (tracing.returncode, "the newest was sent" in err) == (1, True)
    finally:
        line.host.acknowledges = True
        line.host.acknowledge_all()
