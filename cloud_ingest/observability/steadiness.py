"""When a task that had a fault, or a connection that was lost, counts as well again: when it has lasted for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from cloud_ingest.observability.events import FaultOver
from cloud_ingest.observability.obstacles import OBSTACLES, fault_of
from connectors.model.back_off import BackOff
from connectors.observability.events import emit

STEADY_S: Final = 60.0


@asynccontextmanager
async def steadily(task: str, back_off: BackOff) -> AsyncIterator[None]:
    """Around one run of ``task``: when it has lasted ``STEADY_S``, its fault is over, and ``back_off`` begins anew."""

    def well() -> None:
        back_off.reset()
        if OBSTACLES.reason(fault_of(task)):
            emit(FaultOver(task))

    timer = asyncio.get_running_loop().call_later(STEADY_S, well)
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def lasting(back_off: BackOff) -> Iterator[None]:
    """Around the use of a connection: when it has lasted ``STEADY_S``, ``back_off`` begins anew.

    A server that takes every connection and ends it at once is so asked less and less often.
    """
    timer = asyncio.get_running_loop().call_later(STEADY_S, back_off.reset)
    try:
        yield
    finally:
        timer.cancel()
