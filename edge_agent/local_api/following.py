"""The calls of the socket that go on: the agent's own events, and the path of one tag's samples."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from connectors.model.quality import code_of, name_of
from connectors.model.report_by_exception import ReportRule
from connectors.model.tags import DeviceName
from connectors.ports.settings import DerivedTagSettings, TagSettings
from edge_agent.acquisition.collector import Collector
from edge_agent.acquisition.device import DeviceAcquisition
from edge_agent.buffer.tracing import TagTrace
from edge_agent.commands.targets import Targets
from edge_agent.local_api.json_values import json_value
from edge_agent.local_api.server import Handler
from edge_agent.observability.recent import EVENTS_MAX, RecentEvents

LOOK_S: Final = 0.5
STEPS_WAITING_MAX: Final = 1000
"""Steps that a caller who reads slowly has not been told; of more, the oldest are dropped."""


class Following:
    """Answers ``logs`` and ``trace``."""

    def __init__(
        self,
        devices: Mapping[DeviceName, DeviceAcquisition],
        targets: Targets,
        collector: Collector,
        recent: RecentEvents,
    ) -> None:
        self._devices = devices
        self._targets = targets
        self._collector = collector
        self._recent = recent
        self.handlers: Mapping[str, Handler] = {"logs": self.logs, "trace": self.trace}

    async def logs(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The newest ``count`` events, oldest first; with ``follow``, then again and again those that came since."""
        count = args.get("count", EVENTS_MAX)
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ValueError("'count' is a whole number, from 0")
        newest = self._recent.newest
        yield self._recent.after(newest - count)
        while args.get("follow") is True:
            await asyncio.sleep(LOOK_S)
            found = self._recent.after(newest)
            newest = self._recent.newest
            yield found  # also an empty one: it shows whether the caller is still there

    async def trace(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """What is known of ``tag`` of ``device``; then each step of its samples as they come, several an answer."""
        name, tag = args.get("device"), args.get("tag")
        device = self._devices.get(DeviceName(str(name)))
        if device is None or tag not in device.tag_names:
            raise ValueError(f"there is no tag {name}/{tag}")
        index = device.tag_names.index(str(tag))
        steps: deque[dict[str, Any]] = deque(maxlen=STEPS_WAITING_MAX)
        came = asyncio.Event()

        def tell(step: dict[str, Any]) -> None:
            steps.append(step)
            came.set()

        trace = TagTrace(device.name, index, lambda: device.alias_of(index), tell)
        self._collector.tracing.begin(trace)  # first: whoever reads the answer may make a sample come at once
        try:
            yield self._about(device, index)
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await came.wait()
                came.clear()
                told = [_as_json(step) for step in steps]
                steps.clear()
                yield told
        finally:
            self._collector.tracing.end(trace)

    def _about(self, device: DeviceAcquisition, index: int) -> dict[str, Any]:
        settings = self._targets.devices[device.name]
        tags: list[TagSettings | DerivedTagSettings] = [*settings.tags, *settings.derived]
        tag = tags[index] if index < len(tags) else None
        lane, rule = ("samples", None) if tag is None else (tag.lane, settings.report_rules()[index])
        known, current = device.current.types[index], device.current.of(index)
        definition = device.definition
        problem = next((one for one in device.problems if one.tag == device.tag_names[index]), None)
        return {
            "device": str(device.name),
            "tag": device.tag_names[index],
            "driver": settings.driver,
            "endpoint": str(getattr(settings, "endpoint", "")),
            "at": tag.formula if isinstance(tag, DerivedTagSettings) else str(getattr(tag, "at", "")),
            "derived": isinstance(tag, DerivedTagSettings),
            "type": None if known is None else known.datatype.label,
            "unit": "" if known is None else known.unit,
            "alias": device.alias_of(index),
            "definition": None if definition is None else definition.hash,
            "lane": lane,
            "rule": "found by a browse rule" if rule is None else rule_sentence(rule),
            "online": device.is_online,
            "reason": device.offline_reason,
            "problem": "" if problem is None else problem.reason,
            "in_doubt": problem is not None and problem.gives_values,
            "last_ns": None if current is None else current.time_ns,
        }


def rule_sentence(rule: ReportRule) -> str:
    """When a value is reported, in a sentence."""
    if rule.always:
        return "every value is reported"
    if rule.deadband_absolute or rule.deadband_percent:
        bounds = [f"{rule.deadband_absolute:g}"] if rule.deadband_absolute else []
        bounds += [f"{rule.deadband_percent:g} % of the last one"] if rule.deadband_percent else []
        said = f"a value is reported when it moved by more than {' or '.join(bounds)}"
    else:
        said = "a value is reported when it is another one"
    said += f", at most every {rule.interval_s_min:g} s" if rule.interval_s_min else ""
    return said + (f", and at least every {rule.interval_s_max:g} s" if rule.interval_s_max is not None else "")


def _as_json(step: dict[str, Any]) -> dict[str, Any]:
    if "quality" not in step:
        return step
    code = step["quality"]
    return {**step, "value": json_value(step["value"]), "quality": name_of(code), "quality_code": code_of(code)}
