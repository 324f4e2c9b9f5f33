"""Every mistake in the keys, names and types of a file is named with its place, and with what to write instead.

Each case is a small broken file and all that is said of it, literally.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_config_files import HEAD, OVEN, PRESS, TAG, UPLINK, Case, said_of

CASES: dict[str, Case] = {
    "unknown key of a tag": (
        PRESS % "samplng: 100ms",
        ["8:37: unknown key 'samplng' in tag 'force'. Did you mean 'sampling'?"],
    ),
    "unknown key of a device": (
        OVEN.replace("tags:", "unit-id: 1, tags:") % TAG,
        ["4:56: unknown key 'unit-id' in device 'oven'. Did you mean 'unit_id'?"],
    ),
    "unknown key of a section, unlike any other": (
        HEAD + "local_api: {xyz: 1}",
        ["3:13: unknown key 'xyz' in 'local_api'. Known are mode and socket."],
    ),
    "unknown section": (HEAD + "Devices: []", ["3:1: unknown key 'Devices'. Did you mean 'devices'?"]),
    "a key with another case": (
        UPLINK % "Keep-Alive: 5s",
        ["4:3: unknown key 'Keep-Alive' in 'uplink'. Did you mean 'keep_alive'?"],
    ),
    "a merge key": (
        "agent: &a {group: plant-7, name: line-3}\nuplink: {<<: *a, brokers: [mqtts://broker]}\n",
        ["2:10: unknown key '<<' in 'uplink'. Keys cannot be merged into others; write them here."],
    ),
    "no space after the ':' of a key": (
        OVEN % "{name:x, at: coil 1}",
        ["4:64: unknown key 'name:x' in this tag. Write a space after the ':' of 'name:'."],
    ),
    "no space after any ':'": (
        "agent:\n  group:plant-7\n  name:line-3\nuplink: {brokers: [mqtts://b]}\n",
        [
            "2:3: 'agent' has to be a group of settings (key: value), not the text 'group:plant-7 name:line-3'. "
            "Write a space after every ':' that ends a key."
        ],
    ),
    "unknown driver": (
        OVEN.replace("driver: modbus", "driver: mudbus") % TAG,
        ["4:26: there is no driver 'mudbus' for device 'oven'. Did you mean 'modbus'? It can be 'modbus' or 'opcua'."],
    ),
    "unknown driver, unlike any other": (
        OVEN.replace("driver: modbus", "driver: s7") % TAG,
        [
            "4:26: there is no driver 's7' for device 'oven'. It can be 'modbus' or 'opcua'; any other has to be "
            "installed first, as a package."
        ],
    ),
    "a driver that is no text": (
        OVEN.replace("driver: modbus", "driver: 7") % TAG,
        ["4:26: 'driver' of device 'oven' has to be text, not the number 7. Put it in quotes."],
    ),
    "an unknown driver does not hide what else is wrong with the device": (
        OVEN.replace("driver: modbus", "driver: mudbus") % "{name: x, at: coil 1, ordre: ABCD}",
        [
            "4:26: there is no driver 'mudbus' for device 'oven'. "
            "Did you mean 'modbus'? It can be 'modbus' or 'opcua'.",
            "4:85: unknown key 'ordre' in tag 'x'. Did you mean 'order'?",
        ],
    ),
    "no driver": (
        HEAD + "devices:\n  - name: oven\n    endpoint: tcp://oven\n",
        ["4:5: device 'oven' needs 'driver'. Add 'driver': 'modbus' or 'opcua'."],
    ),
    "wrong literal": (
        OVEN % "{name: x, at: holding 1, type: int32, order: CDBA}",
        [
            "4:108: 'order' of tag 'x' cannot be 'CDBA'. Did you mean 'DCBA'? "
            "It can be 'ABCD', 'BADC', 'CDAB', 'DCBA', 'CDABGHEF', 'DCBAHGFE', 'EFGHABCD' or 'FEHGBADC'."
        ],
    ),
    "wrong literal, unlike any other": (
        UPLINK % "delivery: fast",
        ["4:13: 'delivery' of 'uplink' cannot be 'fast'. It can be 'acknowledged' or 'sparkplug'."],
    ),
    "wrong MQTT version": (
        UPLINK % "mqtt_version: 3.1",
        ["4:17: 'mqtt_version' of 'uplink' cannot be 3.1. It can be '5' or '3.1.1'."],
    ),
    "missing key of a device": (
        HEAD + "devices:\n  - name: oven\n    driver: modbus\n    tags: [{name: x, at: coil 1}]\n",
        [
            "4:5: device 'oven' needs 'endpoint'. Add 'endpoint': tcp://host:502, tls://host:802, rtu+tcp://host:4001 "
            "or serial:///dev/ttyUSB0."
        ],
    ),
    "missing key of a section": (
        "agent:\n  group: plant-7\nuplink: {brokers: [mqtts://b]}\n",
        ["1:1: 'agent' needs 'name'. Add 'name': Sparkplug edge node, unique within the group."],
    ),
    "missing section": (
        "agent: {group: plant-7, name: line-3}\n",
        ["1:1: the file needs 'uplink'. Add 'uplink': {brokers: [mqtts://host:8883]}."],
    ),
    "a device file by itself": (
        "devices:\n  - {name: oven, driver: modbus, endpoint: tcp://h, tags: [{name: x, at: coil 1}]}\n",
        [
            "1:1: the file has neither 'agent' nor 'uplink': it is a part, which an agent's file includes. Check the "
            "agent's file, which names it under 'include', or add both."
        ],
    ),
    "missing key without a description": (
        HEAD + "observability:\n  metrics: {host: 127.0.0.1}\n",
        ["4:3: 'metrics' of 'observability' needs 'port'. Add 'port'."],
    ),
    "a misspelt key is not reported as missing too": (
        OVEN.replace("endpoint", "endpont") % TAG,
        ["4:34: unknown key 'endpont' in device 'oven'. Did you mean 'endpoint'?"],
    ),
    "duplicate tag": (
        HEAD
        + "devices:\n  - name: oven\n    driver: modbus\n    endpoint: tcp://oven\n    tags:\n"
        + "      - {name: a, at: coil 1}\n      - {name: b, at: coil 1}\n      - {name: a, at: coil 2}\n",
        ["10:16: device 'oven' has a second tag 'a'; the first is in line 8. Give one of them another name."],
    ),
    "a duplicate tag behind a broken one, three times": (
        OVEN % "{name: a, at: coil 1}, {name: b}, {name: a, at: coil 2}, {name: a, at: coil 3}",
        [
            "4:86: tag 'b' needs 'at'. Add 'at': Table and address from 0, e.g. holding 100, input 7, coil 3; "
            "holding 100.5 is a bit; 40101 as in manuals.",
            "4:104: device 'oven' has a second tag 'a'; the first is in line 4. Give one of them another name.",
            "4:127: device 'oven' has a second tag 'a'; the first is in line 4. Give one of them another name.",
        ],
    ),
    "duplicate device": (
        HEAD + "devices:\n" + "  - {name: x, driver: modbus, endpoint: tcp://x, tags: [{name: t, at: coil 1}]}\n" * 2,
        ["5:12: a second device is called 'x'; the first is in line 4. Give one of them another name."],
    ),
    "duplicate key": (
        HEAD + "agent: {}\n",
        ["3:1: the key 'agent' is here a second time; the first is in line 1. Remove one of them."],
    ),
    "a device id that Sparkplug cannot carry": (
        OVEN.replace("name: oven", "name: oven/1") % TAG,
        ["4:12: 'oven/1' cannot be used as a Sparkplug id: it contains '/', which Sparkplug keeps for itself."],
    ),
    "an agent id that Sparkplug cannot carry": (
        "agent: {group: 'plant #7', name: ''}\nuplink: {brokers: [mqtts://b]}\n",
        [
            "1:16: 'group' of 'agent': 'plant #7' cannot be used as a Sparkplug id: it contains '#', which Sparkplug "
            "keeps for itself.",
            "1:34: 'name' of 'agent': '' cannot be used as a Sparkplug id: it is empty.",
        ],
    ),
    "the group that Sparkplug keeps for hosts": (
        "agent: {group: STATE, name: x}\nuplink: {brokers: [mqtts://b]}\n",
        ["1:16: 'group' of 'agent': 'STATE' cannot be a group: Sparkplug keeps the name for hosts."],
    ),
    "a number where text belongs": (
        "agent: {group: 7, name: line-3}\nuplink: {brokers: [mqtts://b]}\n",
        ["1:16: 'group' of 'agent' has to be text, not the number 7. Put it in quotes."],
    ),
    "a list where text belongs": (
        "agent: {group: [a], name: line-3}\nuplink: {brokers: [mqtts://b]}\n",
        ["1:16: 'group' of 'agent' has to be text, not a list."],
    ),
    "a boolean where text belongs": (
        OVEN % "{name: true, at: coil 1}",
        ["4:70: 'name' of this tag has to be text, not true. Put it in quotes."],
    ),
    "text where a whole number belongs": (
        UPLINK % "window: many",
        ["4:11: 'window' of 'uplink' has to be a whole number, not the text 'many'. Write a whole number."],
    ),
    "a number with a unit where none belongs": (
        UPLINK % "window: 5 batches",
        [
            "4:11: 'window' of 'uplink' has to be a whole number, not the text '5 batches'. "
            "Write a whole number, without a unit."
        ],
    ),
    "a whole number in quotes": (
        UPLINK % "window: '12'",
        ["4:11: 'window' of 'uplink' has to be a whole number, not the text '12'. Remove the quotes."],
    ),
    "a fraction where a whole number belongs": (
        UPLINK % "window: 1.5",
        ["4:11: 'window' of 'uplink' has to be a whole number, not the number 1.5. Write a whole number."],
    ),
    "a boolean where a number belongs": (
        OVEN % "{name: x, at: holding 1, offset: true}",
        ["4:96: 'offset' of tag 'x' has to be a number, not true. Write a number."],
    ),
    "infinity": (
        OVEN % "{name: x, at: holding 1, offset: .inf}",
        ["4:96: 'offset' of tag 'x' is no finite number. Write a number."],
    ),
    "a number too large for any type": (
        OVEN % "{name: x, at: holding 1, offset: 1e999}",
        ["4:96: 'offset' of tag 'x' is no finite number. Write a number."],
    ),
    "yes where true belongs": (
        UPLINK % "insecure: yes",
        ["4:13: 'insecure' of 'uplink' has to be true or false, not the text 'yes'. Did you mean true?"],
    ),
    "anything where true or false belongs": (
        UPLINK % "insecure: maybe",
        ["4:13: 'insecure' of 'uplink' has to be true or false, not the text 'maybe'. Write true or false."],
    ),
    "a truth value in quotes": (
        UPLINK % "insecure: 'true'",
        ["4:13: 'insecure' of 'uplink' has to be true or false, not the text 'true'. Take it out of its quotes."],
    ),
    "text where a list belongs": (
        "agent: {group: plant-7, name: line-3}\nuplink: {brokers: 'mqtts://b'}\n",
        ["2:19: 'brokers' of 'uplink' has to be a list, not the text 'mqtts://b'. Begin every entry with '- '."],
    ),
    "a group where a list belongs": (
        HEAD + "devices:\n  name: oven\n",
        ["4:3: 'devices' has to be a list, not a group of settings. Begin every entry with '- '."],
    ),
    "a list where a group belongs": (
        "agent:\n  - group: a\nuplink: {brokers: [mqtts://b]}\n",
        ["2:3: 'agent' has to be a group of settings (key: value), not a list. Remove the '- '."],
    ),
    "text where a group belongs": (
        HEAD + "devices:\n  - oven\n",
        [
            "4:5: this device has to be a group of settings (key: value), not the text 'oven'. "
            "Write its settings below it, indented."
        ],
    ),
    "a tag that is only text": (
        OVEN % "x",
        [
            "4:63: this tag has to be a group of settings (key: value), not the text 'x'. "
            "Write its settings below it, indented."
        ],
    ),
    "a list for a single value": (
        PRESS % "sampling: [1s, 2s]",
        ["8:47: 'sampling' of tag 'force' has to be a single value, not a list."],
    ),
    "a required value left empty": (
        OVEN % "{name: , at: coil 1}",
        ["4:64: 'name' of this tag is empty. Write a value."],
    ),
    "an optional value left empty": (
        HEAD + "outbox:\n  durability:\n",
        ["4:3: 'durability' of 'outbox' is empty. Write a value, or remove the line."],
    ),
    "a section left empty": (
        HEAD + "outbox:\n",
        ["3:1: 'outbox' is empty. Write a value, or remove the line."],
    ),
    "devices left empty": (HEAD + "devices:\n", ["3:1: 'devices' is empty. Write a value, or remove the line."]),
    "an entry of a list left empty": (
        "agent: {group: plant-7, name: line-3}\nuplink:\n  brokers:\n    -\n",
        ["4:6: entry 1 of 'brokers' of 'uplink' is empty. Write a value."],
    ),
    "an empty text": (
        OVEN % "{name: '', at: coil 1}",
        ["4:70: 'name' of this tag is empty. Write a value."],
    ),
    "an empty list": (
        "agent: {group: plant-7, name: line-3}\nuplink: {brokers: []}\n",
        ["2:19: 'brokers' of 'uplink' needs at least 1 entry."],
    ),
    "a list too long": (
        f"agent: {{group: plant-7, name: line-3}}\nuplink: {{brokers: [{', '.join(['mqtts://b'] * 17)}]}}\n",
        ["2:19: 'brokers' of 'uplink' takes at most 16 entries."],
    ),
    "a text too long": (
        OVEN % f"{{name: x, at: coil 1, unit: {'k' * 41}}}",
        ["4:91: 'unit' of tag 'x' has more than 40 characters. Write less."],
    ),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("text", "lines"), CASES.values(), ids=CASES.keys())
def test_a_mistake_is_named_with_its_place(text: str, lines: list[str]) -> None:
    assert said_of(text) == [f"agent.yaml:{line}" for line in lines]
