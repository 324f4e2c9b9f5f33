"""What an engineer brings along from manuals and other programs is understood: classic addresses, other words, ports.

Each case is a small broken file and all that is said of it, literally.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_config_files import OVEN, PRESS, TAG, UPLINK, Case, said_of

from connectors.configuration.key_synonyms import SYNONYMS
from connectors.configuration.setting_names import counted, keys_of, nearest_key
from connectors.kafka.settings import KafkaLog
from connectors.modbus.settings import ModbusDevice, ModbusTag
from connectors.opcua.settings import OpcUaDevice, OpcUaTag
from edge_agent.config.models import UplinkSettings

PORT = "names a port that does not exist. Write a port from 1 to 65535 after the ':'."

CASES: dict[str, Case] = {
    "a poll interval by another name, misspelt": (
        OVEN % "{name: x, at: coil 1, polling_intervall: 1s}",
        ["4:85: unknown key 'polling_intervall' in tag 'x'. Did you mean 'poll'?"],
    ),
    "a poll of a variable by another name": (
        PRESS % "polling_interval: 1s",
        ["8:37: unknown key 'polling_interval' in tag 'force'. Did you mean 'poll'?"],
    ),
    "a classic address of a bit, which YAML takes for a number": (
        OVEN % "{name: x, at: 40101.10}",
        [
            "4:77: 'at' of tag 'x': 40101.1 is a number to YAML, for which 40100.1 and 40100.10 are the same. "
            "Write it in quotes: '40101.1', or '40101.10' if that was meant."
        ],
    ),
    "a classic address of the bit of a coil": (
        OVEN % "{name: x, at: '00001.3'}",
        ["4:77: 'at' of tag 'x': '00001.3': only the bits 0 to 15 of a register can be named."],
    ),
    "an address without a table": (
        OVEN % "{name: x, at: 100}",
        [
            "4:77: 'at' of tag 'x': 100 does not say which table it is in. "
            "Write the table and the number from 0, such as holding 100."
        ],
    ),
    "an address that no manual can mean": (
        OVEN % "{name: x, at: 40000}",
        [
            "4:77: 'at' of tag 'x': 40000 does not say which table it is in. "
            "Write the table and the number from 0, such as holding 40000."
        ],
    ),
    "a port of a Modbus unit that does not exist": (
        OVEN.replace("tcp://oven", "tcp://oven:150200") % TAG,
        [f"4:44: 'endpoint' of device 'oven': 'tcp://oven:150200' {PORT}"],
    ),
    "port 0 of a Modbus unit": (
        OVEN.replace("tcp://oven", "tcp://oven:0") % TAG,
        [f"4:44: 'endpoint' of device 'oven': 'tcp://oven:0' {PORT}"],
    ),
    "a port of an OPC UA server that does not exist": (
        PRESS.replace("opc.tcp://press", "opc.tcp://press:65536/path") % "unit: kN",
        [f"6:15: 'endpoint' of device 'press': 'opc.tcp://press:65536/path' {PORT}"],
    ),
    "a port of a broker that does not exist": (
        UPLINK.replace("broker:8883", "broker:150200") % "keep_alive: 5s",
        [f"3:13: entry 1 of 'brokers' of 'uplink': 'mqtts://broker:150200' {PORT}"],
    ),
    "a port of the metrics that does not exist": (
        UPLINK % "keep_alive: 5s\nobservability: {metrics: {port: 150200}}",
        ["5:33: 'port' of 'metrics' of 'observability' cannot be 150200. Write at most 65535."],
    ),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("text", "lines"), CASES.values(), ids=CASES.keys())
def test_what_was_meant_is_said(text: str, lines: list[str]) -> None:
    assert said_of(text) == [f"agent.yaml:{line}" for line in lines]


@pytest.mark.parametrize("port", ["1", "502", "65535"])
def test_every_port_that_exists_can_be_written(port: str) -> None:
    tags = [{"name": "x", "at": "coil 1"}]
    oven = {"name": "o", "driver": "modbus", "endpoint": f"tcp://o:{port}", "tags": tags}
    assert ModbusDevice.model_validate(oven).endpoint.endswith(port)
    assert KafkaLog.model_validate({"brokers": [f"k:{port}"], "insecure": True}).brokers == (f"k:{port}",)


def test_a_port_of_kafka_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="'k:99999' names a port that does not exist"):
        KafkaLog.model_validate({"brokers": ["k:99999"], "insecure": True})


@pytest.mark.parametrize(
    ("model", "written", "meant"),
    [
        (ModbusTag, "interval", "poll"),
        (ModbusTag, "register", "at"),
        (ModbusTag, "Data-Type", "type"),
        (ModbusTag, "min_intervall", "min_interval"),
        (ModbusTag, "slave", None),
        (ModbusTag, "port", None),
        (ModbusDevice, "slave_id", "unit_id"),
        (ModbusDevice, "host", "endpoint"),
        (OpcUaTag, "nodeid", "at"),
        (OpcUaTag, "samplng", "sampling"),
        (OpcUaDevice, "url", "endpoint"),
        (UplinkSettings, "username", "user"),
        (UplinkSettings, "cafile", "ca_file"),
        (UplinkSettings, "host", "host"),
    ],
)
def test_a_word_of_another_program_leads_to_the_key(model: type, written: str, meant: str | None) -> None:
    assert nearest_key(written, keys_of(model)) == meant


def test_another_word_never_stands_in_the_way_of_a_key() -> None:
    for word in SYNONYMS:
        assert nearest_key(word, [word, "endpoint"]) == word


def test_one_is_singular() -> None:
    assert [counted(count, "batch", "batches") for count in (0, 1, 2, 1200)] == [
        "0 batches", "1 batch", "2 batches", "1,200 batches",
    ]  # fmt: skip
    assert (counted(1, "tag"), counted(2, "tag")) == ("1 tag", "2 tags")
