"""When a task that had a fault counts as well again: when it has run for a while since."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
