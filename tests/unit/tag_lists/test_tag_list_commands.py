"""``edge-agent import-tags`` and ``export-tags``: there and back, what is refused, and exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from connectors.ports.settings import DeviceSettings
from edge_agent.cli.app import whole_app
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers
from edge_agent.tag_lists.device_entries import flow

FIXTURES = Path(__file__).with_name("fixtures")
HEAD = "agent: {group: plant-7, name: line-3}\nuplink: {brokers: ['mqtts://broker']}\n"
AGENT = (
    HEAD
    + """\
templates:
  zone:
    parameters: {n: integer}
    tags:
      - {name: zone$(n)/temperature, at: holding $(n), type: int16, scale: 0.1, unit: °C, deadband: 1%}
defaults: {modbus: {tag_defaults: {max_interval: 10m}}}
devices:
  - name: oven
    driver: modbus
    endpoint: tcp://10.0.0.5
    poll: 500ms
    tags:
      - {template: zone, with: {n: 1}}
      - {template: zone, with: {n: 2}}
      - {name: setpoint, at: holding 50, writable: {min: 0, max: 250, readback: 0.5}, description: "=1+1, \\"so\\""}
      - {name: "on", at: coil 1, lane: alarms}
    derived: [{name: over, value: zone1/temperature - zone2/temperature, unit: °C}]
    commands: {cool: {steps: [{write: setpoint, value: 20}]}}
  - name: press
    driver: opcua
    endpoint: opc.tcp://10.0.0.4
    insecure: true
    tags:
      - {name: force, at: "nsu=http://acme.example/press;s=Ram.Force", sampling: 50ms, queue_size: 100}
