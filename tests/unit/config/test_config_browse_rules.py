"""Browse rules as a device file writes them: what is taken, and what is said of what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_config_files import HEAD, Case, said_of

from connectors.opcua.settings import OpcUaDevice
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers

DEVICE = HEAD + "devices:\n  - {name: p, driver: opcua, endpoint: opc.tcp://p, insecure: true, browse: [%s]}\n"
CASES: dict[str, Case] = {
    "no node to begin at": (
        DEVICE % "{match: x}",
        ["4:78: entry 1 of 'browse' of device 'p' needs 'under'. Add 'under': Node id or browse path of an object, "
         "e.g. /Objects/2:Press."],
    ),
    "a pattern with an empty name": (
        DEVICE % "{under: /Objects, match: a//b}",
        ["4:103: 'match' of entry 1 of 'browse' of device 'p': 'a//b' has an empty name in it. Write it such as Ram/* "
         "or **/Force."],
    ),
    "a name that all variables would have": (
        DEVICE % "{under: /Objects, name: '{tag}'}",
        ["4:102: 'name' of entry 1 of 'browse' of device 'p': there is nothing to put in for {tag}; known are {path}, "
         "{name}, {id}."],
    ),
    "what only subscriptions have, of what is polled": (
        DEVICE % "{under: /Objects, poll: 1s, queue_size: 5}",
        ["4:118: 'queue_size' of entry 1 of 'browse' of device 'p': it does nothing to a tag that is polled. Remove "
         "it, or 'poll'."],
    ),
    "more than one device can have": (
        DEVICE % ", ".join(["{under: /Objects, max: 50000}"] * 3),
        ["4:77: 'browse' of device 'p': its rules may find 150,000 variables; one device can have 100,000 of them. "
         "Lower the 'max' of the rules, or make several devices."],
    ),
    "nothing to read": (
        DEVICE % "",
        ["4:5: device 'p': there is nothing to read. Write 'tags', or 'browse' with at least one rule."],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_rule_that_cannot_be_is_named_with_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    monkeypatch.chdir(tmp_path)
    text, expected = case
    assert said_of(text) == [f"agent.yaml:{line}" for line in expected]


@pytest.mark.parametrize("written", ["'**/Force'", "['**/Force']"])
def test_one_pattern_needs_no_list(tmp_path: Path, written: str) -> None:
    (tmp_path / "agent.yaml").write_text(DEVICE % f"{{under: /Objects, match: {written}, exclude: {written}}}")
    (device,) = load_config(tmp_path / "agent.yaml", built_in_drivers()).devices
    assert isinstance(device, OpcUaDevice)
    assert (device.browse[0].match, device.browse[0].exclude) == (("**/Force",), ("**/Force",))
