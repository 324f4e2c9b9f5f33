"""The uplink between a real outbox and a played network: whatever is lost on the way, everything arrives and leaves.

Time is virtual. The network loses messages of either direction and breaks connections by a seed; the cloud refuses what
it is told to. What the cloud has in the end is compared with what was committed.
"""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest

from connectors.model.delivery import BatchRanges, Epoch
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.delivery import GAP, Acknowledgement
from edge_agent.buffer.rows import Kind
from tests.played_network import PRESS, WINDOW, Bench, PlayedNetwork, running, until
from tests.virtual_time import virtual_time


@pytest.mark.parametrize("seed", range(12))
def test_everything_arrives_and_leaves_the_disk_whatever_the_network_loses(tmp_path: Path, seed: int) -> None:
    @virtual_time
    async def scene() -> None:
        chance = random.Random(seed)
        network = PlayedNetwork(seed, loss=chance.choice([0.0, 0.1, 0.4]))
        bench = Bench(tmp_path, network)
        if chance.random() < 0.5:
            network.refuses = set(chance.sample(range(4, 40), 3))
        async with running(bench):
            await bench.online()
            for number in range(60):
                await bench.put(float(number))
                await asyncio.sleep(chance.choice([0.0, 0.15, 1.0]))
                assert bench.uplink.in_flight <= WINDOW
                if chance.random() < 0.08:
                    network.break_connection()
            await until(lambda: not bench.waiting and not bench.uplink.in_flight)
            numbers = {number for _, number in network.arrived}
            assert numbers | network.refuses >= set(range(1, max(numbers) + 1)), "no number is missing"
            assert not numbers & network.refuses
            refused = {number for number in network.refuses if number < max(numbers)}
            assert network.explained() == refused, "what was refused is explained, also where it was a gap record"
            assert len(refused) == bench.uplink.state.refused
            assert bench.uplink.state.acknowledged == len(network.arrived), "each counts once"

    scene()