"""
)


def edge_agent(*words: str | Path) -> Result:
    return CliRunner().invoke(whole_app(), [str(word) for word in words])


def devices(path: Path) -> dict[str, dict[str, Any]]:
    loaded: tuple[DeviceSettings, ...] = load_config(path, built_in_drivers()).devices
    return {device.name: device.model_dump() for device in loaded}


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_what_is_exported_comes_back_as_it_was(tmp_path: Path, ending: str) -> None:
    config, table, made = tmp_path / "agent.yaml", tmp_path / f"tags.{ending}", tmp_path / "devices.yaml"
    config.write_text(AGENT)
    exported = edge_agent("export-tags", table, "-c", config)
    assert (exported.exit_code, exported.output) == (0, f"{table}: 5 tags of 2 devices\n")
    imported = edge_agent("import-tags", table, "--like", config, "-o", made)
    assert imported.exit_code == 0, imported.output
    again = tmp_path / "again.yaml"
    again.write_text(HEAD + "include: [devices.yaml]\n")
    assert devices(again) == devices(config)


def test_what_cannot_be_imported_is_listed_and_the_rest_is_written(tmp_path: Path) -> None:
    made = tmp_path / "devices.yaml"
    words = ("import-tags", FIXTURES / "kepware.csv", "--endpoint", "tcp://10.0.0.5", "--device", "oven")
    done = edge_agent(*words, "-o", made)
    assert done.exit_code == 1
    assert "kepware.csv, line 7: Oven.Flow: its scaling is 'Square Root'" in done.stderr
    assert done.stderr.endswith("kepware.csv (kepware): 6 tags, 3 not imported\n")
    config = tmp_path / "agent.yaml"
    config.write_text(HEAD + "include: [devices.yaml]\n")
    assert len(devices(config)["oven"]["tags"]) == 6
    again = edge_agent(*words, "-o", made)
    assert (again.exit_code, "--force replaces it" in again.stderr) == (1, True)


def test_each_tag_is_checked_as_in_a_device_file(tmp_path: Path) -> None:
    table = tmp_path / "tags.csv"
    table.write_text(
        "name,at,type,deadband,colour\nfine,holding 1,int16,,\nFine,holding 2,int16,,\nodd,holding 70000,,,\n"
        "far,holding 3,int61,,\nmuch,holding 4,,a lot,\nred,holding 5,,,red\nbad,holding 6,,{1,\n"
    )
    done = edge_agent("import-tags", table, "--endpoint", "tcp://10.0.0.5", "--json")
    answer = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [tag["name"] for tag in answer["devices"][0]["tags"]] == ["fine"]
    reasons = {one["tag"]: one["reason"] for one in answer["refused"]}
    assert sorted(reasons) == ["Fine", "bad", "far", "much", "odd", "red"], answer["refused"]
    assert reasons["Fine"] == "another tag is called so, in line 2"
    assert "int61" in reasons["far"]
    assert "deadband: 'a lot' is not a deadband" in reasons["much"]
    assert reasons["red"] == "colour: there is no such setting"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("import-tags", "tags.csv"), 2, "write --endpoint"),
        (("import-tags", "nowhere.csv", "--endpoint", "tcp://x"), 1, "cannot be read"),
        (("import-tags", "nowhere.csv"), 1, "cannot be read"),
        (("import-tags", "tags.csv", "--endpoint", "ftp://x"), 2, "is no endpoint"),
        (("export-tags", "tags.ods"), 2, "a .csv or .xlsx file"),
        (("export-tags", "new.csv", "-c", "nowhere.yaml"), 1, "nowhere.yaml"),
        (("export-tags", "new.csv", "-c", "agent.yaml", "--device", "robot"), 1, "there are: oven, press"),
    ],
)
def test_a_wrong_use_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tags.csv").write_text("name,at\na,holding 1\n")
    Path("agent.yaml").write_text(AGENT)
    done = edge_agent(*words)
    assert (done.exit_code, said in done.stderr) == (code, True), done.stderr


def test_a_cell_of_a_wrong_kind_is_named_with_what_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text('name,at,scale,writable\na,holding 1,"1,234",\nb,holding 2,,often\n')
    done = edge_agent("import-tags", path, "--endpoint", "tcp://x", "--json")
    assert [one["reason"] for one in json.loads(done.stdout)["refused"]] == [
        "scale: '1,234' is no number, such as 0.1",
        "writable: 'often' is no group of settings, such as {min: 0, max: 250}",
    ]


def test_a_program_is_told_what_was_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("agent.yaml").write_text(AGENT)
    done = edge_agent("export-tags", "tags.csv", "-c", "agent.yaml", "--device", "oven", "--json")
    told = json.loads(done.stdout)
    rows = len(Path("tags.csv").read_text().splitlines()) - 1
    assert told == {"file": "tags.csv", "devices": ["oven"], "tags": rows}


@pytest.mark.parametrize("endpoint", ["tcp://x", "tls://x", "rtu+tcp://x:4001", "serial:///dev/ttyUSB0"])
def test_a_list_is_imported_for_a_modbus_unit_wherever_it_is(tmp_path: Path, endpoint: str) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("name,at\na,holding 1\n")
    done = edge_agent("import-tags", path, "--endpoint", endpoint, "--json")
    (device,) = json.loads(done.stdout)["devices"]
    assert (done.exit_code, device["driver"], device["endpoint"]) == (0, "modbus", endpoint)


def test_a_server_is_made_without_security_only_where_that_is_asked_for(tmp_path: Path) -> None:
    words = ("import-tags", FIXTURES / "tia-tags.csv", "--endpoint", "opc.tcp://10.0.0.4", "--json")
    secure, plain = (json.loads(edge_agent(*each).stdout)["devices"][0] for each in (words, (*words, "--insecure")))
    assert "insecure" not in secure
    assert plain["insecure"] is True


def test_without_openpyxl_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, table = tmp_path / "agent.yaml", tmp_path / "tags.xlsx"
    config.write_text(AGENT)
    assert edge_agent("export-tags", table, "-c", config).exit_code == 0
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    for words in (("export-tags", table, "-c", config, "--force"), ("import-tags", table, "--like", config)):
        done = edge_agent(*words)
        assert (done.exit_code, "pip install 'lineside[spreadsheet]'" in done.stderr) == (1, True)


@pytest.mark.parametrize("text", ["on", "1e5", "0x10", "a: b", "#x", "", " a", "12:30", "=1", 'ns=2;s="a"', "°C", "~"])
def test_texts_are_written_so_that_they_are_read_as_texts(text: str) -> None:
    from connectors.configuration.yaml_nodes import read_yaml

    assert read_yaml(f"{{x: {flow(text)}}}", "here").value == {"x": text}
