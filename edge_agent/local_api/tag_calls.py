"""The calls of the socket for single tags: their names, what a device holds now, what a write is checked by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from connectors.model.errors import DeviceUnavailable
from connectors.model.quality import code_of, name_of
from connectors.model.tags import DeviceName
from connectors.ports.device import Reading
from connectors.ports.settings import DerivedTagSettings, TagSettings
from edge_agent.acquisition.device import DeviceAcquisition
from edge_agent.commands.service import Commands
from edge_agent.commands.targets import Targets
from edge_agent.local_api.command_status import lock_of
from edge_agent.local_api.json_values import json_value
from edge_agent.local_api.server import Handler

READ_S_MAX: Final = 15.0
READ_TAGS_MAX: Final = 200
"""Each is a request to a device, before its polls."""


class TagCalls:
    """Answers ``names``, ``read`` and ``writable``."""

    def __init__(
        self,
        devices: Mapping[DeviceName, DeviceAcquisition],
        targets: Targets,
        commands: Commands,
    ) -> None:
        self._devices = devices
        self._targets = targets
        self._commands = commands
        self.handlers: Mapping[str, Handler] = {"names": self.names, "read": self.read, "writable": self.writable}

    async def names(self, _args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The names of all tags, by device: for whoever completes or mistypes one."""
        yield {name: list(device.tag_names) for name, device in self._devices.items()}

    async def read(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """``tags`` ([device, tag] each) as their devices hold them now; with ``cached``, what the agent has of them.

        One answer a tag, in their order; a tag that cannot be read has an ``error``, a sentence.
        """
        wanted, cached = _pairs(args), args.get("cached") is True
        if len(wanted) > READ_TAGS_MAX:
            raise ValueError(f"{READ_TAGS_MAX} tags can be read at once, and these are {len(wanted)}; use --cached")
        places = [(self._device(device), device, tag) for device, tag in wanted]
        for found, device, tag in places:
            if tag not in found.tag_names:
                raise ValueError(f"{device} has no tag {tag!r}")
        by_device: dict[str, list[str]] = {}
        for _, device, tag in places:
            by_device.setdefault(device, []).append(tag)
        reads = [
            self._read_all(self._devices[DeviceName(device)], tags, cached=cached) for device, tags in by_device.items()
        ]
        answers = {(row["device"], row["tag"]): row for rows in await asyncio.gather(*reads) for row in rows}
        yield [answers[device, tag] for _, device, tag in places]

    async def writable(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """What the device file says of writing one tag, its type, and who has locked its device."""
        ((device, tag),) = _pairs({"tags": [[args.get("device"), args.get("tag")]]})
        found = self._device(device)
        own = self._targets.devices[device]
        tags: list[TagSettings | DerivedTagSettings] = [*own.tags, *own.derived]
        settings = next((one for one in tags if one.name == tag), None)
        if tag not in found.tag_names:
            raise ValueError(f"{device} has no tag {tag!r}")
        known = found.current.types[found.tag_names.index(tag)]
        writable = settings.writable if isinstance(settings, TagSettings) else None
        pulse = None if writable is None else writable.pulse
        yield {
            "device": device,
            "tag": tag,
            "type": None if known is None else known.datatype.label,
            "unit": "" if known is None else known.unit,
            "description": "" if settings is None else settings.description,
            "writable": writable is not None,
            "why_not": _why_not(settings),
            "limits": None if writable is None or writable.limits is None else list(writable.limits),
            "interlock": "" if writable is None else writable.interlock or "",
            "approve": writable is not None and writable.approve,
            "arm_s": None if writable is None else writable.arm_s,
            "pulse": None if pulse is None else {"value": pulse.value, "back_to": pulse.back_to, "s": pulse.after_s},
            "online": found.is_online,
            "locked": lock_of(self._commands, device),
            "commissioning": self._commands.switches.commissioning,
        }

    def _device(self, name: str) -> DeviceAcquisition:
        device = self._devices.get(DeviceName(name))
        if device is None:
            known = ", ".join(self._devices)
            raise ValueError(f"no device {name!r}; there are {known}" if known else "there are no devices")
        return device

    async def _read_all(self, device: DeviceAcquisition, tags: Sequence[str], *, cached: bool) -> list[dict[str, Any]]:
        """One after the other, as the device has one connection."""
        return [await self._read_one(device, tag, cached=cached) for tag in tags]

    async def _read_one(self, device: DeviceAcquisition, tag: str, *, cached: bool) -> dict[str, Any]:
        index = device.tag_names.index(tag)
        begun_s = time.monotonic()
        error, reading = "", None
        if cached:
            current = device.current.of(index)
            if current is None:
                found = (one.reason for one in device.problems if one.tag == tag and not one.gives_values)
                error = next(found, "there is no value yet")
            else:
                reading = (json_value(current.value), current.quality, current.time_ns)
        else:
            try:
                async with asyncio.timeout(READ_S_MAX):
                    answer: Reading = await device.read(tag)
                reading = (json_value(answer.value), answer.quality, answer.time_ns)
            except TimeoutError:
                error = f"{device.name} has not answered within {READ_S_MAX:g} s"
            except (DeviceUnavailable, ValueError) as exc:
                error = str(exc)
        value, quality, time_ns = reading or (None, None, None)
        known = device.current.types[index]
        return {
            "device": str(device.name),
            "tag": tag,
            "type": None if known is None else known.datatype.label,
            "unit": "" if known is None else known.unit,
            "value": value,
            "quality": None if quality is None else name_of(quality),
            "quality_code": None if quality is None else code_of(quality),
            "time_ns": time_ns,
            "cached": cached,
            "stale": not device.is_online,
            "took_ms": round((time.monotonic() - begun_s) * 1000, 1),
            "error": error,
            "problem": next((one.reason for one in device.problems if one.tag == tag), ""),
        }


def _why_not(settings: TagSettings | DerivedTagSettings | None) -> str:
    if settings is None:
        return "it was found by a browse rule: name it in the device file, with 'writable'"
    if isinstance(settings, DerivedTagSettings):
        return "it is calculated from other tags"
    if settings.safety:
        return "it is part of a safety function (safety: true)"
    if settings.writable is None:
        return settings.unwritable_reason or "it has no 'writable' in the device file"
    return ""


def _pairs(args: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = args.get("tags")
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in pairs
    ):
        raise ValueError("'tags' are pairs of a device and a tag")
    return [(device, tag) for device, tag in pairs]
