"""A device with several servers of node-opcua: when one is lost or has no data, the next one is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from connectors.model.errors import DeviceUnavailable
from connectors.opcua import redundancy
from connectors.opcua.driver import OpcUaDriver
from tests.contract.opcua_acquisition import Recorder, driver, until
from tests.patience import WAIT_S_MAX
from tests.servers.node_opcua import NodeOpcUaServer


@pytest.fixture(scope="module")
def servers() -> Iterator[list[NodeOpcUaServer]]:
    """Two servers with the same variable, which says whose it is."""
    found = [NodeOpcUaServer(), NodeOpcUaServer()]
    try:
        for number, server in enumerate(found):
            server.start()
            server.add("ns=2;s=who", "Double", float(number))
        yield found
    finally:
        for server in found:
            server.close()


def redundant(servers: list[NodeOpcUaServer]) -> OpcUaDriver:
    first, second = servers
    tags = [{"at": "ns=2;s=who"}]
    return driver(first.endpoint, tags, backup=[second.endpoint], timeout="4s", silence="1s")


def running(working: OpcUaDriver, recorder: Recorder) -> asyncio.Task[None]:
    return asyncio.create_task(working.acquire(recorder))


async def ended(task: asyncio.Task[None]) -> str:
    with pytest.raises(DeviceUnavailable) as caught:
        await asyncio.wait_for(task, WAIT_S_MAX)
    return caught.value.reason


async def test_when_one_server_is_lost_the_other_is_asked_and_stays(servers: list[NodeOpcUaServer]) -> None:
    first, second = servers
    working, recorder = redundant(servers), Recorder()
    task = running(working, recorder)
    await until(lambda: recorder.last() == {0: 0.0}, task)
    first.pause()  # it is there, and says nothing any more
    await ended(task)
    task = running(working, recorder)
    await until(lambda: recorder.last() == {0: 1.0}, task)
    assert recorder.places == [first.endpoint, second.endpoint]
    assert [how for how, _ in recorder.continuations] == ["anew"]
    assert "another server is asked" in recorder.continuations[0][1]
    first.resume()
    second.pause()
    await ended(task)
    task = running(working, recorder)
    await until(lambda: recorder.last() == {0: 0.0}, task)
    assert recorder.places == [first.endpoint, second.endpoint, first.endpoint]
    second.resume()
    task.cancel()


async def test_a_session_is_resumed_where_it_was_when_the_server_still_answers(servers: list[NodeOpcUaServer]) -> None:
    first, second = servers
    working, recorder = redundant(servers), Recorder()
    task = running(working, recorder)
    await until(lambda: recorder.last() == {0: 0.0}, task)
    first.command("drop")
    await ended(task)
    task = running(working, recorder)
    await until(lambda: recorder.catches_up, task)
    assert recorder.places == [first.endpoint, first.endpoint]
    assert recorder.continuations == [("resumed", "")]
    first.kill()
    await ended(task)
    task = running(working, recorder)
    await until(lambda: recorder.last() == {0: 1.0}, task)
    assert recorder.places[-1] == second.endpoint
    task.cancel()
    first.start()
    first.add("ns=2;s=who", "Double", 0.0)


async def test_a_server_that_stands_by_is_passed_over_and_left(
    servers: list[NodeOpcUaServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redundancy, "SERVICE_LEVEL_S", 0.05)
    first, second = servers
    first.command("service_level", level=1)
    working, recorder = redundant(servers), Recorder()
    task = running(working, recorder)
    await until(lambda: recorder.last() == {0: 1.0}, task)
    assert recorder.places == [second.endpoint]
    first.command("service_level", level=255)
    second.command("service_level", level=0)
    assert "it is being maintained (ServiceLevel 0)" in await ended(task)
    task = running(working, recorder)
    await until(lambda: recorder.last() == {0: 0.0}, task)
    task.cancel()
    second.command("service_level", level=255)


async def test_where_none_can_be_used_each_is_said_with_what_is_wrong(servers: list[NodeOpcUaServer]) -> None:
    first, second = servers
    first.command("service_level", level=1)
    nobody = "opc.tcp://127.0.0.1:9"
    device = driver(first.endpoint, [{"at": "ns=2;s=who"}], backup=[nobody])
    reason = await ended(running(device, Recorder()))
    assert reason.startswith("press: none of its servers can be used: ")
    assert f"{first.endpoint}: the server is there, but it stands by and has no data (ServiceLevel 1)" in reason
    assert f"{nobody}: nothing listens at 127.0.0.1:9" in reason
    alone = Recorder()
    task = running(driver(first.endpoint, [{"at": "ns=2;s=who"}]), alone)
    await until(lambda: alone.last() == {0: 0.0}, task)  # the only one is taken as it is
    assert alone.places == []
    task.cancel()
    first.command("service_level", level=255)
    del second
