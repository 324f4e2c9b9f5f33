"""What waits for a client: the newest of each thing, within bounds, in the order in which it came last."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.access.permissions import Permission, Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.gateway.live.pending import EVENTS_MAX, Cursor, Pending, cursor_of
from cloud_ingest.gateway.live.subscription import FeedEvent, Subscribe, wanted_by

CHANGES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5)), max_size=60)


@given(CHANGES, st.sets(st.integers(0, 60)))
def test_whenever_a_client_takes_it_has_the_newest_of_everything_and_nothing_twice(
    changes: list[tuple[str, int]], takes: set[int]
) -> None:
    pending, known = Pending(), dict[tuple[str, int], int]()
    for number, (kind, thing) in enumerate(changes):
        if kind == "a":
            pending.put_tag(thing, json.dumps([kind, thing, number]).encode())
        else:
            pending.put_event(f"t{thing}", json.dumps([kind, thing, number]).encode())
        if number in takes:
            _taken(pending, known)
    _taken(pending, known)
    assert known == {thing: number for number, thing in enumerate(changes)}
    assert pending.is_empty()


def _taken(pending: Pending, known: dict[tuple[str, int], int]) -> None:
    message = json.loads(pending.take(b"lines:1"))
    for kind, thing, number in message["tags"] + message["events"]:
        assert known.get((kind, thing), -1) < number
        known[kind, thing] = number
    assert [number for *_, number in message["events"]] == sorted(number for *_, number in message["events"])


def test_a_client_that_takes_nothing_is_told_that_it_missed_some_and_costs_no_more() -> None:
    pending = Pending()
    for number in range(EVENTS_MAX + 5):
        pending.put_event(str(number), str(number).encode())
    message = json.loads(pending.take(b"lines:9"))
    assert (message["events"][0], len(message["events"]), message["missed"]) == (5, EVENTS_MAX, True)
    assert "missed" not in json.loads(pending.take(b"lines:9"))


@given(st.dictionaries(st.sampled_from(["lines", "orders", "commands"]), st.integers(0, (1 << 63) - 1), min_size=1))
def test_a_cursor_comes_back(places: dict[str, int]) -> None:
    assert cursor_of(Cursor(places).text()) == Cursor(places)


@pytest.mark.parametrize("text", ["", "x", "lines:", "lines:-1", f"lines:{1 << 63}"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        cursor_of(text)


def principal(role: Role, site: str | None = None, line: str | None = None, customer: str | None = None) -> Principal:
    return Principal(1, "user:x", "x", "user", (Grant(role, site, line),), customer)


def event(feed: str, key: str, type_: str = "t", tenant: int = 1, **data: object) -> FeedEvent:
    return FeedEvent(feed, 1, tenant, key, type_, data, b"{}")


def test_nobody_is_told_of_what_is_not_theirs() -> None:
    all_of_it = Subscribe(lines=("*",), alarms=("*",), orders=("*",))
    here = wanted_by(principal(Role.OPERATOR, "plant", "line-1"), all_of_it)
    alarm = "lineside.lines.alarm-raised.v1"
    assert here.thing_of(event("lines", "plant/line-1", alarm, alarm="A")) == "alarm A"
    assert here.thing_of(event("lines", "plant/line-2", alarm, alarm="A")) is None
    assert here.thing_of(event("lines", "plant/line-1", "state")) == "line plant/line-1 state"
    assert here.thing_of(event("lines", "plant/line-1", "state", tenant=2)) is None
    acme = wanted_by(principal(Role.CUSTOMER, customer="acme"), Subscribe(orders=("*",)))
    assert acme.thing_of(event("orders", "O-1", customer="acme")) == "order O-1"
    assert acme.thing_of(event("orders", "O-2", customer="other")) is None
    assert acme.thing_of(event("orders", "O-3")) is None
    with pytest.raises(RequestRefused, match="lines:read"):
        wanted_by(principal(Role.CUSTOMER, customer="acme"), all_of_it)
    with pytest.raises(RequestRefused, match="who says who they are"):
        wanted_by(replace(principal(Role.VIEWER), kind="nobody"), all_of_it)
    started = event("lines", "plant/line-1", "lineside.lines.work-order-started.v1", work_order="W")
    assert here.thing_of(started) == "line plant/line-1 W"
    cut = replace(principal(Role.OPERATOR), scopes=frozenset({Permission.LINES_READ}))
    assert wanted_by(cut, Subscribe(lines=("*",))).thing_of(started) is None, "its token is for lines alone"
    some = wanted_by(principal(Role.VIEWER), Subscribe(lines=("plant/line-1",), orders=("O-1",)))
    assert some.thing_of(event("lines", "plant/line-2", "state")) is None
    assert some.thing_of(event("lines", "plant/line-1", alarm, alarm="A")) is None
    assert some.thing_of(event("orders", "O-2")) is None
