"""The end of a device: what it still keeps for its driver is given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connectors.ports.device import DeviceDriver, LeavingDriver


@asynccontextmanager
async def left_at_the_end(driver: DeviceDriver) -> AsyncIterator[None]:
    """When this is cancelled, ``driver`` leaves the device: it is asked for nothing any more.

    After a defect it goes on, and what is kept for it is taken up again.
    """
    try:
        yield
    except asyncio.CancelledError:
        await leave(driver)
        raise


async def leave(driver: DeviceDriver) -> None:
    """Have ``driver`` give back what its device keeps for it, if it is one that has something kept."""
    if isinstance(driver, LeavingDriver):
        await driver.leave()
