"""Templates and defaults: what devices become, and where a message points when something in one is wrong."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from connectors.modbus.settings import ModbusDevice
from connectors.model.datatypes import DataType
from connectors.model.errors import ConfigInvalid
from connectors.opcua.settings import OpcUaDevice
from edge_agent.config.load import load_config, load_with_origins
from edge_agent.config.models import AgentConfig
from edge_agent.drivers import built_in_drivers

HEAD = "agent: {group: plant-7, name: line-3}\nuplink: {brokers: [mqtts://broker]}\n"
PRESS = """\
templates:
  press:
    parameters:
      host: text
      port: {type: integer, default: 4840, min: 1, max: 65535}
      line: {type: text, choices: [A, B], default: A, description: Which of the two lines}
    device:
      driver: opcua
      endpoint: opc.tcp://$(host):$(port)
      insecure: true
      tags:
        - {name: ram/force, at: ns=2;s=$(line).Ram.Force, unit: kN}
        - {name: ram/position, at: ns=2;s=$(line).Ram.Position, unit: mm}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str, **files: str) -> AgentConfig:
    Path("agent.yaml").write_text(HEAD + textwrap.dedent(text))
    for name, content in files.items():
        Path(f"{name}.yaml").write_text(textwrap.dedent(content))
    return load_config(Path("agent.yaml"), built_in_drivers(), environ={"SECRET": "open sesame"})


