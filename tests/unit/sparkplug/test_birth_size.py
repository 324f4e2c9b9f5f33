"""A birth that the broker cannot take as it is leaves out values; one that no packet can hold is not tried."""

from __future__ import annotations

from typing import Final

from connectors.model.datatypes import DataType
from connectors.model.delivery import AgentName, Epoch
from connectors.model.tags import DeviceName, MetricDefinition, TagName
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.birth import CurrentValue
from connectors.sparkplug.definition import make_definition
from connectors.sparkplug.edge_session import BirthTooLarge, EdgeSession, Effect, Publish

NOW_MS: Final = 1_795_000_000_000


def birth_of(texts: dict[str, str], packet_bytes_max: int) -> Effect:
    """The DBIRTH of a device with these texts and a number, on a broker with this limit."""
    metrics = [MetricDefinition(number, TagName(name), DataType.STRING) for number, name in enumerate(texts)]
    metrics.append(MetricDefinition(len(metrics), TagName("number"), DataType.DOUBLE))
    values = {number: CurrentValue(text, NOW_MS * 1_000_000) for number, text in enumerate(texts.values())}
    values[len(texts)] = CurrentValue(1.5, NOW_MS * 1_000_000)
    node = EdgeSession(
        AgentName("plant", "line"),
        epoch=Epoch(7),
        host="",
        wait_for_host=False,
        properties=(),
        values=lambda device: values,
    )
    node.connecting(1, NOW_MS)
    node.connected(NOW_MS, packet_bytes_max)
    (effect,) = node.device_online(make_definition(DeviceName("press"), metrics), NOW_MS)
    if isinstance(effect, Publish):
        assert not packet_bytes_max or len(effect.topic) + len(effect.payload) < packet_bytes_max
        assert pb.Payload.FromString(effect.payload).seq == 1
    assert node.is_born(DeviceName("press")) is isinstance(effect, Publish)
    return effect


def test_a_birth_leaves_out_the_largest_values_until_the_broker_takes_it() -> None:
    texts = {"small": "s" * 100, "large": "l" * 900, "middle": "m" * 500}
    for packet_bytes_max, left_out in (
        (0, set()),
        (1_500, {"large"}),
        (900, {"large", "middle"}),
        (400, {"large", "middle", "small"}),
    ):
        effect = birth_of(texts, packet_bytes_max)
        assert isinstance(effect, Publish)
        found = {m.name for m in pb.Payload.FromString(effect.payload).metrics if m.is_null and m.HasField("alias")}
        assert found == left_out


def test_a_birth_that_no_packet_can_hold_says_so_and_the_device_is_not_born() -> None:
    effect = birth_of({f"text {number}": "" for number in range(20)}, 600)
    assert isinstance(effect, BirthTooLarge)
    assert effect.device == "press"
    assert "the broker takes packets of at most 600; let it take larger ones" in effect.reason
