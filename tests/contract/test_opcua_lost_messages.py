"""A server of node-opcua whose messages do not all come, and which says that it is in a state without values."""

from __future__ import annotations

import pytest

from connectors.model.errors import DeviceUnavailable
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.servers.node_opcua import NodeOpcUaServer


async def test_messages_that_did_not_come_are_sent_again_in_their_order(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.add("ns=2;s=again.force", "Double", 0.0)
    recorder = Recorder()
    working = driver(node_opcua.endpoint, [{"at": "ns=2;s=again.force"}])
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.last() == {0: 0.0}, task)
        node_opcua.forget()
        node_opcua.command("lose", count=2)
        for number in range(1, 4):
            await node_opcua.set_for("ns=2;s=again.force", "Double", float(number), 0.1)
        await until(lambda: recorder.last() == {0: 3.0}, task)
    assert [value for value, _ in recorder.of(0)] == [0.0, 1.0, 2.0, 3.0]
    assert node_opcua.requests("Republish")[0] == 2
    assert (recorder.unsent, working.counts()["messages_lost"]) == ([], 0)


async def test_a_message_before_a_quiet_time_is_missed_at_the_next_sign_of_life(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.add("ns=2;s=quiet.force", "Double", 0.0)
    recorder = Recorder()
    async with acquiring(driver(node_opcua.endpoint, [{"at": "ns=2;s=quiet.force"}], silence="1s"), recorder) as task:
        await until(lambda: recorder.last() == {0: 0.0}, task)
        node_opcua.command("lose", count=1)
        node_opcua.set("ns=2;s=quiet.force", "Double", 1.0)
        await until(lambda: recorder.last() == {0: 1.0}, task)
    assert recorder.unsent == []


async def test_what_cannot_be_sent_again_is_declared_and_its_tags_are_read(node_opcua: NodeOpcUaServer) -> None:
    for name in ("force", "stroke"):
        node_opcua.add(f"ns=2;s=gone.{name}", "Double", 0.0)
    recorder = Recorder()
    working = driver(node_opcua.endpoint, [{"at": "ns=2;s=gone.force"}, {"at": "ns=2;s=gone.stroke"}])
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.last() == {0: 0.0, 1: 0.0}, task)
        node_opcua.command("lose", count=1, forgotten=True)
        await node_opcua.set_for("ns=2;s=gone.force", "Double", 1.0, 0.1)
        node_opcua.set("ns=2;s=gone.stroke", "Double", 2.0)
        await until(lambda: recorder.last() == {0: 1.0, 1: 2.0}, task)  # the lost change of force by a read
    ((tags, first_ns, last_ns, detail),) = recorder.unsent
    assert tags == {0, 1}
    assert first_ns < next(time_ns for tag, time_ns, value, _ in recorder.rows if (tag, value) == (0, 1.0)) < last_ns
    assert detail == "1 message of the server did not come, and the server cannot send it again"
    assert working.counts()["messages_lost"] == 1


async def test_a_server_that_says_it_gives_no_values_is_unavailable_until_it_runs(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.add("ns=2;s=state.force", "Double", 1.0)
    working = driver(node_opcua.endpoint, [{"at": "ns=2;s=state.force"}], silence="300ms")
    recorder = Recorder()
    said = "press: the server is there, but it is suspended and looks at no value; start it again in its own tool"
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.last() == {0: 1.0}, task)
        node_opcua.command("state", state="Suspended")
        await until(task.done)
        with pytest.raises(DeviceUnavailable, match=said):
            task.result()
    with pytest.raises(DeviceUnavailable, match=said):
        await working.acquire(recorder)
    node_opcua.command("state", state="Running")
    node_opcua.set("ns=2;s=state.force", "Double", 2.0)
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.last() == {0: 2.0}, task)
