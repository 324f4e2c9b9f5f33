"""What may be written is checked where it stands: limits, conditions and the tags in them, sequences, safety."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_config_files import HEAD, OVEN, Case, said_of

from connectors.ports.command_settings import WritableSettings
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers

NAMED = HEAD + (
    "devices:\n  - name: oven\n    driver: modbus\n    endpoint: tcp://oven\n    tags:\n"
    "      - {name: x, at: holding 1, writable: {min: 0, max: 9}}\n      - {name: y, at: holding 2}\n"
    "    commands:\n      start:\n        %s\n"
)
EXAMPLE = 'Write one such as "press/state == idle and oven/zone1 < 80".'
CASES: dict[str, Case] = {
    "a number without limits": (
        OVEN % "{name: x, at: holding 1, writable: true}",
        ["4:98: 'writable' of tag 'x': a UInt16 is written within limits only. Write {min: …, max: …}."],
    ),
    "one limit": (
        OVEN % "{name: x, at: holding 1, writable: {min: 3}}",
        ["4:98: 'writable' of tag 'x': it has 'min' and no 'max'. Write both limits."],
    ),
    "limits that are exchanged": (
        OVEN % "{name: x, at: holding 1, writable: {min: 3, max: 1}}",
        [
            "4:104: 'min' of 'writable' of tag 'x': it is larger than 'max'. Write the smaller number here.",
        ],
    ),
    "a bit with limits": (
        OVEN % "{name: x, at: coil 1, writable: {min: 0, max: 1}}",
        ["4:95: 'writable' of tag 'x': a Boolean has no limits. Remove 'min' and 'max'."],
    ),
    "a table that nobody can write": (
        OVEN % "{name: x, at: input 1, writable: {min: 0, max: 1}}",
        ["4:96: 'writable' of tag 'x': nobody can write to the tables input and discrete. Remove it."],
    ),
    "a tag of a safety function": (
        OVEN % "{name: x, at: coil 1, safety: true, writable: true}",
        [
            "4:109: 'writable' of tag 'x': a tag with 'safety: true' cannot be made writable: Lineside is no safety "
            "function (ISO 13849, IEC 62061). Remove 'writable'."
        ],
    ),
    "a condition that breaks off": (
        OVEN % "{name: x, at: coil 1, writable: {interlock: oven/x ==}}",
        [
            "4:107: 'interlock' of 'writable' of tag 'x': it is no condition over tags: 'oven/x ==' breaks off: a "
            f"value or ')' is missing, at character 10. {EXAMPLE}"
        ],
    ),
    "a condition over a tag that there is not": (
        OVEN % "{name: zone1, at: coil 1, writable: {interlock: oven/zone2}}",
        [
            "4:111: 'interlock' of 'writable' of tag 'zone1': the device 'oven' has no tag 'zone2'. Did you mean "
            "'oven/zone1'?",
        ],
    ),
    "a condition over a device that there is not": (
        OVEN % "{name: x, at: coil 1, writable: {interlock: ovn/x}}",
        ["4:107: 'interlock' of 'writable' of tag 'x': there is no device 'ovn'. Did you mean 'oven'?"],
    ),
    "a key that is misspelt": (
        OVEN % "{name: x, at: coil 1, writable: {interlok: oven/x}}",
        ["4:96: unknown key 'interlok' in 'writable' of tag 'x'. Did you mean 'interlock'?"],
    ),
    "a time without a unit": (
        OVEN % "{name: x, at: coil 1, writable: {interval: 5}}",
        [
            "4:106: 'interval' of 'writable' of tag 'x': 5 is not a duration. Write a number with a unit, such as "
            "100ms, 5s, 2m, 1h or 7d."
        ],
    ),
    "a step that does two things": (
        NAMED % "steps: [{write: x, wait: oven/x == 1, value: 1}]",
        [
            "12:17: entry 1 of 'steps' of 'start' of 'commands' of device 'oven': a step does one thing, and this one "
            "says write and wait. Write 'write', 'wait' or 'call'."
        ],
    ),
    "a step without its value": (
        NAMED % "steps: [{write: x}]",
        [
            "12:17: entry 1 of 'steps' of 'start' of 'commands' of device 'oven': it does not say what is written. "
            "Add 'value'."
        ],
    ),
    "a step that writes what is not writable": (
        NAMED % "steps: [{write: y, value: 1}]",
        [
            "12:25: 'write' of entry 1 of 'steps' of 'start' of 'commands' of device 'oven': the tag 'y' is not "
            "writable. Name a tag that has 'writable'."
        ],
    ),
    "an argument that the command does not have": (
        NAMED % "steps: [{write: x, value: $speed}]",
        [
            "12:35: 'value' of entry 1 of 'steps' of 'start' of 'commands' of device 'oven': the command has no "
            "argument 'speed'. Name it among its 'arguments'."
        ],
    ),
    "a number as argument without limits": (
        NAMED % "{arguments: {n: {type: int}}, steps: [{write: x, value: $n}]}",
        [
            "12:25: 'n' of 'arguments' of 'start' of 'commands' of device 'oven': a number needs its limits. Write "
            "'min' and 'max'."
        ],
    ),
    "a wait for a tag that there is not": (
        NAMED % "steps: [{wait: oven/z == 1}]",
        [
            "12:24: 'wait' of entry 1 of 'steps' of 'start' of 'commands' of device 'oven': the device 'oven' has no "
            "tag 'z'."
        ],
    ),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mistake_is_told_in_the_engineers_words(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, expected = CASES[case]
    assert said_of(text) == [f"agent.yaml:{line}" for line in expected]


def test_what_may_be_written_is_read_with_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text(
        OVEN % "{name: x, at: coil 1, writable: true}, {name: y, at: coil 2, writable: false}, {name: z, at: coil 3}"
    )
    config = load_config(tmp_path / "agent.yaml", built_in_drivers())
    writable = [tag.writable for tag in config.devices[0].tags]
    assert writable == [WritableSettings(), None, None]
    assert config.devices[0].plain_commands == "refuse"
    assert (config.agent.remote_commands, config.agent.commissioning) == (True, False)
    assert config.commands.trusted_keys == Path("/var/lib/lineside/trusted-keys.json")
    assert config.commands.journal == Path("/var/lib/lineside/commands.db")
