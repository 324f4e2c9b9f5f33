"""Tags that the OPC UA driver polls, on a server of node-opcua: in large requests, and one never at another's cost."""

from __future__ import annotations

import time
from typing import Any

import pytest

from connectors.model.quality import BAD_SENSOR_FAILURE, GOOD
from connectors.opcua.driver import OpcUaDriver
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.servers.node_opcua import NodeOpcUaServer

BAD_INTERNAL_ERROR, BAD_SERVICE_UNSUPPORTED, BAD_NODE_ID_UNKNOWN = 0x8002_0000, 0x800B_0000, 0x8034_0000
BAD_RESPONSE_TOO_LARGE = 0x80B9_0000
NOON_MS = 1_790_000_000_123


def polled(server: NodeOpcUaServer, top: str, count: int, **more: Any) -> OpcUaDriver:
    """A driver that polls variables with the values 0.0, 1.0, …; every third is a text."""
    each = [
        {"node": f"ns=2;s={top}.{number}", "type": "String", "value": f"{number}"}
        if number % 3 == 2
        else {"node": f"ns=2;s={top}.{number}", "type": "Double", "value": float(number)}
        for number in range(count)
    ]
    server.add_many([one | {"time_ms": NOON_MS} for one in each])
    tags: list[dict[str, Any] | str] = [{"at": one["node"], "poll": "50ms"} for one in each]
    return driver(server.endpoint, tags, **more)


def values(count: int) -> dict[int, Any]:
    return {number: f"{number}" if number % 3 == 2 else float(number) for number in range(count)}


async def test_polled_tags_are_read_beside_those_that_are_subscribed_to(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.add("ns=2;s=beside.polled", "Double", 1.0, time_ms=NOON_MS)
    node_opcua.add("ns=2;s=beside.pushed", "Double", 2.0)
    for name in ("raw_polled", "raw_pushed"):
        node_opcua.add(f"ns=2;s=beside.{name}", "Int16", 28)
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=2;s=beside.polled", "poll": "50ms", "scale": 10},
        {"at": "ns=2;s=beside.pushed"},
        {"at": "ns=2;s=beside.raw_polled", "poll": "50ms", "scale": 0.1},
        {"at": "ns=2;s=beside.raw_pushed", "scale": 0.1, "offset": -40},
    ]
    recorder, working = Recorder(), driver(node_opcua.endpoint, tags)
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.last() == {0: 10.0, 1: 2.0, 2: 2.8, 3: -37.2}, task)
        assert (await working.read(3)).value == -37.2
        assert node_opcua.command("monitored") == 2
        node_opcua.set("ns=2;s=beside.polled", "Double", 1.5, time_ms=NOON_MS + 1)
        await until(lambda: recorder.last()[0] == 15.0, task)
        await until(lambda: len(recorder.of(0)) >= 5, task)
    assert recorder.of(1) == [(2.0, GOOD)]
    assert {time_ns for tag, time_ns, value, _ in recorder.rows if tag == 0 and value == 15.0} == {
        (NOON_MS + 1) * 1_000_000
    }


async def test_polls_are_few_requests_of_registered_nodes(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.forget()
    recorder = Recorder()
    working = polled(node_opcua, "few", 40, limits={"reads": 16, "registrations": 10})
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.last() == values(40) and len(recorder.of(39)) > 3, task)
    assert node_opcua.requests("Read")[1] == 16
    assert node_opcua.requests("RegisterNodes") == (4, 10)
    assert node_opcua.command("asked_for_registered") > 40 * 2


@pytest.mark.parametrize("refusal", ["service", "setting"])
async def test_a_server_that_registers_no_nodes_is_polled_by_their_ids(
    node_opcua: NodeOpcUaServer, refusal: str
) -> None:
    node_opcua.forget()
    if refusal == "service":
        node_opcua.refuse("RegisterNodes", BAD_SERVICE_UNSUPPORTED)
    recorder = Recorder()
    working = polled(node_opcua, f"ids.{refusal}", 4, registered_reads=refusal == "service")
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.last() == values(4) and len(recorder.of(3)) > 3, task)
    node_opcua.refuse("RegisterNodes", None)
    assert node_opcua.requests("RegisterNodes")[0] == (1 if refusal == "service" else 0)


async def test_a_polled_tag_with_a_bad_status_or_without_its_node_leaves_its_neighbours_alone(
    node_opcua: NodeOpcUaServer,
) -> None:
    recorder = Recorder()
    async with acquiring(polled(node_opcua, "bad", 9), recorder) as task:
        await until(lambda: recorder.last() == values(9), task)
        node_opcua.set("ns=2;s=bad.0", "Double", 7.0, status=BAD_SENSOR_FAILURE << 16)
        node_opcua.remove("ns=2;s=bad.4")
        node_opcua.set("ns=2;s=bad.8", "String", "new")
        await until(lambda: recorder.last()[8] == "new", task)
        await until(lambda: recorder.of(0)[-1][1] == BAD_SENSOR_FAILURE, task)
        await until(lambda: recorder.of(4)[-1] == (None, BAD_NODE_ID_UNKNOWN >> 16), task)
        node_opcua.add("ns=2;s=bad.4", "Double", 44.0)
        await until(lambda: recorder.of(4)[-1] == (44.0, GOOD), task)


