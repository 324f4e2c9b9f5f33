"""The projectors of a process follow its partitions, also when one comes back before its last task has ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from cloud_ingest.event_log.topics import topic_specs
from cloud_ingest.historian import historian as historian_module
from cloud_ingest.historian.historian import Historian
from connectors.ports.clock import SystemClock


class SlowToLeave:
    """A projector whose task takes its time to end."""

    def __init__(self, _stores: Any, _identity: str, partition: int) -> None:
        self.partition, self.next_offset = partition, 0
        self.may_leave = asyncio.Event()

    async def run(self, _back_off: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await self.may_leave.wait()


async def test_a_partition_that_comes_back_at_once_is_still_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(historian_module, "Projector", SlowToLeave)
    nothing: Any = None
    topics = topic_specs(1, 3600)
    historian = Historian(nothing, nothing, SystemClock(), topics=topics, retention_days=1, publish_samples=False)
    projectors: dict[int, Any] = historian._projectors  # type: ignore[assignment]
    old = asyncio.create_task(historian._project("one", 0))
    await asyncio.sleep(0)
    left = projectors[0]
    old.cancel()
    await asyncio.sleep(0)
    new = asyncio.create_task(historian._project("one", 0))
    await asyncio.sleep(0)
    stays = projectors[0]
    assert stays is not left
    left.may_leave.set()
    with suppress(asyncio.CancelledError):
        await old
    assert projectors == {0: stays}
    stays.may_leave.set()
    new.cancel()
    with suppress(asyncio.CancelledError):
        await new
    assert projectors == {}
