"""An acquisition that keeps what the Modbus driver hands over, and how the tests wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

import pytest
from lineside.servers.child_process import free_port

from connectors.modbus.driver import ModbusDriver
from connectors.modbus.settings import ModbusDevice
from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable
from connectors.model.samples import Int32Array, Int64Array, SampleBatch
from connectors.model.tags import TagType
from connectors.ports.device import Continuation, FoundTag, Missing, TagProblem, Unfilled
from tests.patience import WAIT_S_MAX

IN_FLIGHT: Final = [pytest.param(1, id="1-in-flight"), pytest.param(8, id="8-in-flight")]


class Recorder:
    """An acquisition that keeps what it gets."""

    def __init__(self) -> None:
        self.onlines: list[tuple[list[TagType], list[TagProblem]]] = []
        self.rows: list[tuple[int, int, Any, int]] = []
        self.datatypes: dict[int, DataType] = {}
        self.losses: list[tuple[int, int]] = []
        self.late: list[tuple[set[int], int, int, str]] = []
        self.unsent: list[tuple[set[int], int, int, str]] = []
        self.found: list[FoundTag] = []
        self.places: list[str] = []
        self.missed: Missing | None = None
        self.continuations: list[tuple[Continuation, str]] = []
        self.catches_up = 0
        self.history: list[tuple[int, int, Any, int]] = []
        self.left: list[list[Unfilled] | None] = []
        """What each ``restored`` leaves missing; ``None`` without a history."""
        self.reread: list[int] = []
        self.filled_until: dict[int, int] = {}
        self._left: list[Unfilled] = []

    def tags_found(self, tags: Sequence[FoundTag]) -> None:
        self.found += tags

    async def online(self, types: Sequence[TagType], problems: Sequence[TagProblem]) -> None:
        self.onlines.append((list(types), list(problems)))

    async def put(self, batch: SampleBatch, committed: Callable[[], None] | None = None) -> None:
        assert self.onlines, "a sample came before the tags were known"
        known = {each.index for each in self.onlines[-1][0]}
        for row in batch.rows():
            assert row[0] in known, "a sample of a tag that has a problem"
            self.datatypes[row[0]] = batch.datatype
            self.rows.append(row)
        if committed is not None:
            committed()

    def lost(self, tags: Int32Array, time_ns: Int64Array) -> None:
        self.losses += zip(tags.tolist(), time_ns.tolist(), strict=True)

    def not_sent(self, tags: Int32Array, first_ns: int, last_ns: int, detail: str) -> None:
        self.unsent.append((set(tags.tolist()), first_ns, last_ns, detail))

    def continued(self, how: Continuation, detail: str) -> None:
        self.continuations.append((how, detail))

    def caught_up(self) -> None:
        self.catches_up += 1

    def missing(self) -> Missing | None:
        return self.missed

    async def restore(self, batch: SampleBatch) -> None:
        self.history += batch.rows()

    def reached(self, place: str) -> None:
        self.places.append(place)

    def again(self, tags: Sequence[int]) -> None:
        self.reread += tags

    def filled(self, tags: Sequence[int], until_ns: int) -> None:
        self.filled_until |= dict.fromkeys(tags, until_ns)

    def unfilled(self, part: Unfilled) -> None:
        self._left.append(part)

    async def restored(self, *, has_history: bool = True) -> None:
        self.left.append(_alike(self._left) if has_history else None)

    def polled_late(self, tags: Int32Array, first_ns: int, last_ns: int, detail: str) -> None:
        self.late.append((set(tags.tolist()), first_ns, last_ns, detail))

    def of(self, tag: int) -> list[tuple[Any, int]]:
        """(value, quality) of the samples of one tag."""
        return [(value, quality) for index, _time, value, quality in self.rows if index == tag]

    def last(self) -> dict[int, Any]:
        return {index: value for index, _time, value, _quality in self.rows}


def _alike(parts: Sequence[Unfilled]) -> list[Unfilled]:
    """Parts of one time and reason as one."""
    found: dict[tuple[int, int, str], list[int]] = {}
    for part in parts:
        found.setdefault((part.first_ns, part.last_ns, part.reason), []).extend(part.tags)
    return [Unfilled(tuple(tags), *span_and_reason) for span_and_reason, tags in found.items()]


class DeviceMaker(Protocol):
    """Makes the settings of a device; tests get one for each number of requests in flight."""

    def __call__(self, endpoint: str, tags: list[dict[str, Any]], **more: Any) -> ModbusDevice: ...


def device_settings(endpoint: str, tags: list[dict[str, Any]], **more: Any) -> ModbusDevice:
    """Of a unit that always answers; where it does not, a test says how long that is waited for.

    Not too short a time where other replies have to be in time: a machine may stand still for tenths of a second.
    """
    numbered = [{"name": f"t{index}"} | tag for index, tag in enumerate(tags)]
    defaults = {"name": "unit", "driver": "modbus", "poll": "20ms", "timeout": "5s", "retries": 0}
    return ModbusDevice.model_validate({**defaults, "endpoint": endpoint, "tags": numbered, **more})


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[str]:
    """A unit of which a test decides every byte: the endpoint; connections are served to their end."""

    async def serve_to_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.append(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()

    serving: list[asyncio.Task[None]] = []
    listener = await asyncio.start_server(serve_to_the_end, "127.0.0.1", free_port())
    async with listener:
        yield f"tcp://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        if serving:
            await asyncio.wait(serving, timeout=5)


@asynccontextmanager
async def acquiring(driver: ModbusDriver, recorder: Recorder) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(driver.acquire(recorder))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, DeviceUnavailable):
            await task


async def until(
    condition: Callable[[], object], task: asyncio.Task[None] | None = None, limit_s: float = WAIT_S_MAX
) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        if task is not None and task.done():
            task.result()
        assert time.monotonic() < end_s, "it did not happen in time"
        await asyncio.sleep(0.005)


async def polls(recorder: Recorder, count: int, task: asyncio.Task[None], tag: int = 0) -> None:
    """Wait for so many more samples of ``tag``."""
    target = len(recorder.of(tag)) + count
    await until(lambda: len(recorder.of(tag)) >= target, task)
