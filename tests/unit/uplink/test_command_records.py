"""What the agent tells of commands leaves the outbox at once, before samples, as an NDATA that is acknowledged."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest

from connectors.commands.reports import CommandReport, Hello
from connectors.commands.states import CommandState
from connectors.model.errors import OutboxUnavailable
from connectors.sparkplug.delivery import COMMAND_REPORT, HELLO
from edge_agent.buffer.rows import Kind, Lane
from edge_agent.buffer.sealing import KEY_BYTES, PLAIN, Sealing
from tests.played_network import Bench, PlayedNetwork, running, until
from tests.virtual_time import START_NS, virtual_time

REPORT = CommandReport(
    id="01ARZ3NDEKTSV4RRFFQ69G5FAV", journal="a" * 32, number=1, step=1, state=CommandState.RECEIVED,
    time_ms=START_NS // 1_000_000, actor="anna",
)  # fmt: skip
HELLO_SAID = Hello(nonce="b" * 32, journal="a" * 32, number=1, start="c" * 16)


@pytest.mark.parametrize("sealing", [PLAIN, Sealing(secrets.token_bytes(KEY_BYTES))], ids=["plain", "sealed"])
def test_reports_and_hellos_arrive_and_leave_the_disk(tmp_path: Path, sealing: Sealing) -> None:
    @virtual_time
    async def scene() -> None:
        network = PlayedNetwork()
        bench = Bench(tmp_path, network, sealing=sealing)
        async with running(bench):
            await bench.online()
            await until(lambda: not bench.waiting)
            await bench.collector.tell([REPORT.to_json(), HELLO_SAID.to_json()])
            rows = bench.reader.rows()
            assert [(row.kind, row.lane, row.record) for row in rows] == [
                (Kind.COMMAND, Lane.RECORDS, REPORT.to_json()),
                (Kind.COMMAND, Lane.RECORDS, HELLO_SAID.to_json()),
            ], "they are on disk when the call returns"
            await until(lambda: not bench.waiting)
        records = [delivery.records for delivery in network.arrived.values()]
        assert {COMMAND_REPORT: REPORT.to_json().decode()} in records
        assert {HELLO: HELLO_SAID.to_json().decode()} in records

    scene()


@virtual_time
async def test_a_report_leaves_before_samples_that_were_committed_earlier(tmp_path: Path) -> None:
    network = PlayedNetwork()
    bench = Bench(tmp_path, network)
    async with running(bench):
        await bench.online()
        await until(lambda: not bench.waiting)
        network.acknowledges = False
        for number in range(20):
            await bench.put(float(number))
            await asyncio.sleep(0.15)
        network.break_connection()
        await asyncio.sleep(0.01)
        before = len(network.order)
        await bench.collector.tell([REPORT.to_json()])
        number = bench.waiting[-1]
        network.acknowledges = True
        await until(lambda: not bench.waiting)
        sent = [batch for _, batch in network.order[before:] if batch]
        assert sent.index(number) < sent.index(number - 1), "the window holds eight of the twenty, and it comes next"


@virtual_time
async def test_a_report_does_not_wait_for_the_next_commit_and_a_disk_that_takes_none_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedNetwork())
    async with running(bench):
        begun_s = bench.clock.monotonic_s()
        await bench.collector.tell([REPORT.to_json()])
        assert bench.clock.monotonic_s() == begun_s
        bench.writer.failures = 1
        with pytest.raises(OutboxUnavailable):
            await bench.collector.tell([REPORT.to_json()])
        assert [row.kind for row in bench.reader.rows()].count(Kind.COMMAND) == 1
