"""When clients are sent what waits for them, and what becomes of those that take nothing; and whose values it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.gateway.live import sending as sends
from cloud_ingest.gateway.live.client import Client, Subscription
from cloud_ingest.gateway.live.feeds import KnownTag
from cloud_ingest.gateway.live.newest import EPOCH, NewestValues, is_tellable, microseconds
from cloud_ingest.gateway.live.sending import SLOW_S, Sending
from cloud_ingest.gateway.live.strangers import PER_ADDRESS_MAX, Strangers
from cloud_ingest.gateway.live.subscription import Subscribe, wanted_by
from tests.played_outlet import VIEWER, PlayedOutlet

PRESS = KnownTag(1, "plant/line-1", "press", "force", is_numbered=True)
OVEN = KnownTag(2, "plant/line-1", "oven", "heat")


class Hall:
    """Clients of the newest values of tags, at a time that the test sets."""

    def __init__(self) -> None:
        self.sending = Sending()
        self.newest = NewestValues(self.sending)
        self.now_s = 100.0

    def client(self, *tags: KnownTag, interval_s: float = 0.1) -> tuple[Client, PlayedOutlet]:
        outlet = PlayedOutlet()
        client = Client(outlet, interval_s=interval_s)
        client.subscription = Subscription(wanted_by(VIEWER, Subscribe()))
        self.newest.want(client, tags)
        return client, outlet

    def value(self, value: float, time_us: int = 0, tag: KnownTag = PRESS) -> None:
        self.newest.put(tag.tag_id, time_us or round(1e6 * value), value, 0, self.now_s)

    async def at(self, now_s: float) -> None:
        self.now_s = now_s
        await self.sending.send_due(now_s)


async def test_a_client_is_told_at_once_and_then_no_sooner_than_its_interval() -> None:
    here = Hall()
    _, outlet = here.client(PRESS)
    here.value(1)
    await here.at(100.0)
    here.value(2)
    await here.at(100.05)
    here.value(3)
    assert outlet.values() == [(1, 1)]
    await here.at(100.11)
    assert outlet.values() == [(1, 1), (1, 3)]
    await here.at(100.5)
    assert len(outlet.written) == 2, "nothing is sent without news"


async def test_one_that_takes_nothing_holds_up_nobody_gets_the_newest_later_and_is_given_up_after_a_while() -> None:
    here = Hall()
    (slow, slow_outlet), (quick, quick_outlet) = here.client(PRESS), here.client(PRESS)
    slow_outlet.takes = False
    for number in range(1, 20):
        here.value(number)
        await here.at(100.0 + number)
    assert [value for _, value in quick_outlet.values()] == list(range(1, 20))
    slow_outlet.takes = True
    await here.at(121.0)
    assert slow_outlet.values() == [(1, 19)]
    slow_outlet.takes = False
    here.value(30)
    await here.at(130.0)
    here.value(31)
    await here.at(130.1 + SLOW_S)
    assert slow.has_given_up
    assert not quick.has_given_up


async def test_the_answer_to_a_subscription_comes_before_anything_of_it() -> None:
    here = Hall()
    client, outlet = here.client(PRESS)
    client.answer = b'{"subscribed": {}}'
    here.value(1)
    await here.at(100.0)
    await here.at(100.01)
    assert [next(iter(message)) for message in outlet.written] == ["subscribed", "tags"]


async def test_a_client_that_goes_while_others_are_sent_is_sent_nothing() -> None:
    here = Hall()
    clients = [here.client(PRESS) for _ in range(sends.AT_A_TIME + 1)]
    here.value(1)
    for client, _ in clients[1:]:
        here.newest.leave(client)
        here.sending.leave(client)
    await here.at(100.0)
    assert [len(outlet.written) for _, outlet in clients] == [1, *[0] * sends.AT_A_TIME]


@given(st.lists(st.tuples(st.sampled_from([PRESS, OVEN]), st.integers(1, 9)), max_size=30))
def test_whatever_order_values_come_in_each_client_has_the_newest_of_its_tags(
    changes: list[tuple[KnownTag, int]],
) -> None:
    here = Hall()
    here.now_s = 1.0
    both, press = here.client(PRESS, OVEN), here.client(PRESS)
    newest: dict[int, int] = {}
    for tag, time in changes:
        here.value(time, tag=tag)
        newest[tag.tag_id] = max(time, newest.get(tag.tag_id, 0))
    late = here.client(OVEN)
    for (client, _), tags in ((both, {1, 2}), (press, {1}), (late, {2})):
        assert client.subscription is not None
        told = json.loads(client.subscription.pending.take(b""))["tags"]
        assert {one["id"]: one["value"] for one in told} == {tag: newest[tag] for tag in tags & newest.keys()}
    for client, _ in (both, press, late):
        here.newest.leave(client)
    assert (here.newest.by_source, here.newest.agents, here.newest.are_wanted.is_set()) == ({}, {}, False)


def test_what_the_log_brings_is_looked_up_once_and_then_only_when_it_has_been_quiet() -> None:
    here = Hall()
    here.client(PRESS, OVEN)
    assert here.newest.to_look_up(True, -1.0).keys() == {1, 2}, "nothing is known of them yet"
    here.newest.were_looked_up([1, 2])
    assert here.newest.to_look_up(True, -1.0).keys() == {2}, "nodes that do not number are in the tables alone"
    here.value(5)
    assert here.newest.to_look_up(True, 99.0).keys() == {2}
    found = here.newest.to_look_up(True, 101.0)
    assert found[1] == EPOCH + timedelta(seconds=5)
    assert here.newest.to_look_up(False, -1.0).keys() == {1, 2}, "no log is read"


def test_a_source_time_that_no_clock_should_have_is_not_told() -> None:
    now_us = microseconds(datetime(2026, 11, 29, tzinfo=UTC))
    day_us = 86_400_000_000
    assert is_tellable(now_us, now_us)
    assert is_tellable(now_us - day_us, now_us)
    assert not is_tellable(now_us - 2 * day_us, now_us)
    assert not is_tellable(now_us + 2 * day_us, now_us)


def test_an_address_has_so_many_connections_that_have_not_said_who_they_are() -> None:
    strangers = Strangers()
    assert all(strangers.come("198.51.100.7") for _ in range(PER_ADDRESS_MAX))
    assert not strangers.come("198.51.100.7")
    assert strangers.come("198.51.100.8"), "others are not held up"
    strangers.go("198.51.100.7")
    assert strangers.come("198.51.100.7")
    others = 0
    while strangers.come(f"host {others // PER_ADDRESS_MAX}"):
        others += 1
    assert not strangers.come("one more"), "nor are there ever more of all"
