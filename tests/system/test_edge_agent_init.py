"""A first configuration by ``edge-agent init``: by options, and asked for on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.system.edge_agent_steps import EDGE_AGENT

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


def test_without_devices_it_is_valid_too(tmp_path: Path) -> None:
    assert init(tmp_path, "line.yaml", *OPTIONS).returncode == 0
    assert checked(tmp_path / "line.yaml").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--name", "line-3"), 2, "nobody can be asked here: write --group, --broker"),
        ((*OPTIONS, "--device", "press=http://x"), 2, "is no device: write NAME=opc.tcp://host:4840"),
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


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    main, inside = pty.openpty()
    process = subprocess.Popen([EDGE_AGENT, "init"], cwd=tmp_path, stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    shown = b""
    answers = [
        (b"Group", b"plant-9\n"),
        (b"Name of this agent", b"\n"),
        (b"Broker", b"mqtt://localhost:1883\n"),
        (b"no more", b"tcp://10.0.0.5:502\n"),
        (b"Its name", b"oven\n"),
        (b"no more", b"\n"),
        (b"not encrypted", b"y\n"),
    ]
    try:
        for question, answer in answers:
            part = b""
            while question not in part or not part.rstrip().endswith((b":", b"]:", b"):")):
                part += os.read(main, 4096)
            shown += part
            os.write(main, answer)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(main)
    assert checked(tmp_path / "agent.yaml").returncode == 0
    content = yaml.safe_load((tmp_path / "agent.yaml").read_text())
    assert (content["agent"]["group"], content["agent"]["name"]) == ("plant-9", "line-3")
    assert content["uplink"]["insecure"] is True
    assert content["devices"][0]["endpoint"] == "tcp://10.0.0.5:502"
