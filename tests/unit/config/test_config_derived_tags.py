"""Derived tags in a device file: what they become, and what is said of one that cannot be calculated."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.model.datatypes import DataType
from connectors.model.errors import ConfigInvalid
from connectors.ports.settings import DeviceSettings
from edge_agent.config.load import load_config
from edge_agent.config.widening import widened
from edge_agent.drivers import built_in_drivers

HEAD = """\
agent: {group: plant-7, name: line-3}
uplink: {brokers: [mqtts://broker]}
devices:
  - name: meter
    driver: modbus
    endpoint: tcp://10.0.0.7:502
    tags:
      - {name: power/l1, at: holding 0, type: float}
      - {name: power/l2, at: holding 2, type: float, lane: alarms}
    derived:
"""


def load(folder: Path, *derived: str, head: str = HEAD) -> DeviceSettings:
    path = folder / "agent.yaml"
    path.write_text(head + "".join(f"      - {line}\n" for line in derived))
    return load_config(path, built_in_drivers(), environ={}).devices[0]


def said_of(folder: Path, *derived: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load(folder, *derived)
    return [str(problem).removeprefix(f"{folder}/agent.yaml:") for problem in caught.value.problems]


def test_all_that_does_not_fit_the_tags_of_a_device_is_told_at_once(tmp_path: Path) -> None:
    commands = "    commands: {go: {steps: [{write: valve, value: 1}]}}\n"
    path = tmp_path / "agent.yaml"
    formulas = ("{name: a, value: power/l1 +}", "{name: b, value: power/l9}", "{name: power/l2, value: power/l1}")
    path.write_text(HEAD + "".join(f"      - {line}\n" for line in formulas) + commands)
    with pytest.raises(ConfigInvalid) as caught:
        load_config(path, built_in_drivers(), environ={})
    assert sorted((problem.line, problem.message.split(": ")[1]) for problem in caught.value.problems) == [
        (11, "it is no formula"),
        (12, "the device has no tag 'power/l9'."),
        (13, "the device has another tag 'power/l2' already."),
        (14, "the tag 'valve' is none of this device."),
    ]


def test_derived_tags_follow_those_of_the_device(tmp_path: Path) -> None:
    device = load(
        tmp_path,
        "{name: power/total, value: power/l1 + power/l2, unit: kW, deadband: 1%, min_interval: 1s}",
        "{name: high, value: power/total > 100, lane: alarms}",
        "{name: load, value: round(power/total / 100), type: uint8}",
    )
    assert device.tag_names() == ["power/l1", "power/l2", "power/total", "high", "load"]
    assert device.alarm_tags() == (1, 3)
    rule = device.report_rules()[2]
    assert (rule.always, rule.deadband_percent, rule.interval_s_min) == (False, 1.0, 1.0)
    assert device.derived[2].datatype is DataType.UINT8


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["{name: t, value: power/l1 + power/l3}"],
            "11:26: 'value' of tag 't': the device has no tag 'power/l3'. Did you mean 'power/l2'?",
        ),
        (
            ["{name: t, value: power/l1 +}"],
            "11:26: 'value' of tag 't': it is no formula: 'power/l1 +' breaks off: a value or ')' is missing, at "
            "character 11. Write one such as zone1/temperature * 1.8 + 32.",
        ),
        (
            ["{name: t, value: u + power/l1}", "{name: u, value: t * 2}"],
            "11:26: 'value' of tag 't': it depends on itself, by way of others or directly. "
            "Calculate it from other tags.",
        ),
        (
            ["{name: Power/L1, value: power/l1 * 2}"],
            "11:16: 'name' of tag 'Power/L1': the device has another tag 'Power/L1' already. Use another name.",
        ),
        (
            ["{name: t, value: power/l1 * 2, type: bytes}"],
            "11:46: 'type' of tag 't': no formula has a Bytes as its value.",
        ),
        (
            ["{name: t, formula: power/l1 * 2, value: 3}"],
            "11:19: unknown key 'formula' in tag 't'. Did you mean 'value'?",
        ),
    ],
)
def test_a_formula_that_cannot_be_calculated_is_told_with_its_place(
    tmp_path: Path, lines: list[str], expected: str
) -> None:
    assert said_of(tmp_path, *lines)[0].startswith(expected)


def test_a_template_brings_derived_tags_and_a_device_changes_one(tmp_path: Path) -> None:
    text = (
        "agent: {group: p, name: l}\nuplink: {brokers: [mqtts://b]}\ntemplates:\n  m:\n    parameters: {f: number}\n"
        "    device:\n      driver: modbus\n      endpoint: tcp://h\n      tags: [{name: a, at: holding 0}]\n"
        "      derived: [{name: b, value: a * $(f), unit: kW}]\n"
        "devices:\n  - name: d\n    template: m\n    with: {f: 2.5}\n    derived:\n"
    )
    device = load(tmp_path, "{name: b, unit: W}", "{name: c, value: b / 2}", head=text)
    assert [(tag.name, tag.formula, tag.unit) for tag in device.derived] == [("b", "a * 2.5", "W"), ("c", "b / 2", "")]


def test_a_file_of_the_cloud_cannot_point_a_guard_elsewhere_by_way_of_a_derived_tag(tmp_path: Path) -> None:
    guarded = HEAD.replace(
        "    derived:\n", "      - {name: start, at: coil 1, writable: {interlock: meter/idle}}\n    derived:\n"
    )
    before = load(tmp_path, "{name: idle, value: power/l1 < 1}", head=guarded)
    changed = load(tmp_path, "{name: idle, value: power/l1 < 100}", head=guarded)
    moved = load(tmp_path, "{name: idle, value: power/l1 < 1}", head=guarded.replace("holding 0", "holding 10"))
    assert widened({"meter": before}, {"meter": before}, {}, {}) == []
    assert "meter/idle: a condition looks at it" in widened({"meter": before}, {"meter": changed}, {}, {})[0]
    assert "meter/power/l1: a condition looks at it" in widened({"meter": before}, {"meter": moved}, {}, {})[0]
