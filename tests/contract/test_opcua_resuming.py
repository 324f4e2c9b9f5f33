"""A connection that is lost and comes back: the session goes on, and each value is stored once, with its own time."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.opcua import resuming, settings, subscriptions
from connectors.trust import FOLDER
from connectors.trust.own import own_certificate
from tests.contract.opcua_acquisition import until
from tests.contract.opcua_line import AGENT, AnyServer, Line
from tests.contract.test_opcua_security import trust
from tests.servers.node_opcua import NodeOpcUaServer
from tests.servers.opcua import OpcUaServer

USER: dict[str, Any] = {"user": "operator", "password": "${env:PRESS}"}
SECURED: dict[str, Any] = {"insecure": False, "security": USER}
VARIABLES = ("force", "speed")
BOTH = pytest.mark.parametrize("server", ["node-opcua", "open62541"], indirect=True)


@pytest.fixture(scope="module")
def own_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the key and the certificate of the agent."""
    folder = tmp_path_factory.mktemp("own")
    own_certificate(folder, AGENT)
    return folder


@pytest.fixture
def data_dir(own_dir: Path, tmp_path: Path) -> Path:
    """Of an agent that has accepted the certificate of no server."""
    shutil.copytree(own_dir, tmp_path / "data" / FOLDER)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def node_server(own_dir: Path) -> Iterator[NodeOpcUaServer]:
    policies, modes = ("None", "Basic256Sha256"), ("None", "SignAndEncrypt")
    found = NodeOpcUaServer(policies=policies, modes=modes, users={"operator": "open sesame"})
    found.start()
    try:
        trust(found, own_certificate(own_dir, AGENT))
        yield found
    finally:
        found.close()


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyServer]:
    """Without variables, sessions and subscriptions."""
    if getattr(request, "param", "node-opcua") == "open62541":
        own = own_certificate(tmp_path, "press")
        found = OpcUaServer((tmp_path / "own.der", tmp_path / "own.key", own.application_uri))
        found.start()
        try:
            yield found
        finally:
            found.kill()
        return
    shared: NodeOpcUaServer = request.getfixturevalue("node_server")
    yield shared
    shared.command("clear")
    for name in VARIABLES:
        shared.command("remove", node=f"ns=2;s={name}", if_there=True)


def as_node(server: AnyServer) -> NodeOpcUaServer:
    assert isinstance(server, NodeOpcUaServer)
    return server


async def cut_for_a_second(line: Line, **more: Any) -> None:
    """Values change before, during and after a cut: all of them arrive, and nothing is made anew."""
    async with line.read(**more):
        await line.count(1, 5)
        await line.wire.cut()
        await line.count(6, 15)
        await line.wire.mend()
        await line.count(16, 20)
        await line.has(20.0)
        await until(lambda: line.catches_up == 1)
        assert line.server.sessions == 1
    line.assert_each_came_once(20)
    assert line.how == ["resumed"]


@BOTH
async def test_a_cut_of_a_second_loses_nothing_and_doubles_nothing(server: AnyServer, data_dir: Path) -> None:
    await cut_for_a_second(Line(server, data_dir))
    assert server.sessions == 0


@BOTH
async def test_a_secured_session_of_a_user_is_resumed(server: AnyServer, data_dir: Path) -> None:
    if isinstance(server, OpcUaServer):
        server.command(user="operator", password="open sesame")  # nobody else from now on
    await cut_for_a_second(Line(server, data_dir), **SECURED)


async def test_a_session_of_a_user_without_security_is_resumed(server: AnyServer, data_dir: Path) -> None:
    await cut_for_a_second(Line(server, data_dir), security=USER)  # its password is encrypted all the same


@pytest.mark.slow
@BOTH
async def test_many_cuts_lose_nothing_and_double_nothing(server: AnyServer, data_dir: Path) -> None:
    line, pauses = Line(server, data_dir), random.Random(7)
    async with line.read():
        counting = asyncio.create_task(line.count(1, 150, pause_s=0.06))
        while not counting.done():
            await asyncio.sleep(pauses.choice((0.01, 0.03, 0.12, 0.36)))
            await line.wire.cut()
            await asyncio.sleep(pauses.choice((0.0, 0.02, 0.18)))
            await line.wire.mend()
        await counting
        await line.has(150.0)
    line.assert_each_came_once(150)
    assert set(line.how) == {"resumed"}


@BOTH
async def test_a_cable_that_is_pulled_and_put_back_loses_nothing(server: AnyServer, data_dir: Path) -> None:
    line = Line(server, data_dir)
    async with line.read(silence="1s", timeout="1s"):
        await line.count(1, 5)
        line.wire.hold_up()
        await line.count(6, 25)
        await until(lambda: not line.bench.device.is_online)
        await line.wire.mend()
        await line.count(26, 30)
        await line.has(30.0)
    line.assert_each_came_once(30)
    assert set(line.how) == {"resumed"}


