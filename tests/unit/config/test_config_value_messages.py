"""Every value that cannot be used is named with its place, and with what to write instead.

Each case is a small broken file and all that is said of it, literally.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_config_files import DURATION, HEAD, OVEN, PRESS, SECRET, TAG, UPLINK, Case, said_of

from connectors.model.errors import ConfigInvalid
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers

BUS = HEAD + "devices:\n" + "".join(f"  - {{name: {name}, driver: modbus, %s, tags: [{TAG}]}}\n" for name in ("a", "b"))
SHARED = "Write the same 'endpoint' at both, and what is set for the line or for TLS."
CASES: dict[str, Case] = {
    "a line that is set in two ways": (
        BUS % ("endpoint: serial:///dev/ttyS0, serial: {baud: 9600}", "unit_id: 2, endpoint: serial:///dev/ttyS0"),
        [f"5:53: device 'b' reaches /dev/ttyS0 in another way than device 'a', and both share it. {SHARED}"],
    ),
    "a converter that is spoken to in two ways": (
        BUS % ("endpoint: rtu+tcp://10.0.0.1:502", "endpoint: tcp://10.0.0.1"),
        [f"5:41: device 'b' reaches 10.0.0.1:502 in another way than device 'a', and both share it. {SHARED}"],
    ),
    "out of range, a number": (
        OVEN.replace("tags:", "unit_id: 300, tags:") % TAG,
        ["4:65: 'unit_id' of device 'oven' cannot be 300. Write at most 255."],
    ),
    "out of range, a duration": (
        UPLINK % "keep_alive: 500ms",
        ["4:15: 'keep_alive' of 'uplink' cannot be 500ms. Write at least 1s."],
    ),
    "out of range, a long duration": (
        UPLINK % "resend_after: 7d",
        ["4:17: 'resend_after' of 'uplink' cannot be 7d. Write at most 1h."],
    ),
    "out of range, a short duration": (
        HEAD + "outbox: {commit_interval: 0s}\n",
        ["3:27: 'commit_interval' of 'outbox' cannot be 0s. Write at least 1ms."],
    ),
    "out of range, a duration of zero": (
        OVEN % "{name: x, at: holding 1, poll: 0s}",
        ["4:94: 'poll' of tag 'x' cannot be 0s. Write more than 0s."],
    ),
    "out of range, a size": (
        UPLINK % "packet_max: 1KiB",
        ["4:15: 'packet_max' of 'uplink' cannot be 1KiB. Write at least 16KiB."],
    ),
    "bad duration": (
        PRESS % "sampling: fast",
        [f"8:47: 'sampling' of tag 'force': 'fast' is not a duration. {DURATION}"],
    ),
    "a duration without a unit": (
        PRESS % "sampling: 100",
        [f"8:47: 'sampling' of tag 'force': 100 is not a duration. {DURATION}"],
    ),
    "a duration that is a boolean": (
        PRESS % "sampling: true",
        [f"8:47: 'sampling' of tag 'force': true is not a duration. {DURATION}"],
    ),
    "a duration without end": (
        PRESS % f"sampling: {'9' * 400}s",
        [f"8:47: 'sampling' of tag 'force': '{'9' * 57}…' is not a duration. {DURATION}"],
    ),
    "bad size": (
        UPLINK % "packet_max: 2 gigabytes",
        [
            "4:15: 'packet_max' of 'uplink': '2 gigabytes' is not a size. "
            "Write a number with a unit, such as 64KiB, 500MB or 2GB."
        ],
    ),
    "a size without end": (
        UPLINK % f"packet_max: {'9' * 400}GB",
        [
            f"4:15: 'packet_max' of 'uplink': '{'9' * 57}…' is not a size. "
            "Write a number with a unit, such as 64KiB, 500MB or 2GB."
        ],
    ),
    "bad deadband": (
        OVEN % "{name: x, at: holding 1, deadband: small}",
        [
            "4:98: 'deadband' of tag 'x': 'small' is not a deadband. "
            "Write a number such as 0.5, without its unit, or a percentage such as 1%."
        ],
    ),
    "bad data type": (
        OVEN % "{name: x, at: holding 1, type: flot32}",
        ["4:94: 'type' of tag 'x': there is no data type 'flot32'. Did you mean 'float32'?"],
    ),
    "bad data type, unlike any other": (
        OVEN % "{name: x, at: holding 1, type: [int]}",
        ["4:94: 'type' of tag 'x' has to be a single value, not a list."],
    ),
    "data type unknown": (
        OVEN % "{name: x, at: holding 1, type: money}",
        [
            "4:94: 'type' of tag 'x': there is no data type 'money'. Known are bool, boolean, double, float, float32, "
            "float64, int16, int32, int64, string, uint16, uint32 and uint64."
        ],
    ),
    "bad Modbus address": (
        OVEN % "{name: x, at: register 5}",
        [
            "4:77: 'at' of tag 'x': 'register 5' is not a Modbus address. Write a table (coil, discrete, input, "
            "holding) and a number from 0, such as holding 100, or holding 100.5 for one bit."
        ],
    ),
    "bad node id": (
        PRESS.replace("ns=2;i=1", "Ram.Force") % "unit: kN",
        [
            "8:27: 'at' of tag 'force': 'Ram.Force' is not a node id. Write it as nsu=<namespace uri>;s=<identifier>, "
            "or ns=<index>;s=<identifier> (i=<number> where it is one)."
        ],
    ),
    "a type that does not fit the place": (
        OVEN % "{name: x, at: coil 1, type: int16}",
        ["4:91: 'type' of tag 'x': 'coil 1' is a bit, and no Int16. Write bool, or remove it."],
    ),
    "bad endpoint": (
        OVEN.replace("tcp://oven", "oven") % TAG,
        [
            "4:44: 'endpoint' of device 'oven': 'oven' is not a Modbus endpoint. Write it as tcp://host:502, "
            "tls://host:802, rtu+tcp://host:4001, serial:///dev/ttyUSB0."
        ],
    ),
    "a password in an endpoint": (
        OVEN.replace("tcp://oven", "tcp://me:hunter2@oven") % TAG,
        ["4:44: 'endpoint' of device 'oven': 'tcp://…@oven' is not a Modbus endpoint. Write it as tcp://host:502."],
    ),
    "a broker without encryption": (
        "agent: {group: plant-7, name: line-3}\nuplink: {brokers: [mqtts://a, mqtt://b]}\n",
        [
            "2:31: entry 2 of 'brokers' of 'uplink': 'mqtt://b' is not encrypted: anybody on the network can read and "
            "change what is sent. Write mqtts://, or allow it with 'insecure: true' beside 'brokers'."
        ],
    ),
    "an OPC UA session without signature and encryption": (
        PRESS.replace("    insecure: true\n", "    security: {policy: None}\n") % "unit: kN",
        [
            "6:15: 'endpoint' of device 'press': the session with 'opc.tcp://press' is neither signed nor encrypted: "
            "anybody on the network can read and change what is sent. "
            "Remove 'policy: None', or allow it with 'insecure: true' beside 'endpoint'."
        ],
    ),
    "an OPC UA session without security that has a mode": (
        PRESS % "unit: kN" + "    security: {mode: Sign}\n",
        [
            "6:15: 'endpoint' of device 'press': 'insecure: true' makes the session with 'opc.tcp://press' one without "
            "security, for which 'mode' under 'security' does nothing. "
            "Remove one of the two, or name a 'policy' under 'security'."
        ],
    ),
    "an OPC UA user who is two": (
        PRESS.replace("    insecure: true\n", "    security: {user: me, user_certificate: a, user_key: b}\n")
        % "unit: kN",
        [
            "9:44: 'user_certificate' of 'security' of device 'press': a session has one user: a name, or a "
            "certificate. Remove one of the two."
        ],
    ),
    "a password for nobody": (
        PRESS.replace("    insecure: true\n", "    security: {password: '${env:MQTT_PASSWORD}'}\n") % "unit: kN",
        ["9:26: 'password' of 'security' of device 'press': it needs 'user' beside it. Add 'user'."],
    ),
    "a server that is to connect by itself": (
        PRESS.replace("    insecure: true\n", "    insecure: true\n    reverse_connect: opc.tcp://0.0.0.0:4841\n")
        % "unit: kN",
        [
            "10:22: 'reverse_connect' of device 'press': the agent cannot wait for a server that connects to it: the "
            "OPC UA library that it stands on does not have that (opcua-asyncio issue 766). Remove it and let the "
            "agent reach 'endpoint', through a proxy in the machines' network if need be."
        ],
    ),
    "a broker with a password in its address": (
        "agent: {group: plant-7, name: line-3}\nuplink: {brokers: ['mqtts://me:hunter2@b']}\n",
        [
            "2:20: entry 1 of 'brokers' of 'uplink': the address of a broker holds no user and no password. "
            "Write them under 'user' and 'password'."
        ],
    ),
    "brokers that are no addresses": (
        "agent: {group: a, name: b}\nuplink: {brokers: ['ssl://b:8883', 'b:8883', 'mqtts://b:0', 'mqtts://']}\n",
        [
            "2:20: entry 1 of 'brokers' of 'uplink': 'ssl://b:8883' is not the address of a broker. "
            "Did you mean 'mqtts://b:8883'?",
            "2:36: entry 2 of 'brokers' of 'uplink': 'b:8883' is not the address of a broker. "
            "Did you mean 'mqtts://b:8883'?",
            "2:46: entry 3 of 'brokers' of 'uplink': 'mqtts://b:0' names a port that does not exist. "
            "Write a port from 1 to 65535 after the ':'.",
            "2:61: entry 4 of 'brokers' of 'uplink': 'mqtts://' is not the address of a broker. "
            "Write it as mqtts://host:8883.",
        ],
    ),
    "no primary host for Sparkplug delivery": (
        UPLINK % "delivery: sparkplug\n  primary_host: false",
        [
            "5:17: 'primary_host' of 'uplink': with 'delivery: sparkplug' the agent always waits for its host. "
            "Write true, or remove the line."
        ],
    ),
    "a password without a user": (
        UPLINK % "password: ${env:MQTT_PASSWORD}",
        ["4:13: 'password' of 'uplink': it needs 'user' beside it. Add 'user'."],
    ),
    "a certificate without a key": (
        UPLINK % "cert_file: a.pem",
        ["4:14: 'cert_file' of 'uplink': it needs 'key_file' beside it. Add 'key_file'."],
    ),
    "a password in the file": (
        UPLINK % "user: me\n  password: hunter2",
        [f"5:13: 'password' of 'uplink': a secret does not stand in this file. {SECRET}"],
    ),
    "a password in the file, as a number": (
        UPLINK % "user: me\n  password: 471147114711",
        [f"5:13: 'password' of 'uplink': a secret does not stand in this file. {SECRET}"],
    ),
    "a password of a device in the file": (
        PRESS.replace("    tags:", "    security: {user: me, password: hunter2}\n    tags:") % "unit: kN",
        [f"7:36: 'password' of 'security' of device 'press': a secret does not stand in this file. {SECRET}"],
    ),
    "an environment variable that is not there": (
        UPLINK % "user: me\n  password: ${env:NOT_SET}",
        ["5:13: 'password' of 'uplink': the environment variable 'NOT_SET' is not set, or empty."],
    ),
    "a secret file that is not there": (
        UPLINK % "user: me\n  password: ${file:/nowhere/secret}",
        ["5:13: 'password' of 'uplink': the file '/nowhere/secret' cannot be read: No such file or directory."],
    ),
    "a credential outside of systemd": (
        UPLINK % "user: me\n  password: ${credential:broker}",
        [
            "5:13: 'password' of 'uplink': this process has no credentials, so none is called 'broker'. "
            "Write LoadCredential=broker:/path into its systemd unit, or use ${file:/path}."
        ],
    ),
    "a file mode without quotes": (
        HEAD + "local_api: {mode: 0660}\n",
        ["3:19: 'mode' of 'local_api': 660 is not a file mode. Write four octal digits in quotes, such as \"0660\"."],
    ),
    "a path that is none": (
        "agent: {group: a, name: b, data_dir: 5}\nuplink: {brokers: [mqtts://b]}\n",
        ["1:38: 'data_dir' of 'agent': 5 is not the name of a file or folder. Write a path such as /var/lib/lineside."],
    ),
    "a socket path longer than the system allows": (
        HEAD + f"local_api:\n  socket: /run/{'x' * 103}\n",
        [
            f"4:11: 'socket' of 'local_api': the path of a socket has at most 107 bytes; '/run/{'x' * 103}' is longer. "
            "Write a shorter one, such as /run/lineside/agent.sock."
        ],
    ),
    "an include that is not a list": (
        HEAD + "include: more.yaml\n",
        ["3:10: 'include' has to be a list, not the text 'more.yaml'. Begin every entry with '- '."],
    ),
    "includes that lead nowhere": (
        HEAD + "include: [more.yaml, none/*.yaml, '*/x.yaml', 5, '']\n",
        [
            "3:11: there is no file 'more.yaml'. Check the spelling, or remove the entry.",
            "3:22: there is no folder 'none'. Create it, or remove the entry.",
            "3:35: '*/x.yaml' has a wildcard in the name of a folder. Use wildcards in the name of the file only.",
            "3:47: entry 4 of 'include' has to be text, not the number 5. Put it in quotes.",
            "3:50: '' is not the name of a file. Write a path such as devices/press.yaml.",
        ],
    ),
    "an empty file": ("# nothing yet\n", ["1:1: the file is empty. Write at least 'agent', 'uplink' and 'devices'."]),
    "a file that is a list": (
        "- a\n",
        ["1:1: the file has to be a group of settings (key: value), not a list. Remove the '- '."],
    ),
    "malformed YAML": (
        HEAD + "devices:\n\t- name: oven\n",
        ["4:1: this line is indented with a tab. Use spaces: YAML takes no tabs at the beginning of a line."],
    ),
    "one broken device or tag does not hide the others": (
        "agent: {group: plant-7, nme: line-3}\n"
        "uplink: {brokers: [mqtts://b], window: 0}\n"
        "devices:\n"
        "  - {name: a, driver: modbus, tags: [{name: x, at: coil}, {name: y, at: coil 1, pol: 1s}]}\n"
        "  - {name: b, driver: modbus, endpoint: tcp://b, tags: 5}\n"
        "  - {name: b, driver: opcua, endpoint: opc.tcp://b, insecure: true, tags: [{name: t, at: i=1}],"
        " timeout: 0s}\n",
        [
            "1:25: unknown key 'nme' in 'agent'. Did you mean 'name'?",
            "2:40: 'window' of 'uplink' cannot be 0. Write at least 1.",
            "4:5: device 'a' needs 'endpoint'. Add 'endpoint': tcp://host:502, tls://host:802, rtu+tcp://host:4001 or "
            "serial:///dev/ttyUSB0.",
            "4:52: 'at' of tag 'x': 'coil' is not a Modbus address. Write a table (coil, discrete, input, holding) and "
            "a number from 0, such as holding 100, or holding 100.5 for one bit.",
            "4:81: unknown key 'pol' in tag 'y'. Did you mean 'poll'?",
            "5:56: 'tags' of device 'b' has to be a list, not the number 5. Begin every entry with '- '.",
            "6:12: a second device is called 'b'; the first is in line 5. Give one of them another name.",
            "6:106: 'timeout' of device 'b' cannot be 0s. Write more than 0s.",
        ],
    ),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("text", "lines"), CASES.values(), ids=CASES.keys())
def test_a_mistake_is_named_with_its_place(text: str, lines: list[str]) -> None:
    assert said_of(text) == [f"agent.yaml:{line}" for line in lines]


def test_no_password_is_ever_repeated() -> None:
    for text, _ in CASES.values():
        if "hunter2" in text:
            assert "hunter2" not in "\n".join(said_of(text))
    assert said_of(OVEN.replace("tcp://oven", "tcp://me:" + "hunter2" * 20 + "@oven") % TAG) == [
        "agent.yaml:4:44: 'endpoint' of device 'oven': 'tcp://…@oven' is not a Modbus endpoint. "
        "Write it as tcp://host:502."
    ]


@pytest.mark.parametrize(("count", "last"), [(1500, "And 500 more problems."), (1001, "And 1 more problem.")])
def test_problems_beyond_the_first_thousand_are_counted(count: int, last: str) -> None:
    tags = ", ".join(f"{{name: t{n}, at: coil 1, ordr: x}}" for n in range(count))
    said = said_of(OVEN % tags)
    assert len(said) == 1001
    assert said[-1] == last


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda path: None, "agent.yaml: the file cannot be read: No such file or directory."),
        (lambda path: path.mkdir(), "agent.yaml: the file cannot be read: it is not a regular file."),
        (lambda path: path.write_bytes(b"\xff"), "agent.yaml:1:1: this is not UTF-8 text. Save the file as UTF-8."),
    ],
)
def test_a_file_that_cannot_be_read(make: object, line: str) -> None:
    make(Path("agent.yaml"))  # type: ignore[operator]
    with pytest.raises(ConfigInvalid) as caught:
        load_config(Path("agent.yaml"), built_in_drivers())
    assert str(caught.value) == line
