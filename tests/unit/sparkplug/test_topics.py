"""Topics of nodes and devices are taken apart as the specification writes them, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.model.delivery import AgentName
from connectors.model.errors import PayloadInvalid
from connectors.sparkplug.topics import Topic, Verb, id_problem, parse_topic, state_topic
from tests.bounded_effort import bounded_effort


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("spBv1.0/plant-7/NBIRTH/line-3", Topic(AgentName("plant-7", "line-3"), Verb.NBIRTH)),
        ("spBv1.0/plant-7/DDATA/line-3/press", Topic(AgentName("plant-7", "line-3"), Verb.DDATA, "press")),
        ("spBv1.0/Werk Ω/NCMD/Linie 3", Topic(AgentName("Werk Ω", "Linie 3"), Verb.NCMD)),
    ],
)
def test_a_topic_is_taken_apart_and_put_together(text: str, topic: Topic) -> None:
    assert parse_topic(text) == topic
    assert str(topic) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spBv1.0",
        "spAv1.0/g/NBIRTH/e",
        "spBv1.0/g/NBIRTH/e/d",
        "spBv1.0/g/DBIRTH/e",
        "spBv1.0/g/XBIRTH/e",
        "spBv1.0/g/DDATA/e/d/x",
        "spBv1.0/STATE/host",
        "spBv1.0//NBIRTH/e",
        "spBv1.0/g/NBIRTH/",
        "spBv1.0/g/NBIRTH/e\x01",
        "spBv1.0/g/NBIRTH/e\ud800",
        "spBv1.0/g/DDATA/e/\udfff",
    ],
)
def test_any_other_topic_is_refused(text: str) -> None:
    with pytest.raises(PayloadInvalid):
        parse_topic(text)


PIECES = st.sampled_from(
    ["spBv1.0", "NBIRTH", "DDATA", "STATE", "g", "", "/", "//", "+", "#", "\ud800", "\x00", "x" * 1025]
)


@settings(max_examples=10 * settings.default.max_examples, deadline=None)
@given(st.lists(PIECES | st.text(max_size=5) | st.text(st.characters(categories=["Cs"]), max_size=2), max_size=6))
def test_whatever_is_a_topic_or_not_costs_little_and_is_a_node_s_or_refused(parts: list[str]) -> None:
    for text in ("/".join(parts), "".join(parts)):
        with bounded_effort(len(text)):
            try:
                topic = parse_topic(text)
            except PayloadInvalid:
                continue
        assert str(topic) == text
        assert not any(id_problem(part) for part in (topic.agent.group, topic.agent.name, topic.device or "none"))
        assert text.encode().decode() == text


@pytest.mark.parametrize(
    "text", ["/" * 1_000_000, "spBv1.0/" + "g" * 1_000_000 + "/NBIRTH/e", "x" * 1_000_000, "\ud800" * 99_999]
)
def test_a_topic_of_any_length_is_refused_in_few_words(text: str) -> None:
    with bounded_effort(len(text)), pytest.raises(PayloadInvalid) as refused:
        parse_topic(text)
    assert len(str(refused.value)) < 1500


@pytest.mark.sparkplug(
    "tck-id-intro-group-id-string", "tck-id-intro-edge-node-id-string", "tck-id-intro-device-id-string"
)
def test_ids_that_sparkplug_forbids_are_explained() -> None:
    assert "'+'" in id_problem("a+b")
    assert id_problem("")
    assert id_problem("x" * 2000)
    assert "surrogate" in id_problem("press \udc00")
    assert id_problem("press 1") == ""


def test_the_state_topic_names_the_host() -> None:
    assert state_topic("lineside") == "spBv1.0/STATE/lineside"
