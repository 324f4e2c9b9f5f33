"""A device that has kept what came while its connection was lost: nothing is missing, and nothing counts twice."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from connectors.model.errors import DeviceUnavailable
from connectors.ports.device import Acquisition, Continuation
from connectors.ports.settings import DerivedTagSettings
from tests.unit.acquisition.device_at_work import (
    START_NS,
    Act,
    Bench,
    PlayedDriver,
    connected,
    doubles,
    lost,
    running,
    types,
)
from tests.virtual_time import virtual_time

S = 1_000_000_000


def going_on(
    *samples: tuple[float, float], how: Continuation = "resumed", catches_up: bool = True, ends: bool = False
) -> Act:
    """Go on as it was: these samples (second, value) come, and then no more is kept."""

    async def act(acquisition: Acquisition) -> None:
        acquisition.continued(how, "the session is gone" if how != "resumed" else "")
        await acquisition.online(types("force"), [])
        for at_s, value in samples:
            await acquisition.put(doubles(0, value, time_ns=START_NS + round(at_s * S)))
        if catches_up:
            acquisition.caught_up()
        await asyncio.sleep(1.0)
        if ends:
            raise DeviceUnavailable("press: the cable is out")

    return act


@pytest.mark.parametrize("how", ["resumed", "transferred"])
def test_what_the_device_has_kept_leaves_no_gap(tmp_path: Path, how: Continuation) -> None:
    @virtual_time
    async def scene() -> None:
        bench = Bench(tmp_path, PlayedDriver(lost(1.0), going_on((1.5, 2.0), (5.0, 3.0), how=how)))
        async with running(bench):
            await asyncio.sleep(10.0)
            assert bench.values == [1.0, 2.0, 3.0]
            assert bench.gaps == []
            assert bench.outbox.open_gaps() == {}
            assert bench.listener.heard == ["online", "offline", "online"]

    scene()


@virtual_time
async def test_until_all_is_here_the_gap_stays_open_as_it_was(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(1.0), going_on((1.5, 2.0), catches_up=False)))
    async with running(bench):
        await asyncio.sleep(10.0)
        assert bench.values == [1.0, 2.0]
        assert [gap.first_ns < START_NS + S for gap in bench.outbox.open_gaps().values()] == [True]


@virtual_time
async def test_a_connection_that_is_lost_before_all_is_here_leaves_the_whole_gap_to_the_next(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(1.0), going_on((1.5, 2.0), catches_up=False, ends=True), connected(9.0)))
    async with running(bench):
        await asyncio.sleep(20.0)
        assert bench.values == [1.0, 2.0, 9.0]
        (gap,) = bench.gaps
        assert gap["first_ns"] <= START_NS
        assert gap["last_ns"] >= START_NS + 3 * S


@virtual_time
async def test_one_that_goes_on_over_two_lost_connections_leaves_no_gap(tmp_path: Path) -> None:
    driver = PlayedDriver(lost(1.0), going_on((1.5, 2.0), catches_up=False, ends=True), going_on((3.0, 3.0)))
    bench = Bench(tmp_path, driver)
    async with running(bench):
        await asyncio.sleep(20.0)
        assert (bench.values, bench.gaps) == ([1.0, 2.0, 3.0], [])


@virtual_time
async def test_what_was_missing_before_is_declared_all_the_same(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(1.0), lost(), going_on((3.0, 3.0))))
    async with running(bench):
        await asyncio.sleep(20.0)
        assert bench.values == [1.0, 3.0]
        assert [gap["reason"] for gap in bench.gaps] == ["device_unavailable"]


@virtual_time
async def test_one_that_is_lost_before_the_device_was_online_changes_nothing(tmp_path: Path) -> None:
    async def hardly(acquisition: Acquisition) -> None:
        acquisition.continued("resumed", "")
        raise DeviceUnavailable("press: the cable is out")

    bench = Bench(tmp_path, PlayedDriver(lost(1.0), hardly, connected(2.0)))
    async with running(bench):
        await asyncio.sleep(20.0)
        assert [gap["reason"] for gap in bench.gaps] == ["device_unavailable"]
        assert bench.outbox.open_gaps() == {}


@virtual_time
async def test_anew_is_as_a_first_connect(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PlayedDriver(lost(1.0), going_on((5.0, 2.0), how="anew", catches_up=False)))
    async with running(bench):
        await asyncio.sleep(10.0)
        assert [gap["reason"] for gap in bench.gaps] == ["device_unavailable"]


@pytest.mark.parametrize("value", [1.0, math.nan])
def test_a_device_that_says_again_what_it_said_last_is_not_counted_twice(tmp_path: Path, value: float) -> None:
    @virtual_time
    async def scene() -> None:
        bench = Bench(tmp_path, PlayedDriver(lost(value), going_on((0.0, value), (0.0, 7.0), (2.0, value))))
        async with running(bench):
            await asyncio.sleep(10.0)
            assert str(bench.values) == str([value, 7.0, value]), "another value is news whatever its time"

    scene()


@virtual_time
async def test_a_sample_that_found_no_room_before_the_loss_is_stored_when_it_is_given_again(tmp_path: Path) -> None:
    async def full(acquisition: Acquisition) -> None:
        await acquisition.online(types("force"), [])
        await acquisition.put(doubles(0, *range(1000)))
        waiting = asyncio.create_task(acquisition.put(doubles(0, -1.0, time_ns=START_NS + S)))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        raise DeviceUnavailable("press: the cable is out")

    bench = Bench(tmp_path, PlayedDriver(full, going_on((1.0, -1.0), (1.0, -1.0))))
    async with running(bench):
        await asyncio.sleep(10.0)
        assert bench.values[1000:][:1] == [-1.0]


@virtual_time
async def test_calculated_tags_go_on_with_what_the_others_said_before(tmp_path: Path) -> None:
    async def both(acquisition: Acquisition) -> None:
        await acquisition.online(types("force", "speed"), [])
        await acquisition.put(doubles(0, 1.0))
        await acquisition.put(doubles(1, 10.0))
        await asyncio.sleep(1.0)
        raise DeviceUnavailable("press: the cable is out")

    async def one(acquisition: Acquisition) -> None:
        acquisition.continued("resumed", "")
        await acquisition.online(types("force", "speed"), [])
        await acquisition.put(doubles(0, 2.0))
        acquisition.caught_up()

    derived = [DerivedTagSettings.model_validate({"name": "state", "value": "force + speed"})]
    bench = Bench(tmp_path, PlayedDriver(both, one), derived=derived)
    async with running(bench):
        await asyncio.sleep(10.0)
        assert sorted(bench.values) == [1.0, 2.0, 10.0, 11.0, 12.0]
        assert bench.gaps == []
