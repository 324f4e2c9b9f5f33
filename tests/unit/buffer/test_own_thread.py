"""The thread of the outbox: one thing after the other, for callers that may be cancelled meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from edge_agent.buffer.own_thread import OwnThread
from tests.patience import WAIT_S_MAX


@pytest.fixture
def thread() -> Iterator[OwnThread]:
    own = OwnThread("own")
    yield own
    own.end(wait=True)


async def test_work_is_done_in_the_order_in_which_it_was_asked_for_by_one_other_thread(thread: OwnThread) -> None:
    done: list[int] = []

    def work(number: int) -> tuple[int, int]:
        done.append(number)
        return number, threading.get_ident()

    found = await asyncio.gather(*(thread.start(lambda number=number: work(number)) for number in range(100)))
    assert done == [number for number, _ in found] == list(range(100))
    assert len({ident for _, ident in found} - {threading.get_ident()}) == 1


async def test_what_goes_wrong_is_for_whoever_waits_and_the_thread_goes_on(thread: OwnThread) -> None:
    def fail() -> None:
        raise LookupError("not there")

    with pytest.raises(LookupError, match="not there"):
        await thread.start(fail)
    assert await thread.start(lambda: 7) == 7


async def test_what_was_begun_is_ended_when_its_caller_is_cancelled_and_what_was_not_is_left_out(
    thread: OwnThread,
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def begin() -> None:
        begun.set()
        go_on.wait()
        done.append("begun")

    first, second = thread.start(begin), thread.start(lambda: done.append("second"))
    await asyncio.to_thread(begun.wait)
    first.cancel()
    second.cancel()
    go_on.set()
    await thread.start(lambda: None)
    assert done == ["begun"]


async def test_it_ends_after_all_that_was_asked_for_and_with_what_is_to_be_the_last() -> None:
    done: list[str] = []
    own = OwnThread("own")
    asked = own.start(lambda: done.append("asked"))
    own.end(lambda: done.append("last"), wait=True)
    assert done == ["asked", "last"]
    await asked


def test_a_loop_that_was_closed_meanwhile_does_not_end_the_thread(thread: OwnThread) -> None:
    go_on = threading.Event()

    async def leave() -> None:
        thread.start(go_on.wait)

    asyncio.run(leave())
    go_on.set()
    assert asyncio.run(asyncio.wait_for(_seven(thread), WAIT_S_MAX)) == 7


async def _seven(thread: OwnThread) -> int:
    return await thread.start(lambda: 7)
