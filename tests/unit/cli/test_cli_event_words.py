"""Events in plain words: for each of those that operators meet, with the fields that the event has."""

from __future__ import annotations

import importlib
import pkgutil
import string
from dataclasses import fields

import pytest

import cloud_ingest.observability
import edge_agent.observability
from connectors.observability.events import Event, event_name
from docs import pages
from edge_agent.cli.event_words import WORDS, is_wanted, words_of

EVENTS: dict[str, type[Event]] = {
    event_name(event): event
    for title, modules, _ in pages.PROGRAMS
    if title == "edge-agent"
    for module in modules
    for event in pages.events_of(module)
}


@pytest.mark.parametrize("name", WORDS)
def test_the_words_are_of_an_event_and_of_its_fields(name: str) -> None:
    assert name in EVENTS
    used = {field for _, field, _, _ in string.Formatter().parse(WORDS[name]) if field}
    assert used <= {field.name for field in fields(EVENTS[name])}


def test_every_warning_and_error_is_in_the_words_of_a_person_or_names_its_fields() -> None:
    event = {"event": "release_tried", "level": "warning", "number": 4, "time_ns": 5, "version": "1.2"}
    assert words_of(event) == "release tried (version: 1.2)"
    assert words_of({"event": "device_lost", "device": "oven"}) == "device lost (device: oven)"


@pytest.mark.parametrize(("count", "said"), [(0, "0 tags"), (1, "1 tag"), (12, "12 tags")])
def test_what_is_counted_is_said_as_a_person_says_it(count: int, said: str) -> None:
    event = {"event": "device_connected", "device": "press", "tags": count, "problems": 0}
    assert words_of(event) == f"press is connected: {said} known, 0 with a problem"


def test_a_host_that_comes_and_goes_is_online_or_offline() -> None:
    event = {"event": "host_state_changed", "host": "lineside"}
    assert words_of(event | {"online": True}) == "the host lineside is online"
    assert words_of(event | {"online": False}) == "the host lineside is offline"


def test_how_a_device_goes_on_is_said_with_the_reason_where_it_is_read_anew() -> None:
    event = {"event": "device_session", "device": "press", "how": "resumed", "detail": ""}
    assert words_of(event) == "press: after the lost connection its session is resumed"
    event |= {"how": "anew", "detail": "the session is gone"}
    assert words_of(event) == "press: after the lost connection its session is made anew: the session is gone"


def test_every_event_of_both_programs_is_on_the_page_of_events() -> None:
    documented = {event for _, modules, _ in pages.PROGRAMS for module in modules for event in pages.events_of(module)}
    there = {
        value
        for package in (edge_agent.observability, cloud_ingest.observability)
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
        for value in vars(importlib.import_module(found.name)).values()
        if isinstance(value, type) and issubclass(value, Event)
    }
    assert there - documented <= {Event}


def test_what_came_of_a_command_is_said_with_its_reason() -> None:
    event = {"event": "command_ended", "id": "01A", "target": "press/speed", "actor": "carla"}
    done = event | {"state": "succeeded", "code": "", "detail": ""}
    assert words_of(done) == "command 01A to press/speed: succeeded (by carla)"
    refused = event | {"state": "refused", "code": "locked", "detail": "bob: a look inside"}
    assert words_of(refused) == "command 01A to press/speed: refused (locked): bob: a look inside (by carla)"


def test_a_sentence_is_one_line_whatever_a_device_has_said() -> None:
    event = {"event": "device_lost", "device": "oven", "retry_s": 1.0, "reason": "first\n\x1b[31msecond"}
    assert words_of(event) == "oven is away, next attempt in 1 s: first··[31msecond"


def test_a_level_takes_what_is_worse_too_and_a_device_what_is_about_it() -> None:
    warning = {"event": "device_lost", "level": "warning", "device": "oven"}
    assert is_wanted(warning, "info", None)
    assert not is_wanted(warning, "error", None)
    assert is_wanted(warning, "warning", "oven")
    assert not is_wanted(warning, "warning", "press")
    assert is_wanted({"event": "command_ended", "level": "info", "target": "oven/setpoint"}, "info", "oven")
    assert is_wanted({"event": "line_locked", "level": "info", "line": "oven"}, "info", "oven")
