"""Names that a Sparkplug host could not tell apart are refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_config_files import HEAD, OVEN, TAG, said_of

DEVICES = (
    HEAD
    + "devices:\n  - {name: %s, driver: modbus, endpoint: tcp://x, tags: [{name: t, at: coil 1}]}\n"
    + ("  - {name: %s, driver: modbus, endpoint: tcp://y, tags: [{name: t, at: coil 1}]}\n")
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.sparkplug("tck-id-topic-structure-namespace-unique-device-id")
def test_a_device_id_is_there_once() -> None:
    assert said_of(DEVICES % ("press", "press")) == [
        "agent.yaml:5:12: a second device is called 'press'; the first is in line 4. Give one of them another name."
    ]


@pytest.mark.sparkplug("tck-id-case-sensitivity-sparkplug-ids", "tck-id-case-sensitivity-metric-names")
def test_names_differ_in_more_than_capital_letters() -> None:
    assert said_of(DEVICES % ("press", "Press")) == [
        "agent.yaml:5:12: the device 'Press' and that of line 4 differ in capital letters only. "
        "Give one of them another name."
    ]
    assert said_of(OVEN % "{name: Zone, at: coil 1}, {name: zone, at: coil 2}") == [
        "agent.yaml:4:96: the tag 'zone' of device 'oven' and that of line 4 differ in capital letters only. "
        "Give one of them another name."
    ]


@pytest.mark.sparkplug(
    "tck-id-intro-group-id-chars",
    "tck-id-topic-structure-namespace-valid-group-id",
    "tck-id-intro-edge-node-id-chars",
    "tck-id-topic-structure-namespace-valid-edge-node-id",
    "tck-id-intro-device-id-chars",
    "tck-id-topic-structure-namespace-valid-device-id",
)
@pytest.mark.parametrize("name", ["a/b", "a+b", "a#b"])
def test_ids_have_no_character_that_a_topic_keeps_for_itself(name: str) -> None:
    for text in (
        OVEN.replace("name: oven", f"name: {name}") % TAG,
        HEAD.replace("line-3", name),
        HEAD.replace("plant-7", name),
    ):
        (said,) = said_of(text)
        assert "cannot be used as a Sparkplug id" in said
