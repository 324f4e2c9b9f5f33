"""Publishing that goes on with another connection: what was on its way is handed over once, whatever had come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from connectors.model.errors import DeviceUnavailable
from connectors.model.samples import SampleBatch
from tests.unit.opcua.test_publishing import Bench
from tests.virtual_time import virtual_time


async def never(_tags: Sequence[int]) -> bool:
    return False


async def lose(bench: Bench) -> None:
    """The connection ends, with all that waits for it."""
    await bench.end()
    bench.server.answers = asyncio.Queue()


async def go_on(bench: Bench, gives_way: Callable[[Sequence[int]], Any] = never) -> None:
    """Another connection, with the same subscriptions."""
    bench.publishing.go_on(gives_way)
    await bench.publishing.take_missed()
    bench.task = asyncio.create_task(bench.publishing.run(bench.publishing._subscriptions))  # type: ignore[arg-type]
    await asyncio.sleep(1.0)


class RoomFor:
    """Takes so many batches, and then waits."""

    def __init__(self, bench: Bench, count: int) -> None:
        self.left = count
        self._put = bench.acquisition.put
        bench.acquisition.put = self  # type: ignore[method-assign,assignment]

    async def __call__(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
        if self.left == 0:
            await asyncio.Event().wait()
        self.left -= 1
        await self._put(batch, committed)


@virtual_time
async def test_a_message_that_was_half_handed_over_is_handed_over_to_its_end() -> None:
    bench = Bench()
    await asyncio.sleep(1.0)
    room = RoomFor(bench, 1)
    bench.server.publish(1, 1.0, 2.0)
    await asyncio.sleep(1.0)
    assert bench.acquisition.values == [1.0]
    await lose(bench)
    room.left = 100
    bench.server.kept = {1: 1.0}
    await go_on(bench)
    assert bench.acquisition.values == [1.0, 20.0]
    assert bench.server.asked_again == [2]
    await bench.end()


@virtual_time
async def test_messages_that_waited_their_turn_are_asked_for_again() -> None:
    bench = Bench()
    await asyncio.sleep(1.0)
    room = RoomFor(bench, 1)
    for number in (1, 2, 3):
        bench.server.publish(number, float(number))
    await asyncio.sleep(1.0)
    await lose(bench)
    room.left = 100
    bench.server.kept = {number: float(number) for number in (1, 2, 3, 4)}
    await go_on(bench)
    bench.server.publish(5, 5.0)
    await asyncio.sleep(1.0)
    assert bench.acquisition.values == [1.0, 2.0, 3.0, 4.0, 5.0]
    await bench.end()


@virtual_time
async def test_what_cannot_be_sent_again_is_declared_when_the_next_message_comes() -> None:
    bench = Bench()
    bench.server.publish(1, 1.0)
    await asyncio.sleep(1.0)
    await lose(bench)
    await go_on(bench)
    bench.server.publish(4, 4.0)
    await asyncio.sleep(1.0)
    detail = "2 messages of the server did not come, and the server cannot send them again"
    assert bench.acquisition.values == [1.0, ("not sent", [0, 1], detail), 4.0]
    assert bench.reads == 1
    await bench.end()


@virtual_time
async def test_a_count_that_begins_anew_is_no_reason_to_believe_that_nothing_is_missing() -> None:
    bench = Bench()
    for number in (1, 2, 3):
        bench.server.publish(number, float(number))
    await asyncio.sleep(1.0)
    await lose(bench)
    await go_on(bench)
    bench.server.publish(1, 9.0)
    await asyncio.sleep(1.0)
    detail = "1 message of the server did not come, and the server cannot send it again"
    assert bench.acquisition.values == [1.0, 2.0, 3.0, ("not sent", [0, 1], detail), 9.0]
    await bench.end()


@virtual_time
async def test_an_acknowledgement_that_may_not_have_come_is_sent_once_more() -> None:
    bench = Bench()
    bench.server.publish(1, 1.0)
    await asyncio.sleep(1.0)
    bench.acquisition.committed[0]()
    bench.server.publish(2)
    await asyncio.sleep(1.0)
    assert bench.server.acknowledged == [1]
    await lose(bench)
    await go_on(bench)
    assert bench.server.acknowledged == [1, 1]
    await bench.end()


@virtual_time
async def test_all_have_spoken_when_each_subscription_has_shown_where_it_goes_on() -> None:
    bench = Bench(subscriptions=2)
    for subscription in (1, 2):
        bench.server.publish(1, 1.0, subscription=subscription)
    await asyncio.sleep(1.0)
    assert bench.publishing.have_all_spoken.is_set()
    await lose(bench)
    await go_on(bench)
    bench.server.publish(2, 2.0, subscription=1)
    bench.server.publish(1, subscription=2)
    await asyncio.sleep(1.0)
    assert not bench.publishing.have_all_spoken.is_set(), "a keep-alive that lies behind says nothing"
    bench.server.publish(2, subscription=2)
    await asyncio.sleep(1.0)
    assert bench.publishing.have_all_spoken.is_set()
    await bench.end()


@pytest.mark.parametrize("has_history", [True, False])
def test_values_that_the_server_could_not_keep_are_read_from_its_history_where_it_has_one(has_history: bool) -> None:
    @virtual_time
    async def scene() -> None:
        asked: list[Sequence[int]] = []

        async def gives_way(tags: Sequence[int]) -> bool:
            asked.append(list(tags))
            return has_history

        bench = Bench()
        bench.server.publish(1, 1.0)
        await asyncio.sleep(1.0)
        await lose(bench)
        await go_on(bench, gives_way)
        bench.server.publish(2, 2.0, status=0x0480)
        await asyncio.sleep(1.0)
        assert asked == [[0]]
        if has_history:
            with pytest.raises(ExceptionGroup) as caught:
                await bench.task
            (error,) = caught.value.exceptions
            assert isinstance(error, DeviceUnavailable)
            assert error.retry_after_s == 0.0
            assert bench.acquisition.values == [1.0]
        else:
            assert bench.acquisition.values[1][0] == "lost before"
            assert bench.acquisition.values[2:] == [2.0]
            bench.server.publish(3, 3.0, status=0x0480)
            await asyncio.sleep(1.0)
            assert asked == [[0]], "from now on it is as in any connection"
            await bench.end()

    scene()
