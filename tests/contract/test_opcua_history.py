"""What the OPC UA driver reads from the history of a server of node-opcua for a time in which it was away."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from connectors.opcua.driver import OpcUaDriver
from connectors.ports.device import Missing, Unfilled
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.servers.node_opcua import NodeOpcUaServer

BAD_SERVICE_UNSUPPORTED = 0x800B_0000
BAD_HISTORY_OPERATION_INVALID = 0x8071_0000
BAD_TOO_MANY_OPERATIONS = 0x8010_0000
BAD_OUT_OF_MEMORY = 0x8003_0000
NO_WAIT = {"wait": "0ms"}
AGO_S = 5.0
"""The server of a test has run for at least so long when one begins: see ``begun``."""


@pytest.fixture(scope="module")
def begun(node_opcua: NodeOpcUaServer) -> NodeOpcUaServer:
    """The server, some seconds after its start: a history is whole only where the server was there all the time."""
    time.sleep(AGO_S)
    return node_opcua


def variable(server: NodeOpcUaServer, node: str, times_ms: list[int], **more: Any) -> dict[str, Any]:
    """A variable with a history of the values 0.0, 1.0, … at these times; its entry in a device file."""
    server.add(node, "Double", 0.0, historized=True, time_ms=times_ms[0], **more)
    for number, time_ms in enumerate(times_ms[1:], 1):
        server.set(node, "Double", float(number), time_ms=time_ms)
    return {"at": node}


def away(now_ms: int, ago_s: float, tags: int) -> Recorder:
    """An acquisition that misses samples since so long before ``now_ms``."""
    recorder = Recorder()
    recorder.missed = Missing(now_ms * 1_000_000 - round(ago_s * 1e9), np.zeros(tags, np.int64))
    return recorder


async def filled(working: OpcUaDriver, recorder: Recorder) -> list[Unfilled] | None:
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.left, task)
    (unfilled,) = recorder.left
    return None if unfilled is None else list(unfilled)


async def test_the_history_of_an_outage_comes_with_its_times_and_values(begun: NodeOpcUaServer) -> None:
    now_ms = time.time_ns() // 1_000_000
    times_ms = [now_ms - 60_000, *range(now_ms - 900, now_ms - 100, 100)]
    tags: list[dict[str, Any] | str] = [
        variable(begun, "ns=2;s=whole.force", times_ms),
        variable(begun, "ns=2;s=whole.stroke", times_ms) | {"scale": 10},
        variable(begun, "ns=2;s=whole.still", times_ms[:1]),
    ]
    recorder = away(now_ms, 1.0, 3)
    assert await filled(driver(begun.endpoint, tags, history=NO_WAIT), recorder) == []
    force = [(0, time_ms * 1_000_000, float(number), 0) for number, time_ms in enumerate(times_ms) if number]
    assert [row for row in recorder.history if row[0] == 0] == force
    assert [row for row in recorder.history if row[0] == 1] == [(1, when, value * 10, 0) for _, when, value, _ in force]
    assert {row[0] for row in recorder.history} == {0, 1}
    assert recorder.last() == {0: 8.0, 1: 80.0, 2: 0.0}


async def test_a_long_history_comes_in_parts_that_follow_each_other(begun: NodeOpcUaServer) -> None:
    now_ms = time.time_ns() // 1_000_000
    recorder = away(now_ms, 2.7, 1)
    tags: list[dict[str, Any] | str] = [
        variable(begun, "ns=2;s=long.force", [now_ms - 10_000, *range(now_ms - 2600, now_ms - 100)])
    ]
    begun.forget()
    assert await filled(driver(begun.endpoint, tags, history=NO_WAIT), recorder) == []
    assert [row[2] for row in recorder.history] == [float(number) for number in range(1, 2501)]
    assert begun.requests("HistoryRead")[0] == 4


async def test_tags_without_history_and_times_before_it_stay_missing(begun: NodeOpcUaServer) -> None:
    now_ms = time.time_ns() // 1_000_000
    begun.add("ns=2;s=some.plain", "Double", 1.0)
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=2;s=some.plain"},
        variable(begun, "ns=2;s=some.late", [now_ms - 400, now_ms - 200]),
        {"at": "ns=2;s=some.nowhere"},
    ]
    recorder = away(now_ms, 1.0, 3)
    assert recorder.missed is not None
    unfilled = await filled(driver(begun.endpoint, tags, history=NO_WAIT), recorder)
    assert unfilled is not None
    first_ns = recorder.missed.first_ns
    assert {(part.tags, part.first_ns, part.reason) for part in unfilled} == {
        ((0, 2), first_ns, "the server keeps no history of them"),
        ((1,), first_ns, "the history of the server begins later"),
    }
    assert [part.last_ns for part in unfilled if part.tags == (1,)] == [(now_ms - 400) * 1_000_000]
    assert [row[2] for row in recorder.history] == [0.0, 1.0]


async def test_a_server_that_was_not_running_has_no_history_of_that_time(begun: NodeOpcUaServer) -> None:
    now_ms = time.time_ns() // 1_000_000
    tags: list[dict[str, Any] | str] = [variable(begun, "ns=2;s=off.force", [now_ms - 3_600_000, now_ms - 500])]
    recorder = away(now_ms, 1800.0, 1)
    unfilled = await filled(driver(begun.endpoint, tags, history=NO_WAIT), recorder)
    assert unfilled is not None
    ((reason, span_s),) = [(part.reason, (part.last_ns - part.first_ns) / 1e9) for part in unfilled]
    assert reason == "the server was not running"
    assert 1500.0 < span_s < 1800.0 - AGO_S + 0.1


async def test_a_long_outage_is_filled_for_its_last_part(begun: NodeOpcUaServer) -> None:
    now_ms = time.time_ns() // 1_000_000
    tags: list[dict[str, Any] | str] = [
        variable(begun, "ns=2;s=span.force", [now_ms - 5000, now_ms - 4300, now_ms - 100])
    ]
    recorder = away(now_ms, 4.5, 1)
    unfilled = await filled(driver(begun.endpoint, tags, history=NO_WAIT | {"span": "4s"}), recorder)
    assert unfilled is not None
    assert [row[2] for row in recorder.history] == [2.0]
    assert [(part.tags, part.reason) for part in unfilled] == [((0,), "history is read for 0.00111111 h at most")]


@pytest.mark.parametrize("use", ["auto", "never"])
async def test_without_history_all_stays_missing(begun: NodeOpcUaServer, use: str) -> None:
    begun.add(f"ns=2;s=none.{use}", "Double", 1.0)
    begun.forget()
    recorder = away(time.time_ns() // 1_000_000, 1.0, 1)
    working = driver(begun.endpoint, [{"at": f"ns=2;s=none.{use}"}], history=NO_WAIT | {"use": use})
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.last() and (recorder.left or use == "never"), task)
    assert recorder.left == ([None] if use == "auto" else [])
    assert begun.requests("HistoryRead")[0] == 0


async def test_a_server_that_does_not_give_its_history_keeps_its_connection(begun: NodeOpcUaServer) -> None:
    now_ms = time.time_ns() // 1_000_000
    tags: list[dict[str, Any] | str] = [variable(begun, "ns=2;s=refused.force", [now_ms - 5000, now_ms - 500])]
    begun.refuse("HistoryRead", BAD_SERVICE_UNSUPPORTED)
    recorder = away(now_ms, 1.0, 1)
    async with acquiring(driver(begun.endpoint, tags, history=NO_WAIT), recorder) as task:
        await until(lambda: recorder.left, task)
        begun.refuse("HistoryRead", None)
        begun.set("ns=2;s=refused.force", "Double", 7.0)
        await until(lambda: recorder.last() == {0: 7.0}, task)
    (unfilled,) = recorder.left
    assert unfilled is not None
    assert [(part.tags, part.reason) for part in unfilled] == [
        ((0,), "the server answered BadServiceUnsupported 0x800B0000")
    ]
    assert recorder.history == []


async def test_nodes_are_asked_for_in_numbers_that_the_server_takes(begun: NodeOpcUaServer) -> None:
    now_ms = time.time_ns() // 1_000_000
    tags: list[dict[str, Any] | str] = [
        variable(begun, f"ns=2;s=many.{number}", [now_ms - 5000, now_ms - 500]) for number in range(10)
    ]
    begun.forget()
    recorder = away(now_ms, 1.0, 10)
    assert await filled(driver(begun.endpoint, tags, history=NO_WAIT, limits={"histories": 4}), recorder) == []
    assert sorted((row[0], row[2]) for row in recorder.history) == [(number, 1.0) for number in range(10)]
    assert begun.requests("HistoryRead") == (6, 4)


async def test_the_history_of_an_array_is_that_of_each_tag_of_its_parts(begun: NodeOpcUaServer) -> None:
    now_ms = time.time_ns() // 1_000_000
    node = "ns=2;s=whole.zones"
    begun.add(node, "Double", [0.0, 0.5], historized=True, time_ms=now_ms - 60_000)
    for number in range(1, 4):
        begun.set(node, "Double", [float(number), number + 0.5], time_ms=now_ms - 900 + 100 * number)
    recorder = away(now_ms, 1.0, 2)
    tags: list[dict[str, Any] | str] = [{"at": node, "part": "[0]"}, {"at": node, "part": "[1]"}]
    assert await filled(driver(begun.endpoint, tags, history=NO_WAIT), recorder) == []
    restored = {(row[0], row[2]) for row in recorder.history}
    assert restored >= {(0, 1.0), (0, 2.0), (0, 3.0), (1, 1.5), (1, 2.5), (1, 3.5)}


async def test_history_waits_for_what_each_tag_has_now(begun: NodeOpcUaServer) -> None:
    """A sample of the present that comes after the history would be there twice."""
    now_ms = time.time_ns() // 1_000_000
    times_ms = [now_ms - 60_000, *range(now_ms - 900, now_ms - 100, 100)]
    tags: list[dict[str, Any] | str] = [
        variable(begun, "ns=2;s=slow.pushed", times_ms),
        variable(begun, "ns=2;s=slow.polled", times_ms) | {"poll": "20ms"},
    ]
    recorder = away(now_ms, 1.0, 2)
    begun.command("delay", service="Publish", delay_ms=700)
    async with acquiring(driver(begun.endpoint, tags, history=NO_WAIT), recorder) as task:
        await until(lambda: recorder.history or recorder.left, task)
        begun.command("heal", service="Publish")
        assert set(recorder.last()) == {0, 1}
        await until(lambda: recorder.left, task)


async def test_a_node_for_which_the_server_refuses_the_whole_request_costs_no_other_its_history(
    begun: NodeOpcUaServer,
) -> None:
    now_ms = time.time_ns() // 1_000_000
    tags: list[dict[str, Any] | str] = [
        variable(begun, f"ns=2;s=spoilt.{number}", [now_ms - 5000, now_ms - 500]) for number in range(8)
    ]
    begun.command("poison", service="HistoryRead", node="ns=2;s=spoilt.5", status=BAD_HISTORY_OPERATION_INVALID)
    recorder = away(now_ms, 1.0, 8)
    try:
        unfilled = await filled(driver(begun.endpoint, tags, history=NO_WAIT), recorder)
    finally:
        begun.command("heal", service="HistoryRead")
    assert sorted((row[0], row[2]) for row in recorder.history) == [(tag, 1.0) for tag in range(8) if tag != 5]
    assert unfilled is not None
    assert {part.tags for part in unfilled} == {(5,)}


@pytest.mark.parametrize("status", [BAD_TOO_MANY_OPERATIONS, BAD_OUT_OF_MEMORY])
async def test_a_server_that_is_out_of_something_for_a_while_is_asked_again(
    begun: NodeOpcUaServer, status: int
) -> None:
    now_ms = time.time_ns() // 1_000_000
    tags: list[dict[str, Any] | str] = [
        variable(begun, f"ns=2;s=busy.{status}.{number}", [now_ms - 5000, now_ms - 500]) for number in range(2)
    ]
    begun.refuse("HistoryRead", status)
    begun.forget()
    recorder = away(now_ms, 1.0, 2)
    async with acquiring(driver(begun.endpoint, tags, history=NO_WAIT), recorder) as task:
        await until(lambda: begun.requests("HistoryRead")[0] > 0, task)
        begun.refuse("HistoryRead", None)
        await until(lambda: recorder.left, task)
    assert recorder.left == [[]]
    assert sorted((row[0], row[2]) for row in recorder.history) == [(0, 1.0), (1, 1.0)]