def said_of(text: str, **files: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load(text, **files)
    return [str(problem) for problem in caught.value.problems]


def tags_of(config: AgentConfig, at: int = 0) -> list[Any]:
    return list(config.devices[at].tags)


# What devices become


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


# What is said when something is wrong

MISTAKES: dict[str, tuple[str, list[str]]] = {
    "a missing value": (
        PRESS + "devices:\n  - {name: p, template: press}\n",
        [
            "agent.yaml:17:25: device 'p' needs a value of 'host' for its template 'press'. Add 'with: {host: …}'.",
        ],
    ),
    "an unknown value": (
        PRESS + "devices:\n  - {name: p, template: press, with: {hots: a}}\n",
        [
            "agent.yaml:17:32: 'with' of device 'p' needs 'host'. Add 'host'.",
            "agent.yaml:17:39: unknown key 'hots' in 'with' of device 'p'. Did you mean 'host'?",
        ],
    ),
    "values of the wrong type, outside of the bounds and of the choices": (
        PRESS + "devices:\n  - {name: p, template: press, with: {host: 5, port: 0, line: C}}\n",
        [
            "agent.yaml:17:45: 'host' of 'with' of device 'p': it has to be a text, not 5. Put it in quotes.",
            "agent.yaml:17:54: 'port' of 'with' of device 'p': it cannot be 0. Write at least 1.",
            "agent.yaml:17:63: 'line' of 'with' of device 'p': it cannot be 'C'. It can be 'A' or 'B'.",
        ],
    ),
    "a mistake in the template is told there, with the first that uses it": (
        PRESS.replace("unit: mm", "samplng: 1s")
        + "devices:\n"
        + "".join(f"  - {{name: p{n}, template: press, with: {{host: h}}}}\n" for n in range(3)),
        [
            "agent.yaml:15:65: unknown key 'samplng' in tag 'ram/position'. Did you mean 'sampling'? "
            "(Used by device 'p0', agent.yaml:17:5, and 2 more times.)",
        ],
    ),
    "a value that does not fit where the template puts it": (
        PRESS + "devices:\n  - {name: p, template: press, with: {host: a b}}\n",
        [
            "agent.yaml:11:17: 'endpoint' of device 'p': 'opc.tcp://a b:4840' is not an OPC UA endpoint. "
            "Write it as opc.tcp://host:4840. (Used by device 'p', agent.yaml:17:5.)",
        ],
    ),
    "a reference to nothing, and a parameter that nothing refers to": (
        PRESS.replace("$(port)", "$(prot)") + "devices:\n  - {name: p, template: press, with: {host: h}}\n",
        [
            "agent.yaml:7:7: the parameter 'port' of template 'press' is used nowhere. "
            "Write $(port) where it belongs, or remove it.",
            "agent.yaml:11:17: '$(prot)': there is no parameter 'prot'. Did you mean $(port)?",
        ],
    ),
    "references that cannot be read": (
        "templates:\n  t:\n    parameters: {n: integer, s: text}\n    tags:\n"
        "      - {name: a$(n, at: coil 1}\n"
        "      - {name: b, at: coil $(n / 2)}\n"
        "      - {name: c, at: coil $(s + 1)}\n"
        "      - {name: d, at: coil $(1)}\n"
        "      - {name: e, at: coil $(n)$(s)}\n",
        [
            "agent.yaml:7:16: the '$(' of '$(n' is not closed. Write $(name).",
            "agent.yaml:8:23: '$(n / 2)' is no calculation. Write the name of a parameter, or numbers and parameters "
            "with + - * and brackets.",
            "agent.yaml:9:23: '$(s + 1)' calculates with 's', which is no number. Declare it as an integer "
            "or a number.",
            "agent.yaml:10:23: '$(1)' names no parameter. Write $(name), or $$( for the text $(.",
        ],
    ),
    "no such template, the wrong kind of template, and 'with' alone": (
        PRESS + "devices:\n  - {name: p, template: pres, with: {host: h}}\n"
        "  - {name: q, driver: opcua, endpoint: 'opc.tcp://q', insecure: true, tags: [{template: press}]}\n"
        "  - {name: r, driver: opcua, endpoint: 'opc.tcp://q', insecure: true, tags: [{name: t, at: i=1}], with: {}}\n",
        [
            "agent.yaml:17:25: there is no template 'pres' for device 'p'. Did you mean 'press'?",
            "agent.yaml:18:89: 'press' is a template of a device. Use it under 'devices'.",
            "agent.yaml:19:99: device 'r' has 'with' and no 'template'. Add 'template', or remove it.",
        ],
    ),
    "templates without an end": (
        "templates:\n  a: {tags: [{template: b}]}\n  b: {tags: [{template: a}]}\n"
        "devices: [{name: d, driver: modbus, endpoint: 'tcp://x', tags: [{name: t, at: coil 1}, {template: a}]}]\n",
        [
            "agent.yaml:5:25: the templates a, b and then a use each other without an end. Remove one of them. "
            "(Used by device 'd', agent.yaml:6:88.)",
        ],
    ),
    "declarations that are wrong": (
        "templates:\n  a: {device: {name: x}, parameters: {name: text}}\n  b: {parameters: {x: txt, a-b: text}}\n"
        "  c: {tags: [], device: {}}\n  d: {parameters: {x: {type: text, min: 1}, y: {type: integer, default: z}}}\n"
        "  e: {device: {name: x}}\n",
        [
            "agent.yaml:4:45: 'name' of 'parameters' of 'a' of 'templates': every device has '$(name)' already, its "
            "own name. Give the parameter another name.",
            "agent.yaml:5:23: 'x' of 'parameters' of 'b' of 'templates': there is no type 'txt' of a parameter. "
            "Did you mean 'text'? It can be 'text', 'integer', 'number' or 'boolean'.",
            "agent.yaml:6:6: 'c' of 'templates': it is either of a device or of tags. Write 'device' or 'tags' "
            "below it.",
            "agent.yaml:7:41: 'min' of 'x' of 'parameters' of 'd' of 'templates': a text has no bounds. Remove it.",
            "agent.yaml:7:73: 'default' of 'y' of 'parameters' of 'd' of 'templates': it has to be a whole number, "
            "not 'z'.",
            "agent.yaml:8:16: a template has no name for its devices. Name them under 'devices'.",
        ],
    ),
    "a second template of the same name": (
        "templates: {a: {tags: [{name: t}]}}\ninclude: [more.yaml]\n",
        [
            "more.yaml:1:13: a second template is called 'a'; the first is in line 3 of agent.yaml. "
            "Give one of them another name.",
        ],
    ),
    "defaults that nobody can have": (
        "defaults:\n  all: {pol: 1s, name: x, tag_defaults: {name: t, samplng: 1s}}\n  modbsu: {}\n  opcua: 5\n",
        [
            "agent.yaml:4:9: unknown key 'pol' in 'all' of 'defaults'. Did you mean 'poll'?",
            "agent.yaml:4:18: there are no defaults for 'name'. Write it at the device.",
            "agent.yaml:4:42: every tag has a name of its own. Remove the line.",
            "agent.yaml:4:51: unknown key 'samplng' in 'tag_defaults' of 'all' of 'defaults'. Did you mean 'sampling'?",
            "agent.yaml:5:3: unknown key 'modbsu' in 'defaults'. Did you mean 'modbus'?",
            "agent.yaml:6:10: 'opcua' of 'defaults' has to be a group of settings (key: value), not the number 5. "
            "Write its settings below it, indented.",
        ],
    ),
    "a default with a wrong value is told once": (
        "defaults: {modbus: {tag_defaults: {poll: 5}}}\ndevices:\n"
        "  - {name: d, driver: modbus, endpoint: 'tcp://x', tags: [{name: a, at: coil 1}, {name: b, at: coil 2}]}\n",
        [
            "agent.yaml:3:42: 'poll' of tag 'a': 5 is not a duration. Write a number with a unit, such "
            "as 100ms, 5s, 2m, 1h or 7d. (Used by device 'd', agent.yaml:5:5, and 1 more time.)",
        ],
    ),
    "a tag that a template and a device have": (
        "templates: {g: {tags: [{name: t, at: coil 1}]}}\ndevices:\n"
        "  - {name: d, driver: modbus, endpoint: 'tcp://x', tags: [{template: g}, {name: t, at: coil 2}]}\n",
        [
            "agent.yaml:5:81: device 'd' has a second tag 't'; the first is in line 3. Give one of them another name.",
        ],
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_message_points_to_where_the_mistake_is(case: str) -> None:
    text, expected = MISTAKES[case]
    assert said_of(text, more="templates: {a: {tags: [{name: t}]}}\n") == expected


def test_a_mistake_in_another_file_is_told_there_with_the_file_that_uses_it() -> None:
    said = said_of(
        "include: [lib.yaml]\ndevices:\n  - {name: p, template: press, with: {host: h}}\n",
        lib=PRESS.replace("ns=2;s=$(line).Ram.Force", "$(line)"),
    )
    assert said == [
        "lib.yaml:12:33: 'at' of tag 'ram/force': 'A' is not a node id. Write it as nsu=<namespace uri>;"
        "s=<identifier>, or ns=<index>;i=<number>. (Used by device 'p', agent.yaml:5:5.)"
    ]


def test_templates_that_multiply_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.config.expansion.TAGS_MAX", 1000)
    levels = [f"  t{n}: {{tags: [{', '.join(f'{{template: t{n + 1}}}' for _ in range(40))}]}}\n" for n in range(6)]
    text = "templates:\n" + "".join(levels) + "  t6: {tags: [{name: x, at: coil 1}]}\n"
    said = said_of(text + "devices: [{name: d, driver: modbus, endpoint: 'tcp://x', tags: [{template: t0}]}]\n")
    assert said[0].startswith("agent.yaml:10:15: templates make more than 1,000 tags. Use several agents.")


def test_ten_thousand_tags_of_templates_are_loaded() -> None:
    tags = "".join(f"        - {{name: t{n}, at: ns=2;s=$(line).T{n}}}\n" for n in range(100))
    devices = "".join(f"  - {{name: p{n}, template: press, with: {{host: h{n}}}}}\n" for n in range(100))
    text = PRESS.replace("      tags:\n", "      tags:\n" + tags) + "devices:\n" + devices
    assert sum(len(device.tags) for device in load(text).devices) == 10_200
