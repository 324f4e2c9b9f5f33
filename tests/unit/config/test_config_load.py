"""A file becomes the agent's configuration: defaults, derived values, includes and secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from connectors.modbus.settings import ModbusDevice
from connectors.model.errors import ConfigInvalid
from connectors.opcua.settings import OpcUaDevice
from edge_agent.config.load import load_config
from edge_agent.config.models import AgentConfig
from edge_agent.drivers import built_in_drivers

MINIMAL = "agent: {group: plant-7, name: line-3}\nuplink: {brokers: [mqtts://broker]}\n"
REPOSITORY = Path(__file__).parents[3]
EXAMPLES = sorted(path for path in (REPOSITORY / "config/examples").glob("*.yaml") if path.name != "cloud.yaml")


def load(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> AgentConfig:
    (folder / "agent.yaml").write_text(text)
    return load_config(folder / "agent.yaml", built_in_drivers(), environ=environ or {})


def said_of(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load(folder, text)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def device(name: str) -> str:
    return f"  - {{name: {name}, driver: modbus, endpoint: tcp://x, tags: [{{name: t, at: coil 1}}]}}\n"


def test_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    assert config.devices == ()
    assert config.agent.commissioning is False
    assert config.uplink.client_id == "lineside-plant-7-line-3"
    assert config.uplink.delivery == "acknowledged"
    assert config.uplink.primary_host is False
    assert config.uplink.keep_alive_s == 30.0
    assert config.uplink.window_batches_max == 256
    assert config.uplink.packet_bytes_max == 262_144
    assert config.outbox.path == Path("/var/lib/lineside/outbox.db")
    assert config.outbox.commit_interval_s == 0.2
    assert config.outbox.durability == "full"
    assert config.local_api.socket == Path("/var/lib/lineside/agent.sock")
    assert config.local_api.mode == 0o660
    assert config.observability.metrics is None


def test_what_is_written_is_what_counts(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        agent: {group: plant-7, name: line-3, data_dir: /data, commissioning: true}
        uplink:
          brokers: [mqtt://a, "mqtts://[::1]:8883", mqtts://b.example:1/]
          insecure: true
          client_id: mine
          host: other
          keep_alive: 1m
          mqtt_version: 3.1.1
          packet_max: 1MiB
        outbox: {path: box/outbox.db, durability: normal}
        local_api: {socket: /run/a.sock, mode: "0600"}
        observability: {log_level: debug, metrics: {port: 9464}}
        """,
    )
    assert config.agent.commissioning is True
    assert config.uplink.brokers == ("mqtt://a", "mqtts://[::1]:8883", "mqtts://b.example:1")
    assert config.uplink.client_id == "mine"
    assert config.uplink.keep_alive_s == 60.0
    assert config.uplink.mqtt_version == "3.1.1"
    assert config.uplink.packet_bytes_max == 1_048_576
    assert config.outbox.path == Path("/data/box/outbox.db")
    assert config.local_api.socket == Path("/run/a.sock")
    assert config.local_api.mode == 0o600
    assert config.observability.metrics is not None
    assert config.observability.metrics.host == "127.0.0.1"


def test_mqtt_version_5_may_be_written_as_a_number(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL).uplink.mqtt_version == "5"
    assert load(tmp_path, MINIMAL.replace("{brokers", "{mqtt_version: 5, brokers")).uplink.mqtt_version == "5"


def test_sparkplug_delivery_waits_for_its_host(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL.replace("{brokers", "{delivery: sparkplug, brokers")).uplink.primary_host is True
    assert load(tmp_path, MINIMAL.replace("{brokers", "{primary_host: true, brokers")).uplink.primary_host is True


def test_devices_are_what_their_driver_says(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        MINIMAL
        + "devices:\n"
        + device("oven")
        + "  - name: press\n    driver: opcua\n    endpoint: opc.tcp://p\n    insecure: true\n"
        "    tags: [{name: t, at: i=5, sampling: 250ms}]\n",
    )
    oven, press = config.devices
    assert isinstance(oven, ModbusDevice)
    assert isinstance(press, OpcUaDevice)
    assert press.tags[0].sampling_s == 0.25


def test_relative_files_start_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "agent: {group: a, name: b, data_dir: data}\n"
        "uplink: {brokers: [mqtts://b], ca_file: ca.pem, cert_file: /etc/a.pem, key_file: keys/a.key}\n",
    )
    assert config.agent.data_dir == tmp_path / "data"
    assert config.outbox.path == tmp_path / "data/outbox.db"
    assert config.uplink.ca_file == tmp_path / "ca.pem"
    assert config.uplink.cert_file == Path("/etc/a.pem")
    assert config.uplink.key_file == tmp_path / "keys/a.key"


