"""What the agent says of itself on the socket: status, tags, changes, and the outbox, as JSON values."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from connectors.model.quality import code_of, name_of
from connectors.ports.clock import Clock
from connectors.ports.device import TagProblem
from connectors.sparkplug.delivery import format_epoch
from connectors.sparkplug.edge_session import Phase
from edge_agent.acquisition.collector import Collector
from edge_agent.acquisition.device import DeviceAcquisition
from edge_agent.buffer.bounds import HIGH_MARK
from edge_agent.buffer.relief import ReliefStatus
from edge_agent.buffer.set_aside import damaged_files
from edge_agent.buffer.writer import OutboxReader
from edge_agent.commands.service import Commands
from edge_agent.config.in_use import ConfigInUse
from edge_agent.local_api.certificate_watch import CertificatePlaces, CertificateWatch
from edge_agent.local_api.command_status import commands_status, lock_of
from edge_agent.local_api.device_status import bad_count, not_good, without_value
from edge_agent.local_api.forecast import STEP_S, OutboxForecast
from edge_agent.local_api.json_values import json_value
from edge_agent.local_api.outbox_files import outbox_files, waiting_bytes
from edge_agent.observability.metrics import (
    OUTBOX_BATCHES,
    OUTBOX_BYTES,
    OUTBOX_LIMIT_BYTES,
    OUTBOX_REFUSING,
    OUTBOX_USED_BYTES,
    SAMPLES_PENDING,
    UPLINK_IN_FLIGHT,
    UPLINK_LAG_SECONDS,
    UPLINK_UNANSWERED,
)
from edge_agent.uplink.options import Delivery
from edge_agent.uplink.uplink import Uplink

RATE_SPAN_S: Final = 10.0
RATE_STEP_S: Final = STEP_S
BORN: Final = Phase.BORN.value
WATCH_S_MIN: Final = 0.1
PROMISES: Final = {
    Delivery.ACKNOWLEDGED: "a sample leaves this disk only when the cloud's event log has it",
    Delivery.SPARKPLUG: "Sparkplug store and forward: a sample leaves this disk once it was sent to a broker on which "
    "the host is online; what the broker or host then loses is lost",
}


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What changes only with the configuration."""

    agent: str
    version: str
    started_ns: int
    commissioning: bool
    insecure: tuple[str, ...]
    endpoints: Mapping[str, tuple[str, str]]
    """By device: (driver, endpoint)."""
    certificates: CertificatePlaces = field(default_factory=CertificatePlaces)


