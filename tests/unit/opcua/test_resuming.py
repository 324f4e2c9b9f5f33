"""What is kept of a lost connection, how often it is tried to go on with it, and when all is made anew."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from asyncua.ua.uaerrors import BadNoSubscription, BadSecurityChecksFailed, BadSessionIdInvalid, UaError

from connectors.model.errors import DeviceUnavailable
from connectors.opcua import resuming
from connectors.opcua.link_loss import LinkLost, Silent, is_link_lost
from connectors.opcua.opening import Opened
from connectors.opcua.resuming import RETRY_S_MAX, GoingOn, Resuming
from connectors.opcua.settings import OpcUaDevice
from tests.virtual_time import VirtualClock, virtual_time

LOST = [ConnectionResetError("the cable is out")]
ACQUISITION = cast(Any, object())
CLOSING = ["connect", "rebind", "activate", "close session", "close channel"]


class Bench:
    """A device whose connection is lost; ``tries`` says what comes of each try to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, answers: bool = False, **more: Any) -> None:
        entry = {"name": "press", "driver": "opcua", "endpoint": "opc.tcp://p", "insecure": True, **more}
        self.device = OpcUaDevice.model_validate({**entry, "tags": [{"name": "a", "at": "i=1"}]})
        self.resuming = Resuming(self.device, VirtualClock())
        self.dropped = self.given_up = 0
        self.tries: list[Exception | GoingOn] = []
        self.said: list[str] = []
        self.connects = asyncio.Event()
        self.connects.set()
        session = SimpleNamespace(rebind_authentication_token=lambda: self.said.append("rebind"))
        client = SimpleNamespace(
            uaclient=SimpleNamespace(protocol=None, session=session),
            session_timeout=75_000,
            disconnect_socket=self._disconnect,
            close_session=lambda: self._say("close session"),
            close_secure_channel=lambda: self._say("close channel"),
        )
        self.opened = Opened(cast(Any, client), self.device, None)
        self.connection: Any = SimpleNamespace(
            acquisition=ACQUISITION,
            is_settled=True,
            is_going_on=False,
            subscriptions=SimpleNamespace(lifetime_s=85.0, numbers=[1]),
            give_up=self._give_up,
        )

        async def answered(_opened: Opened) -> bool:
            return answers

        async def usable(_opened: Opened) -> None:
            pass

        async def connect(_client: Any) -> None:
            await self.connects.wait()
            await self._say("connect")

        async def trusted(*_: Any) -> None:
            pass

        monkeypatch.setattr(resuming, "check_trust", trusted)
        monkeypatch.setattr(resuming, "connect", connect)
        monkeypatch.setattr(resuming, "activate", lambda *_: self._say("activate"))
        monkeypatch.setattr(resuming, "_try", self._try)
        monkeypatch.setattr(resuming, "_answers", answered)
        monkeypatch.setattr(resuming, "check_usable", usable)

    async def keep(self, *errors: Exception, lasted_s: float = 100.0) -> float | None:
        return await self.resuming.keep(errors or LOST, self.opened, self.connection, lasted_s)

    async def take_up(self, acquisition: Any = ACQUISITION) -> GoingOn | None:
        return await self.resuming.take_up(acquisition)

    def resumed(self) -> GoingOn:
        return GoingOn(self.opened, self.connection, "resumed")

    async def _say(self, what: str) -> None:
        self.said.append(what)

    def _disconnect(self) -> None:
        self.dropped += 1

    def _give_up(self) -> None:
        self.given_up += 1

    async def _try(self, _opened: Opened, _connection: Any) -> GoingOn:
        await self.connects.wait()
        found = self.tries.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


@virtual_time
async def test_the_first_try_comes_at_once_and_others_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    assert await bench.keep() == 0.0
    waits = []
    for _ in range(7):
        bench.tries = [ConnectionRefusedError()]
        with pytest.raises(LinkLost, match="nothing listens at p:4840") as caught:
            await bench.take_up()
        waits.append(caught.value.retry_after_s)
    assert waits == [1.0, 2.0, 3.0, 4.0, 5.0, RETRY_S_MAX, RETRY_S_MAX]
    bench.tries = [bench.resumed()]
    assert await bench.take_up() == bench.resumed()
    assert (bench.given_up, bench.resuming.take_reason()) == (0, "")


@virtual_time
async def test_a_connection_that_is_lost_again_and_again_is_made_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch)
    assert [await bench.keep(lasted_s=1.0) for _ in range(4)] == [0.0, 1.0, 2.0, 3.0]
    assert await bench.keep(lasted_s=60.0) == 0.0


@virtual_time
async def test_what_the_server_keeps_no_longer_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    await bench.keep()
    await asyncio.sleep(84.0)
    bench.tries = [TimeoutError()]
    with pytest.raises(LinkLost):
        await bench.take_up()
    await asyncio.sleep(2.0)
    assert await bench.take_up() is None
    assert bench.given_up == 1
    assert "could not be reached for as long" in bench.resuming.take_reason()


