"""What cannot be delivered is set aside and declared, and everything else goes on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges
from connectors.model.samples import SampleBatch
from connectors.model.tags import DeviceDefinition, DeviceName, TagName, TagType
from connectors.sparkplug.birth import CurrentValue
from connectors.sparkplug.delivery import Acknowledgement
from connectors.sparkplug.edge_session import Phase
from edge_agent.buffer.checksums import INSERT_ROW, with_checksum
from edge_agent.buffer.rows import Kind
from edge_agent.uplink.sender import VISIT_S
from tests.played_network import PRESS, Bench, PlayedNetwork, running, until
from tests.virtual_time import START_NS, virtual_time

OVEN = DeviceName("oven")


async def define_oven(bench: Bench, tags: int = 1) -> DeviceDefinition:
    types = [TagType(index, TagName(f"zone{index}/temperature"), DataType.DOUBLE) for index in range(tags)]
    definition, rows = await bench.writer.define(OVEN, types, START_NS // 1_000_000)
    bench.feed.push(rows)
    return definition


async def put(bench: Bench, definition: DeviceDefinition, count: int = 1) -> None:
    aliases = np.full(count, definition.metrics[0].alias, np.int32)
    times = bench.clock.now_ns() + np.arange(count) * 1_000_000
    batch = SampleBatch(DataType.DOUBLE, aliases, times, np.arange(count, dtype=np.float64))
    await bench.collector.put(definition.device, definition.hash, batch, None)


def gaps(network: PlayedNetwork) -> list[str]:
    return [d.records["Lineside/Gap"] for d in network.arrived.values() if "Lineside/Gap" in d.records]


@virtual_time
async def test_a_refused_definition_stops_no_other_device_and_its_samples_are_declared(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network)
    network.refuses = {2}
    async with running(bench):
        oven = await define_oven(bench)  # batch 2
        await bench.online()
        for number in range(5):
            await put(bench, oven)
            await bench.put(float(number))
            await asyncio.sleep(0.3)
        await until(lambda: not bench.waiting)
    arrived = [d for d in network.arrived.values() if d.count]
    assert bench.definition is not None
    assert {d.definition for d in arrived} == {bench.definition.hash}
    assert sum(d.count for d in arrived) == 5
    declared = gaps(network)
    assert len(declared) == 6, "the definition, and five batches of samples"
    assert sum("the cloud does not have its definition: too large" in each for each in declared) == 5


@virtual_time
async def test_a_definition_that_comes_after_its_samples_is_sent_before_them(tmp_path: Path) -> None:
    """So it lies in an outbox whose definition was refused, and told anew by the next start."""
    network = PlayedNetwork()
    network.unreachable = {"mqtts://a"}
    bench = Bench(tmp_path, network)
    async with running(bench):
        oven = await define_oven(bench)
        await put(bench, oven)
        await asyncio.sleep(0.5)
        connection = bench.writer.outbox._connection
        row = connection.execute("DELETE FROM outbox WHERE kind=? RETURNING *", (Kind.DEFINITION,)).fetchone()
        connection.execute(INSERT_ROW, with_checksum((row[0] + 100, *row[1:-1])))
        bench.feed.read_from_disk(bench.feed._newest + 100)
        network.unreachable = set()
        await until(lambda: not bench.waiting)
    assert not gaps(network)
    assert sum(d.count for d in network.arrived.values()) == 1


@virtual_time
async def test_a_late_word_to_an_earlier_start_makes_its_definition_known(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.acknowledges = False
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        await asyncio.sleep(1.0)
        earlier = bench.writer.epoch
    network = PlayedNetwork()
    bench = Bench(tmp_path, network)
    network.definitions = {"known from the earlier start"}
    async with running(bench):
        await asyncio.sleep(0.08)  # subscribed, and nothing sent yet
        network.say(Acknowledgement(earlier, BatchRanges([(1, 2)])))
        await bench.online()
        assert bench.definition is not None
        network.definitions.add(bench.definition.hash)
        await bench.put(1.0)
        await until(lambda: not bench.waiting)
    assert sum(d.count for d in network.arrived.values()) == 1


@virtual_time
async def test_what_the_broker_s_packets_cannot_hold_is_set_aside_and_samples_are_cut_to_fit(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.bytes_max = 8_000
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        oven = await define_oven(bench, tags=500)
        await asyncio.sleep(1.0)
        await put(bench, oven)
        assert bench.definition is not None
        await put(bench, bench.definition, count=2_000)
        await until(lambda: not bench.waiting)
    assert len(network.connects) == 1, "the broker never had a reason to end the connection"
    assert sum(d.count for d in network.arrived.values()) == 2_000
    assert any("packets of at most 8,000" in each for each in gaps(network))


@virtual_time
async def test_a_device_whose_birth_the_broker_cannot_take_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.bytes_max = 8_000
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        oven = await define_oven(bench, tags=500)
        network.definitions.add(oven.hash)
        bench.uplink.device_online(oven)
        for number in range(3):
            await bench.put(float(number))
            await put(bench, oven)
            await asyncio.sleep(1.0)
        await until(lambda: not bench.waiting)
        assert (bench.uplink.state.phase, bench.uplink.state.reason) == ("born", "")
        (why,) = bench.uplink.unborn.values()
        assert "without any value, and the broker takes packets of at most 8,000; let it take larger ones" in why
        assert len(network.connects) == 1, "the connection is that of all devices"
        assert sum(d.count for d in network.arrived.values()) == 3, "the other device"
        network.bytes_max = 0
        network.break_connection()
        await until(lambda: network.order[-3:] == [("NBIRTH", 0), ("DBIRTH", 0), ("DBIRTH", 0)])
        assert not bench.uplink.unborn
        await put(bench, oven)
        await until(lambda: not bench.waiting)
    declared = gaps(network)
    assert len(declared) == 4, "the definition, and three batches of samples"
    assert all("packets of at most 8,000" in each for each in declared)


@virtual_time
async def test_a_birth_that_is_too_large_leaves_out_the_largest_values_and_the_data_follow(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.bytes_max = 8_000
    bench = Bench(tmp_path, network)
    async with running(bench):
        oven = await define_oven(bench, tags=50)
        await bench.online(DataType.STRING)
        assert bench.definition is not None
        bench.values |= {metric.alias: CurrentValue(1.5, START_NS) for metric in oven.metrics}
        bench.values[bench.definition.metrics[0].alias] = CurrentValue("x" * 9_000, START_NS)
        bench.uplink.device_online(oven)
        await put(bench, oven)
        await until(lambda: not bench.waiting)
        assert network.order.count(("DBIRTH", 0)) == 2
        assert not bench.uplink.unborn
    assert sum(d.count for d in network.arrived.values()) == 1
    assert not gaps(network)


@virtual_time
async def test_a_birth_with_a_text_that_is_no_utf_8_goes_out_after_every_reconnect(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online(DataType.STRING)
        assert bench.definition is not None
        bench.values[bench.definition.metrics[0].alias] = CurrentValue("pi\udce8ce", START_NS)
        await until(lambda: not bench.waiting)
        network.break_connection()
        await until(lambda: network.order.count(("DBIRTH", 0)) == 2)
        assert bench.uplink.state.phase == "born"
    births = [payload for _, payload in network.payloads if b"force" in payload and b"ce" in payload]
    assert "pi\N{REPLACEMENT CHARACTER}ce".encode() in births[-1]


@virtual_time
async def test_a_device_that_is_gone_stays_dead_while_others_have_traffic(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        oven = await define_oven(bench)
        bench.uplink.device_online(oven)
        await asyncio.sleep(1.0)
        await put(bench, oven)
        bench.uplink.device_offline(OVEN)  # its last samples are not sent yet
        for number in range(40):
            await bench.put(float(number))
            await asyncio.sleep(0.15)
        verbs = [verb for verb, _ in network.order if verb in ("DBIRTH", "DDEATH")]
        assert verbs == ["DBIRTH", "DBIRTH", "DDEATH", "DBIRTH", "DDEATH"]
        last = max(at for at, item in enumerate(network.order) if item[0] == "DDEATH")
        assert len(network.order) - last > 10, f"within {VISIT_S} s, not when all traffic has ended"
        assert bench.uplink._session.is_born(PRESS)


@virtual_time
async def test_an_uplink_that_waits_with_batches_in_flight_does_not_spin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network)
    sender = bench.uplink._sender
    rounds = 0
    waits = sender._next_due_s

    def counted() -> float | None:
        nonlocal rounds
        rounds += 1
        return waits()

    async with running(bench):
        await bench.online()
        await until(lambda: not bench.waiting)
        network.acknowledges = False
        await bench.put(1.0)
        await asyncio.sleep(60.0)  # long overdue
        monkeypatch.setattr(sender, "_next_due_s", counted)
        monkeypatch.setattr(bench.uplink._session, "phase", Phase.WAITING_FOR_HOST)
        await asyncio.sleep(300.0)
    assert rounds < 20


@virtual_time
async def test_on_a_full_disk_the_oldest_samples_give_way_and_each_is_delivered_or_declared(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.acknowledges = False
    bench = Bench(tmp_path, network)
    connection = bench.writer.outbox._connection
    async with running(bench):
        await bench.online()
        assert bench.definition is not None
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages + 40}")
        for _ in range(100):
            await put(bench, bench.definition, count=400)
            await asyncio.sleep(0.3)
        assert bench.collector.blocked_reason == ""
        network.acknowledges = True
        await until(lambda: not bench.waiting and not bench.collector.samples_pending)
    declared = [json.loads(gap) for gap in gaps(network)]
    assert {gap["reason"] for gap in declared} == {"disk_full"}
    arrived = {d.batch: d.count for d in network.arrived.values() if d.count}
    given_up = {n for gap in declared for first, last in gap["batches"] for n in range(first, last + 1)}
    taken = bench.collector.samples_committed // 400
    assert taken == 100
    assert sum(gap["count"] for gap in declared) == 400 * len(given_up) > 0
    assert len(given_up | set(arrived)) == taken, "nothing is silently absent"
    assert max(arrived) > max(given_up), "the newest are there"
