"""A first configuration by ``edge-agent init``: by options, and asked for on a terminal."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.system.edge_agent_steps import EDGE_AGENT
from tests.system.terminal import Terminal

OPTIONS = ("--group", "plant-7", "--name", "line-3", "--broker", "mqtts://broker.example:8883")


def init(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [EDGE_AGENT, "init", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def checked(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EDGE_AGENT, "check", "-c", path], capture_output=True, text=True, check=False)


def test_options_make_a_valid_file_that_its_schema_takes_and_that_begins_read_only(tmp_path: Path) -> None:
    devices = ("--device", "press: 1=opc.tcp://10.0.0.4:4840", "--device", "oven=tcp://10.0.0.5:502")
    made = init(tmp_path, *OPTIONS, *devices, "--insecure")
    assert made.returncode == 0, made.stderr
    assert "agent.yaml is written and valid" in made.stdout
    answer = checked(tmp_path / "agent.yaml")
    assert answer.stdout.endswith("valid, 2 devices with 2 tags\n")
    content = yaml.safe_load((tmp_path / "agent.yaml").read_text())
    jsonschema.validate(content, json.loads((tmp_path / "agent.schema.json").read_text()))
    assert content["agent"]["commissioning"] is True
    assert [device["name"] for device in content["devices"]] == ["press: 1", "oven"]
    assert sorted(os.listdir(tmp_path)) == ["agent.schema.json", "agent.yaml"]


def test_a_program_is_told_what_was_written(tmp_path: Path) -> None:
    made = init(tmp_path, "line.yaml", *OPTIONS, "--device", "oven=tls://10.0.0.5", "--json")
    assert json.loads(made.stdout) == {"file": "line.yaml", "schema": "agent.schema.json", "devices": ["oven"]}
    assert checked(tmp_path / "line.yaml").returncode == 0


def test_without_devices_it_is_valid_too(tmp_path: Path) -> None:
    assert init(tmp_path, "line.yaml", *OPTIONS).returncode == 0
    assert checked(tmp_path / "line.yaml").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--name", "line-3"), 2, "nobody can be asked here: write --group, --broker"),
        ((*OPTIONS, "--device", "press=opc.tcp://x:70000"), 1, "70000"),
        ((*OPTIONS, "--device", "press=http://x"), 2, "is no device: write NAME=ADDRESS, and for that opc.tcp://"),
        ((*OPTIONS[:4], "--broker", "mqtt://broker"), 1, "'mqtt://broker' is not encrypted"),
        ((*OPTIONS[2:], "--group", "a/b"), 1, "'a/b'"),
        (("/proc/nowhere/agent.yaml", *OPTIONS), 1, "cannot be written"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(
    tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    made = init(tmp_path, *words)
    assert (made.returncode, said in made.stderr) == (code, True), made.stderr
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("mine")
    made = init(tmp_path, *OPTIONS)
    assert made.returncode == 1
    assert "--force replaces it" in made.stderr
    assert (tmp_path / "agent.yaml").read_text() == "mine"
    assert init(tmp_path, *OPTIONS, "--force").returncode == 0


def asked(folder: Path, answers: list[tuple[str, str]], options: str = "") -> str:
    """What a person sees who gives these answers, each when its question is there."""
    with Terminal("sh", "-c", f"cd '{folder}' && exec '{EDGE_AGENT}' init {options}", lines=60) as terminal:
        for question, answer in answers:
            # The question and the blank behind it are printed one after the other: what is typed between is lost.
            terminal.until(
                lambda question=question: terminal.text.endswith(question) and terminal.raw.endswith(b": ")  # type: ignore[misc]
            )
            terminal.type(f"{answer}\r")
            terminal.until(lambda question=question: not terminal.text.endswith(question))  # type: ignore[misc]
        assert terminal.end() == 0, terminal.text
        return terminal.text


GROUP, NAME, BROKER = "[plant-7]:", "[line-3]:", "[mqtts://broker.example:8883]:"
DEVICE, ITS_NAME, SECURE = "(empty: no more):", "Its name [device-1]:", "[Y/n]:"


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    asked(
        tmp_path,
        [(GROUP, "plant-9"), (NAME, ""), (BROKER, "mqtt://localhost:1883"), ("[y/N]:", "y"),
         (DEVICE, "tcp://10.0.0.5:502"), (ITS_NAME, "oven"), (DEVICE, "")],
    )  # fmt: skip
    assert checked(tmp_path / "agent.yaml").returncode == 0
    content = yaml.safe_load((tmp_path / "agent.yaml").read_text())
    assert (content["agent"]["group"], content["agent"]["name"]) == ("plant-9", "line-3")
    assert content["uplink"]["insecure"] is True
    assert content["devices"][0]["endpoint"] == "tcp://10.0.0.5:502"


def test_what_options_say_is_not_asked_for_and_what_they_leave_open_is(tmp_path: Path) -> None:
    options = "--group plant-9 --name line-1 --broker mqtt://localhost --device oven=tcp://10.0.0.5:502"
    asked(tmp_path, [("[y/N]:", "y")], options)
    assert yaml.safe_load((tmp_path / "agent.yaml").read_text())["uplink"]["insecure"] is True


def test_a_broker_without_encryption_makes_no_session_with_a_machine_insecure(tmp_path: Path) -> None:
    asked(
        tmp_path,
        [(GROUP, ""), (NAME, ""), (BROKER, "mqtt://localhost:1883"), ("[y/N]:", "y"),
         (DEVICE, "opc.tcp://10.0.0.4:4840"), (ITS_NAME, "press"), (SECURE, ""),
         (DEVICE, "opc.tcp://10.0.0.5:4840"), ("Its name [device-2]:", "old"), (SECURE, "n"), (DEVICE, "")],
    )  # fmt: skip
    press, old = yaml.safe_load((tmp_path / "agent.yaml").read_text())["devices"]
    assert "insecure" not in press
    assert old["insecure"] is True


def test_what_is_wrong_with_a_file_is_told_in_whole_words_at_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "line.yaml"
    assert init(tmp_path, "line.yaml", *OPTIONS, "--device", "oven=tcp://10.0.0.5:502").returncode == 0
    path.write_text(path.read_text().replace("uint16}", "uint16, deadband: 5 kN, lane: urgent}"))
    with Terminal(EDGE_AGENT, "check", "-c", str(path)) as terminal:
        assert terminal.end() == 1
        lines = [line for line in terminal.screen if line]
    assert max(map(len, lines)) <= 80
    assert "write a number such as 0.5, without its unit" in " ".join(" ".join(lines).split()).replace("Write", "write")
    assert lines[-1] == "2 problems"


def test_an_agent_at_a_terminal_tells_what_happens_as_a_person_reads_it(tmp_path: Path) -> None:
    assert init(tmp_path, *OPTIONS, "--data-dir", str(tmp_path / "data")).returncode == 0
    with Terminal(EDGE_AGENT, "run", "-c", str(tmp_path / "agent.yaml"), lines=40) as terminal:
        terminal.shows("] agent_started")
        assert "{" not in terminal.text
        terminal.type("\x03")
        assert terminal.end() == 0
