"""Topics of nodes and devices are taken apart as the specification writes them, and nothing else is."""

from __future__ import annotations

import pytest

from connectors.model.delivery import AgentName
from connectors.model.errors import PayloadInvalid
from connectors.sparkplug.topics import Topic, Verb, id_problem, parse_topic, state_topic


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
    ],
)
def test_any_other_topic_is_refused(text: str) -> None:
    with pytest.raises(PayloadInvalid):
        parse_topic(text)


@pytest.mark.sparkplug("tck-id-intro-group-id-string")
def test_ids_that_sparkplug_forbids_are_explained() -> None:
    assert "'+'" in id_problem("a+b")
    assert id_problem("")
    assert id_problem("x" * 2000)
    assert id_problem("press 1") == ""


def test_the_state_topic_names_the_host() -> None:
    assert state_topic("lineside") == "spBv1.0/STATE/lineside"
