"""Templates and defaults: what devices become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from template_files import HEAD, PRESS, load

from connectors.modbus.settings import ModbusDevice
from connectors.model.datatypes import DataType
from connectors.opcua.settings import OpcUaDevice
from edge_agent.config.load import load_with_origins
from edge_agent.config.models import AgentConfig
from edge_agent.drivers import built_in_drivers


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tags_of(config: AgentConfig, at: int = 0) -> list[Any]:
    return list(config.devices[at].tags)


def test_a_template_makes_many_devices_that_differ_in_its_parameters() -> None:
    config = load(
        PRESS + "devices:\n"
        "  - {name: press-1, template: press, with: {host: 10.0.0.5}}\n"
        "  - {name: press-2, template: press, with: {host: 10.0.0.6, port: 4841, line: B}}\n"
    )
    first, second = config.devices
    assert isinstance(first, OpcUaDevice)
    assert isinstance(second, OpcUaDevice)
    assert (first.name, first.endpoint) == ("press-1", "opc.tcp://10.0.0.5:4840")
    assert (second.name, second.endpoint) == ("press-2", "opc.tcp://10.0.0.6:4841")
    assert [tag.at for tag in second.tags] == ["ns=2;s=B.Ram.Force", "ns=2;s=B.Ram.Position"]


def test_what_a_device_says_itself_counts_more_than_its_template_and_new_tags_are_added() -> None:
    config = load(
        PRESS + "devices:\n"
        "  - name: press-1\n    template: press\n    with: {host: h}\n    publishing: 1s\n    tags:\n"
        "      - {name: extra, at: i=1}\n      - {name: ram/force, deadband: 0.5}\n"
    )
    (press,) = config.devices
    assert isinstance(press, OpcUaDevice)
    assert press.publishing_s == 1.0
    assert [tag.name for tag in press.tags] == ["ram/force", "ram/position", "extra"]
    assert press.tags[0].unit == "kN"
    assert press.tags[0].deadband is not None


def test_a_parameter_keeps_its_type_and_can_be_calculated_with() -> None:
    config = load(
        """
        templates:
          meter:
            parameters: {unit: integer, base: integer, factor: number, always: boolean}
            device:
              driver: modbus
              endpoint: tcp://gateway
              unit_id: $(unit)
              tags:
                - {name: power, at: input $(base + 2 * (unit - 1)), scale: $(factor), safety: $(always)}
        devices:
          - {name: meter-3, template: meter, with: {unit: 3, base: 100, factor: 0.5, always: true}}
        """
    )
    (meter,) = config.devices
    assert isinstance(meter, ModbusDevice)
    assert meter.unit_id == 3
    assert (meter.tags[0].at, meter.tags[0].scale, meter.tags[0].safety) == ("input 104", 0.5, True)


def test_the_name_of_the_device_is_a_parameter_of_every_template() -> None:
    config = load(
        """
        templates:
          valve:
            device:
              driver: modbus
              endpoint: tcp://$(name).example
              tags:
                - {name: state, at: holding 1}
                - {name: open, at: coil 1, description: $$(name) is no reference,
                   writable: {interlock: $(name)/state == 1}}
        devices:
          - {name: valve-9, template: valve}
        """
    )
    valve = config.devices[0]
    assert isinstance(valve, ModbusDevice)
    assert valve.endpoint == "tcp://valve-9.example"
    assert valve.tags[1].description == "$(name) is no reference"
    assert valve.tags[1].writable is not None
    assert valve.tags[1].writable.interlock == "valve-9/state == 1"


def test_groups_of_tags_come_from_templates_too_also_inside_of_others() -> None:
    config = load(
        """
        templates:
          pid:
            parameters: {of: text, base: integer}
            tags:
              - {name: $(of)/setpoint, at: holding $(base)}
              - {name: $(of)/value, at: holding $(base + 1)}
          zone:
            parameters: {n: integer}
            tags:
              - {template: pid, with: {of: zone$(n), base: $(100 * n)}}
              - {name: zone$(n)/fault, at: discrete $(n)}
        devices:
          - name: oven
            driver: modbus
            endpoint: tcp://oven
            tags:
              - {template: zone, with: {n: 1}}
              - {name: belt, at: holding 5}
              - {template: zone, with: {n: 2}}
        """
    )
    assert [(tag.name, tag.at) for tag in tags_of(config)] == [
        ("zone1/setpoint", "holding 100"),
        ("zone1/value", "holding 101"),
        ("zone1/fault", "discrete 1"),
        ("belt", "holding 5"),
        ("zone2/setpoint", "holding 200"),
        ("zone2/value", "holding 201"),
        ("zone2/fault", "discrete 2"),
    ]


def test_a_template_of_a_device_can_build_on_another() -> None:
    config = load(
        PRESS.replace("devices:", "").rstrip()
        + """
  big:
    parameters: {at: text}
    device:
      template: press
      with: {host: "$(at).example", line: B}
      publishing: 2s
      tags: [{name: brake, at: i=7}]