class AgentView:
    """Answers from the parts of the running agent."""

    def __init__(
        self,
        facts: AgentFacts,
        devices: Collection[DeviceAcquisition],
        collector: Collector,
        reader: OutboxReader,
        uplink: Uplink,
        clock: Clock,
        commands: Commands | None = None,
        in_use: ConfigInUse | None = None,
    ) -> None:
        self._commands = commands
        self._in_use = in_use
        self.facts = facts
        self._devices = devices
        self._collector = collector
        self._reader = reader
        self._uplink = uplink
        self._clock = clock
        steps = int(RATE_SPAN_S / RATE_STEP_S) + 1
        self._certificates = CertificateWatch(clock)
        self._history: deque[tuple[float, WeakKeyDictionary[DeviceAcquisition, int]]] = deque(maxlen=steps)
        self._forecast = OutboxForecast()

    async def run(self) -> None:
        """Keep what rates and gauges are computed from."""
        while True:
            counts = WeakKeyDictionary({device: device.samples for device in self._devices})
            self._history.append((self._clock.monotonic_s(), counts))
            for device in list(self._devices):
                device.measure_driver()
            status = await self._reader.status()
            self._forecast.observe(
                self._clock.monotonic_s(),
                used_bytes=self._collector.relief.used_bytes,
                waiting=status.samples,
                is_delivering=self._uplink.state.phase == BORN and not self._uplink.is_unanswered,
            )
            OUTBOX_BATCHES.set(status.batches)
            OUTBOX_BYTES.set(status.file_bytes)
            OUTBOX_USED_BYTES.set(self._collector.relief.used_bytes)
            OUTBOX_LIMIT_BYTES.set(self._collector.relief.bytes_max)
            OUTBOX_REFUSING.set(self._collector.relief.refuses)
            SAMPLES_PENDING.set(self._collector.samples_pending)
            UPLINK_LAG_SECONDS.set(self._uplink.state.lag_ms / 1000)
            UPLINK_IN_FLIGHT.set(self._uplink.in_flight)
            UPLINK_UNANSWERED.set(self._uplink.is_unanswered)
            await self._certificates.look(self.facts.certificates)
            await asyncio.sleep(RATE_STEP_S)

    async def status(self, _args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The whole agent on one screen."""
        outbox = await self._reader.status()
        waiting = await asyncio.to_thread(waiting_bytes, self._reader.path)
        files = outbox_files(self._reader.path)
        facts, uplink = self.facts, self._uplink
        now_ns = self._clock.now_ns()
        relief = self._collector.relief
        yield {
            "agent": facts.agent,
            "version": facts.version,
            "epoch": format_epoch(outbox.epoch),
            "started_ns": facts.started_ns,
            "uptime_s": round((now_ns - facts.started_ns) / 1e9, 1),
            "commissioning": facts.commissioning,
            "waiting_for_outbox": "",
            "delivery": uplink.options.delivery.value,
            "promise": PROMISES[uplink.options.delivery],
            "insecure": list(facts.insecure),
            "certificates": self._certificates.to_json(),
            "commands": commands_status(self._commands),
            "configuration": None if self._in_use is None else self._in_use.status.to_json(),
            "devices": [self._device(device) for device in self._devices],
            "uplink": {
                "broker": uplink.state.broker,
                "phase": uplink.state.phase,
                "reason": uplink.state.reason,
                "host": uplink.options.host,
                "host_online": uplink.state.host_online,
                "sent": uplink.state.sent,
                "resent": uplink.state.resent,
                "acknowledged": uplink.state.acknowledged,
                "refused": uplink.state.refused,
                "unanswered": self._uplink.is_unanswered,
                "clock_error_s": uplink.host_clock.error_s,
                "lag_s": round(uplink.state.lag_ms / 1000, 1),
                "previews": uplink.state.previews,
                "in_flight": uplink.in_flight,
            },
            "outbox": {
                "path": str(self._reader.path),
                "batches": outbox.batches,
                "samples": outbox.samples,
                "waiting_bytes": waiting,
                "file_bytes": files.database_bytes + files.wal_bytes,
                "database_bytes": files.database_bytes,
                "wal_bytes": files.wal_bytes,
                "oldest_s": None if outbox.oldest_ms is None else round(now_ns / 1e9 - outbox.oldest_ms / 1e3, 1),
                "newest_batch": outbox.newest,
                "samples_pending": self._collector.samples_pending,
                "samples_committed": self._collector.samples_committed,
                "blocked": self._collector.blocked_reason,
                "used_bytes": relief.used_bytes,
                "limit_bytes": relief.bytes_max,
                "limit_reason": relief.reason,
                "free_disk_bytes": relief.free_disk_bytes,
                "ballast_held": relief.ballast_held,
                "set_aside": [str(file) for file in damaged_files(self._reader.path)],
                "refuses_samples": relief.refuses,
                "forecast": asdict(self._forecast.at(room_bytes=_room_bytes(relief))),
            },
        }

    async def tags(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Every tag with its newest sample; ``device`` chooses one device, ``search`` a part of the tag's name."""
        search = _search(args)
        yield [tag for device in self._chosen(args) for tag in self._tags(device, search)]

    async def watch(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The tags, then again and again those that are not as they were; ``interval_s`` between two answers.

        Not as they were: they got a sample, a problem (or lost it), or their device came or went.
        """
        interval_s, search = _interval_s(args), _search(args)
        seen: dict[tuple[str, str], tuple[int, str, bool, str]] = {}
        while True:
            changed: list[dict[str, Any]] = []
            for device in self._chosen(args):
                for tag in self._tags(device, search):
                    key = (tag["device"], tag["tag"])
                    mark = (tag["samples"], tag["problem"], tag["stale"], tag["locked"])
                    if seen.get(key) != mark:
                        seen[key] = mark
                        changed.append(tag)
            yield changed
            await asyncio.sleep(interval_s)

    def _device(self, device: DeviceAcquisition) -> dict[str, Any]:
        driver, endpoint = self.facts.endpoints[device.name]
        now_s = self._clock.monotonic_s()
        return {
            "device": device.name,
            "driver": driver,
            "endpoint": endpoint,
            "reached_at": device.place if device.is_online else "",
            "online": device.is_online,
            "online_since_ns": device.online_since_ns,
            "online_s": round(now_s - device.online_since_s, 1) if device.is_online else None,
            "reason": device.offline_reason,
            "tags": len(device.tag_names),
            "problems": [{"tag": problem.tag, "reason": problem.reason} for problem in device.problems],
            "bad": bad_count(device),
            "not_good": not_good(device),
            "without_value": without_value(device),
            "reconnects": max(0, device.connects - 1),
            "last_sample_s": None if device.taken_s is None else round(now_s - device.taken_s, 1),
            "unborn": self._uplink.unborn.get(device.name, ""),
            "samples": device.samples,
            "samples_per_s": self._rate(device),
        }

    def _rate(self, device: DeviceAcquisition) -> float:
        """Samples a second since the oldest look at this device, which a reload may have made anew."""
        for then_s, counts in self._history:
            if (before := counts.get(device)) is not None:
                span_s = self._clock.monotonic_s() - then_s
                return round((device.samples - before) / span_s, 1) if span_s > 0 else 0.0
        return 0.0

    def _tags(self, device: DeviceAcquisition, search: str) -> list[dict[str, Any]]:
        problems = {str(problem.tag): problem for problem in device.problems}
        locked = lock_of(self._commands, device.name)
        rows: list[dict[str, Any]] = []
        for index, name in enumerate(device.tag_names):
            if search not in name.casefold():
                continue
            known = device.current.types[index]
            current = device.current.of(index)
            problem = problems.get(name)
            quality = None if current is None else current.quality
            if problem is not None and not problem.gives_values:
                quality = problem.quality
            rows.append(
                {
                    "device": device.name,
                    "tag": name,
                    "type": None if known is None else known.datatype.label,
                    "unit": "" if known is None else known.unit,
                    "value": None if current is None else json_value(current.value),
                    "time_ns": None if current is None else current.time_ns,
                    "quality": None if quality is None else name_of(quality),
                    "quality_code": None if quality is None else code_of(quality),
                    "stale": not device.is_online,
                    "samples": int(device.current.sample_count[index]),
                    "problem": "" if problem is None else problem.reason,
                    "locked": locked,
                }
            )
        named = set(device.tag_names)
        return rows + [
            _row_of(device, problem, locked)
            for name, problem in problems.items()
            if name not in named and search in name.casefold()
        ]

    def _chosen(self, args: Mapping[str, Any]) -> Sequence[DeviceAcquisition]:
        wanted = args.get("device")
        if not wanted:
            return list(self._devices)
        chosen = [device for device in self._devices if device.name == wanted]
        if not chosen:
            known = ", ".join(device.name for device in self._devices)
            raise ValueError(f"no device {wanted!r}; there are {known}" if known else "there are no devices")
        return chosen


def _search(args: Mapping[str, Any]) -> str:
    search = args.get("search") or ""
    if not isinstance(search, str):
        raise ValueError("'search' is a part of the name of a tag")
    return search.casefold()


def _interval_s(args: Mapping[str, Any]) -> float:
    interval_s = args.get("interval_s", 1.0)
    if isinstance(interval_s, bool) or not isinstance(interval_s, int | float) or not interval_s < math.inf:
        raise ValueError("'interval_s' is a number of seconds")
    return max(WATCH_S_MIN, float(interval_s))


def _room_bytes(relief: ReliefStatus) -> int:
    """By how much the outbox can grow until samples give way."""
    return min(int(relief.bytes_max * HIGH_MARK) - relief.used_bytes, relief.free_disk_bytes)


def _row_of(device: DeviceAcquisition, problem: TagProblem, locked: str) -> dict[str, Any]:
    """What is wrong with something that is no tag, such as a rule that finds tags, among the tags."""
    nothing = dict.fromkeys(("type", "value", "time_ns"))
    quality = {"quality": name_of(problem.quality), "quality_code": code_of(problem.quality)}
    said = {"stale": not device.is_online, "samples": 0, "problem": problem.reason, "locked": locked}
    return {"device": device.name, "tag": str(problem.tag), "unit": "", **nothing, **quality, **said}