@virtual_time
async def test_one_that_was_lost_before_it_had_caught_up_is_kept_no_longer_than_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch)
    await bench.keep()
    await asyncio.sleep(80.0)
    bench.connection.is_going_on = True
    assert await bench.keep() is not None
    await asyncio.sleep(6.0)
    assert await bench.take_up() is None


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([DeviceUnavailable("it is shutting down")], "more than a connection"),
        ([BadNoSubscription()], "more than a connection"),
        ([*LOST, DeviceUnavailable("it cannot be read")], "more than a connection"),
        ([Silent("nothing has come")], "its subscriptions are silent"),
    ],
)
def test_what_is_more_than_a_lost_connection_is_not_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, errors: list[Exception], said: str
) -> None:
    @virtual_time
    async def scene() -> None:
        bench = Bench(monkeypatch, answers=True)
        assert await bench.keep(*errors) is None
        assert said in bench.resuming.take_reason()
        assert (await bench.take_up(), bench.dropped) == (None, 0)

    scene()


@virtual_time
async def test_what_is_silent_because_nothing_comes_through_is_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    assert await bench.keep(Silent("nothing has come")) == 0.0
    bench.connection.is_going_on = True
    assert await bench.keep(Silent("nothing has come")) is None, "but not twice in a row"
    assert "did not go on" in bench.resuming.take_reason()


@virtual_time
async def test_one_that_had_not_read_all_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.connection.is_settled = False
    assert await bench.keep() is None
    assert "before all was read" in bench.resuming.take_reason()


@virtual_time
async def test_where_nothing_is_to_be_kept_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, keep="0s")
    assert (await bench.keep(), bench.resuming.take_reason()) == (None, "")


@virtual_time
async def test_where_another_server_stands_by_the_lost_one_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, backup=["opc.tcp://other"])
    await bench.keep()
    bench.tries = [ConnectionRefusedError()]
    assert await bench.take_up() is None
    assert bench.given_up == 1
    assert "another server is asked" in bench.resuming.take_reason()
    assert await bench.take_up() is None


@virtual_time
async def test_a_channel_that_the_server_refuses_is_asked_for_as_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    await bench.keep()
    bench.tries = [BadSecurityChecksFailed()]
    assert await bench.take_up() is None
    assert bench.given_up == 1
    assert "BadSecurityChecksFailed" in bench.resuming.take_reason()


@virtual_time
async def test_a_session_on_which_all_is_made_anew_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    await bench.keep()
    bench.tries = [GoingOn(bench.opened, None, "anew", "the session is gone")]
    found = await bench.take_up()
    assert found is not None
    assert (found.connection, bench.given_up, bench.resuming.take_reason()) == (None, 1, "the session is gone")


@virtual_time
async def test_whoever_else_acquires_gets_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    await bench.keep()
    assert await bench.take_up(object()) is None
    assert bench.given_up == 1


@virtual_time
async def test_a_session_that_nobody_goes_on_with_is_closed_on_a_connection_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch)
    await bench.resuming.leave()
    assert bench.said == [], "there is none"
    await bench.keep()
    await bench.resuming.leave()
    assert bench.said == CLOSING
    assert (bench.given_up, await bench.take_up()) == (1, None)
    await bench.resuming.leave()
    assert bench.said == CLOSING, "once"


@virtual_time
async def test_the_end_waits_two_seconds_for_a_server_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    await bench.keep()
    bench.connects.clear()
    begun_s = asyncio.get_running_loop().time()
    await bench.resuming.leave()
    assert asyncio.get_running_loop().time() - begun_s == 2.0
    assert (bench.said, bench.given_up) == ([], 1)


@virtual_time
async def test_what_the_server_keeps_no_longer_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    await bench.keep()
    await asyncio.sleep(86.0)
    await bench.resuming.leave()
    assert (bench.said, bench.given_up) == ([], 1)


@virtual_time
async def test_an_end_in_the_middle_of_a_try_closes_the_session_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    await bench.keep()
    bench.connects.clear()
    trying = asyncio.create_task(bench.take_up())
    await asyncio.sleep(0.1)
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
    bench.connects.set()
    await bench.resuming.leave()
    assert (bench.said, bench.given_up) == (CLOSING, 1)


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (UaError("a message is secured with token 3, which has expired"), True),
        (BadSessionIdInvalid(), True),
        (BadNoSubscription(), False),
        (DeviceUnavailable("it has failed"), False),
        (LinkLost("no answer"), True),
    ],
)
def test_whether_it_is_the_connection_alone_that_is_lost(error: Exception, is_lost: bool) -> None:
    assert is_link_lost([error]) is is_lost
    assert is_link_lost([error, OSError()]) is is_lost
    assert not is_link_lost([])