devices:
  - {name: p, template: big, with: {at: hall}}
"""
    )
    press = config.devices[0]
    assert isinstance(press, OpcUaDevice)
    assert (press.endpoint, press.publishing_s) == ("opc.tcp://hall.example:4840", 2.0)
    assert [tag.name for tag in press.tags] == ["ram/force", "ram/position", "brake"]


def test_defaults_lie_under_everything_in_the_order_all_driver_device() -> None:
    config = load(
        """
        defaults:
          all: {timeout: 9s, poll: 5s, tag_defaults: {max_interval: 10m, unit: "?"}}
          modbus: {timeout: 1s, tag_defaults: {order: CDAB}}
          opcua: {insecure: true}
        devices:
          - name: oven
            driver: modbus
            endpoint: tcp://oven
            tag_defaults: {unit: °C}
            tags:
              - {name: a, at: holding 1, type: float32}
              - {name: b, at: holding 3, type: float32, order: ABCD, unit: kW}
          - {name: press, driver: opcua, endpoint: "opc.tcp://p", tags: [{name: t, at: i=1}]}
        """
    )
    oven, press = config.devices
    assert isinstance(oven, ModbusDevice)
    assert isinstance(press, OpcUaDevice)
    assert (oven.timeout_s, oven.poll_s, press.timeout_s) == (1.0, 5.0, 9.0)
    assert [(tag.order, tag.unit, tag.report_interval_s_max) for tag in oven.tags] == [
        ("CDAB", "°C", 600.0),
        ("ABCD", "kW", 600.0),
    ]
    assert press.tags[0].unit == "?"


def test_groups_of_settings_are_merged() -> None:
    config = load(
        """
        defaults: {opcua: {insecure: true, security: {user: lineside}}}
        devices:
          - {name: p, driver: opcua, endpoint: "opc.tcp://p", security: {password: "${env:SECRET}"},
             tags: [{name: t, at: i=1}]}
        """
    )
    press = config.devices[0]
    assert isinstance(press, OpcUaDevice)
    assert press.security.user == "lineside"
    assert press.security.password is not None


def test_a_default_that_would_do_nothing_to_a_tag_is_left_out_there() -> None:
    config = load(
        """
        devices:
          - name: oven
            driver: modbus
            endpoint: tcp://oven
            tag_defaults: {scale: 0.1, deadband: 1%, order: CDAB, length: 8}
            tags:
              - {name: number, at: holding 1, type: int32}
              - {name: door, at: discrete 1}
              - {name: recipe, at: holding 9, type: string}
        """
    )
    number, door, recipe = tags_of(config)
    assert (number.scale, number.order) == (0.1, "CDAB")
    assert (door.scale, door.deadband) == (1.0, None)
    assert (recipe.length, recipe.order, recipe.raw_datatype) == (8, "CDAB", DataType.STRING)


def test_an_included_file_has_templates_for_all_and_defaults_for_its_own_devices() -> None:
    config = load(
        "include: [lib.yaml]\ndevices:\n  - {name: p, template: press, with: {host: p}}\n",
        lib=PRESS + "defaults: {opcua: {publishing: 3s}}\ndevices:\n  - {name: q, template: press, with: {host: q}}\n",
    )
    own, included = config.devices
    assert isinstance(own, OpcUaDevice)
    assert isinstance(included, OpcUaDevice)
    assert (own.publishing_s, included.publishing_s) == (0.1, 3.0)


def test_the_files_and_the_references_to_secrets_are_known() -> None:
    Path("agent.yaml").write_text(
        HEAD + "include: [lib.yaml]\ndevices: [{name: p, template: press, with: {host: p, word: '${env:SECRET}'}}]\n"
    )
    Path("lib.yaml").write_text(
        PRESS.replace("host: text", "host: text\n      word: text").replace(
            "insecure: true", "insecure: true\n      security: {user: me, password: $(word)}"
        )
    )
    loaded = load_with_origins(Path("agent.yaml"), built_in_drivers(), environ={"SECRET": "x"})
    assert [path.name for path in loaded.files] == ["agent.yaml", "lib.yaml"]
    assert loaded.secrets == {"p": {"security.password": "${env:SECRET}"}}


def test_ten_thousand_tags_of_templates_are_loaded() -> None:
    tags = "".join(f"        - {{name: t{n}, at: ns=2;s=$(line).T{n}}}\n" for n in range(100))
    devices = "".join(f"  - {{name: p{n}, template: press, with: {{host: h{n}}}}}\n" for n in range(100))
    text = PRESS.replace("      tags:\n", "      tags:\n" + tags) + "devices:\n" + devices
    assert sum(len(device.tags) for device in load(text).devices) == 10_200
