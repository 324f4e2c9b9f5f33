"""An agent's births, data, deaths and the host's commands, as other people's implementations understand them."""

from __future__ import annotations

import base64
from typing import Any, Final

import pytest

from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName, BatchRanges, Epoch
from connectors.model.quality import BAD_TIMEOUT, GOOD
from connectors.model.samples import batch_of_rows
from connectors.model.tags import DeviceName, MetricDefinition, TagName
from connectors.sparkplug.birth import CurrentValue, NodeProperty, rebirth_command
from connectors.sparkplug.bulk_encode import HISTORICAL, TRANSIENT, encode_metrics, sub_millisecond_ticks
from connectors.sparkplug.definition import make_definition
from connectors.sparkplug.delivery import Acknowledgement, Delivery, encode_acknowledgement
from connectors.sparkplug.edge_session import EdgeSession, Effect, Publish
from tests.servers.sparkplug_peers import Peer

NOW_MS: Final = 1_795_000_000_000
EPOCH: Final = Epoch(7)
PRESS: Final = DeviceName("press")
VALUES: Final[dict[DataType, tuple[Any, Any]]] = {
    DataType.INT8: (-128, -1),
    DataType.INT16: (-32768, -2),
    DataType.INT32: (-(1 << 31), -3),
    DataType.INT64: (-(1 << 63), -4),
    DataType.UINT8: (255, 0),
    DataType.UINT16: (65535, 1),
    DataType.UINT32: ((1 << 32) - 1, 2),
    DataType.UINT64: ((1 << 64) - 1, 10),
    DataType.FLOAT: (0.5, -1.25),
    DataType.DOUBLE: (1e300, -0.1),
    DataType.BOOLEAN: (True, False),
    DataType.STRING: ("ä€", ""),
    DataType.DATETIME: (NOW_MS, 1),
    DataType.TEXT: ("text", "t2"),
    DataType.UUID: ("01234567-89ab-cdef-0123-456789abcdef", "u2"),
    DataType.BYTES: (b"\x00\xff", b"\x01"),
}
"""The value of the birth, and the one that follows."""
TAGS: Final = [
    MetricDefinition(16_384 + number, TagName(datatype.label), datatype, "kN", "a tag")
    for number, datatype in enumerate(VALUES)
]
DEFINITION: Final = make_definition(PRESS, TAGS)


def session(*, empty: bool = False) -> EdgeSession:
    current = {tag.alias: CurrentValue(VALUES[tag.datatype][0], NOW_MS * 1_000_000) for tag in TAGS}
    edge = EdgeSession(
        AgentName("plant", "line"),
        epoch=EPOCH,
        host="",
        wait_for_host=False,
        properties=[NodeProperty("Properties/Version", "1.2.3")],
        values=lambda device: {} if empty else current,
    )
    edge.device_online(DEFINITION, NOW_MS)
    edge.connecting(3, NOW_MS)
    return edge


def payloads(effects: list[Effect]) -> list[bytes]:
    return [effect.payload for effect in effects if isinstance(effect, Publish)]


def ddata(edge: EdgeSession, mark: bytes, *, value_at: int, quality: int = GOOD) -> bytes:
    """A DDATA with one value of every type; ``value_at`` 2: none has a value."""
    parts = [
        batch_of_rows(
            tag.datatype,
            [(tag.alias, NOW_MS * 1_000_000 + 700, None if value_at > 1 else VALUES[tag.datatype][value_at], quality)],
        )
        for tag in TAGS
    ]
    body = b"".join(encode_metrics(part, mark) for part in parts)
    delivery = Delivery(EPOCH, 5, DEFINITION.hash, len(parts), ticks=sub_millisecond_ticks(parts[0]).repeat(len(parts)))
    return edge.device_data(PRESS, delivery, body, NOW_MS).payload


