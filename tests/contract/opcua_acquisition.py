"""The OPC UA driver at work in a test: what it is configured with, and an acquisition that keeps what it hands over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from connectors.model.errors import DeviceUnavailable
from connectors.opcua.driver import OpcUaDriver
from connectors.opcua.settings import OpcUaDevice
from connectors.ports.clock import SystemClock
from connectors.ports.secrets import SOURCE_IN_CONTEXT, SecretSource
from tests.contract.modbus_acquisition import Recorder, until

__all__ = ["Recorder", "acquiring", "device", "driver", "until"]


def device(endpoint: str, tags: list[dict[str, Any] | str], **more: Any) -> OpcUaDevice:
    """A device whose tags are dictionaries, or identifiers of the namespace with index 1."""
    entries = [{"at": f"ns=1;s={tag}"} if isinstance(tag, str) else tag for tag in tags]
    numbered = [{"name": f"t{index}"} | entry for index, entry in enumerate(entries)]
    defaults: dict[str, Any] = {
        "name": "press",
        "driver": "opcua",
        "insecure": True,
        "publishing": "20ms",
        "sampling": "10ms",
        "timeout": "10s",
        "retry": "200ms",
    }
    context = {SOURCE_IN_CONTEXT: SecretSource({"GUESS": "guess", "PRESS": "open sesame"}, Path())}
    return OpcUaDevice.model_validate({**defaults, "endpoint": endpoint, "tags": numbered, **more}, context=context)


def driver(endpoint: str, tags: list[dict[str, Any] | str], **more: Any) -> OpcUaDriver:
    """A driver of such a device."""
    return OpcUaDriver(device(endpoint, tags, **more), SystemClock())


@asynccontextmanager
async def acquiring(driver: OpcUaDriver, recorder: Recorder) -> AsyncIterator[asyncio.Task[None]]:
    """The driver at work; cancelled at the end."""
    task = asyncio.create_task(driver.acquire(recorder))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, DeviceUnavailable):
            await task
