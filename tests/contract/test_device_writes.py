"""What ``DeviceDriver`` promises of writes and reads, on every driver and a server that nobody here wrote."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest

from connectors.model.errors import DeviceUnavailable, WriteRefused, WriteUncertain
from connectors.model.samples import SampleBatch
from tests.contract.modbus_acquisition import until
from tests.contract.watched_wire import AfterWrite
from tests.contract.writing_bench import KINDS, LOCKED, SCALED, WritingBench, modbus_bench, opcua_bench
from tests.patience import WAIT_S_MAX

MakeBench = Callable[[], AbstractAsyncContextManager[WritingBench]]
INT32, DOUBLE, BOOLEAN, STRING = (KINDS.index(kind) for kind in ("Int32", "Double", "Boolean", "String"))
EXTREMES: dict[str, list[Any]] = {
    "Int16": [-32768, -1, 32767],
    "UInt16": [65535, 256, 0],
    "Int32": [-(1 << 31), 305_419_896, (1 << 31) - 1],
    "UInt32": [(1 << 32) - 1, 1],
    "Int64": [-(1 << 63), (1 << 63) - 1, (1 << 53) + 1],
    "UInt64": [(1 << 64) - 1, 1],
    "Float": [1.5, -3.4028234663852886e38, 1e-45, 3],
    "Double": [-1.7976931348623157e308, 5e-324, 0.1, 7],
    "Boolean": [True, False],
    "String": ["Rezept 7 °C", "", "twenty characters ab"],
}


@pytest.fixture(params=[modbus_bench, opcua_bench], ids=["modbus", "opcua"])
def make_bench(request: pytest.FixtureRequest) -> MakeBench:
    make: MakeBench = request.param
    return make


async def test_every_type_is_written_as_it_is_meant_and_read_back(make_bench: MakeBench) -> None:
    async with make_bench() as bench, bench.acquiring():
        for tag, kind in enumerate(KINDS):
            for value in EXTREMES[kind]:
                await bench.driver.write(tag, value)
                held = pytest.approx(value, rel=1e-6) if kind == "Float" else value
                assert (bench.held(tag), type(bench.held(tag)) is bool) == (held, kind == "Boolean")
                reading = await bench.driver.read(tag)
                assert (reading.value, reading.quality) == (held, 0)
                assert abs(reading.time_ns - bench.recorder.rows[-1][1]) < 60e9
            await until(partial(lambda tag, last: bench.recorder.last()[tag] == last, tag, value))
        assert bench.written() == sum(len(values) for values in EXTREMES.values())


async def test_scale_and_offset_are_undone_to_the_nearest_whole_number(make_bench: MakeBench) -> None:
    async with make_bench() as bench, bench.acquiring():
        for value, raw in ((21.5, 615), (-40, 0), (21.56, 616), (-3316.8, -32768)):
            await bench.driver.write(SCALED, value)
            assert bench.held(SCALED) == raw
            assert (await bench.driver.read(SCALED)).value == (raw - 400) / 10


@pytest.mark.parametrize(
    ("tag", "value"),
    [(INT32, 1 << 31), (INT32, 0.5), (INT32, True), (DOUBLE, "1"), (BOOLEAN, 1), (STRING, 1), (SCALED, 3300.0)],
)
async def test_a_value_that_does_not_fit_is_never_sent(make_bench: MakeBench, tag: int, value: Any) -> None:
    async with make_bench() as bench, bench.acquiring():
        with pytest.raises(ValueError, match=r"fit|whole number|not a number|not true or false|not a text"):
            await bench.driver.write(tag, value)
        await bench.driver.read(tag)
        assert bench.written() == 0


async def test_without_a_connection_nothing_is_sent(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        for _ in range(2):
            for work in (bench.driver.write(INT32, 7), bench.driver.read(INT32)):
                with pytest.raises(DeviceUnavailable):
                    await work
            if not bench.recorder.rows:
                async with bench.acquiring():
                    await bench.driver.write(INT32, 6)
        assert (bench.written(), bench.held(INT32)) == (1, 6)


async def test_a_device_that_is_gone_gets_no_write_and_no_wait_without_end(make_bench: MakeBench) -> None:
    async with make_bench() as bench, bench.acquiring():
        bench.stop_device()
        async with asyncio.timeout(WAIT_S_MAX):
            await until(lambda: bench.losses)
            with pytest.raises(DeviceUnavailable):
                await bench.driver.write(INT32, 7)
            with pytest.raises(DeviceUnavailable):
                await bench.driver.read(INT32)
        assert bench.written() == 0


@pytest.mark.parametrize("fate", [AfterWrite.LOSE, AfterWrite.CUT, AfterWrite.LATE])
async def test_a_write_whose_answer_does_not_come_is_uncertain_and_sent_once(
    make_bench: MakeBench, fate: AfterWrite
) -> None:
    async with make_bench() as bench, bench.acquiring():
        before = bench.wire.connections
        bench.wire.after_write = fate
        with pytest.raises(WriteUncertain, match=r"it may have been done or not$"):
            await bench.driver.write(INT32, 41)
        assert (await bench.reading(INT32)).value == 41
        assert (bench.written(), bench.held(INT32), bench.wire.connections) == (1, 41, before + 1)
        if fate is not AfterWrite.CUT:  # nothing else has shown that the connection is no good
            assert all(loss.reason.endswith("it may have been done or not") for loss in bench.losses)


async def test_a_late_answer_is_taken_for_no_other_one(make_bench: MakeBench) -> None:
    async with make_bench() as bench, bench.acquiring():
        bench.wire.after_write = AfterWrite.LATE
        with pytest.raises(WriteUncertain):
            await bench.driver.write(INT32, 41)
        await bench.reading(INT32)
        bench.wire.after_write = AfterWrite.LATE
        second = asyncio.create_task(bench.driver.write(INT32, 42))
        await until(lambda: bench.written() == 2)
        bench.wire.release()  # the answer to the first one, too
        await second
        assert (bench.held(INT32), (await bench.driver.read(INT32)).value) == (42, 42)
        rows = len(bench.recorder.rows)
        await bench.driver.write(INT32, 43)
        await until(lambda: 43 in [row[2] for row in bench.recorder.rows[rows:] if row[0] == INT32])
        assert bench.written() == 3


async def test_a_write_that_the_device_refuses_changes_nothing_and_leaves_the_connection(make_bench: MakeBench) -> None:
    async with make_bench() as bench, bench.acquiring():
        connections = bench.wire.connections
        with pytest.raises((WriteRefused, ValueError)):
            await bench.driver.write(LOCKED, 5)
        assert bench.held(LOCKED) == 0
        assert (await bench.driver.read(LOCKED)).value == 0
        await bench.driver.write(INT32, 1)
        assert (bench.held(INT32), bench.wire.connections, bench.losses) == (1, connections, [])


async def test_writes_at_the_same_time_are_each_done_once_and_in_order(make_bench: MakeBench) -> None:
    async with make_bench() as bench, bench.acquiring():
        await asyncio.gather(*(bench.driver.write(INT32, number) for number in range(1, 21)))
        assert (bench.written(), bench.held(INT32)) == (20, 20)


async def test_a_write_waits_for_no_room_on_the_side_of_the_agent(make_bench: MakeBench) -> None:
    """The acquisition takes nothing more; that holds back samples, and no command."""
    async with make_bench() as bench, bench.acquiring():
        room = asyncio.Event()
        waiting = 0

        async def put(batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
            nonlocal waiting
            waiting += 1
            await room.wait()

        bench.recorder.put = put  # type: ignore[method-assign]
        await bench.driver.write(INT32, 1)
        await until(lambda: waiting)
        for value in (2, 3):
            await bench.driver.write(INT32, value)
            assert (await bench.driver.read(INT32)).value == value
        room.set()


async def test_a_write_that_is_given_up_is_not_sent_again(make_bench: MakeBench) -> None:
    async with make_bench() as bench, bench.acquiring():
        bench.wire.after_write = AfterWrite.LOSE
        writing = asyncio.create_task(bench.driver.write(INT32, 9))
        await until(bench.written)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        bench.wire.after_write = AfterWrite.PASS
        assert (await bench.reading(DOUBLE)).value == 0.0
        assert (bench.written(), bench.held(INT32)) == (1, 9)


async def test_a_write_under_way_when_the_driver_is_stopped_is_uncertain(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        async with bench.acquiring():
            bench.wire.after_write = AfterWrite.LOSE
            writing = asyncio.create_task(bench.driver.write(INT32, 9))
            await until(bench.written)
        with pytest.raises(WriteUncertain):
            await writing
        assert bench.written() == 1


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_becomes_of_the_connection_no_write_is_ever_sent_twice(make_bench: MakeBench, seed: int) -> None:
    draw = random.Random(seed)
    done = uncertain = 0
    async with make_bench() as bench, bench.acquiring():
        for value in range(1, 17):
            bench.wire.after_write = draw.choice([AfterWrite.PASS] * 4 + [AfterWrite.CUT] * 3 + [AfterWrite.LOSE])
            before = bench.written()
            try:
                await bench.driver.write(INT32, value)
            except WriteUncertain:
                uncertain += 1
            except DeviceUnavailable:
                assert bench.written() == before
                await bench.reading(INT32)
                continue
            else:
                done += 1
                assert bench.held(INT32) == value
            assert bench.written() == before + 1
            await until(partial(lambda value: bench.held(INT32) == value, value))
        assert bench.written() == done + uncertain
        assert min(done, uncertain) > 0