@virtual_time
async def test_a_gap_record_that_is_refused_is_told_again_with_all_that_it_explained(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.refuses = {3, 4, 6, 7}  # two batches, and the records that tell of them
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        for number in range(3):
            await bench.put(float(number))
            await asyncio.sleep(0.15)
        await until(lambda: not bench.waiting and not bench.uplink.in_flight)
    assert network.explained() == {3, 4, 6, 7}
    gaps = [json.loads(str(each.records[GAP])) for each in network.arrived.values() if GAP in each.records]
    assert {(gap["device"], gap["reason"], gap["count"]) for gap in gaps} == {(PRESS, "refused", 1)}
    assert all(gap["first_ns"] == gap["last_ns"] for gap in gaps), "the times are those of the samples"


@virtual_time
async def test_samples_wait_for_the_acknowledgement_of_their_definition_and_then_go_in_order(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.acknowledges = False
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        for number in range(20):
            await bench.put(float(number))
            await asyncio.sleep(0.15)
        sent = {number for _, number in network.order if number}
        assert sent == {1, 2}, "the epoch start and the definition"
        assert bench.uplink.in_flight == 2
        network.acknowledges = True
        await until(lambda: not bench.waiting)
    first_sent = list(dict.fromkeys(number for _, number in network.order if number))
    assert first_sent == sorted(first_sent)
    assert [verb for verb, _ in network.order][:2] == ["NBIRTH", "DBIRTH"]


@virtual_time
async def test_while_the_cloud_is_silent_the_window_is_the_limit_and_the_disk_takes_the_rest(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        await until(lambda: not bench.waiting)
        network.acknowledges = False
        before = len(network.order)
        for number in range(40):
            await bench.put(float(number))
            await asyncio.sleep(0.15)
        await asyncio.sleep(200.0)
        assert bench.uplink.in_flight == WINDOW
        assert len(bench.waiting) == 40
        sent = [number for _, number in network.order[before:] if number]
        assert set(sent) == set(range(3, 3 + WINDOW))
        assert {number for number in sent if sent.count(number) > 1} == {3}, "only the oldest is sent again"
        network.acknowledges = True
        await until(lambda: not bench.waiting)
        assert {number for _, number in network.arrived} == set(range(1, 43))


@virtual_time
async def test_a_reconnect_gives_births_first_and_then_what_was_in_flight_in_order(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        await until(lambda: not bench.waiting)
        network.acknowledges = False
        for number in range(4):
            await bench.put(float(number))
            await asyncio.sleep(0.15)
        before = len(network.order)
        network.break_connection()
        await asyncio.sleep(5.0)
    again = [item for item in network.order[before:] if item[0] != "NDEATH"]
    assert again[:6] == [("NBIRTH", 0), ("DBIRTH", 0), ("DDATA", 3), ("DDATA", 4), ("DDATA", 5), ("DDATA", 6)]


@virtual_time
async def test_brokers_are_tried_in_turn_with_growing_waits(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.unreachable = {"mqtts://a", "mqtts://b"}
    bench = Bench(tmp_path, network, brokers=("mqtts://a", "mqtts://b"))
    async with running(bench):
        await asyncio.sleep(600.0)
        assert network.connects[:4] == ["mqtts://a", "mqtts://b", "mqtts://a", "mqtts://b"]
        assert 12 <= len(network.connects) <= 30
        assert (bench.uplink.state.phase, bench.uplink.state.reason[:12]) == ("offline", "the broker m")
        network.unreachable = {"mqtts://a"}
        await asyncio.sleep(200.0)
        assert (bench.uplink.state.phase, bench.uplink.state.broker) == ("born", "mqtts://b")


@pytest.mark.sparkplug("tck-id-topics-nbirth-bdseq-increment")
@virtual_time
async def test_bd_seq_counts_the_connects_that_were_sent(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.unreachable = {"mqtts://a"}
    bench = Bench(tmp_path, network)
    async with running(bench):
        await asyncio.sleep(100.0)
        tried = len(network.wills)
        network.unreachable = set()
        await until(lambda: bench.uplink.state.phase == "born")
        network.break_connection()
        await until(lambda: network.order.count(("NBIRTH", 0)) == 2)
    assert tried >= 3
    numbers = [int(pb.Payload.FromString(will.payload).metrics[0].long_value) for will in network.wills]
    assert numbers == [0] * (len(numbers) - 1) + [1]


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-single-server",
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-walk",
    "tck-id-operational-behavior-edge-node-termination-host-offline-reconnect",
)
@virtual_time
async def test_when_the_primary_host_goes_the_next_server_is_used_and_the_old_one_left_before(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network, brokers=("mqtts://a", "mqtts://b"), wait_for_host=True)
    async with running(bench):
        await until(lambda: bench.uplink.state.phase == "waiting for host")
        network.host_says(online=True, timestamp_ms=10)
        await until(lambda: bench.uplink.state.phase == "born")
        network.host_says(online=False, timestamp_ms=20)
        await until(lambda: network.connects == ["mqtts://a", "mqtts://b"])
        await until(lambda: bench.uplink.state.phase == "waiting for host")
        assert [verb for verb, _ in network.order].count("NBIRTH") == 1
        network.host_says(online=True, timestamp_ms=5)
        await until(lambda: bench.uplink.state.phase == "born")
    births_and_deaths = [verb for verb, _ in network.order if verb in ("NBIRTH", "NDEATH")]
    assert births_and_deaths == ["NBIRTH", "NDEATH", "NBIRTH", "NDEATH"]


@virtual_time
async def test_an_acknowledgement_of_what_was_never_sent_changes_nothing(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        await until(lambda: not bench.waiting)
        stranger = Epoch(bench.writer.epoch ^ 1)
        network.acknowledges = False
        await bench.put(1.0)
        await asyncio.sleep(0.5)
        network.say(Acknowledgement(stranger, BatchRanges([(1, 1000)])))
        await asyncio.sleep(5.0)
        assert (bench.waiting, bench.uplink.in_flight) == ([3], 1)
        assert bench.uplink.state.acknowledged == 2


@virtual_time
async def test_a_device_that_is_gone_is_born_for_its_backlog_and_dies_afterwards(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.unreachable = {"mqtts://a"}
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        await bench.put(1.0)
        await asyncio.sleep(1.0)
        bench.uplink.device_offline(PRESS)
        network.unreachable = set()
        await until(lambda: not bench.waiting)
        await asyncio.sleep(3.0)
    verbs = [verb for verb, _ in network.order if verb != "NDATA"]
    assert verbs == ["NBIRTH", "DBIRTH", "DDATA", "DDEATH", "NDEATH"]


@virtual_time
async def test_a_damaged_row_is_set_aside_and_its_neighbours_go_on(tmp_path: Path) -> None:
    network = PlayedNetwork()
    network.unreachable = {"mqtts://a"}
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        for number in range(3):
            await bench.put(float(number))
            await asyncio.sleep(0.3)
        damaged = next(row.number for row in bench.reader.rows() if row.kind is Kind.SAMPLES)
        bench.writer.outbox._connection.execute("UPDATE outbox SET payload=x'00' WHERE batch=?", (damaged,))
        bench.feed.read_from_disk(bench.feed._newest)
        network.unreachable = set()
        await until(lambda: not bench.waiting)
        assert bench.uplink.state.refused == 1
        assert {number for _, number in network.arrived} == set(range(1, 7)) - {damaged}
        gap = next(each for each in network.arrived.values() if "Lineside/Gap" in each.records)
        assert f"row {damaged} of the outbox was damaged" in gap.records["Lineside/Gap"]