def test_a_configuration_cannot_be_changed(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    with pytest.raises(ValidationError):
        config.uplink.host = "other"  # type: ignore[misc]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_can_be_loaded(path: Path) -> None:
    config = load_config(path, built_in_drivers(), environ={})
    assert config.devices
    assert all(device.tags for device in config.devices)


def test_there_are_examples() -> None:
    assert {path.name for path in EXAMPLES} >= {"minimal.yaml", "press-and-oven.yaml"}


# Includes


def test_included_files_add_devices_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices/b.yaml").write_text("devices:\n" + device("b"))
    (tmp_path / "devices/a.yaml").write_text("devices:\n" + device("a"))
    (tmp_path / "devices/.hidden.yaml").write_text("devices:\n" + device("hidden"))
    (tmp_path / "devices/notes.txt").write_text("not YAML: at: all")
    (tmp_path / "devices/off.yaml").write_text("# devices:\n# nothing now\n")
    (tmp_path / "more.yaml").write_text("devices:\n" + device("m"))
    config = load(tmp_path, MINIMAL + "include: [more.yaml, devices/*.yaml, more.yaml]\ndevices:\n" + device("own"))
    assert [entry.name for entry in config.devices] == ["own", "m", "a", "b"]


def test_a_wildcard_does_not_include_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("devices:\n" + device("a"))
    config = load(tmp_path, MINIMAL + "include: ['*.yaml']\n")
    assert [entry.name for entry in config.devices] == ["a"]


def test_an_empty_folder_of_devices_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    assert load(tmp_path, MINIMAL + "include: [devices/*.yaml]\n").devices == ()


def test_problems_name_the_included_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("devices:\n" + device("same") + "  - {name: x, driver: nodbus}\n")
    (tmp_path / "b.yaml").write_text("devices:\n" + device("same"))
    (tmp_path / "c.yaml").write_text("devices: [\n")
    assert said_of(tmp_path, MINIMAL + "include: [a.yaml, b.yaml, c.yaml]\ndevices: 1\n") == [
        "agent.yaml:4:10: 'devices' has to be a list, not the number 1. Begin every entry with '- '.",
        "a.yaml:3:5: device 'x' needs 'tags'. Add 'tags'.",
        "a.yaml:3:5: device 'x' needs 'endpoint'. Add 'endpoint': tcp://host:502, tls://host:802, "
        "rtu+tcp://host:4001 or serial:///dev/ttyUSB0.",
        "a.yaml:3:23: there is no driver 'nodbus' for device 'x'. Did you mean 'modbus'? "
        "It can be 'modbus' or 'opcua'.",
        "b.yaml:2:12: a second device is called 'same'; the first is in line 2 of a.yaml. "
        "Give one of them another name.",
        "c.yaml:1:10: this '[' is not closed. Add ']' at its end.",
    ]


def test_included_files_hold_devices_and_what_makes_them(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("uplink: {}\ndevises: []\nfoo: 1\n")
    (tmp_path / "b.yaml").write_text("- name: x\n")
    assert said_of(tmp_path, MINIMAL + "include: [a.yaml, b.yaml]\n") == [
        "a.yaml:1:1: an included file holds 'devices', 'templates', 'defaults' and 'include', not 'uplink'. "
        "Move it to agent.yaml.",
        "a.yaml:2:1: unknown key 'devises'. Did you mean 'devices'?",
        "a.yaml:3:1: unknown key 'foo'. Known are defaults, devices, include and templates.",
        "b.yaml:1:1: the file has to be a group of settings (key: value), not a list. Remove the '- '.",
    ]


def test_included_files_include_others_from_their_own_folder(tmp_path: Path) -> None:
    (tmp_path / "hall/ovens").mkdir(parents=True)
    (tmp_path / "hall/all.yaml").write_text("include: [ovens/*.yaml, ../own.yaml]\ndevices:\n" + device("hall"))
    (tmp_path / "hall/ovens/a.yaml").write_text("devices:\n" + device("a"))
    (tmp_path / "own.yaml").write_text("devices:\n" + device("own"))
    config = load(tmp_path, MINIMAL + "include: [own.yaml, hall/all.yaml]\n")
    assert [entry.name for entry in config.devices] == ["own", "hall", "a"]


def test_a_file_that_leads_back_to_itself_is_a_mistake_and_a_pattern_that_does_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("include: [b.yaml]\ndevices:\n" + device("a"))
    (tmp_path / "b.yaml").write_text("include: [a.yaml, '*.yaml']\ndevices:\n" + device("b"))
    assert said_of(tmp_path, MINIMAL + "include: [a.yaml]\n") == [
        "b.yaml:1:11: this leads back to the file itself: a.yaml, b.yaml and then a.yaml. Remove the entry."
    ]


def test_mistakes_in_the_include_of_an_included_file_are_told_there(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.yaml").write_text("include: [5, none.yaml]\n")
    (tmp_path / "d/b.yaml").write_text("include: c.yaml\n")
    assert said_of(tmp_path, MINIMAL + "include: [d/*.yaml]\n") == [
        "d/a.yaml:1:11: entry 1 of 'include' has to be text, not the number 5. Put it in quotes.",
        "d/a.yaml:1:14: there is no file 'd/none.yaml'. Check the spelling, or remove the entry.",
        "d/b.yaml:1:10: 'include' has to be a list, not the text 'c.yaml'. Begin every entry with '- '.",
    ]


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert said_of(tmp_path, MINIMAL + "include: [pipe.yaml]\n") == [
        "agent.yaml:3:11: there is no file 'pipe.yaml'. Check the spelling, or remove the entry."
    ]
    with pytest.raises(ConfigInvalid, match=r"pipe\.yaml: the file cannot be read: it is not a regular file\."):
        load_config(tmp_path / "pipe.yaml", built_in_drivers())


def test_the_number_of_included_files_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for number in range(1001):
        (tmp_path / f"d/{number}.yaml").touch()
    assert said_of(tmp_path, MINIMAL + "include: [d/*.yaml]\n") == [
        "agent.yaml:3:11: more than 1000 files are included. Put more devices into one file."
    ]


# Secrets


def test_secrets_are_found_where_the_references_lead(tmp_path: Path) -> None:
    (tmp_path / "broker.secret").write_text("from a file\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/press").write_text("from systemd")
    config = load(
        tmp_path,
        "agent: {group: a, name: b}\n"
        "uplink: {brokers: [mqtts://b], user: me, password: '${file:broker.secret}'}\n"
        "devices:\n"
        "  - name: press\n    driver: opcua\n    endpoint: opc.tcp://p\n    insecure: true\n"
        "    tags: [{name: t, at: i=1}]\n"
        "    security:\n      user: me\n      password: ${credential:press}\n"
        "  - name: press 2\n    driver: opcua\n    endpoint: opc.tcp://p\n    insecure: true\n"
        "    tags: [{name: t, at: i=1}]\n"
        "    security:\n      user: me\n      password: ${env:PRESS_2}\n",
        {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"), "PRESS_2": "from the environment"},
    )
    first, second = config.devices
    assert isinstance(first, OpcUaDevice)
    assert isinstance(second, OpcUaDevice)
    assert config.uplink.password == SecretStr("from a file")
    assert first.security.password == SecretStr("from systemd")
    assert second.security.password == SecretStr("from the environment")
    for shown in (repr(config), str(config), config.model_dump_json()):
        assert "from " not in shown


def test_the_environment_of_the_process_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESIDE_TEST_SECRET", "open sesame")
    (tmp_path / "agent.yaml").write_text(
        MINIMAL.replace("{brokers", "{user: me, password: '${env:LINESIDE_TEST_SECRET}', brokers")
    )
    config = load_config(tmp_path / "agent.yaml", built_in_drivers())
    assert config.uplink.password == SecretStr("open sesame")


# The models, when settings are made by code


def test_devices_made_by_code_are_checked_too() -> None:
    sections = {"agent": {"group": "a", "name": "b"}, "uplink": {"brokers": ["mqtts://b"]}}
    oven = ModbusDevice.model_validate(
        {"name": "oven", "driver": "modbus", "endpoint": "tcp://x", "tags": [{"name": "x", "at": "coil 1"}]}
    )
    assert AgentConfig.model_validate({**sections, "devices": [oven]}).devices == (oven,)
    with pytest.raises(ValidationError, match="two devices are called 'oven'"):
        AgentConfig.model_validate({**sections, "devices": [oven, oven]})
    slashed = oven.model_copy(update={"name": "a/b"})
    with pytest.raises(ValidationError, match="'a/b' cannot be used as a Sparkplug id"):
        AgentConfig.model_validate({**sections, "devices": [slashed]})


# What loading costs, and what it loads


def test_ten_thousand_tags_are_loaded(tmp_path: Path) -> None:
    lines = [MINIMAL, "devices:\n"]
    for number in range(10):
        lines.append(f"  - name: press {number}\n    driver: opcua\n    endpoint: opc.tcp://p{number}\n")
        lines.append("    insecure: true\n    tags:\n")
        lines += [
            f"      - name: ram/force {tag}\n        at: nsu=http://acme.example/press;s=Ram.Force.{tag}\n"
            "        unit: kN\n        sampling: 100ms\n        deadband: 0.5\n        description: Force at the ram\n"
            for tag in range(1000)
        ]
    (tmp_path / "agent.yaml").write_text("".join(lines))
    config = load_config(tmp_path / "agent.yaml", built_in_drivers(), environ={})
    assert sum(len(entry.tags) for entry in config.devices) == 10_000


def test_checking_a_configuration_loads_no_protocol_library() -> None:
    check = (
        "import sys\n"
        "import edge_agent.config.load, edge_agent.config.schema, edge_agent.drivers\n"
        "edge_agent.drivers.built_in_drivers()\n"
        "print(sorted({'asyncua', 'pymodbus', 'paho', 'connectors.opcua.driver', 'connectors.modbus.driver'}"
        " & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
