"""What a host keeps of a node is bounded, whatever the node tells; what is refused takes nothing else with it."""

from __future__ import annotations

import json

import pytest

from connectors.model.delivery import AgentName
from connectors.sparkplug import born_metrics
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.born_metrics import PROPERTIES_BYTES_MAX, PROPERTIES_PER_METRIC_MAX, BornMetrics
from connectors.sparkplug.node_session import NodeReading, NodeSession
from connectors.sparkplug.topics import Topic, Verb
from tests.bounded_effort import bounded_effort

NODE = AgentName("plant", "foreign")
TIME_MS = 1_795_000_000_000


class Teller:
    """A node that tells what it is made to tell, with a seq that is right."""

    def __init__(self) -> None:
        self.host = NodeSession()
        self.number = -1

    def say(self, verb: Verb, *metrics: pb.Metric, device: str = "") -> NodeReading:
        self.number += 1
        payload = pb.Payload(timestamp=TIME_MS + self.number, seq=self.number % 256, metrics=metrics)
        return self.host.receive(Topic(NODE, verb, device), payload.SerializeToString())


def metric(name: str = "", alias: int | None = None, **properties: str) -> pb.Metric:
    made = pb.Metric(name=name, alias=alias, datatype=3 if name else None, int_value=1)
    for key, text in properties.items():
        made.properties.keys.append(key)
        made.properties.values.add(type=12, string_value=text)
    return made


def motor(name: str, reference: str, *members: str) -> pb.Metric:
    template = pb.Template(template_ref=reference, metrics=[pb.Metric(name=each, datatype=3) for each in members])
    return pb.Metric(name=name, datatype=19, template_value=template)


def test_ever_new_properties_are_refused_at_a_bound_and_the_values_are_taken() -> None:
    node = Teller()
    node.say(Verb.NBIRTH, metric("a", 1, engUnit="kN", low="0"))
    readings = []
    with bounded_effort(500 * 100):
        for number in range(500):
            readings.append(node.say(Verb.NDATA, metric(alias=1, **{f"key {number}": "x" * 20})))
            del readings[:-1]
    (reading,) = readings
    assert reading.refused == [f"the metric 1: it has more than {PROPERTIES_PER_METRIC_MAX} properties"]
    (sample,) = reading.samples
    assert sample.value == 1
    assert sample.about.unit == "kN"
    told = json.loads(sample.about.properties)
    assert len(told) == PROPERTIES_PER_METRIC_MAX - 1, "the unit is the other one"
    assert told["low"] == "0", "what was told before stays"
    changed = node.say(Verb.NDATA, metric(alias=1, low="5"))
    assert (changed.refused, json.loads(changed.samples[0].about.properties)["low"]) == ([], "5")


def test_long_properties_are_refused_at_a_bound_in_births_and_in_data() -> None:
    node = Teller()
    long = "ä" * (PROPERTIES_BYTES_MAX // 2)
    reason = f"its properties take more than {PROPERTIES_BYTES_MAX} bytes"
    born = node.say(Verb.NBIRTH, metric("a", 1, note=long), metric("b", 2, note=long[:-100]))
    assert born.refused == [f"the metric 'a': {reason}"]
    assert [bool(sample.about.properties) for sample in born.samples] == [False, True]
    data = node.say(Verb.NDATA, metric(alias=1, note="short"), metric(alias=2, more="x" * 200))
    assert data.refused == [f"the metric 2: {reason}"]
    assert [json.loads(sample.about.properties).keys() for sample in data.samples] == [{"note"}, {"note"}]


def test_a_device_that_is_born_again_and_again_with_other_templates_takes_no_more_room() -> None:
    node = Teller()
    node.say(Verb.NBIRTH, metric("a", 1))
    with bounded_effort(200 * 2000, memory_per_byte=10):
        for number in range(200):
            names = [f"member {number} {each}" for each in range(100)]
            reading = node.say(Verb.DBIRTH, motor("m", f"type {number}", *names), device="press")
            assert reading.refused == []
    node.say(Verb.DDEATH, device="press")
    assert node.host._metrics._template_bytes == 0


def test_templates_are_refused_at_a_bound_and_a_dead_device_gives_its_room_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(born_metrics, "TEMPLATE_BYTES_PER_NODE_MAX", 1000)
    node = Teller()
    node.say(Verb.NBIRTH, motor("m", "Motor", "rpm"))
    full = node.say(Verb.DBIRTH, motor("p", "Pump", *"abcdef"), metric("other", 7), device="press")
    assert (full.refused, len(full.samples)) == ([], 2)
    reading = node.say(Verb.DBIRTH, motor("q", "Oven", *"abcdef"), metric("other", 8), device="oven")
    assert reading.refused == ["the metric 'q': the names in the templates of the node take more than 1000 bytes"]
    assert [sample.name for sample in reading.samples] == ["other"]
    node.say(Verb.DDEATH, device="press")
    assert node.say(Verb.DBIRTH, motor("q", "Oven", *"abcdef"), device="oven").refused == []


def test_a_device_reads_by_the_templates_of_the_node_and_by_its_own() -> None:
    node = Teller()
    definition = motor("Motor", "", "rpm", "load")
    definition.template_value.is_definition = True
    node.say(Verb.NBIRTH, definition)
    node.say(Verb.DBIRTH, motor("m", "Motor", "extra"), device="press")
    node.say(Verb.DBIRTH, motor("m", "Motor"), device="oven")
    members = [pb.Metric(name=name, int_value=0xFFFF_FFFF) for name in ("rpm", "extra")]
    data = pb.Metric(name="m", template_value=pb.Template(template_ref="Motor", metrics=members))
    for device, extra in (("press", -1), ("oven", 0xFFFF_FFFF)):
        (sample,) = node.say(Verb.DDATA, data, device=device).samples
        assert json.loads(sample.value)["members"] == {"rpm": -1, "extra": extra}


@pytest.mark.parametrize("again", [Verb.DBIRTH, Verb.DDEATH])
def test_an_alias_that_another_device_has_taken_over_stays_with_it(again: Verb) -> None:
    node = Teller()
    node.say(Verb.NBIRTH, metric("a"))
    node.say(Verb.DBIRTH, metric("force", 7), device="press")
    node.say(Verb.DBIRTH, metric("heat", 7), device="oven")
    node.say(again, device="press")
    assert [sample.name for sample in node.say(Verb.DDATA, metric(alias=7), device="oven").samples] == ["heat"]
    node.say(again, device="oven")
    node.say(again, device="press")
    assert node.say(Verb.DDATA, metric(alias=7), device="oven").refused == ["unknown alias 7"]


def test_metrics_are_refused_at_a_bound_also_when_they_share_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(born_metrics, "METRICS_PER_NODE_MAX", 5)
    node = Teller()
    born = node.say(Verb.NBIRTH, *(metric("same", alias) for alias in range(7)))
    assert born.refused == ["the node has more than 5 metrics"] * 2


def test_a_birth_takes_as_long_as_its_own_device_is_large_however_large_the_others_are() -> None:
    metrics = BornMetrics()
    for number in range(10_000):
        metrics.learn("large", metric(f"m{number}", number), [])
    with bounded_effort(3000):
        for number in range(3000):
            metrics.forget(f"small {number % 7}")
            metrics.learn(f"small {number % 7}", metric("m", 20_000 + number), [])