def short_sessions(monkeypatch: pytest.MonkeyPatch, lifetime_margin_s: float) -> dict[str, Any]:
    """What makes sessions end two seconds after their connection, and subscriptions so much later."""
    monkeypatch.setattr(settings, "SESSION_S_MIN", 2.0)
    monkeypatch.setattr(subscriptions, "LIFETIME_MARGIN_S", lifetime_margin_s)
    return {"keep": "1s", "silence": "1s"}


async def cut_until_the_session_is_gone(line: Line, is_gone: Callable[[], bool] = lambda: True, **more: Any) -> None:
    """Also ``is_gone`` is waited for."""
    async with line.read(**more):
        await line.count(1, 10)
        await line.has(10.0)
        await line.wire.cut()
        await line.count(11, 20)
        await until(lambda: line.server.sessions == 0 and is_gone())
        await line.wire.mend()
        await line.has(20.0)
        await line.count(21, 30)
        await line.has(30.0)
        await until(lambda: line.bench.gaps or line.catches_up)
        assert line.server.sessions == 1


@BOTH
async def test_where_the_session_is_gone_another_takes_its_subscriptions_over(
    server: AnyServer, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(server, data_dir)
    await cut_until_the_session_is_gone(line, **SECURED, **short_sessions(monkeypatch, 30.0))
    line.assert_each_came_once(30)
    assert line.how == ["transferred"]


def assert_made_anew(line: Line) -> None:
    """What came during the cut is a gap, but for what is there after it."""
    assert line.how == ["anew"]
    assert line.continuations[0][1]
    assert [value for _, value in line.stored] == [float(value) for value in (*range(11), *range(20, 31))]
    (gap,) = line.gaps
    assert gap["reason"] == "device_unavailable"
    assert gap["first_ns"] <= line.set_ns["force"][11.0]
    assert gap["last_ns"] >= line.set_ns["force"][19.0]


async def test_subscriptions_of_nobody_in_particular_are_made_anew_when_the_session_is_gone(
    server: AnyServer, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(server, data_dir)
    await cut_until_the_session_is_gone(line, **short_sessions(monkeypatch, 30.0))
    assert_made_anew(line)


async def test_where_subscriptions_cannot_be_taken_over_all_is_made_anew(
    server: AnyServer, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(server, data_dir)
    as_node(server).refuse("TransferSubscriptions", 0x800B0000)
    await cut_until_the_session_is_gone(line, **SECURED, **short_sessions(monkeypatch, 30.0))
    assert_made_anew(line)


async def test_a_cut_that_outlasts_session_and_subscriptions_makes_all_anew(
    server: AnyServer, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, node = Line(server, data_dir), as_node(server)
    more = short_sessions(monkeypatch, -1.0)
    await cut_until_the_session_is_gone(line, lambda: node.command("subscriptions") == 0, **SECURED, **more)
    assert_made_anew(line)


@BOTH
async def test_a_server_that_was_started_anew_is_read_anew(server: AnyServer, data_dir: Path) -> None:
    line = Line(server, data_dir)
    async with line.read():
        await line.count(1, 5)
        await line.has(5.0)
        server.kill()
        server.start()
        line.add()
        await until(lambda: line.how)
        await until(lambda: line.samples()[-1][1] == 0.0)
        await line.count(6, 10)
        await line.has(10.0)
        await until(lambda: line.bench.gaps)
    assert set(line.how) == {"anew"}
    assert "the session is gone (BadSessionIdInvalid" in line.continuations[0][1]
    assert [value for _, value in line.stored] == [*range(6), 0.0, *range(6, 11)]
    assert [gap["reason"] for gap in line.gaps] == ["device_unavailable"]


@pytest.mark.parametrize("status", [0x800B0000, 0x80400000], ids=["BadServiceUnsupported", "BadNotImplemented"])
async def test_a_server_that_sends_nothing_again_loses_no_more_than_is_declared(
    server: AnyServer, data_dir: Path, status: int
) -> None:
    line, node = Line(server, data_dir), as_node(server)
    for service in ("Republish", "SetPublishingMode", "TransferSubscriptions"):
        node.refuse(service, status)
    async with line.read():
        await line.count(1, 5)
        await line.wire.cut()
        await line.count(6, 15)
        await line.wire.mend()
        await line.count(16, 20)
        await line.has(20.0)
        await until(lambda: line.catches_up == 1)
        await until(lambda: line.bench.gaps)
    assert line.how == ["resumed"]
    values = [value for _, value in line.stored]
    lost = [value for value in range(21) if value not in values]
    assert values == sorted(set(values))
    (gap,) = line.gaps
    assert gap["reason"] == "device_overflow"
    assert "did not come" in gap["detail"]
    for value in lost:
        assert gap["first_ns"] <= line.set_ns["force"][float(value)] <= gap["last_ns"]


async def test_where_the_session_lives_and_its_subscriptions_do_not_all_is_made_anew_at_once(
    server: AnyServer, data_dir: Path
) -> None:
    line, node = Line(server, data_dir), as_node(server)
    async with line.read():
        await line.count(1, 5)
        await line.has(5.0)
        await line.wire.cut()
        node.command("end_subscriptions")
        node.forget()
        await line.wire.mend()
        await until(lambda: line.how)
        await line.count(6, 10)
        await line.has(10.0)
        assert node.sessions == 1, "the one that was there is closed"
    assert line.how == ["anew"]
    assert "the session lives, and its subscriptions do not" in line.continuations[0][1]


async def test_what_the_queue_of_a_variable_could_not_keep_is_declared_for_its_tag_alone(
    server: AnyServer, data_dir: Path
) -> None:
    line = Line(server, data_dir, VARIABLES)
    async with line.read(queue_size=5):
        await line.count(1, 5)
        await line.has(5.0)
        await line.wire.cut()
        await line.set(1.0, "speed")
        await line.count(6, 30)
        await line.wire.mend()
        await line.has(30.0)
        await line.has(1.0, "speed")
        await until(lambda: line.catches_up == 1)
        await until(lambda: line.bench.gaps)
        speeds = [value for _, value in line.samples("speed")]
    assert line.how == ["resumed"]
    assert speeds == [0.0, 1.0]
    (gap,) = line.gaps
    assert (gap["reason"], gap["tags"]) == ("device_overflow", ["t0"])
    values = [value for _, value in line.stored]
    assert values == sorted(set(values))
    for value in set(range(31)) - set(values):
        assert gap["first_ns"] <= line.set_ns["force"][float(value)] <= gap["last_ns"]


async def test_a_session_that_is_not_to_be_kept_is_not_resumed(server: AnyServer, data_dir: Path) -> None:
    line = Line(server, data_dir)
    async with line.read(keep="0s"):
        await line.wire.cut()
        await line.wire.mend()
        await line.count(1, 3)
        await until(lambda: line.bench.gaps)
        await line.has(3.0)
    assert line.how == []


@BOTH
@pytest.mark.parametrize("more", [{}, SECURED], ids=["insecure", "secured"])
async def test_a_device_that_ends_while_its_session_is_kept_leaves_none_with_the_server(
    server: AnyServer, data_dir: Path, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is there again, and the device is stopped or reloaded before it has tried to go on."""
    monkeypatch.setattr(resuming.Resuming, "_retry_s", lambda _: 60.0)
    line = Line(server, data_dir)
    async with line.read(**more):
        await line.wire.cut()
        await until(lambda: not line.bench.device.is_online)
        await line.wire.mend()
        assert server.sessions == 1
    assert server.sessions == 0
    if isinstance(server, NodeOpcUaServer):
        assert server.command("subscriptions") == 0


async def test_where_a_lost_session_holds_the_last_place_it_is_said_and_waited_for(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "SESSION_S_MIN", 2.0)
    full = NodeOpcUaServer(capabilities={"maxSessions": 1})
    full.start()
    line = Line(full, data_dir)
    try:
        async with line.read(keep="0s", silence="1s"):
            await line.wire.cut()
            await line.wire.mend()
            await until(lambda: "no free session" in line.bench.device.offline_reason)
            assert "one that was lost with its connection ends by itself" in line.bench.device.offline_reason
            await line.count(1, 3)
            await until(lambda: line.bench.device.is_online)
            await line.has(3.0)
    finally:
        full.kill()


async def test_what_the_queue_could_not_keep_comes_from_the_history_where_the_server_has_one(
    server: AnyServer, data_dir: Path
) -> None:
    line = Line(server, data_dir)
    line.has_history = True
    await asyncio.sleep(2.0)  # a gap begins a margin before the first value, and the server has to have been there
    async with line.read(queue_size=5, history={"wait": "0s"}):
        await line.count(1, 5)
        await line.has(5.0)
        await line.wire.cut()
        await line.count(6, 30)
        await line.wire.mend()
        await until(lambda: {value for _, value in line.samples()} >= set(map(float, range(31))))
        await until(lambda: line.bench.outbox.open_gaps() == {})
    assert line.how == ["resumed", "anew"]
    assert sorted(value for _, value in line.stored if value < 30.0) == [float(value) for value in range(30)]
    assert line.gaps == []


async def test_polled_tags_are_late_for_as_long_as_the_cut_and_the_others_miss_nothing(
    server: AnyServer, data_dir: Path
) -> None:
    line, node = Line(server, data_dir, VARIABLES), as_node(server)
    async with line.read(poll={"speed": "100ms"}):
        await line.count(1, 5)
        await line.has(0.0, "speed")
        await line.wire.cut()
        cut_ns = time.time_ns()
        await line.count(6, 25)
        mended_ns = time.time_ns()
        await line.set(1.0, "speed")
        await line.wire.mend()
        await line.has(25.0)
        await line.has(1.0, "speed")
        await until(lambda: line.catches_up == 1 and line.bench.gaps)
        assert node.sessions == 1
    assert line.how == ["resumed"]
    assert [value for _, value in line.stored] == [float(value) for value in range(26)]
    assert {(gap["reason"], *gap["tags"]) for gap in line.gaps} == {("polled_late", "t1")}
    assert min(gap["first_ns"] for gap in line.gaps) <= cut_ns
    assert max(gap["last_ns"] for gap in line.gaps) >= mended_ns
