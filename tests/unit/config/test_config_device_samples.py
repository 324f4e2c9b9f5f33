"""The samples of well-known devices: each is valid as its own comment uses it, and says where its facts come from."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from connectors.ports.settings import DeviceSettings
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers

SAMPLES = sorted((Path(__file__).parents[3] / "config/devices").glob("*.yaml"))
HEAD = "agent: {group: plant-7, name: line-3}\nuplink: {brokers: ['mqtts://broker']}\n"


def used(sample: Path, folder: Path) -> DeviceSettings:
    """The device that the comment of the sample makes of it."""
    comment = [line.removeprefix("#") for line in sample.read_text().splitlines() if line.startswith("#")]
    start = next(at for at, line in enumerate(comment) if line.strip().startswith("include:"))
    lines = [line for line in comment[start:] if line.startswith("   ")]
    (folder / "devices").mkdir()
    (folder / "devices" / sample.name).write_text(sample.read_text())
    agent = folder / "agent.yaml"
    agent.write_text(HEAD + textwrap.dedent("\n".join(lines)) + "\n")
    (device,) = load_config(agent, built_in_drivers(), environ={}).devices
    return device


def test_there_are_samples_of_both_drivers(tmp_path: Path) -> None:
    assert len(SAMPLES) >= 6


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_used_as_its_comment_says_and_names_its_source(sample: Path, tmp_path: Path) -> None:
    device = used(sample, tmp_path)
    assert len(device.tags) >= 2
    assert re.search(r"^# Source: \w", sample.read_text(), re.MULTILINE)
    assert all(tag.writable is None for tag in device.tags), "what is written is decided by the engineer of the plant"
    assert device.is_insecure is (device.driver == "modbus")
