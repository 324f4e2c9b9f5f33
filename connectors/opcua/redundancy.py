"""A server and those that stand in for it: which one is asked next, and which are not fit to be used.

(OPC UA Part 4, 6.6.2, non-transparent redundancy: each server has an endpoint of its own, and says by its ServiceLevel
whether it has data.) A session stays where it is for as long as it works: going back by itself would lose values twice.
"""

from __future__ import annotations

import asyncio
from typing import Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.uaerrors import UaError

from connectors.model.errors import DeviceUnavailable
from connectors.opcua.opening import Opened, close_session, open_session, unavailable
from connectors.opcua.server_state import check_state
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.status import loss_reason

SERVICE_LEVEL_S: Final = 10.0
"""How often a server that has others beside it is asked whether it still has data."""

_SERVICE_LEVEL: Final = ua.NodeId(ua.Int32(2267), ua.Int16(0))
_WITHOUT_DATA: Final = {0: "it is being maintained", 1: "it stands by and has no data"}
"""Part 4, 6.6.2.4.2, table 108: from 2 on it has data, perhaps not all of it."""


class Redundancy:
    """The servers of one device, in the order in which they are asked."""

    def __init__(self, device: OpcUaDevice) -> None:
        self._device = device
        self._next = 0

    async def open(self) -> Opened:
        """A session with the first server that has data, beginning with the one after that which was used last.

        Raises ``DeviceUnavailable`` when there is none, with what is wrong with each.
        """
        endpoints, reasons = self._device.endpoints, []
        for turn in range(len(endpoints)):
            at = (self._next + turn) % len(endpoints)
            device = self._device.at(endpoints[at])
            try:
                opened = await open_session(device)
                await check_usable(opened)
            except DeviceUnavailable as exc:
                if len(endpoints) == 1:
                    raise
                reasons.append(f"{endpoints[at]}: {exc.reason.removeprefix(f'{device.name}: ')}")
                continue
            self._next = (at + 1) % len(endpoints)
            return opened
        raise DeviceUnavailable(f"{self._device.name}: none of its servers can be used: {'; '.join(reasons)}")


async def check_usable(opened: Opened) -> None:
    """Raise ``DeviceUnavailable``, with the session closed, when a server that was just connected to has no data."""
    client, device = opened.client, opened.device
    try:
        await check_state(client, device, device.timeout_s)
        await check_service_level(client, device)
    except (TimeoutError, UaError, OSError) as exc:
        await close_session(client)
        raise unavailable(device, loss_reason, exc) from exc
    except BaseException:
        await close_session(client)
        raise


async def check_service_level(client: Client, device: OpcUaDevice) -> None:
    """Raise ``DeviceUnavailable`` when another server of the device is to be asked, and what asyncua raises.

    A device with one server is taken as it is: its qualities say what can be used. So is a server that does not say.
    """
    if not device.backup:
        return
    parameters = ua.ReadParameters(TimestampsToReturn=ua.TimestampsToReturn.Neither)
    parameters.NodesToRead = [ua.ReadValueId(NodeId=_SERVICE_LEVEL, AttributeId=AttributeIds.Value)]
    (data,) = await client.uaclient.read(parameters)
    level = None if data.Value is None else data.Value.Value
    trouble = _WITHOUT_DATA.get(level) if isinstance(level, int) else None
    if trouble is not None:
        raise DeviceUnavailable(f"{device.name}: the server is there, but {trouble} (ServiceLevel {level})")


async def watch_service_level(client: Client, device: OpcUaDevice) -> None:
    """Ask from time to time, until cancelled. Raises what ``check_service_level`` raises."""
    while True:
        await asyncio.sleep(SERVICE_LEVEL_S)
        await check_service_level(client, device)
