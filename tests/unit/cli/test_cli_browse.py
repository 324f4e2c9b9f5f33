"""What ``edge-agent browse`` writes for people and files, whatever a server calls its nodes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from connectors.opcua.settings import OpcUaDevice
from connectors.ports.secrets import SOURCE_IN_CONTEXT, SecretSource
from connectors.ports.survey import Survey, SurveyedVariable
from edge_agent.cli.browse import entry_lines, written_lines
from edge_agent.cli.browse_screen import SurveyTree, device_file, quoted, survey_json


def variable(*path: str, **more: Any) -> SurveyedVariable:
    return SurveyedVariable(path, "/".join(path), f"ns=2;s={path[-1]}", "Double", 1.5, **more)


def shown(survey: Survey, columns: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=columns, highlight=False).print(SurveyTree(survey))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_variable_with_variables_below_it_is_both() -> None:
    survey = Survey("opc.tcp://p", "/Objects", (variable("Drive"), variable("Drive", "Speed"), variable("Axis", "X")))
    assert shown(survey, 60) == [
        "/Objects     type    value  unit  at",
        "├─ Axis",
        "│  └─ X      Double    1.5        ns=2;s=X",
        "└─ Drive     Double    1.5        ns=2;s=Drive",
        "   └─ Speed  Double    1.5        ns=2;s=Speed",
        "3 variables",
    ]


def test_what_is_longer_than_the_screen_is_cut_and_what_a_terminal_would_obey_is_replaced() -> None:
    survey = Survey("opc.tcp://p", "/Objects", (variable("N" * 200), variable("a\x1b[2Jb")), left_out=7)
    lines = shown(survey, 50)
    assert max(map(len, lines)) <= 50
    assert any(line.startswith("└─ a·[2Jb ") for line in lines), lines
    assert "2 variables, and 7 more: raise --max" in " ".join(lines)


def test_nothing_found_is_said() -> None:
    assert shown(Survey("opc.tcp://p", "/Objects"), 80)[-1] == "0 variables"


@pytest.mark.parametrize(
    "text",
    ["Ram/Force", "yes", "NULL", "a: b", "#1", "{x}", '"', "5", "1e3", "ä", "°C", "-", "~", "a, b", " a", "\\", "m³/h"],
)
def test_a_text_is_itself_when_it_is_read_again(text: str) -> None:
    assert yaml.safe_load(f"{{a: {quoted(text)}}}") == {"a": text}


def test_a_device_file_says_how_to_connect_and_no_secret() -> None:
    entry = {
        "name": "press 1", "driver": "opcua", "endpoint": "opc.tcp://p:1", "insecure": True,
        "security": {"user": "engineer", "password": "${env:P}"}, "tags": [{"name": "x", "at": "i=1"}],
    }  # fmt: skip
    context = {SOURCE_IN_CONTEXT: SecretSource({"P": "open sesame"}, Path())}
    device = OpcUaDevice.model_validate(entry, context=context)
    survey = Survey("opc.tcp://p", "/Objects", (variable("a", unit="kN", is_writable=True),), left_out=3)
    text = device_file(survey, "heading", entry_lines(device), ())
    assert "open sesame" not in text
    assert "# 3 more variables were left out: raise --max" in text
    (made,) = yaml.safe_load(text)["devices"]
    assert made == {
        **entry,
        "security": {"user": "engineer", "password": "${env:LINESIDE_PASSWORD}"},
        "tags": [{"name": "a", "at": "ns=2;s=a", "unit": "kN"}],
    }


def test_json_has_no_numbers_that_json_has_not() -> None:
    endless = SurveyedVariable(("a",), "a", "ns=2;s=a", "Double", float("inf"))
    assert survey_json(Survey("opc.tcp://p", "/Objects", (endless,)))["variables"][0]["value"] == "inf"


def test_a_device_of_the_agent_s_file_is_written_as_it_stands_there_but_for_its_tags(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("open sesame")
    security = {"policy": "Basic256Sha256", "mode": "Sign", "user": "engineer", "password": "${file:password}"}
    config = tmp_path / "agent.yaml"
    config.write_text(f"""\
agent: {{group: plant, name: line}}
uplink: {{brokers: [mqtts://localhost]}}
templates:
  press: {{device: {{driver: opcua, timeout: 5s, tags: [{{name: x, at: i=1}}]}}}}
devices:
  - {{name: press 1, template: press, endpoint: "opc.tcp://p:1", security: {security}}}
""")
    (made,) = yaml.safe_load(
        device_file(
            Survey("opc.tcp://p", "/Objects", (variable("a"),)), "heading", written_lines(config, "press 1"), ()
        )
    )["devices"]
    assert made == {
        "name": "press 1", "driver": "opcua", "timeout": "5s", "endpoint": "opc.tcp://p:1", "security": security,
        "tags": [{"name": "a", "at": "ns=2;s=a"}],
    }  # fmt: skip
