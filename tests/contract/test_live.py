"""What clients of ``/api/v1/live`` are told, on a real database and through a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.event_log.topics import LINE_EVENTS
from cloud_ingest.gateway.live import routes, sending, strangers
from cloud_ingest.gateway.websocket_frames import WritableWebSocket
from tests.contract.live_steps import ALARM, Viewer, stage
from tests.patience import WAIT_S_MAX

SETPOINT = {"agent": "plant/line-1", "device": "press", "tag": "setpoint"}


async def closed(viewer: Viewer) -> tuple[int, str]:
    """With what the server closes."""
    async with asyncio.timeout(WAIT_S_MAX):
        await viewer.connection.wait_closed()
    return viewer.connection.close_code or 0, viewer.connection.close_reason or ""


async def values(viewer: Viewer, last: float) -> list[float]:
    messages = await viewer.until(lambda one: any(tag["value"] == last for tag in one["tags"]))
    return [tag["value"] for one in messages for tag in one["tags"]]


async def test_a_tag_is_told_with_its_value_now_and_whenever_it_changes(database_dsn: str) -> None:
    async with stage(database_dsn) as here:
        await here.value(1.5)
        unknown = {"agent": "plant/none", "tag": "x"}
        async with here.client(tags=[SETPOINT, unknown]) as viewer, here.client(tags=[1]) as other:
            assert viewer.answer["subscribed"] == {"tags": [{"id": 1, **SETPOINT}], "unknown_tags": 1}
            for one in (viewer, other):
                assert await values(one, 1.5) == [1.5]
            await here.value(2.5)
            for one in (viewer, other):
                assert await values(one, 2.5) == [2.5]
            async with here.client(tags=[1]) as late:
                assert await values(late, 2.5) == [2.5], "who comes later has the value that is known"
        async with here.client("other", tags=[1, SETPOINT]) as stranger:
            assert stranger.answer["subscribed"] == {"tags": [], "unknown_tags": 2}


async def test_a_client_that_takes_its_time_gets_the_newest_of_everything_and_no_queue(database_dsn: str) -> None:
    async with (
        stage(database_dsn) as here,
        here.client(lines=["*"], tags=[1]) as slow,
        here.client(lines=["*"], tags=[1]) as fast,
    ):
        await slow.subscribe(lines=["*"], tags=[1], interval_ms=60_000)
        await here.value(0.0)
        await here.line("begin")
        await slow.until(lambda one: bool(one["events"] or one["tags"]))  # the next one comes in a minute
        for number in range(20):
            await here.value(number + 1.0)
            await here.line(f"s{number}")
        await fast.events("s19")
        await slow.subscribe(lines=["*"], tags=[1], since=slow.cursor, interval_ms=50)
        messages = await slow.until(lambda one: any(event["data"]["state"] == "s19" for event in one["events"]))
        assert len([event for one in messages for event in one["events"]]) == 1
        assert len([tag for one in messages for tag in one["tags"]]) <= len(messages)


async def test_after_a_reconnect_a_client_goes_on_where_it_was(database_dsn: str) -> None:
    async with stage(database_dsn) as here:
        async with here.client(lines=["*"], orders=["*"]) as viewer:
            await here.line("running")
            await here.order("O-1", "placed")
            await viewer.until(lambda one: "orders:0" not in one["cursor"] and "lines:0" not in one["cursor"])
        await here.line("stopped", "plant/line-2")
        await here.order("O-2", "paid")
        async with here.client(lines=["*"], orders=["*"], since=viewer.cursor) as again:
            assert not again.answer["missed"]
            messages = await again.until(lambda one: bool(one["events"]))
            assert sorted(event["key"] for one in messages for event in one["events"]) == ["O-2", "plant/line-2"]
            await here.line("running", "plant/line-2")
            assert await again.events("running") == ["running"]
        async with here.here.database.session() as session:
            await session.execute("DELETE FROM event_outbox WHERE key IN ('O-2', 'plant/line-2')")
        await here.line("idle", "plant/line-3")
        async with here.client(lines=["*"], since="lines:1") as late:
            assert (await late.events("idle")) == ["idle"]


async def test_who_was_away_for_longer_than_events_are_kept_is_told_so(database_dsn: str) -> None:
    async with stage(database_dsn) as here:
        for number in range(5):
            await here.line(f"s{number}")
        async with here.here.database.session() as session:
            await session.execute("DELETE FROM event_outbox WHERE number <= 4")
        async with here.client(lines=["*"], since="lines:1") as viewer:
            assert viewer.answer["missed"]
            assert await viewer.events("s4") == ["s4"]


async def test_commands_are_told_as_they_go_on(database_dsn: str) -> None:
    async with (
        stage(database_dsn) as here,
        here.client(commands=["plant/line-1"]) as viewer,
        here.client("other", commands=["*"]) as stranger,
    ):
        command = await here.here.ask()
        (message,) = await viewer.until(lambda one: bool(one["events"]))
        (event,) = message["events"]
        assert (event["feed"], event["key"], event["data"]["id"]) == ("commands", "plant/line-1", command)
        assert event["data"]["state"] == "requested"
        await here.line("mine", tenant=2)
        await stranger.subscribe(lines=["*"], commands=["*"], since="commands:0,lines:0")
        assert await stranger.events("mine") == ["mine"], "nothing of another tenant"


async def test_an_alarm_is_told_beside_the_state_of_its_line_and_an_order_to_its_customer(database_dsn: str) -> None:
    async with (
        stage(database_dsn) as here,
        here.client(alarms=["plant/line-1"]) as viewer,
        here.client("acme", orders=["*"]) as acme,
    ):
        await here.line("faulted")
        await here.happens(LINE_EVENTS, ALARM, "plant/line-1", alarm="A-1", state="raised")
        assert await viewer.events("raised") == ["raised"]
        await here.order("O-7", "placed", customer="somebody")
        await here.order("O-8", "paid")
        assert await acme.events("paid") == ["paid"]


async def test_who_may_see_it_no_more_is_sent_away(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "TOKEN_S", 0.02)
    async with stage(database_dsn) as here:
        async with here.client(lines=["*"]) as viewer:
            here.viewers.held["viewer"] = Principal(1, "user:v", "v", "user", (Grant(Role.CUSTOMER),), "x")
            assert await closed(viewer) == (1008, "what you may see has changed: connect again")
        async with here.client("acme", orders=["*"]) as viewer:
            await viewer.send({"token": "other"})
            assert await closed(viewer) == (1008, "what you may see has changed: connect again")
        async with here.client("acme", orders=["*"]) as viewer:
            del here.viewers.held["acme"]
            assert await closed(viewer) == (1008, "this token is none")


@pytest.mark.parametrize(
    ("message", "why"),
    [({"subscribe": {"lines": ["*"], "x": 1}}, "subscribe.x"),
     ({"subscribe": {"orders": ["*"], "since": "x"}}, "since"),
     ({"token": "none"}, "this token is none"), ({"subscribe": {"tags": [0]}}, "subscribe.tags")],
)  # fmt: skip
async def test_what_cannot_be_understood_closes_the_connection_with_a_sentence(
    database_dsn: str, message: dict[str, Any], why: str
) -> None:
    async with stage(database_dsn) as here, here.client() as viewer:
        await viewer.send(message)
        code, reason = await closed(viewer)
        assert code == 1008
        assert why in reason


async def test_a_browser_shows_its_token_in_the_first_message(database_dsn: str) -> None:
    async with stage(database_dsn) as here:
        async with here.client(None) as viewer:
            await viewer.send({"token": "acme", "subscribe": {"orders": ["*"]}})
            assert (await viewer.message())["subscribed"] == {"tags": [], "unknown_tags": 0}
        async with here.client("acme") as customer:
            await customer.send({"subscribe": {"lines": ["*"]}})
            assert (await closed(customer))[0] == 1008


async def test_an_address_holds_so_many_connections_that_do_not_say_who_they_are(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "PER_ADDRESS_MAX", 2)
    async with stage(database_dsn) as here, here.client() as one, here.client():
        with pytest.raises(InvalidStatus, match="403"):
            await here.client().__aenter__()
        await one.subscribe(lines=["*"])
        async with here.client(lines=["*"]):
            pass


async def test_who_takes_nothing_is_sent_away(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "TOKEN_S", 0.02)
    monkeypatch.setattr(routes, "CLOSE_S", 0.05)
    monkeypatch.setattr(sending, "SLOW_S", 0.0)
    async with stage(database_dsn) as here, here.client(tags=[1]) as viewer:
        monkeypatch.setattr(WritableWebSocket, "is_ready", lambda _: False)
        await here.value(1.0)
        code, reason = await closed(viewer)
        assert (code, reason.partition(":")[0]) == (1013, "you take nothing")
