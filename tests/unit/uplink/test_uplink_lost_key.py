"""Batches of an encrypted outbox on their way: sealed on the disk, open on the wire; and when a key is lost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from connectors.sparkplug.delivery import format_epoch
from edge_agent.buffer.rows import Kind
from edge_agent.buffer.sealing import Sealing, key_id_of, sealed_with
from tests.played_network import Bench, PlayedNetwork, running, until
from tests.virtual_time import virtual_time

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


async def leave_a_backlog(folder: Path, sealing: Sealing) -> list[int]:
    """A start of the agent that reaches no broker; the numbers of its batches of samples."""
    network = PlayedNetwork()
    network.unreachable = {"mqtts://a"}
    bench = Bench(folder, network, sealing=sealing)
    async with running(bench):
        await bench.online()
        for number in range(3):
            await bench.put(float(number))
            await asyncio.sleep(0.3)
        rows = bench.reader.rows()
        payloads = bench.writer.outbox._connection.execute("SELECT payload FROM outbox").fetchall()
    bench.writer.outbox.close()
    assert {sealed_with(payload) for (payload,) in payloads} == {sealing.key_id}
    return [row.number for row in rows if row.kind is Kind.SAMPLES]


@virtual_time
async def test_sealed_batches_arrive_as_they_were_under_their_own_key_or_the_next(tmp_path: Path) -> None:
    numbers = await leave_a_backlog(tmp_path, Sealing(KEY))
    network = PlayedNetwork()
    bench = Bench(tmp_path, network, sealing=Sealing(OTHER, [KEY]))
    async with running(bench):
        await bench.online()
        await bench.put(3.0)
        await until(lambda: not bench.waiting)
    arrived = {number: delivery.count for (_, number), delivery in network.arrived.items() if delivery.count}
    assert set(numbers) < set(arrived)
    assert sum(arrived.values()) == 4
    assert not [d for d in network.arrived.values() if "Lineside/Gap" in d.records]


@virtual_time
async def test_batches_whose_key_is_lost_are_declared_and_new_ones_arrive(tmp_path: Path) -> None:
    numbers = await leave_a_backlog(tmp_path, Sealing(KEY))
    network = PlayedNetwork()
    bench = Bench(tmp_path, network, sealing=Sealing(OTHER))
    lost = {row.number: format_epoch(row.epoch) for row in bench.reader.rows() if row.unreadable}
    async with running(bench):
        await bench.online()
        await bench.put(3.0)
        await until(lambda: not bench.waiting)
    assert set(numbers) < set(lost)
    arrived = {number: delivery for (_, number), delivery in network.arrived.items()}
    assert set(arrived).isdisjoint(lost)
    gaps = [json.loads(d.records["Lineside/Gap"]) for d in arrived.values() if "Lineside/Gap" in d.records]
    assert {gap["reason"] for gap in gaps} == {"key_lost"}
    assert {(gap["batches"][0][0], gap["epoch"]) for gap in gaps} == set(lost.items())
    assert f"sealed with the key {key_id_of(KEY)}, which is not configured" in gaps[0]["detail"]
    assert sum(gap["count"] for gap in gaps) == 3
    assert sum(delivery.count for delivery in arrived.values()) == 1, "with a definition that the cloud was told anew"