def plain(value: Any) -> Any:
    """A value as both peers print it: bytes in base64; 64 bits of npm's as digits."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def as_understood(peer: Peer, datatype: DataType, value_at: int) -> Any:
    """What the peer has to make of the value; the npm package looks for UInt32 in long_value and finds nothing there,
    where the specification says int_value (6.4.16)."""
    is_overlooked = peer.name == "sparkplug-payload" and datatype is DataType.UINT32
    return None if is_overlooked else VALUES[datatype][value_at]


def same(found: Any, wanted: Any) -> bool:
    if isinstance(found, str) and not isinstance(wanted, str | bytes):
        found = int(found)
    return bool(found == plain(wanted))


def tags_of(understood: dict[str, Any]) -> list[dict[str, Any]]:
    """Its metrics that have an alias, in order."""
    return [metric for metric in understood["metrics"] if metric.get("alias") is not None]


def named(understood: dict[str, Any]) -> dict[str, Any]:
    return {metric["name"]: metric.get("value") for metric in understood["metrics"] if metric.get("name")}


@pytest.mark.sparkplug(
    "tck-id-message-flow-edge-node-birth-publish-nbirth-payload",
    "tck-id-message-flow-device-birth-publish-dbirth-payload",
    "tck-id-payloads-metric-datatype-value-type",
    "tck-id-payloads-metric-datatype-value",
)
def test_births_are_understood(sparkplug_peer: Peer) -> None:
    node, device = sparkplug_peer.read(*payloads(session().connected(NOW_MS)))
    assert (int(node["timestamp"]), int(node["seq"]), int(device["seq"])) == (NOW_MS, 0, 1)
    facts = named(node)
    assert (int(facts["bdSeq"]), facts["Node Control/Rebirth"], facts["Properties/Version"]) == (3, False, "1.2.3")
    for tag, metric in zip(TAGS, tags_of(device), strict=True):
        assert (metric["name"], int(metric["alias"]), metric["type"]) == (tag.name, tag.alias, tag.datatype.label)
        assert int(metric["timestamp"]) == NOW_MS
        assert same(metric["value"], as_understood(sparkplug_peer, tag.datatype, 0)), tag.name


def test_births_without_values_are_understood(sparkplug_peer: Peer) -> None:
    _, device = sparkplug_peer.read(*payloads(session(empty=True).connected(NOW_MS)))
    assert [metric.get("value") for metric in tags_of(device)] == [None] * len(TAGS)


@pytest.mark.sparkplug(
    "tck-id-payloads-metric-propertyvalue-type-req",
    "tck-id-payloads-propertyset-keys-array-size",
    "tck-id-payloads-propertyset-values-array-size",
)
def test_units_and_descriptions_are_understood(sparkplug_peer: Peer) -> None:
    _, device = sparkplug_peer.read(*payloads(session().connected(NOW_MS)))
    for metric in tags_of(device):
        texts = {key: each["value"] if isinstance(each, dict) else each for key, each in metric["properties"].items()}
        assert texts == {"engUnit": "kN", "documentation": "a tag"}


@pytest.mark.parametrize("mark", [b"", HISTORICAL, TRANSIENT], ids=["live", "historical", "transient"])
def test_data_is_understood_by_the_aliases_of_the_birth(sparkplug_peer: Peer, mark: bytes) -> None:
    edge = session()
    births = payloads(edge.connected(NOW_MS))
    *_, data = sparkplug_peer.read(*births, ddata(edge, mark, value_at=1))
    assert int(data["seq"]) == 2
    assert int(named(data)["Lineside/Batch"]) == 5
    for tag, metric in zip(TAGS, tags_of(data), strict=True):
        assert (int(metric["alias"]), int(metric["timestamp"])) == (tag.alias, NOW_MS)
        flags = (
            metric.get("historical", metric.get("isHistorical")),
            metric.get("transient", metric.get("isTransient")),
        )
        assert [bool(flag) for flag in flags] == [mark == HISTORICAL, mark == TRANSIENT]
        assert same(metric["value"], as_understood(sparkplug_peer, tag.datatype, 1)), tag.name


@pytest.mark.sparkplug(
    "tck-id-payloads-propertyset-quality-value-type",
    "tck-id-payloads-propertyset-quality-value-value",
    "tck-id-payloads-metric-propertyvalue-type-value",
    "tck-id-payloads-metric-propertyvalue-type-type",
)
@pytest.mark.parametrize("value_at", [1, 2], ids=["with a value", "without one"])
def test_a_bad_quality_is_understood(sparkplug_peer: Peer, value_at: int) -> None:
    edge = session()
    births = payloads(edge.connected(NOW_MS))
    *_, data = sparkplug_peer.read(*births, ddata(edge, b"", value_at=value_at, quality=BAD_TIMEOUT))
    for metric in tags_of(data):
        found = metric["properties"]["Quality"]
        quality, kind = (found["value"], found["type"]) if isinstance(found, dict) else (found, "Int32")
        assert (quality, kind) == (0, "Int32")
        assert value_at == 1 or metric["value"] is None


def test_commands_and_deaths_are_understood(sparkplug_peer: Peer) -> None:
    edge = session()
    edge.connected(NOW_MS)
    acknowledgement = encode_acknowledgement([Acknowledgement(EPOCH, BatchRanges([(1, 4)]))], NOW_MS)
    ended = payloads(edge.device_offline(PRESS, NOW_MS)) + payloads(edge.closing(NOW_MS))
    rebirth, ack, device, node = sparkplug_peer.read(rebirth_command(NOW_MS), acknowledgement, *ended)
    assert named(rebirth) == {"Node Control/Rebirth": True}
    assert named(ack) == {"Lineside/Ack": '[{"epoch":"0000000000000007","batches":[[1,4]]}]'}
    for command in (rebirth, ack, node):
        assert command.get("seq") in (None, -1)
    assert (int(device["seq"]), device.get("metrics", [])) == (2, [])
    assert {name: int(value) for name, value in named(node).items()} == {"bdSeq": 3}
