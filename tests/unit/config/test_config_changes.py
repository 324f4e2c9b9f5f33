"""What a reload changes: as little as it can, and never a setting that nobody has said takes effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_agent.config.changes import LIVE, LIVE_SECTIONS, Changes, changes
from edge_agent.config.load import load_config
from edge_agent.config.models import AgentConfig
from edge_agent.drivers import built_in_drivers

DRIVERS = built_in_drivers()


def document(**more: Any) -> dict[str, Any]:
    devices = {
        "press": {
            "name": "press",
            "driver": "opcua",
            "endpoint": "opc.tcp://10.0.0.1",
            "insecure": True,
            "tags": [{"name": "force", "at": "ns=1;s=force"}, {"name": "state", "at": "ns=1;s=state"}],
        },
        "oven": {
            "name": "oven",
            "driver": "modbus",
            "endpoint": "tcp://10.0.0.2",
            "tags": [{"name": "zone", "at": "holding 0"}, {"name": "door", "at": "coil 1"}],
        },
    }
    return {
        "agent": {"group": "plant", "name": "line"},
        "uplink": {"brokers": ["mqtt://10.0.0.9"], "insecure": True},
        "devices": devices,
        **more,
    }


def loaded(folder: Path, found: dict[str, Any]) -> AgentConfig:
    file = folder / "agent.yaml"
    file.write_text(yaml.safe_dump({**found, "devices": list(found["devices"].values())}))
    return load_config(file, DRIVERS)


def difference(folder: Path, before: dict[str, Any], after: dict[str, Any]) -> Changes:
    return changes(loaded(folder, before), loaded(folder, after), lambda name: DRIVERS[name].acts_on)


def said(found: Changes) -> list[tuple[str, str, str]]:
    return [(change.device, change.how, change.said) for change in found.devices]


def test_the_same_files_change_nothing(tmp_path: Path) -> None:
    found = difference(tmp_path, document(), document())
    assert found.are_none
    assert not found.uplink


def test_a_device_that_is_added_removed_or_changed_leaves_the_others_alone(tmp_path: Path) -> None:
    after = document()
    kiln = {**after["devices"].pop("oven"), "name": "kiln"}
    after["devices"]["kiln"] = kiln
    after["devices"]["press"]["sampling"] = "2s"
    found = difference(tmp_path, document(), after)
    assert said(found) == [
        ("kiln", "added", "2 tags"), ("oven", "removed", "2 tags"), ("press", "changed", "sampling"),
    ]  # fmt: skip
    assert (found.live, found.restart) == ((), ())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("deadband", 0.5), ("min_interval", "1s"), ("max_interval", "1m"), ("lane", "alarms"),
        ("writable", {"min": 0, "max": 9}), ("safety", True),
    ],
)  # fmt: skip
def test_what_only_the_agent_acts_on_leaves_the_connection_as_it_is(tmp_path: Path, field: str, value: Any) -> None:
    after = document()
    after["devices"]["oven"]["tags"][0][field] = value
    assert said(difference(tmp_path, document(), after)) == [("oven", "adjusted", "1 tag changed")]


def test_a_deadband_that_a_driver_acts_on_itself_needs_another_driver(tmp_path: Path) -> None:
    assert "deadband" in DRIVERS["opcua"].acts_on
    after = document()
    after["devices"]["press"]["tags"][0]["deadband"] = 0.5
    assert said(difference(tmp_path, document(), after)) == [("press", "changed", "1 tag changed")]


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ([{"name": "zone", "at": "holding 0"}], "1 tag removed"),
        ([{"name": "door", "at": "coil 1"}, {"name": "zone", "at": "holding 0"}], "the order of its tags"),
        ([{"name": "zone", "at": "holding 7"}, {"name": "door", "at": "coil 1"}], "1 tag changed"),
        (
            [{"name": "zone", "at": "holding 0"}, {"name": "gate", "at": "coil 1"}],
            "1 tag added, 1 tag removed",
        ),
    ],
)
def test_other_tags_need_another_driver(tmp_path: Path, tags: list[dict[str, Any]], words: str) -> None:
    after = document()
    after["devices"]["oven"]["tags"] = tags
    assert said(difference(tmp_path, document(), after)) == [("oven", "changed", words)]


def test_another_driver_under_the_same_name_is_said(tmp_path: Path) -> None:
    after = document()
    after["devices"]["oven"] = {**document()["devices"]["press"], "name": "oven"}
    assert said(difference(tmp_path, document(), after)) == [("oven", "changed", "driver modbus, now opcua")]


def test_settings_that_take_effect_and_those_that_wait_are_told_apart(tmp_path: Path) -> None:
    after = document(
        outbox={"size_max": "1GiB"}, observability={"log_level": "debug"}, reload={"watch": True, "settle": "5s"}
    )
    after["agent"] = {**after["agent"], "commissioning": True, "group": "elsewhere"}
    after["uplink"] = {**after["uplink"], "keep_alive": "9s"}
    found = difference(tmp_path, document(), after)
    assert found.live == (
        "agent.commissioning", "observability.log_level", "reload.settle", "reload.watch", "uplink.keep_alive",
    )  # fmt: skip
    assert found.restart == ("agent.group", "outbox.size_max", "uplink.client_id"), "which follows from the group"
    assert found.uplink
    assert found.config.agent.commissioning
    assert found.config.agent.group == "plant", "what runs has the old one until the restart"
    assert found.config.outbox == loaded(tmp_path, document()).outbox


def test_what_was_computed_of_the_settings_that_run_is_no_setting(tmp_path: Path) -> None:
    before, after = loaded(tmp_path, document()), loaded(tmp_path, document())
    for device in before.devices:
        device.__dict__["computed"] = device.name
    for device in after.devices:
        device.__dict__["computed_too"] = device.name
    assert changes(before, after, lambda name: DRIVERS[name].acts_on).are_none


def test_every_setting_that_is_said_to_take_effect_is_there() -> None:
    for section, fields in LIVE.items():
        settings: Any = AgentConfig.model_fields[section].annotation
        assert fields <= settings.model_fields.keys(), section
    assert AgentConfig.model_fields.keys() | {"templates", "defaults"} >= LIVE_SECTIONS
