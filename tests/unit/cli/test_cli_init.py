"""What a first configuration is asked for: an answer that cannot be is told with what is wrong, and asked for again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import typer

from edge_agent.cli import init


@pytest.mark.parametrize(
    ("check", "good", "wrong", "said"),
    [
        (partial(init._check_agent, "group"), "plant-7", "a/b", "'a/b'"),
        (init._check_broker, "mqtt://localhost:1883", "broker:1883", "'broker:1883' is not the address of a broker"),
        (init._check_endpoint, "tcp://10.0.0.5:502", "10.0.0.5:502", "'10.0.0.5:502' is no address of a device"),
        (init._check_endpoint, "", "opc.tcp://10.0.0.5:99999", "99999"),
        (
            partial(init._check_entry, others=set()),
            "oven=tcp://10.0.0.5:502",
            "oven=10.0.0.5",
            "'10.0.0.5' is no address",
        ),
        (partial(init._check_entry, others={"oven"}), "tcp://h", "oven=tcp://h", "another device is called 'oven'"),
        (partial(init._check_name, others={"oven"}), "press", "oven", "another device is called 'oven'"),
        (partial(init._check_name, others=set()), "press", "a/b", "'a/b'"),
    ],
)
def test_an_answer_that_cannot_be_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, check: Callable[[str], str], good: str, wrong: str, said: str
) -> None:
    told: list[str] = []
    answers = iter((wrong, good))

    def prompt(question: str, *, value_proc: Callable[[str], str], **_more: object) -> str:
        while True:  # as typer does
            try:
                return value_proc(next(answers))
            except typer.BadParameter as exc:
                told.append(exc.message)

    monkeypatch.setattr(typer, "prompt", prompt)
    assert init._asked("Question", "", check) == good
    (sentence,) = told
    assert said in " ".join(sentence.split())


def test_a_device_is_named_as_with_the_option_or_asked_for_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(("press=opc.tcp://10.0.0.4:4840", "tcp://10.0.0.5:502", "oven", ""))
    monkeypatch.setattr(typer, "prompt", lambda _question, *, value_proc, **_more: value_proc(next(answers)))
    found = init._asked_devices(insecure=True)
    assert [(device.name, device.endpoint) for device in found] == [
        ("press", "opc.tcp://10.0.0.4:4840"),
        ("oven", "tcp://10.0.0.5:502"),
    ]


def test_what_is_wrong_with_an_answer_is_told_in_whole_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(typer, "prompt", lambda *_args, value_proc, **_more: value_proc("a/b"))
    with pytest.raises(typer.BadParameter) as caught:
        init._asked("Group", "plant-7", partial(init._check_agent, "group"))
    assert f"Error: {caught.value.message}".splitlines() == [
        "Error: 'group' of 'agent': 'a/b' cannot be used as a Sparkplug id: it contains",
        "'/', which Sparkplug keeps for itself.",
    ]