async def test_a_node_for_which_the_server_refuses_the_whole_request_costs_no_other_its_values(
    node_opcua: NodeOpcUaServer,
) -> None:
    recorder = Recorder()
    async with acquiring(polled(node_opcua, "poison", 12, registered_reads=False), recorder) as task:
        await until(lambda: recorder.last() == values(12), task)
        node_opcua.command("poison", node="ns=2;s=poison.6", status=BAD_INTERNAL_ERROR)
        await until(lambda: recorder.of(6)[-1] == (None, BAD_INTERNAL_ERROR >> 16), task)
        node_opcua.set("ns=2;s=poison.7", "Double", 77.0)
        await until(lambda: recorder.last()[7] == 77.0, task)
        node_opcua.command("heal")
        await until(lambda: recorder.of(6)[-1] == (6.0, GOOD), task)


async def test_a_value_that_is_too_large_for_a_response_leaves_requests_for_the_others_large(
    node_opcua: NodeOpcUaServer,
) -> None:
    recorder = Recorder()
    async with acquiring(polled(node_opcua, "large", 12, registered_reads=False), recorder) as task:
        await until(lambda: recorder.last() == values(12), task)
        node_opcua.command("poison", node="ns=2;s=large.6", status=BAD_RESPONSE_TOO_LARGE)
        await until(lambda: recorder.of(6)[-1] == (None, BAD_RESPONSE_TOO_LARGE >> 16), task)
        node_opcua.forget()
        await until(lambda: node_opcua.requests("Read")[1] == 11, task)
        node_opcua.command("heal")
        await until(lambda: recorder.of(6)[-1] == (6.0, GOOD), task)
    assert all(quality == GOOD for tag in range(12) if tag != 6 for _, quality in recorder.of(tag))


async def test_a_server_that_refused_for_a_while_is_asked_in_large_requests_again(node_opcua: NodeOpcUaServer) -> None:
    recorder = Recorder()
    async with acquiring(polled(node_opcua, "while", 12, registered_reads=False), recorder) as task:
        await until(lambda: recorder.last() == values(12), task)
        node_opcua.refuse("Read", BAD_INTERNAL_ERROR)
        await until(lambda: all(recorder.of(tag)[-1] == (None, BAD_INTERNAL_ERROR >> 16) for tag in range(12)), task)
        node_opcua.command("heal")
        await until(lambda: all(recorder.of(tag)[-1][1] == GOOD for tag in range(12)), task)
        node_opcua.forget()
        await until(lambda: node_opcua.requests("Read")[1] == 12, task)


async def test_a_node_that_spoils_requests_from_the_first_one_on_costs_no_other_its_values(
    node_opcua: NodeOpcUaServer,
) -> None:
    node_opcua.add_many([{"node": f"ns=2;s=spoilt.{n}", "type": "Double", "value": float(n)} for n in range(9)])
    node_opcua.command("poison", node="ns=2;s=spoilt.4", status=BAD_INTERNAL_ERROR)
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = [{"at": f"ns=2;s=spoilt.{number}"} for number in range(9)]
    try:
        async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
            await until(lambda: len(recorder.last()) == 8, task)
            (problem,) = recorder.onlines[0][1]
            assert (problem.tag, problem.reason) == ("t4", "the server answered BadInternalError 0x80020000")
            node_opcua.command("heal")
            await until(lambda: recorder.last() == {number: float(number) for number in range(9)}, task)
    finally:
        node_opcua.command("heal")


async def test_a_server_that_is_late_is_told_of_and_one_that_does_not_answer_is_given_up(
    node_opcua: NodeOpcUaServer,
) -> None:
    recorder = Recorder()
    async with acquiring(polled(node_opcua, "late", 2, timeout="5s"), recorder) as task:
        await until(lambda: recorder.last() == values(2), task)
        node_opcua.command("delay", service="Read", delay_ms=1500)
        await until(lambda: recorder.late, task)
        node_opcua.command("heal")
    tags, first_ns, last_ns, detail = recorder.late[0]
    assert tags == {0, 1}
    assert last_ns - first_ns > 1_000_000_000
    assert detail.startswith("nothing was read for")


async def test_polled_tags_that_were_late_before_the_end_of_a_session_are_told_of_while_others_were_pushed(
    node_opcua: NodeOpcUaServer,
) -> None:
    node_opcua.add("ns=2;s=end.polled", "Double", 1.0)
    node_opcua.add("ns=2;s=end.pushed", "Double", 2.0)
    tags: list[dict[str, Any] | str] = [{"at": "ns=2;s=end.polled", "poll": "50ms"}, {"at": "ns=2;s=end.pushed"}]
    recorder = Recorder()
    async with acquiring(driver(node_opcua.endpoint, tags, timeout="10s"), recorder) as task:
        await until(lambda: recorder.last() == {0: 1.0, 1: 2.0}, task)
        node_opcua.command("delay", service="Read", delay_ms=60_000)
        begun_ns = time.time_ns()
        await until(lambda: time.time_ns() - begun_ns > 1_300_000_000, task)
        node_opcua.set("ns=2;s=end.pushed", "Double", 3.0)
        await until(lambda: recorder.last()[1] == 3.0, task)
        assert not recorder.late
        node_opcua.command("drop")
        await until(task.done)
        node_opcua.command("heal")
    ((late, first_ns, last_ns, _detail),) = recorder.late
    assert late == {0}
    assert first_ns < begun_ns + 100_000_000
    assert last_ns > begun_ns + 1_300_000_000
