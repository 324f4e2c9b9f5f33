"""The OPC UA driver against a server of node-opcua: what it reads, what is lost there, and how it ends."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.ua_client import UaClient

from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import GOOD
from tests.contract.opcua_acquisition import Recorder, acquiring, driver, until
from tests.servers.node_opcua import NodeOpcUaServer

NOON_MS = 1_790_000_000_123
BAD_INTERNAL_ERROR = 0x80020000
GUID = "72962b91-fa75-4ae6-8d28-b404dc7daf63"

SCALARS: list[tuple[str, Any, Any, DataType]] = [
    ("Boolean", True, True, DataType.BOOLEAN),
    ("SByte", -128, -128, DataType.INT8),
    ("Byte", 255, 255, DataType.UINT8),
    ("Int16", -32_768, -32_768, DataType.INT16),
    ("UInt16", 65_535, 65_535, DataType.UINT16),
    ("Int32", -(1 << 31), -(1 << 31), DataType.INT32),
    ("UInt32", (1 << 32) - 1, (1 << 32) - 1, DataType.UINT32),
    ("Int64", str(-(1 << 63)), -(1 << 63), DataType.INT64),
    ("UInt64", str((1 << 64) - 1), (1 << 64) - 1, DataType.UINT64),
    ("Float", -98.625, -98.625, DataType.FLOAT),
    ("Double", 2.5, 2.5, DataType.DOUBLE),
    ("String", "Größe 7 µm", "Größe 7 µm", DataType.STRING),
    ("DateTime", NOON_MS, NOON_MS, DataType.DATETIME),
    ("Guid", GUID, GUID, DataType.UUID),
    ("ByteString", base64.b64encode(b"\x00\xff7").decode(), b"\x00\xff7", DataType.BYTES),
    ("LocalizedText", "Presse 7", "Presse 7", DataType.STRING),
    ("NodeId", "ns=1;s=other", "ns=1;s=other", DataType.STRING),
    ("QualifiedName", "1:name", "1:name", DataType.STRING),
]


async def test_every_type_of_another_server_is_read_with_its_value_and_time(node_opcua: NodeOpcUaServer) -> None:
    each = [{"node": f"ns=2;s=type.{kind}", "type": kind, "value": value} for kind, value, *_ in SCALARS]
    node_opcua.add_many([one | {"time_ms": NOON_MS} for one in each])
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = [{"at": one["node"]} for one in each]
    async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
        await until(lambda: len(recorder.last()) == len(SCALARS), task)
    expected = [(value, datatype) for _kind, _written, value, datatype in SCALARS]
    assert [(recorder.last()[index], recorder.datatypes[index]) for index in range(len(expected))] == expected
    assert {(time_ns, quality) for _, time_ns, _, quality in recorder.rows} == {(NOON_MS * 1_000_000, GOOD)}


async def test_samples_that_the_queue_of_another_server_has_lost_are_counted_and_declared(
    node_opcua: NodeOpcUaServer,
) -> None:
    node_opcua.add("ns=2;s=lost.force", "Double", 0.0)
    recorder = Recorder()
    tags: list[dict[str, Any] | str] = [{"at": "ns=2;s=lost.force", "queue_size": 2}]
    working = driver(node_opcua.endpoint, tags, publishing="3s")  # all of them come between two messages
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.last() == {0: 0.0}, task)
        for number in range(1, 9):
            await node_opcua.set_for("ns=2;s=lost.force", "Double", float(number), 0.03)
        await until(lambda: recorder.last() == {0: 8.0}, task)
    assert working.counts() == {"queue_overflows": 1, "messages_lost": 0}
    assert [tag for tag, _time in recorder.losses] == [0]
    assert len(recorder.of(0)) == 3


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        ("drop", "the connection"),
        ("end_subscriptions", "BadNoSubscription"),
        ("end_sessions", "BadSession"),
        ("mute", "connected, but nothing has come"),
    ],
)
async def test_however_a_session_ends_it_is_noticed_and_made_anew(
    node_opcua: NodeOpcUaServer, cut: str, reason: str
) -> None:
    node = f"ns=2;s=ends.{cut}"
    node_opcua.add(node, "Double", 1.0)
    working = driver(node_opcua.endpoint, [{"at": node}], silence="1s")
    recorder = Recorder()
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.last() == {0: 1.0}, task)
        node_opcua.command(cut)
        await until(task.done)
        with pytest.raises(DeviceUnavailable, match=reason):
            task.result()
    node_opcua.set(node, "Double", 2.0)
    async with acquiring(working, recorder) as task:
        await until(lambda: recorder.last() == {0: 2.0}, task)


async def test_a_deadband_that_is_a_part_of_the_range_is_kept_by_the_server(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.add("ns=2;s=ranged", "Double", 0.0, range=[-100, 100])
    node_opcua.add("ns=2;s=rangeless", "Double", 0.0)
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=2;s=ranged", "deadband": "5% of range"},
        {"at": "ns=2;s=rangeless", "deadband": "5% of range"},
        {"at": "ns=2;s=rangeless"},
    ]
    recorder = Recorder()
    async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
        await until(lambda: recorder.last() == {0: 0.0, 2: 0.0}, task)
        for value in (9.0, 11.0, 12.0, 20.0, 22.0):
            node_opcua.set("ns=2;s=ranged", "Double", value)
            node_opcua.set("ns=2;s=rangeless", "Double", value)
            await until(lambda value=value: recorder.last()[2] == value, task)
        await until(lambda: recorder.last()[0] == 22.0, task)
    assert [value for value, _ in recorder.of(0)] == [0.0, 11.0, 22.0]
    ((name, reason),) = [(problem.tag, problem.reason) for problem in recorder.onlines[0][1]]
    assert (name, "the server says no range (EURange)" in reason) == ("t1", True)


async def test_where_a_server_knows_no_part_of_a_range_it_is_asked_in_units(
    node_opcua: NodeOpcUaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, float]] = []
    create = UaClient.create_monitored_items

    async def without_percent(client: UaClient, params: Any) -> Any:
        """As a server answers that has absolute deadbands alone."""
        filters = [each.RequestedParameters.Filter for each in params.ItemsToCreate]
        asked.extend((int(each.DeadbandType), each.DeadbandValue) for each in filters if each is not None)
        if any(each is not None and each.DeadbandType == 2 for each in filters):
            code = ua.StatusCode(ua.UInt32(ua.StatusCodes.BadMonitoredItemFilterUnsupported))
            return [ua.MonitoredItemCreateResult(StatusCode=code) for _ in filters]
        return await create(client, params)

    monkeypatch.setattr(UaClient, "create_monitored_items", without_percent)
    node_opcua.add("ns=2;s=by.units", "Int32", 0, range=[0, 1000])
    tags: list[dict[str, Any] | str] = [{"at": "ns=2;s=by.units", "deadband": "2.5% of range", "scale": 0.1}]
    recorder = Recorder()
    async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
        await until(lambda: recorder.last() == {0: 0.0}, task)
        for value in (20, 30):
            node_opcua.set("ns=2;s=by.units", "Int32", value)
        await until(lambda: recorder.last() == {0: 3.0}, task)
    assert asked == [(2, 2.5), (1, 25.0)]
    assert recorder.onlines[-1][1] == []


async def test_a_deadband_that_the_server_refuses_for_a_node_costs_it_nothing_else(node_opcua: NodeOpcUaServer) -> None:
    node_opcua.add("ns=2;s=any.kind", "Double", 1.0, datatype="i=24")
    node_opcua.add("ns=2;s=number", "Double", 1.0)
    tags: list[dict[str, Any] | str] = [
        {"at": "ns=2;s=any.kind", "deadband": 5},
        {"at": "ns=2;s=number", "deadband": 5},
        {"at": "ns=2;s=number", "deadband": "5%"},
    ]
    recorder = Recorder()
    async with acquiring(driver(node_opcua.endpoint, tags), recorder) as task:
        await until(lambda: recorder.last() == {0: 1.0, 1: 1.0, 2: 1.0}, task)
        for value in (2.0, 10.0):
            node_opcua.set("ns=2;s=any.kind", "Double", value)
            node_opcua.set("ns=2;s=number", "Double", value)
            await until(lambda value=value: (recorder.last()[0], recorder.last()[2]) == (value, value), task)
        await until(lambda: recorder.last()[1] == 10.0, task)
    assert recorder.onlines[-1][1] == []
    assert [value for value, _ in recorder.of(0)] == [1.0, 2.0, 10.0], "the agent keeps this deadband itself"
    assert [value for value, _ in recorder.of(1)] == [1.0, 10.0], "the server keeps this one"
    assert [value for value, _ in recorder.of(2)] == [1.0, 2.0, 10.0], "per cent are those of the last value reported"


@pytest.mark.parametrize("service", ["CreateMonitoredItems", "Read"])
async def test_a_node_for_which_the_server_refuses_whole_requests_costs_no_other_its_subscription(
    node_opcua: NodeOpcUaServer, service: str
) -> None:
    nodes = [f"ns=2;s=refused.{service}.{number}" for number in range(12)]
    for number, node in enumerate(nodes):
        node_opcua.add(node, "Double", float(number))
    node_opcua.command("poison", service=service, node=nodes[5], status=BAD_INTERNAL_ERROR)
    recorder = Recorder()
    try:
        async with acquiring(driver(node_opcua.endpoint, [{"at": node} for node in nodes]), recorder) as task:
            others = {number: float(number) for number in range(12) if number != 5}
            await until(lambda: recorder.last() == others, task)
            (problem,) = recorder.onlines[-1][1]
            assert (problem.tag, "BadInternalError" in problem.reason) == ("t5", True)
            node_opcua.command("heal", service=service)
            await until(lambda: recorder.last() == others | {5: 5.0}, task)
    finally:
        node_opcua.command("heal", service=service)
